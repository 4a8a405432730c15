"""`tenfold dev` from nothing and back to nothing, whatever happens in between."""

import json
import os
import pty
import re
import shlex
import signal
import socket
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from ops.dev import leftovers
from ops.dev.run import MARK
from ops.dev.servers import ValkeyServer
from ops.dev.tiers import TIERS
from ops.ports import free_port
from tests.ops.running import TENFOLD, Running, environment, processes_of, tenfold, wait_until

READY = "Tenfold is ready."
STOPPED = "tenfold │ stopped"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """One for all tests here: that each goes on with what the last one left is part of the test."""
    with tempfile.TemporaryDirectory(prefix="tenfold-dev-") as name:
        folder = Path(name)
        yield folder
        for process in processes_of(folder / ".tenfold"):
            process.kill()


@pytest.fixture
def variables() -> dict[str, str]:
    return {"PORT": str(free_port()), "WORKER_METRICS_PORT": str(free_port())}


def dev(folder: Path, variables: dict[str, str], **more: str) -> Running:
    return Running("dev", cwd=folder, variables={**variables, **more})


def get(port: str, path: str, token: str = "") -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def log_in(port: str, username: str = "demo") -> str:
    body = json.dumps({"username": username, "password": f"{username}-password"}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/auth/login", data=body, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return str(json.load(answer)["access_token"])


def count_tasks(port: str, token: str) -> int:
    page = get(port, "/tasks?limit=1000", token)
    assert page["next_cursor"] is None
    return len(page["items"])


def pid_of(folder: Path, tier: str) -> int:
    for process in psutil.process_iter():
        try:
            command = tuple(process.cmdline()[-len(TIERS[tier]) :])
            if process.environ().get(MARK) == str(folder / ".tenfold") and command == TIERS[tier]:
                return process.pid
        except psutil.Error:
            continue
    raise AssertionError(f"no {tier} runs")


def test_it_says_where_everything_is_and_what_it_prints_works(folder: Path, variables: dict[str, str]) -> None:
    with dev(folder, variables) as run:
        run.wait_for(READY)
        run.wait_for("Ctrl-C stops everything")
        for address in re.findall(r"http://\S+/(?:docs|metrics)\b", run.output):
            with urllib.request.urlopen(address, timeout=10) as answer:
                assert answer.status == 200
        commands = run.output[run.output.index("  TOKEN=") : run.output.index("Ctrl-C stops")]
        shell = subprocess.run(
            ["bash", "-euc", commands], env=environment(), capture_output=True, text=True, check=True
        )
        priorities = [task["priority"] for task in json.loads(shell.stdout)["items"]]
        assert len(priorities) == 5
        assert priorities == sorted(priorities)
        assert run.stop() == 0
        assert STOPPED in run.output
    assert processes_of(folder / ".tenfold") == []


def test_a_second_start_keeps_data_and_tokens_and_adds_nothing(folder: Path, variables: dict[str, str]) -> None:
    with dev(folder, variables) as run:
        run.wait_for(READY)
        token = log_in(variables["PORT"])
        before = count_tasks(variables["PORT"], token)
        assert before >= 300
        run.stop()
    with dev(folder, variables) as run:
        run.wait_for(READY)
        assert count_tasks(variables["PORT"], token) == before
        assert count_tasks(variables["PORT"], log_in(variables["PORT"], "admin")) > before
        assert "made demo users" not in run.output


def test_other_commands_work_on_what_runs_here_and_on_nothing_when_it_has_stopped(
    folder: Path, variables: dict[str, str]
) -> None:
    with dev(folder, variables) as run:
        run.wait_for(READY)
        listed = tenfold("users", "list", cwd=folder)
        assert "demo" in listed.stdout
        assert listed.stderr == "tenfold: on the servers of the `tenfold dev` that runs from .tenfold\n"
        added = tenfold("tasks", "add", "from the command line", "--due", "2030-01-31", cwd=folder)
        assert added.stdout.startswith("added "), added.stderr
        assert added.stderr == "tenfold: on the `tenfold dev` that runs from .tenfold, as demo\n"
        assert "from the command line" in tenfold("tasks", "list", "-q", "from the command", cwd=folder).stdout
        elsewhere = tenfold("tasks", "list", cwd=folder, TENFOLD_URL="http://127.0.0.1:1", TENFOLD_TOKEN="x")
        assert "http://127.0.0.1:1 cannot be reached" in elsewhere.stderr
        named = tenfold("users", "list", cwd=folder, DATABASE_URL="postgresql://127.0.0.1:1/x", REDIS_URL="redis://x")
        assert "demo" not in named.stdout
        assert (folder / ".tenfold/environment.json").stat().st_mode & 0o077 == 0
        run.stop(signal.SIGKILL)
    for command in (("users", "list"), ("migrate", "--list"), ("lanes",), ("tasks", "list")):
        stopped = tenfold(*command, cwd=folder)
        assert stopped.stderr.startswith("tenfold: no `make run` is running from .tenfold: start it, set TENFOLD_HOME")
        assert len(stopped.stderr.splitlines()) == 1
    with dev(folder, variables) as run:
        run.wait_for(READY)
        run.stop()
    assert not (folder / ".tenfold/environment.json").exists()


def test_secrets_are_readable_by_their_owner_alone(folder: Path) -> None:
    home = folder / ".tenfold"
    secret_files = [
        *("jwt_secret_key", "api_database_password", "worker_database_password"),
        *(f"{server}/tenfold.password" for server in ("postgres", "queue", "cache")),
    ]
    assert all((home / name).stat().st_mode & 0o077 == 0 for name in secret_files)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_stops_all_of_it_in_order(folder: Path, variables: dict[str, str], number: signal.Signals) -> None:
    with dev(folder, variables) as run:
        run.wait_for(READY)
        assert run.stop(number) == 0
        order = [run.output.index(text) for text in ("api stopped", "worker stopped", STOPPED)]
        assert order == sorted(order)
    assert processes_of(folder / ".tenfold") == []


def test_closing_the_terminal_stops_it_also_where_nobody_passes_its_signal_on(
    folder: Path, variables: dict[str, str]
) -> None:
    pid, terminal = pty.fork()
    if pid == 0:  # the leader of the session hears of it, as make does, and only waits
        os.chdir(folder)
        command = f"trap : HUP; {shlex.join(TENFOLD)} dev; true"
        os.execve("/bin/sh", ["sh", "-c", command], environment(**variables))
    with os.fdopen(terminal, "rb", buffering=0) as output:
        printed = b""
        while b"Ctrl-C stops everything" not in printed:
            printed += output.read(1 << 16)
        run = psutil.Process(int((folder / ".tenfold/lock").read_text()))
    try:
        run.wait(30)
        assert processes_of(folder / ".tenfold") == []
    finally:
        with suppress(psutil.NoSuchProcess):
            run.kill()
        os.waitpid(pid, 0)


@pytest.mark.parametrize("delay", [0.9, 1.1, 1.2, 1.3, 1.5])
def test_stopped_while_it_starts_it_leaves_nothing(folder: Path, variables: dict[str, str], delay: float) -> None:
    with dev(folder, variables) as run:
        try:
            run.process.wait(delay)
        except subprocess.TimeoutExpired:
            run.stop(signal.SIGTERM)
    assert processes_of(folder / ".tenfold") == []


@pytest.mark.parametrize("delay", [0.1, 0.2, 0.3, 0.5, 0.9, 1.1, 1.3, 1.6, 2.0])
def test_stopped_in_its_first_start_it_leaves_nothing_and_ends_quietly(variables: dict[str, str], delay: float) -> None:
    with tempfile.TemporaryDirectory(prefix="tenfold-dev-") as name:
        with dev(Path(name), variables) as run:
            with suppress(subprocess.TimeoutExpired):
                run.process.wait(delay)
            status = run.stop(signal.SIGINT)
            assert "Traceback" not in run.output
            # To a shell both are 130. When the tiers have started, it was a run like any other, and has ended well.
            assert status in ((0,) if "stopping" in run.output else (130, -signal.SIGINT)), run.output
        assert processes_of(Path(name) / ".tenfold") == []


def test_what_a_killed_run_left_is_cleaned_up_by_the_next(folder: Path, variables: dict[str, str]) -> None:
    with dev(folder, variables) as run:
        run.wait_for(READY)
        run.stop(signal.SIGKILL)
    left = [process.pid for process in processes_of(folder / ".tenfold")]
    assert len(left) > 3
    with dev(folder, variables) as run:
        run.wait_for(READY)
        assert not set(left) & {process.pid for process in processes_of(folder / ".tenfold")}
        assert count_tasks(variables["PORT"], log_in(variables["PORT"])) >= 300


@pytest.mark.parametrize("tier", list(TIERS))
def test_a_tier_that_crashes_is_reported_and_started_again(folder: Path, variables: dict[str, str], tier: str) -> None:
    with dev(folder, variables) as run:
        alike = sum(TIERS[tier][0] == other[0] for other in TIERS.values())
        run.wait_for(f"{TIERS[tier][0]} ready", times=alike)
        crashed = pid_of(folder, tier)
        psutil.Process(crashed).kill()
        run.wait_for(f"{tier} ended by SIGKILL; next start in 0.5 s")
        run.wait_for(f"{TIERS[tier][0]} ready", times=alike + 1)
        run.wait_for(READY)
        assert pid_of(folder, tier) != crashed
        assert get(variables["PORT"], "/health/ready")["status"] == "ready"


def test_servers_that_die_are_started_again_and_the_tiers_go_on(folder: Path, variables: dict[str, str]) -> None:
    with dev(folder, variables) as run:
        run.wait_for(READY)
        token = log_in(variables["PORT"])
        tiers = {tier: pid_of(folder, tier) for tier in TIERS}
        for name, program in (("postgres", "postgres"), ("queue", "valkey-server"), ("cache", "valkey-server")):
            server = leftovers.servers_in(folder / ".tenfold" / name, program)
            next(one for one in server if one.ppid() == run.process.pid).kill()
            run.wait_for(f"{name} ended by SIGKILL; next start in 0.5 s")
            run.wait_for(f"{name} runs again")
        wait_until(lambda: is_ready(variables["PORT"]))
        assert count_tasks(variables["PORT"], token) >= 300
        request = urllib.request.Request(
            f"http://127.0.0.1:{variables['PORT']}/tasks",
            data=b'{"title": "after all"}',
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert answer.status == 201
        assert {tier: pid_of(folder, tier) for tier in TIERS} == tiers, "no tier has ended"
        assert run.stop() == 0
    assert processes_of(folder / ".tenfold") == []


def is_ready(port: str) -> bool:
    try:
        return bool(get(port, "/health/ready")["status"] == "ready")
    except OSError:
        return False


def test_the_port_of_a_server_that_another_has_taken_is_told_and_replaced(
    folder: Path, variables: dict[str, str]
) -> None:
    port = json.loads((folder / ".tenfold/ports.json").read_text())["queue"]
    with socket.create_server(("127.0.0.1", port)), dev(folder, variables) as run:
        run.wait_for(f"port {port}, which queue had before, is in use: it gets another")
        run.wait_for(READY)


def test_a_port_in_use_is_told_with_another_that_is_free(folder: Path, variables: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", int(variables["PORT"]))):
        run = tenfold("dev", cwd=folder, **variables)
    assert run.returncode == 1
    assert f"port {variables['PORT']} of 127.0.0.1 is in use" in run.stderr
    assert re.search(r"choose another: PORT=\d+ make run", run.stderr)
    assert "Traceback" not in run.stderr


def test_a_metrics_port_in_use_is_replaced_and_told(folder: Path, variables: dict[str, str]) -> None:
    with (
        socket.create_server(("127.0.0.1", int(variables["WORKER_METRICS_PORT"]))),
        dev(folder, variables) as run,
    ):
        run.wait_for(READY)
        other = re.search(r"is in use: the metrics of worker are on (\d+)", run.output)
        assert other is not None
        with urllib.request.urlopen(f"http://127.0.0.1:{other[1]}/metrics", timeout=10) as answer:
            assert b"tenfold_" in answer.read()


def test_two_runs_cannot_share_a_home(folder: Path, variables: dict[str, str]) -> None:
    with dev(folder, variables) as run:
        run.wait_for("starting postgres")
        other = tenfold("dev", cwd=folder, PORT=str(free_port()))
        assert other.returncode == 1
        assert f"Tenfold is running from .tenfold already (process {run.process.pid})" in other.stderr


def test_copies_run_side_by_side_and_what_the_environment_names_is_not_started(
    folder: Path, variables: dict[str, str]
) -> None:
    other_variables = {"PORT": str(free_port()), "WORKER_METRICS_PORT": str(free_port())}
    with tempfile.TemporaryDirectory(prefix="tenfold-dev-") as name:
        other_folder = Path(name)
        (other_folder / "deep").mkdir()
        with (
            ValkeyServer(other_folder / "valkey", durable=False) as cache,
            dev(folder, variables) as run,
            dev(other_folder, other_variables, REDIS_URL=cache.url(), TENFOLD_HOME="deep/home") as other,
        ):
            run.wait_for(READY)
            other.wait_for(READY)
            assert "starting cache" not in other.output
            assert "starting queue" in other.output
            assert not (other_folder / "deep/home/cache").exists()
            assert other.stop() == 0
            assert get(variables["PORT"], "/health/ready")["status"] == "ready"


def test_settings_come_from_a_file_too_and_a_bad_one_stops_the_start(folder: Path, variables: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory(prefix="tenfold-dev-") as name:
        (Path(name) / ".env").write_text(f"PORT={variables['PORT']}\nDEFAULT_PAGE_SIZE=many\nLOG_LEVEL=loud\n")
        run = tenfold("dev", cwd=Path(name))
        assert run.returncode == 2
        assert sorted(line.split()[1] for line in run.stderr.splitlines()) == ["DEFAULT_PAGE_SIZE", "LOG_LEVEL"]
        assert not (Path(name) / ".tenfold/postgres").exists()


def test_an_interrupted_first_start_is_taken_up_again(variables: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory(prefix="tenfold-dev-") as name:
        for text in ("starting postgres", "starting queue", "bringing the database"):
            with dev(Path(name), variables) as run:
                run.wait_for(text)
                run.stop(signal.SIGKILL)
        with dev(Path(name), variables) as run:
            run.wait_for(READY)
            assert count_tasks(variables["PORT"], log_in(variables["PORT"])) >= 300
            run.stop()
        wait_until(lambda: processes_of(Path(name) / ".tenfold") == [])

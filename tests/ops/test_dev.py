"""`tenfold dev` from nothing and back to nothing, whatever happens in between."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from core.settings import Settings
from ops.dev.home import Home
from ops.dev.run import MARK
from ops.dev.servers import ValkeyServer
from ops.dev.tiers import LOOK_SECONDS, TIERS, MetricsPorts, _greet, with_own_login
from ops.ports import free_port
from tests.ops.running import Running, environment, processes_of, tenfold, wait_until

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
        named = tenfold("users", "list", cwd=folder, DATABASE_URL="postgresql://127.0.0.1:1/x", REDIS_URL="redis://x")
        assert "demo" not in named.stdout
        assert (folder / ".tenfold/environment.json").stat().st_mode & 0o077 == 0
        run.stop(signal.SIGKILL)
    assert "DATABASE_URL is not set" in tenfold("users", "list", cwd=folder).stderr
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


@pytest.mark.parametrize("delay", [0.9, 1.1, 1.2, 1.3, 1.5])
def test_stopped_while_it_starts_it_leaves_nothing(folder: Path, variables: dict[str, str], delay: float) -> None:
    with dev(folder, variables) as run:
        try:
            run.process.wait(delay)
        except subprocess.TimeoutExpired:
            run.stop(signal.SIGTERM)
    assert processes_of(folder / ".tenfold") == []


@pytest.mark.parametrize("delay", [0.9, 1.1, 1.3, 1.6, 2.0])
def test_stopped_in_its_first_start_it_leaves_nothing(variables: dict[str, str], delay: float) -> None:
    with tempfile.TemporaryDirectory(prefix="tenfold-dev-") as name:
        with dev(Path(name), variables) as run:
            with suppress(subprocess.TimeoutExpired):
                run.process.wait(delay)
            run.stop(signal.SIGINT)
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
        other = re.search(r"the worker's metrics are on (\d+)", run.output)
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


async def test_it_says_that_all_is_ready_only_when_the_workers_metrics_answer_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: Settings
) -> None:
    api_port, metrics_port = free_port(), free_port()
    chosen = replace(settings, host="127.0.0.1", port=api_port, worker_metrics_port=metrics_port)
    with answering(api_port):
        ports = {"worker": metrics_port}
        greeting = asyncio.create_task(_greet(Home(tmp_path), chosen, ports, lambda _: os.getpid(), print))
        await asyncio.sleep(4 * LOOK_SECONDS)
        assert capsys.readouterr().out == ""
        with answering(metrics_port):
            await asyncio.wait_for(greeting, 10)
    assert READY in capsys.readouterr().out


async def test_what_answers_for_another_run_does_not_make_this_one_ready(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: Settings
) -> None:
    api_port, metrics_port = free_port(), free_port()
    chosen = replace(settings, host="127.0.0.1", port=api_port, worker_metrics_port=metrics_port)
    pids: dict[str, int | None] = {"api": os.getpid(), "worker": os.getppid()}
    with answering(api_port), answering(metrics_port):
        greeting = asyncio.create_task(_greet(Home(tmp_path), chosen, {"worker": metrics_port}, pids.get, print))
        for pid in (os.getppid(), None):  # it has not come to listening yet; it has ended
            pids["worker"] = pid
            await asyncio.sleep(4 * LOOK_SECONDS)
            assert capsys.readouterr().out == ""
        pids["worker"] = os.getpid()
        await asyncio.wait_for(greeting, 10)
    assert READY in capsys.readouterr().out


def test_a_workers_port_is_chosen_when_it_starts_and_anew_when_another_run_was_quicker(settings: Settings) -> None:
    told: list[str] = []
    first = free_port()
    chosen = MetricsPorts(
        replace(settings, host="127.0.0.1", worker_metrics_port=first), ["worker", "bulk"], told.append
    )
    assert chosen.with_port_of("worker", {"A": "b"}) == {"A": "b", "WORKER_METRICS_PORT": str(first)}
    assert chosen.with_port_of("worker", {})["WORKER_METRICS_PORT"] == str(first), "it is free, and stays"
    with socket.create_server(("127.0.0.1", first)):
        other = int(chosen.with_port_of("worker", {})["WORKER_METRICS_PORT"])
    assert other != first
    assert told == [f"port {first} is in use: the metrics of worker are on {other}"]
    assert chosen.ports["worker"] == other
    off = MetricsPorts(replace(settings, worker_metrics_port=0), ["worker", "bulk"], told.append)
    assert off.with_port_of("bulk", {}) == {"WORKER_METRICS_PORT": "0"}


@contextmanager
def answering(port: int) -> Iterator[None]:
    """A server that answers every GET with 200 and nothing."""

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Answering) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def test_a_tier_is_given_its_own_login_and_no_other() -> None:
    urls = {"DATABASE_URL": "the owner's", "API_DATABASE_URL": "a", "WORKER_DATABASE_URL": "w", "PORT": "1"}
    assert with_own_login(urls, "API_DATABASE_URL") == {"API_DATABASE_URL": "a", "PORT": "1"}
    assert with_own_login({"DATABASE_URL": "all"}, "API_DATABASE_URL") == {"DATABASE_URL": "all"}

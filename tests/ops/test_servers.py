"""The embedded servers: they keep data, survive a kill, and clean up after a run that was killed."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from ops.dev import leftovers
from ops.dev.servers import PostgresServer, ServerError, ValkeyServer
from ops.ports import free_port, port_is_free

ROOT = Path(__file__).parents[2]
QUICK = {"fsync": "off", "shared_buffers": "16MB"}
NOBODY = 65534

ABANDON = """
import os, signal, sys
from pathlib import Path
from ops.dev.servers import PostgresServer, ValkeyServer
home = Path(sys.argv[1])
postgres = PostgresServer(home / "pg", parameters={"fsync": "off", "shared_buffers": "16MB"})
queue = ValkeyServer(home / "queue", durable=True)
postgres.start()
queue.start()
print(postgres.pid, queue.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def home() -> Iterator[Path]:
    # Not tmp_path: another pytest session takes the search permission from its folder again.
    with tempfile.TemporaryDirectory(prefix="tenfold-servers-") as folder:
        yield Path(folder)
        for name, program in (("pg", "postgres"), ("queue", "valkey-server")):
            leftovers.kill(leftovers.servers_in(Path(folder, name), program))


@pytest.fixture
def postgres(home: Path) -> Iterator[PostgresServer]:
    with PostgresServer(home / "pg", parameters=QUICK) as server:
        yield server


def sql(server: PostgresServer, *statements: str, url: str | None = None) -> str:
    commands = [part for statement in statements for part in ("-c", statement)]
    result = subprocess.run(
        [server.bin_dir / "psql", "-XAtqv", "ON_ERROR_STOP=1", *commands, url or server.url()],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def redis_client(server: ValkeyServer) -> Any:
    return redis.Redis.from_url(server.url(), decode_responses=True)


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_the_owner_owns_its_database_and_may_make_roles_but_is_no_superuser(postgres: PostgresServer) -> None:
    assert sql(postgres, "SELECT current_user, current_database()") == "tenfold|tenfold"
    privileges = "SELECT rolsuper, rolcreaterole, rolcreatedb, rolbypassrls FROM pg_roles WHERE rolname = current_user"
    assert sql(postgres, privileges) == "f|t|t|f"
    assert sql(postgres, "CREATE ROLE somebody", "CREATE TABLE things ()", "SELECT 1") == "1"
    assert sql(postgres, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user", url=postgres.superuser_url())


def test_text_is_utf_8_and_folds_case_whatever_the_system_knows(postgres: PostgresServer) -> None:
    assert sql(postgres, "SHOW server_encoding", "SELECT lower('ÄÖŁ')", "SHOW timezone") == "UTF8\näöł\nUTC"


def test_postgres_asks_for_the_password(postgres: PostgresServer) -> None:
    url = postgres.url().replace(postgres.password, "wrong")
    with pytest.raises(AssertionError, match="password authentication failed"):
        sql(postgres, "SELECT 1", url=url)


def test_parameters_reach_postgres_and_durability_is_the_default(home: Path, postgres: PostgresServer) -> None:
    assert sql(postgres, "SHOW shared_buffers", "SHOW fsync", "SHOW max_connections") == "16MB\noff\n200"
    assert "fsync" not in PostgresServer(home / "other").parameters


def test_postgres_keeps_data_and_port_through_restart_and_kill(postgres: PostgresServer) -> None:
    url = postgres.url()
    sql(postgres, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (1)")
    postgres.restart()
    sql(postgres, "INSERT INTO kept VALUES (2)")
    backends = [child.pid for child in psutil.Process(postgres.pid).children(recursive=True)]
    pid = postgres.pid
    postgres.kill()
    deadline = time.monotonic() + 5  # on a crowded machine the last of them may still be on its way out
    while any(is_alive(each) for each in (pid, *backends)):
        assert time.monotonic() < deadline
    with pytest.raises(ServerError, match="not running"):
        _ = postgres.pid
    postgres.start()
    assert postgres.url() == url
    assert sql(postgres, "SELECT sum(n) FROM kept") == "3"


def test_a_busy_backend_is_gone_after_a_kill(postgres: PostgresServer) -> None:
    session = subprocess.Popen(
        [postgres.bin_dir / "psql", "-Xc", "SELECT pg_sleep(60)", postgres.url()],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(500):
            if sql(postgres, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'") == "1":
                break
        postgres.kill()
        assert leftovers.servers_in(postgres.data_dir, "postgres") == []
    finally:
        session.kill()
        session.wait()


def test_a_second_server_object_on_the_same_folder_has_the_data(home: Path) -> None:
    with PostgresServer(home / "pg", parameters=QUICK) as first:
        sql(first, "CREATE TABLE kept AS SELECT 42 AS n")
    with PostgresServer(home / "pg", parameters=QUICK) as second:
        assert sql(second, "SELECT n FROM kept") == "42"


@pytest.mark.parametrize("killed_with_content", [False, True], ids=["empty", "half-made"])
def test_a_folder_whose_making_was_killed_is_made_anew(home: Path, killed_with_content: bool) -> None:
    making = home / "pg.making"
    making.mkdir()
    if killed_with_content:
        (making / "PG_VERSION").write_text("18\n")
        (making / "base").mkdir()
    with PostgresServer(home / "pg", parameters=QUICK) as server:
        assert sql(server, "SELECT 1") == "1"
    assert not making.exists()


def test_a_folder_that_is_not_ours_is_kept_under_another_name(home: Path) -> None:
    (home / "pg").mkdir()
    (home / "pg" / "letters").write_text("dear")
    with PostgresServer(home / "pg", parameters=QUICK) as server:
        assert sql(server, "SELECT 1") == "1"
    (kept,) = home.glob("pg.set-aside-*")
    assert (kept / "letters").read_text() == "dear"


def test_a_folder_of_another_major_version_is_refused_with_what_to_do(home: Path) -> None:
    server = PostgresServer(home / "pg", parameters=QUICK)
    with server:
        pass
    (home / "pg" / "PG_VERSION").write_text("9\n")
    with pytest.raises(ServerError, match=r"made by PostgreSQL 9, and this is 18: dump it"):
        server.start()


def test_a_stale_pid_file_that_names_another_process_does_not_stop_the_start(home: Path) -> None:
    server = PostgresServer(home / "pg", parameters=QUICK)
    with server:
        pass
    (home / "pg" / "postmaster.pid").write_text(f"{os.getppid()}\n{server.data_dir}\n0\n1\n\n127.0.0.1\n\nready\n")
    with server:
        assert sql(server, "SELECT 1") == "1"
    assert is_alive(os.getppid())


def test_a_long_path_with_spaces_is_no_obstacle(home: Path) -> None:
    folder = home / ("a long 'name' ü " * 8) / ("b" * 100)
    with (
        PostgresServer(folder / "pg", parameters=QUICK) as server,
        ValkeyServer(folder / "q", durable=True) as queue,
    ):
        assert sql(server, "SELECT 1") == "1"
        assert redis_client(queue).ping()


def test_what_a_killed_run_left_is_ended_and_its_data_kept(home: Path) -> None:
    run = subprocess.run([sys.executable, "-c", ABANDON, home], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == -signal.SIGKILL, run.stderr
    abandoned = [int(pid) for pid in run.stdout.split()]
    assert all(is_alive(pid) for pid in abandoned)
    with (
        PostgresServer(home / "pg", parameters=QUICK) as server,
        ValkeyServer(home / "queue", durable=True) as queue,
    ):
        assert not any(is_alive(pid) for pid in abandoned)
        assert sql(server, "SELECT 1") == "1"
        assert redis_client(queue).ping()


def test_servers_are_out_of_reach_of_the_terminals_ctrl_c(home: Path, postgres: PostgresServer) -> None:
    with ValkeyServer(home / "queue", durable=False) as cache:
        for pid in (postgres.pid, cache.pid):
            assert os.getsid(pid) == pid != os.getsid(0)


def test_a_port_in_use_is_named(home: Path) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = taken.getsockname()[1]
        assert not port_is_free(port)
        for server in (
            PostgresServer(home / "pg", port=port),
            ValkeyServer(home / "queue", durable=True, port=port),
        ):
            with pytest.raises(ServerError, match=rf"port {port} of 127\.0\.0\.1 is in use"):
                server.start()
            assert not server.is_running


def test_a_server_that_ends_at_once_shows_its_log(home: Path) -> None:
    server = PostgresServer(home / "pg", parameters={**QUICK, "shared_buffers": "lots"})
    with pytest.raises(ServerError, match=re.compile("ended at once.*shared_buffers", re.DOTALL)):
        server.start()


def test_the_queue_fsyncs_always_and_never_evicts(home: Path) -> None:
    with ValkeyServer(home / "queue", durable=True) as queue:
        found = redis_client(queue).config_get("appendonly", "appendfsync", "maxmemory-policy", "save")
    assert found == {
        "appendonly": "yes",
        "appendfsync": "always",
        "maxmemory-policy": "noeviction",
        "save": "",
    }


def test_the_queue_keeps_every_answered_write_through_a_kill(home: Path) -> None:
    with ValkeyServer(home / "queue", durable=True) as queue:
        url = queue.url()
        for number in range(100):
            redis_client(queue).xadd("lane", {"n": number})
        queue.kill()
        queue.start()
        assert queue.url() == url
        assert redis_client(queue).xlen("lane") == 100
    with ValkeyServer(home / "queue", durable=True) as again:
        assert redis_client(again).xlen("lane") == 100


def test_a_torn_end_of_the_append_only_file_does_not_stop_the_queue(home: Path) -> None:
    with ValkeyServer(home / "queue", durable=True) as queue:
        redis_client(queue).set("kept", 1)
        queue.kill()
        (log,) = (home / "queue" / "appendonlydir").glob("*.incr.aof")
        with log.open("ab") as file:
            file.write(b"*3\r\n$3\r\nSET\r\n$4\r\nto")
        queue.start()
        assert redis_client(queue).get("kept") == "1"


def test_the_cache_is_bounded_and_keeps_nothing(home: Path) -> None:
    with ValkeyServer(home / "cache", durable=False) as cache:
        found = redis_client(cache).config_get("appendonly", "maxmemory", "maxmemory-policy", "save")
        assert found == {
            "appendonly": "no",
            "maxmemory": str(256 << 20),
            "maxmemory-policy": "allkeys-lru",
            "save": "",
        }
        redis_client(cache).set("gone", 1)
        cache.restart()
        assert redis_client(cache).get("gone") is None


def test_valkey_asks_for_the_password_which_the_command_line_does_not_show(home: Path) -> None:
    with ValkeyServer(home / "queue", durable=True) as queue:
        with pytest.raises(redis.AuthenticationError):
            redis.Redis.from_url(f"redis://127.0.0.1:{queue.port}").ping()
        assert queue.password not in " ".join(psutil.Process(queue.pid).cmdline())
        assert (home / "queue" / queue.PASSWORD_FILE).stat().st_mode & 0o077 == 0


def test_a_normal_user_can_run_them_too(home: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("we are a normal user: every other test here shows it")
    python = python_of_others()
    if python is None:
        pytest.skip("another user cannot run this Python, or cannot read this checkout")
    home.chmod(0o755)
    (home / "theirs").mkdir()
    os.chown(home / "theirs", NOBODY, NOBODY)
    program = ABANDON.replace("os.kill(os.getpid(), signal.SIGKILL)", "postgres.stop(); queue.stop(); print('done')")
    run = run_as_nobody(python, "-c", program, str(home / "theirs"))
    assert run.returncode == 0, run.stderr
    assert run.stdout.endswith("done\n")


def python_of_others() -> str | None:
    for python in (sys.executable, "/usr/bin/python3"):
        try:
            if run_as_nobody(python, "-c", "import ops.dev.servers").returncode == 0:
                return python
        except OSError:
            continue
    return None


def run_as_nobody(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command,
        cwd=ROOT,
        env={"PYTHONPATH": ":".join(["", *sys.path]), "PATH": os.defpath},
        capture_output=True,
        text=True,
        check=False,
        user=NOBODY,
        group=NOBODY,
        extra_groups=(),
    )

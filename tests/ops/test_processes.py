"""Several API processes as one service: one port, one set of metrics, and none missed for long."""

import re
import signal
import socket
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from core.deferred import GATHER_SECONDS
from core.settings import Settings
from ops.ports import free_port
from tests.ops.running import Running, tenfold, wait_until
from tests.ops.test_cli import variables

PROCESSES = 2


@pytest.fixture
def environment(settings: Settings, tmp_path: Path) -> dict[str, str]:
    return variables(settings, PORT=str(free_port()), TMPDIR=str(tmp_path))


def service(tmp_path: Path, environment: dict[str, str]) -> Running:
    return Running("api", "--processes", str(PROCESSES), cwd=tmp_path, variables=environment)


def get(environment: dict[str, str], path: str) -> str:
    # A connection of its own each time, so that the kernel spreads them over the processes.
    with urllib.request.urlopen(f"http://127.0.0.1:{environment['PORT']}{path}", timeout=10) as answer:
        text: str = answer.read().decode()
        return text


def requests_counted(environment: dict[str, str]) -> float:
    lines = re.findall(
        r'^tenfold_http_requests_total\{.*route="/health/live".*\} (\S+)$', get(environment, "/metrics"), re.M
    )
    return sum(map(float, lines))


def children_of(run: Running) -> list[psutil.Process]:
    return psutil.Process(run.process.pid).children()


def test_they_share_one_port_and_their_metrics_add_up(tmp_path: Path, environment: dict[str, str]) -> None:
    with service(tmp_path, environment) as run:
        run.wait_for("api ready", times=PROCESSES)
        for count in (20, 40):
            for _ in range(20):
                get(environment, "/health/live")
            assert requests_counted(environment) == count
        assert len(children_of(run)) == PROCESSES


def test_one_that_is_killed_is_told_and_replaced_and_its_counts_stay(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    with service(tmp_path, environment) as run:
        run.wait_for("api ready", times=PROCESSES)
        for _ in range(20):
            get(environment, "/health/live")
        time.sleep(10 * GATHER_SECONDS)  # the last ones may not be on record yet
        killed = children_of(run)[0]
        killed.kill()
        run.wait_for("ended by SIGKILL; next start in 0.5 s")
        run.wait_for("api ready", times=PROCESSES + 1)
        assert requests_counted(environment) == 20
        (folder,) = tmp_path.glob("tenfold-metrics-*")
        live_gauges = [file.name for file in folder.glob(f"gauge_live*_{killed.pid}.db")]
        assert live_gauges == []
        assert list(folder.glob(f"counter_{killed.pid}.db"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_ends_all_of_them(tmp_path: Path, environment: dict[str, str], number: signal.Signals) -> None:
    with service(tmp_path, environment) as run:
        run.wait_for("api ready", times=PROCESSES)
        children = children_of(run)
        assert run.stop(number) == 0
        assert run.output.count("api stopped") == PROCESSES
        assert not any(child.is_running() for child in children)
        assert list(tmp_path.glob("tenfold-metrics-*")) == []


def test_if_the_parent_is_killed_they_drain_and_end(tmp_path: Path, environment: dict[str, str]) -> None:
    with service(tmp_path, environment) as run:
        run.wait_for("api ready", times=PROCESSES)
        children = children_of(run)
        run.stop(signal.SIGKILL)
        wait_until(lambda: not any(c.is_running() and c.status() != psutil.STATUS_ZOMBIE for c in children))


def test_another_service_on_the_port_is_not_joined(tmp_path: Path, environment: dict[str, str]) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", int(environment["PORT"])))
        other.listen()
        run = tenfold("api", "--processes", str(PROCESSES), cwd=tmp_path, **environment)
    assert run.returncode == 1
    assert (
        run.stderr
        == f"tenfold: port {environment['PORT']} of 127.0.0.1 is in use: stop what uses it, or choose another PORT\n"
    )


def test_one_process_serves_where_the_command_line_says(tmp_path: Path, environment: dict[str, str]) -> None:
    port = str(free_port())
    with Running("api", "--port", port, cwd=tmp_path, variables=environment) as run:
        run.wait_for("api ready")
        assert "alive" in get({"PORT": port}, "/health/live")
        assert run.stop(signal.SIGTERM) == 0

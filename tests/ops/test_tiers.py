"""API and workers under `tenfold dev`: when they are ready, on which ports, and with whose login."""

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from core.settings import Settings
from ops.dev.home import Home
from ops.dev.tiers import MetricsPorts, _greet, greeting, with_own_login
from ops.dev.watching import LOOK_SECONDS
from ops.ports import free_port

READY = "Tenfold is ready."


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


def test_a_run_from_another_place_says_how_other_terminals_find_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "TENFOLD_HOME" not in greeting(Home(Path(".tenfold")), [], "http://h")
    assert f"export TENFOLD_HOME='{tmp_path}/my home'\n" in greeting(Home(Path("my home")), [], "http://h")


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
    with socket.create_server(("127.0.0.1", first + 1)):
        told.clear()
        bulk = chosen.with_port_of("bulk", {})["WORKER_METRICS_PORT"]
    assert told == [f"port {first + 1} is in use: the metrics of bulk are on {bulk}"], "also at its first start"
    api = MetricsPorts(replace(settings, port=first + 1, worker_metrics_port=first), ["worker", "bulk"], told.append)
    assert api.with_port_of("bulk", {})["WORKER_METRICS_PORT"] != str(first + 1)
    assert told[1].startswith(f"port {first + 1} is the API's")
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

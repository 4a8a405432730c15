"""The benchmark: every row comes out, no answer was wrong, and the load generator notices when one is."""

import asyncio
import json
import math
import re
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from core.identity import Identities, IdentityKey
from ops.bench import receiver
from ops.bench.client import ANSWER_SECONDS, Plan, Request, Result, percentile, run
from ops.bench.dataset import Dataset
from ops.bench.limits import page_scripts
from ops.bench.reminders import disagreement
from ops.bench.rows import ROWS, Findings, no_errors, share_of, times_row
from ops.bench.sample import Sample
from tests.ops.running import ROOT, environment

PAGE = b'HTTP/1.1 200 OK\r\nContent-Length: 28\r\n\r\n[{"version":1},{"version":2}]'[:-1]
REQUEST = Request("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 200, 2)

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


async def load(answer: Answer, request: Request = REQUEST, **changes: float) -> Result:
    """Runs a short load against a server that answers every request with `answer`."""

    serving: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                await answer(writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        plan = Plan("127.0.0.1", port, connections=2, seconds=0.3, warmup=0.1, requests=[request])
        result = await run(replace(plan, **changes))
        await asyncio.gather(*(task for task in serving if task is not None))
    return result


def sends(*parts: bytes) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.001)

    return answer


# -- the load generator -----------------------------------------------------------------------------------


async def test_right_answers_are_counted_and_timed() -> None:
    result = await load(sends(PAGE))
    assert result.errors == {}
    assert result.rate > 10
    # The rate is that of the measured time; what was acknowledged includes the warm-up.
    assert result.acknowledged["200"] > result.rate * 0.3
    assert 0 < result.p50_ms <= result.p99_ms < 300


async def test_an_answer_may_come_in_pieces() -> None:
    result = await load(sends(PAGE[:20], PAGE[20:45], PAGE[45:]))
    assert result.errors == {}
    assert result.acknowledged["200"] > 0


async def test_another_status_is_an_error() -> None:
    result = await load(sends(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"))
    assert result.errors["status 503"] > 0
    assert result.acknowledged == {}
    assert result.rate == 0


async def test_a_page_with_too_few_tasks_is_an_error() -> None:
    result = await load(sends(PAGE), replace(REQUEST, tasks=3))
    assert result.errors["2 tasks"] > 0
    assert result.acknowledged == {}


async def test_a_connection_that_is_closed_in_place_of_an_answer_is_an_error_and_is_opened_again() -> None:
    async def hang_up(writer: asyncio.StreamWriter) -> None:
        writer.close()

    result = await load(hang_up)
    assert result.errors["connection lost"] > 2  # more often than there are connections


async def test_an_answer_that_never_comes_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ops.bench.client.ANSWER_SECONDS", 0.1)
    assert ANSWER_SECONDS > 1
    result = await load(sends())
    assert result.errors == {"unanswered": 2, "no answer": 1}


async def test_with_an_interval_each_connection_asks_so_often_and_lateness_counts() -> None:
    result = await load(sends(PAGE), connections=4, interval=0.1, seconds=0.5)
    assert 4 * 2 <= sum(result.acknowledged.values()) <= 4 * 7

    async def slow(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.2)
        writer.write(PAGE)

    late = await load(slow, connections=1, interval=0.05, seconds=1)
    # Asked every 50 ms and answered every 200: each answer is later than the one before.
    assert late.p99_ms > 400


def test_percentiles_of_nothing_are_not_a_number() -> None:
    assert math.isnan(percentile([], 99))
    assert percentile([1.0, 2.0, 3.0], 50) == 2.0
    assert percentile([1.0, 2.0, 3.0], 99) == 3.0


# -- the verdicts -----------------------------------------------------------------------------------------


def found(row: str, *rates: float, errors: dict[str, int] | None = None) -> Findings:
    findings = Findings({row: [Sample(rate=rate, errors=errors or {}) for rate in rates]})
    findings.limits = {limit.name: [1000.0, 10_000.0, 900.0] for limit in ROWS[2].limits}
    return findings


def test_a_share_is_that_of_medians() -> None:
    row = ROWS[2]
    check = share_of(row.limits[0], 0.13)
    assert check(row, found(row.name, 130, 1, 5000)).passed is True
    assert check(row, found(row.name, 129, 1, 5000)).passed is False


def test_a_row_is_compared_with_another() -> None:
    row = ROWS[2]
    findings = found(row.name, 200)
    findings.samples["other"] = [Sample(rate=100)]
    assert times_row("other", 2)(row, findings).passed is True
    assert times_row("other", 2.1)(row, findings).passed is False
    assert times_row("absent", 2)(row, findings).passed is None


def test_one_error_in_one_round_is_told() -> None:
    row = ROWS[2]
    verdict = no_errors(row, found(row.name, 1, errors={"status 500": 3}))
    assert verdict.passed is False
    assert "3 × status 500" in verdict.figure


def test_a_metric_may_be_a_little_behind_the_receiver_and_never_before_it() -> None:
    lateness = [0.05, 0.4, 0.45, 3.0]
    assert disagreement(lateness, {0.1: 1, 0.5: 3, math.inf: 4}) == 0
    assert disagreement(lateness, {0.1: 0, 0.5: 1, math.inf: 4}) == 0
    assert disagreement(lateness, {0.1: 2, 0.5: 3, math.inf: 4}) == 1
    assert disagreement([0.01, 0.02, 0.03], {0.5: 1, math.inf: 3}) == 2
    assert disagreement(lateness, {}) == 4


async def test_the_receiver_tells_what_came_whatever_pieces_it_came_in() -> None:
    arrivals: list[tuple[bytes, float]] = []
    server = await asyncio.get_running_loop().create_server(lambda: receiver.Connection(arrivals), "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        post = b"POST / HTTP/1.1\r\nWebhook-Id: msg_%d\r\nContent-Length: 4\r\n\r\nbody"
        for piece in (post % 1 + (post % 2)[:30], (post % 2)[30:-2], (post % 2)[-2:] + b"GET / HTTP/1.1\r\n\r\n"):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)
        for _ in range(2):
            assert b" 204 " in await reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        assert (await reader.readline()).startswith(b"msg_1 ")
        assert (await reader.readline()).startswith(b"msg_2 ")
        writer.close()
        await writer.wait_closed()


def test_pgbench_gets_the_service_s_own_statement() -> None:
    scripts = page_scripts(Dataset(tasks=1000, users=3), Identities(IdentityKey(b"a key")), 20)
    assert len(scripts) == 3
    for user, script in enumerate(scripts, 1):
        assert "LATERAL" in script
        assert re.search(rf"set_config\('app.identity', 'v1\.[0-9a-f]{{8}}\.{user}\.user\.", script)
        assert "$" not in script


# -- all of it --------------------------------------------------------------------------------------------


@pytest.mark.timeout(480)
def test_every_row_is_measured_without_an_error() -> None:
    # Not tmp_path: PostgreSQL runs as another user when we are root, and cannot enter pytest's folder.
    with tempfile.TemporaryDirectory(prefix="tenfold-bench-") as home:
        file = Path(home, "figures.json")
        size = ["--tasks", "2000", "--users", "10", "--seconds", "0.5"]
        done = subprocess.run(
            [sys.executable, "-m", "ops.bench", "--quick", *size, "--home", f"{home}/bench", "--json", file],
            cwd=ROOT,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        figures = json.loads(file.read_text())
    assert [row["name"] for row in figures["rows"]] == [row.name for row in ROWS]
    assert [row.title for row in ROWS if row.title not in done.stdout] == []
    for row in figures["rows"]:
        assert row["errors"] == {}, row  # that nothing was answered would be one
        assert all(rate > 0 for rates in row["limits"].values() for rate in rates), row
    creates = next(row for row in figures["rows"] if row["name"] == "create-32")
    assert creates["samples"][0]["created"] > 0


def test_an_unknown_row_is_refused_with_the_names_that_there_are() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ops.bench", "--only", "nonsense"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "create-32" in done.stderr
    assert "Traceback" not in done.stderr

"""What every job gets: retries of faults that pass, a worker that is woken, and settings that drop nothing."""

import ast
import asyncio
import contextlib
import logging
import re
import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import structlog
from arq import Retry, cron
from arq.cron import CronJob
from prometheus_client import REGISTRY
from redis.exceptions import BusyLoadingError
from redis.exceptions import ConnectionError as RedisConnectionError
from structlog.testing import capture_logs

from core import lanes, logs
from core.commands import kinds
from core.errors import IdentityRefused
from core.jobs.queues import DELIVER, QUEUES, RUN_EXPORTS, RUN_IMPORTS, RUN_MAINTENANCE
from core.redis.clients import queue_client, wake_channel
from tests.harness import answer_cut_off, connection, eventually
from tests.worker.commands import create, new_user
from worker.main import QUEUES_OF_JOBS
from worker.maintenance.runs import ONCE_A_TICK
from worker.maintenance.sweeps import SWEEPS
from worker.runner import (
    RETRY_LONGEST_SECONDS,
    QueueOfJobs,
    Services,
    WokenWorker,
    build_worker,
    retry_delay,
    serve_queue,
    with_policy,
)
from worker.writes.table import WRITES

ROOT = Path(__file__).parents[2]
TEST_QUEUE = "tenfold:test"


def context(services: Services, attempt: int = 1) -> dict[str, Any]:
    return {"services": services, "job_id": "a-job", "job_try": attempt}


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


# -- which faults are tried again

TRANSIENT: list[Exception] = [
    asyncpg.ConnectionDoesNotExistError("gone"),
    asyncpg.CannotConnectNowError("starting"),
    asyncpg.AdminShutdownError("shutdown"),
    asyncpg.DeadlockDetectedError("deadlock"),
    asyncpg.SerializationError("serialization"),
    asyncpg.ReadOnlySQLTransactionError("failed over"),
    asyncpg.TooManyConnectionsError("full"),
    asyncpg.LockNotAvailableError("lock"),
    asyncpg.InterfaceError("the pool is closed"),
    ConnectionRefusedError("refused"),
    TimeoutError("late"),
    RedisConnectionError("gone"),
    BusyLoadingError("loading"),
]
TO_BE_MENDED: list[Exception] = [
    asyncpg.InvalidPasswordError("wrong"),
    asyncpg.InvalidCatalogNameError("no such database"),
    asyncpg.UndefinedTableError("not migrated"),
    asyncpg.InsufficientPrivilegeError("not granted yet"),
    IdentityRefused("a refused login, of a read"),
]
LASTING: list[Exception] = [
    ValueError("a fault of ours"),
    asyncpg.UniqueViolationError("twice"),
]


@pytest.mark.parametrize("error", [*TRANSIENT, *TO_BE_MENDED], ids=lambda error: type(error).__name__)
async def test_a_fault_that_passes_is_tried_again_later(services: Services, error: Exception) -> None:
    async def failing(_: Services) -> None:
        raise error

    before = counted("tenfold_job_retries_total", kind="failing")
    with pytest.raises(Retry) as caught:
        await with_policy(failing).coroutine(context(services))
    assert caught.value.defer_score is not None
    assert caught.value.defer_score > 0
    assert counted("tenfold_job_retries_total", kind="failing") == before + 1


@pytest.mark.parametrize("error", LASTING, ids=lambda error: type(error).__name__)
async def test_a_fault_that_lasts_fails_the_job(services: Services, error: Exception) -> None:
    async def failing_for_good(_: Services) -> None:
        raise error

    with pytest.raises(type(error)):
        await with_policy(failing_for_good).coroutine(context(services))
    assert counted("tenfold_job_duration_seconds_count", kind="failing_for_good", outcome="failed") >= 1


async def test_a_login_that_is_refused_is_told_when_it_begins_and_when_it_is_over_and_with_no_traceback(
    services: Services,
) -> None:
    mended = False

    async def refused(_: Services) -> None:
        if not mended:
            raise asyncpg.InvalidPasswordError("password authentication failed")

    job = with_policy(refused).coroutine
    with capture_logs() as told:
        for _ in range(5):
            with pytest.raises(Retry):
                await job(context(services))
        mended = True
        await job(context(services))
    assert [(line["event"], line["log_level"]) for line in told] == [
        ("outage begins", "warning"),
        ("outage is over", "info"),
    ]
    assert "password authentication failed" in told[0]["error"]


async def test_the_traceback_of_a_failed_job_is_logged_once(
    services: Services, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing_for_good(_: Services) -> None:
        raise ValueError("a fault of ours")

    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    monkeypatch.setattr(structlog, "configure", lambda **_: None)  # our own lines are not what is asked about
    try:
        logs.configure(services.settings, tier="worker")
        queue = QueueOfJobs(TEST_QUEUE, (failing_for_good,), timeout_seconds=5, max_jobs=1)
        await services.queue.enqueue_job("failing_for_good", _queue_name=TEST_QUEUE)
        worker = build_worker(queue, services, services.queue, burst=True)
        await worker.async_run()
        assert worker.jobs_failed == 1
        assert "failed, ValueError" not in capsys.readouterr().out
        assert not logs.is_told_once(_record(ValueError("x")))
        assert logs.is_told_once(_record(TimeoutError())), "arq cut it off, and nobody else tells"
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.contextvars.clear_contextvars()


def _record(error: Exception) -> logging.LogRecord:
    told = (type(error), error, None)
    return logging.LogRecord("arq.worker", logging.ERROR, "", 1, "%6.2fs ! %s failed, %s: %s", (), told)


async def test_a_job_that_is_cut_off_is_cancelled_and_not_failed(services: Services) -> None:
    async def long_running(_: Services) -> None:
        await asyncio.sleep(60)

    running = asyncio.ensure_future(with_policy(long_running).coroutine(context(services)))
    await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert counted("tenfold_job_duration_seconds_count", kind="long_running", outcome="cancelled") == 1


def test_delays_grow_to_a_limit() -> None:
    means = [statistics.fmean(retry_delay(attempt) for _ in range(300)) for attempt in range(1, 9)]
    assert means[0] < means[1] < means[2] < means[3]
    assert means[-1] == pytest.approx(means[-2], rel=0.1)
    assert all(0 < retry_delay(attempt) <= RETRY_LONGEST_SECONDS for attempt in (1, 5, 100, 1_000_000))


def test_delays_are_jittered_so_that_a_fleet_does_not_return_as_one() -> None:
    delays = [retry_delay(10) for _ in range(50)]
    assert len(set(delays)) == 50
    assert max(delays) - min(delays) > 0.2 * RETRY_LONGEST_SECONDS


# -- how a worker is set up


def test_a_worker_drops_no_job_and_runs_no_pickle(services: Services) -> None:
    for queue in QUEUES_OF_JOBS.values():
        worker = build_worker(queue, services, services.queue)
        assert worker.max_tries > 1_000_000
        assert worker.keep_result_s == 0
        assert worker.expires_extra_ms == 30 * 24 * 3600 * 1000
        assert worker.poll_delay_s == 0
        assert worker.retry_jobs
        for serialise, deserialise in ((worker.job_serializer, worker.job_deserializer),):
            assert serialise is not None
            assert deserialise is not None
            assert deserialise(serialise({"a": [1, "é"], "error": ValueError("x")})) == {
                "a": [1, "é"],
                "error": "ValueError('x')",
            }
            with pytest.raises(ValueError):
                deserialise(b"\x80\x04cos\nsystem\n.")


async def test_a_job_under_a_lease_stands_as_running_as_long_as_its_worker_says_so_and_no_longer(
    services: Services,
) -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def last(_services: Services) -> None:
        begun.set()
        await may_end.wait()

    leased = QueueOfJobs("tenfold:leased", (last,), timeout_seconds=60, max_jobs=1, lease_seconds=0.4)
    stop = asyncio.Event()
    serving = asyncio.create_task(serve_queue(leased, services, stop, drain_seconds=5))
    await services.queue.enqueue_job("last", _job_id="last", _queue_name=leased.name)
    await begun.wait()
    for _ in range(12):
        await asyncio.sleep(0.1)
        left = await services.queue.pttl("arq:in-progress:last")
        assert 0 < left <= 400, "it is renewed all the time, and would lapse soon"
    may_end.set()
    stop.set()
    await serving


def test_a_killed_workers_lane_is_free_within_seconds(services: Services) -> None:
    writes = QUEUES_OF_JOBS["writes"]
    assert build_worker(writes, services, services.queue).in_progress_timeout_s <= 2


def test_every_queue_that_operators_name_is_served() -> None:
    assert {name: queue.name for name, queue in QUEUES_OF_JOBS.items()} == QUEUES
    assert len({queue.name for queue in QUEUES_OF_JOBS.values()}) == len(QUEUES_OF_JOBS)


def test_every_job_that_is_enqueued_by_name_has_a_function() -> None:
    functions = {job.__name__ for queue in QUEUES_OF_JOBS.values() for job in queue.jobs}
    functions |= {entry.name for entry in maintenance_schedule()}
    enqueued = set()
    for package in ("api", "core", "worker"):
        for file in (ROOT / package).rglob("*.py"):
            enqueued |= set(re.findall(r"enqueue_job\(\s*\"(\w+)\"", file.read_text()))
    assert enqueued
    assert enqueued <= functions


def test_the_api_asks_for_every_kind_of_command_that_is_declared() -> None:
    asked = {kind.name for kind in kinds.LONG_WORK.values()}  # as `DELETE /jobs/{id}` does
    for file in (ROOT / "api").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "of":
                name = ast.unparse(node.func.value)
                if isinstance(kind := getattr(kinds, name, None), kinds.Kind):
                    asked.add(kind.name)
    assert asked == set(kinds.KINDS)


def test_every_job_that_a_command_wakes_runs_on_the_queue_on_which_it_is_called() -> None:
    jobs = {(queue.name, job.__name__) for queue in QUEUES_OF_JOBS.values() for job in queue.jobs}
    wakes = {write.wakes for write in WRITES.values() if write.wakes is not None}
    assert {RUN_IMPORTS, RUN_EXPORTS, RUN_MAINTENANCE, DELIVER} == wakes
    assert {(call.queue, call.job) for call in wakes} <= jobs


# -- woken, not polling


@contextlib.asynccontextmanager
async def serving(services: Services, queue: QueueOfJobs) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(serve_queue(queue, services, stop, drain_seconds=5))
    await asyncio.sleep(0.3)  # it has subscribed to its wake channel
    try:
        yield
    finally:
        stop.set()
        await task


class Runs:
    """A job that notes when it ran."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.arguments: list[Any] = []

    def job(self) -> Any:
        async def noted(_: Services, *arguments: Any) -> None:
            self.times.append(time.monotonic())
            self.arguments.append(arguments)

        return noted

    def queue(self, **more: Any) -> QueueOfJobs:
        return QueueOfJobs(TEST_QUEUE, jobs=(self.job(),), timeout_seconds=5, max_jobs=10, **more)


async def enqueue(services: Services, *arguments: Any, wake: bool = True, job_id: str | None = None) -> float:
    started = time.monotonic()
    await services.queue.enqueue_job("noted", *arguments, _queue_name=TEST_QUEUE, _job_id=job_id)
    if wake:
        await services.queue.publish(wake_channel(TEST_QUEUE), "")
    return started


async def until(condition: Any, timeout: float = 10) -> None:
    async def asked() -> bool:
        return bool(condition())

    await eventually(asked, timeout=timeout)


async def test_a_woken_worker_starts_a_job_at_once(services: Services) -> None:
    runs = Runs()
    waits = []
    async with serving(services, runs.queue()):
        for number in range(15):
            started = await enqueue(services, number)
            await until(lambda n=number: len(runs.times) > n)
            waits.append(runs.times[-1] - started)
    # It would be a quarter of a second in the median if it polled twice a second.
    assert statistics.median(waits) < 0.12, waits


async def test_a_lost_wake_costs_half_a_second_and_no_job(services: Services) -> None:
    runs = Runs()
    async with serving(services, runs.queue()):
        await enqueue(services, wake=False)
        await until(lambda: runs.times, timeout=5)


async def test_an_idle_worker_leaves_the_queue_server_in_peace(services: Services) -> None:
    async def calls() -> int:
        stats = await services.queue.info("commandstats")
        return sum(int(stats.get(f"cmdstat_{name}", {}).get("calls", 0)) for name in ("zrangebyscore", "zrange"))

    async with serving(services, Runs().queue()):
        before = await calls()
        await asyncio.sleep(2)
        # The server is shared: workers of other tests may look for jobs, too.
        assert 1 <= await calls() - before < 60


async def test_a_job_that_ends_lets_the_next_one_in_at_once(services: Services) -> None:
    """With one place, the second of two jobs must not wait for the next poll."""
    times: list[float] = []

    async def noted(_: Services, number: int) -> None:
        times.append(time.monotonic())

    queue = QueueOfJobs(TEST_QUEUE, jobs=(noted,), timeout_seconds=5, max_jobs=1)
    async with serving(services, queue):
        for number in range(10):
            await enqueue(services, number, wake=number == 9)
        await until(lambda: len(times) == 10)
    assert times[-1] - times[0] < 2.5


async def test_what_a_stopped_worker_runs_is_finished(services: Services) -> None:
    finished = asyncio.Event()
    began = asyncio.Event()

    async def noted(_: Services) -> None:
        began.set()
        await asyncio.sleep(0.3)
        finished.set()

    async with serving(services, QueueOfJobs(TEST_QUEUE, jobs=(noted,), timeout_seconds=5, max_jobs=1)):
        await enqueue(services)
        async with asyncio.timeout(5):
            await began.wait()
    assert finished.is_set()


async def test_a_fault_that_passes_is_outlived_by_its_job(services: Services) -> None:
    attempts: list[float] = []

    async def noted(_: Services) -> None:
        attempts.append(time.monotonic())
        if len(attempts) < 4:
            raise ConnectionRefusedError("not yet")

    async with serving(services, QueueOfJobs(TEST_QUEUE, jobs=(noted,), timeout_seconds=5, max_jobs=1)):
        await enqueue(services)
        await until(lambda: len(attempts) == 4, timeout=15)
        await asyncio.sleep(0.7)
    assert len(attempts) == 4, "and once it has succeeded it is not run again"


async def test_a_drain_that_finds_no_schema_is_not_run_in_circles(services: Services) -> None:
    """A worker that is started before the schema is there must not take a processor for itself."""
    async with connection(services.settings.database_url) as owner:
        alice = await new_user(owner)
        await owner.execute("ALTER TABLE jobs RENAME TO jobs_hidden")
        try:
            body = b"[" + create(alice).encode() + b"]"
            await services.queue.xadd(lanes.stream("0"), {"origin": "x", "commands": body})
            async with serving(services, QUEUES_OF_JOBS["writes"]):
                before = counted("tenfold_job_retries_total", kind="drain_lane")
                await lanes.call_drain(services.queue, "0")
                await asyncio.sleep(1.5)
                after = counted("tenfold_job_retries_total", kind="drain_lane")
        finally:
            await owner.execute("ALTER TABLE jobs_hidden RENAME TO jobs")
    assert 1 <= after - before <= 8
    assert await services.queue.xlen(lanes.stream("0")) == 1, "and nothing is lost"


async def test_a_command_that_comes_in_a_drains_last_moment_is_carried_out_without_a_sweep(services: Services) -> None:
    """arq refuses to enqueue an id that still runs: the job's end looks at the lane again."""
    ended: list[str] = []

    async def after(_: Services, job_id: str) -> None:
        ended.append(job_id)

    runs = Runs()
    async with serving(services, runs.queue(after_job=after)):
        await enqueue(services, job_id="one-id")
        await until(lambda: ended == ["one-id"])
        # arq has let go of the id by now, so it can be enqueued again.
        await enqueue(services, job_id="one-id")
        await until(lambda: len(runs.times) == 2)


# -- the schedule


def maintenance_schedule() -> list[CronJob]:
    queue = QUEUES_OF_JOBS["maintenance"]
    assert queue.cron is not None
    return list(queue.cron())


async def test_two_workers_run_a_tick_of_the_schedule_once_though_one_comes_late_to_it(services: Services) -> None:
    ticks: list[str] = []

    async def tick(ctx: dict[str, Any]) -> None:
        ticks.append(ctx["job_id"])

    def schedule() -> list[CronJob]:
        return [cron(tick, name="tick", month=1, day=1, **ONCE_A_TICK)]

    queue = QueueOfJobs(TEST_QUEUE, jobs=(), cron=schedule, timeout_seconds=5, max_jobs=4)
    due = datetime.now(UTC)
    # One after the other, the second when the first has long run what was due.
    for worker in [build_worker(queue, services, services.queue, burst=True) for _ in range(2)]:
        for entry in worker.cron_jobs or ():
            entry.next_run = due
        await worker.run_cron(due + timedelta(milliseconds=1), 0)
        await worker.async_run()
    assert len(ticks) == 1
    assert await services.queue.zcard(TEST_QUEUE) == 0, "and it does not wait to be run a second time"


def test_every_entry_of_the_schedule_runs_once_a_tick() -> None:
    assert ONCE_A_TICK["unique"]
    for entry in maintenance_schedule():
        assert entry.unique
        assert entry.keep_result_s == ONCE_A_TICK["keep_result"]


def test_each_entry_of_the_schedule_has_a_name_of_its_own() -> None:
    names = [entry.name for entry in maintenance_schedule()]
    assert sorted(names) == sorted({"run_due_maintenance", *SWEEPS})


def test_two_worker_processes_have_schedules_of_their_own() -> None:
    first, second = maintenance_schedule(), maintenance_schedule()
    assert not {id(entry) for entry in first} & {id(entry) for entry in second}


async def test_a_worker_starts_again_when_its_queue_server_closes_on_it(services: Services) -> None:
    runs = Runs()
    killer = queue_client(services.settings.queue_redis_url)
    async with serving(services, runs.queue()):
        await killer.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await killer.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await enqueue(services)
        await until(lambda: runs.times, timeout=10)
        await asyncio.sleep(0.6)
        await enqueue(services)
        await until(lambda: len(runs.times) == 2, timeout=10)
    await killer.aclose(close_connection_pool=True)


async def test_a_job_whose_beginning_was_recorded_but_not_confirmed_does_not_stand_as_running(
    services: Services,
) -> None:
    """The queue server dies, or the connection, between the transaction that begins a job and its answer."""
    runs = Runs()
    key_and_milliseconds = b"the only one\r\n$5\r\n10000\r\n"
    async with answer_cut_off(services.settings.queue_redis_url, key_and_milliseconds) as (way, cut):
        behind = replace(services, settings=replace(services.settings, queue_redis_url=way))
        async with serving(behind, runs.queue()):
            await enqueue(services, job_id="the only one")
            await asyncio.wait_for(cut.wait(), 5)
            await until(lambda: runs.times, timeout=5)  # it would stand as running for ten seconds


def test_the_worker_of_a_test_is_the_worker_of_production(services: Services) -> None:
    assert isinstance(build_worker(QUEUES_OF_JOBS["writes"], services, services.queue), WokenWorker)

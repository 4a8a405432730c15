"""Faults that pass are tried again, later and later; others fail their job, and are told once."""

import asyncio
import logging
import statistics
from typing import Any

import asyncpg
import pytest
import structlog
from arq import Retry
from redis.exceptions import BusyLoadingError
from redis.exceptions import ConnectionError as RedisConnectionError
from structlog.testing import capture_logs

from core import logs
from core.errors import IdentityRefused
from tests.worker.runner.harness import TEST_QUEUE, counted
from worker.runner import RETRY_LONGEST_SECONDS, QueueOfJobs, Services, build_worker, retry_delay, with_policy


def context(services: Services, attempt: int = 1) -> dict[str, Any]:
    return {"services": services, "job_id": "a-job", "job_try": attempt}


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


@pytest.mark.parametrize("error", [TO_BE_MENDED[0], TO_BE_MENDED[3]], ids=lambda error: type(error).__name__)
async def test_after_a_refusal_the_next_run_asks_on_a_new_connection(services: Services, error: Exception) -> None:
    async def asking(services: Services, *, fails: bool) -> int:
        pid: int = await services.pool.fetchval("SELECT pg_backend_pid()")
        if fails:
            raise error
        return pid

    async def failing(services: Services) -> None:
        await asking(services, fails=True)

    before = await asking(services, fails=False)
    assert await asking(services, fails=False) == before
    with pytest.raises(Retry):
        await with_policy(failing).coroutine(context(services))
    assert await asking(services, fails=False) != before


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

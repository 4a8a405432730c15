"""Maintenance: what the clock and admins have run, and the sweeps that look for work nobody was called for.

What is due is a row, put there by whichever worker notices it first and claimed by any: each tick is run once by
however many workers, also when all were away while it passed. The sweeps are run every few seconds, by the clock of arq
and whether PostgreSQL is there or not: they are what sets things going again.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from datetime import date
from functools import partial
from typing import Any

import structlog
from arq import cron
from arq.cron import CronJob

from core import clock, lanes, metrics
from core.batches.writes import purge_slices
from core.cache import SUSPECT_FLAG
from core.channels.writes import purge_deleted_channels as remove_deleted_channels
from core.database.faults import is_transient, is_unavailable
from core.errors import StorageUnavailable
from core.exports.files import LONGEST_EXPORT_SECONDS
from core.exports.waiting import expired_files, exports_wait
from core.exports.writes.work import forget_files, purge_exports
from core.imports.waiting import ended_imports, imports_wait, without_import
from core.imports.writes.work import clean_up_after
from core.jobs.queues import BULK_QUEUE, call_bulk
from core.jobs.writes import purge_jobs
from core.leases import LeaseLost, kept_lease, new_lease_owner
from core.logs import get_logger
from core.maintenance.writes import purges
from core.maintenance.writes.orders import note_ticks
from core.maintenance.writes.runs import (
    ATTEMPTS_MAXIMUM,
    ClaimedRun,
    claim_run,
    fail_run,
    finish_run,
    record_sweep,
    release_run,
    renew_run,
)
from core.partitions.writes import Fate, attach_partition, create_partition, detach_partition, ensure_partitions
from core.redis.clients import REDIS_FAULTS
from core.users.writes.sessions import purge_login_places, purge_sessions
from worker.runner import Services, retry_delay, with_policy

EVERY_FIVE_SECONDS = frozenset(range(0, 60, 5))
# A job's id is its tick. Another worker's clock, or its sleep between two looks, may be behind: it must find that the
# tick was run already, and arq remembers that no longer than it keeps the result.
ONCE_A_TICK: dict[str, Any] = {"unique": True, "keep_result": 60}
# However long all places are taken, no more calls than this pile up.
CALLS_MAXIMUM = 32
EXPIRED_AT_ONCE = 100
# An upload's command may lie in its lane for as long as PostgreSQL is away.
UPLOAD_KEPT_SECONDS = 3 * 24 * 3600.0
RENEW_SECONDS = 5.0
RELEASE_SECONDS = 2.0
RECORD_SECONDS = 2.0
LONGEST_SWEEP_SECONDS = 60.0
REST_SECONDS = 5.0
# For how long a partition's locks are asked for, a tenth of a second at a time.
LOCK_PATIENCE_SECONDS = 60.0

Arguments = dict[str, Any]
Run = Callable[[Services, Arguments], Awaitable[int]]
"""Carries a run out; returns how many rows it removed or made."""
Sweep = Callable[[Services], Awaitable[int]]

log = get_logger()


class OrderRefused(Exception):
    """An order that cannot be carried out as things are; `name` is one of the kinds in `REJECTIONS`."""

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(detail)
        self.name = name
        self.detail = detail


# -- sweeps ---------------------------------------------------------------------------------------------------


async def sweep_lanes(services: Services) -> int:
    """Calls the drain of every lane in which something lies; also of lanes that a lower WRITE_LANES left behind."""
    found = await lanes.lanes_with_entries(services.queue)
    for lane in found:
        await lanes.call_drain(services.queue, lane)
    return len(found)


async def empty_suspect_cache(services: Services) -> int:
    """Empties a cache whose invalidation failed, and gives it free again."""
    if await services.queue.exists(SUSPECT_FLAG) and await services.invalidator.empty_if_suspect():
        log.info("suspect cache emptied")
    return 0


async def sweep_exports(services: Services) -> int:
    """Calls workers for exports that nobody carries out, and deletes files that were given up: they count as stored."""
    if await exports_wait(services.pool) and await services.queue.zcard(BULK_QUEUE) < CALLS_MAXIMUM:
        await call_bulk(services.queue, "export")
    return await _delete_expired_files(services)


async def sweep_imports(services: Services) -> int:
    """Calls workers for imports that nobody carries on, and cleans up after those that have ended."""
    if await imports_wait(services.pool) and await services.queue.zcard(BULK_QUEUE) < CALLS_MAXIMUM:
        await call_bulk(services.queue, "import")
    ended = await ended_imports(services.pool)
    for one in ended:
        await clean_up_after(services.pool, services.storage, one)
    return len(ended)


# -- by the clock ---------------------------------------------------------------------------------------------


async def keep_partitions(services: Services, _arguments: Arguments) -> int:
    """Makes the partitions that new tasks will soon need."""
    return await ensure_partitions(
        services.pool, ahead=services.settings.partitions_ahead, interval=services.settings.partition_interval
    )


async def purge_finished_jobs(services: Services, _arguments: Arguments) -> int:
    """Removes jobs past JOB_RETENTION_HOURS, and what was left of batches that were ended from outside."""
    hours = services.settings.job_retention_hours
    slices = await purge_slices(services.pool, retention_hours=hours)
    return slices + await purge_jobs(services.pool, retention_hours=hours)


async def purge_uploads(services: Services, _arguments: Arguments) -> int:
    """Deletes uploads that never became imports: the API process that took them has died."""
    removed = await services.storage.remove_unfinished(UPLOAD_KEPT_SECONDS)
    async for names in services.storage.names_older_than("imports", UPLOAD_KEPT_SECONDS):
        for name in await without_import(services.pool, names):
            await services.storage.delete(name)
            removed += 1
    return removed


async def delete_expired_exports(services: Services, _arguments: Arguments) -> int:
    """Deletes files past EXPORT_RETENTION_HOURS, and some days later the exports themselves."""
    removed = await _delete_expired_files(services)
    return removed + await purge_exports(services.pool)


async def _delete_expired_files(services: Services) -> int:
    removed = 0
    while expired := await expired_files(services.pool, limit=EXPIRED_AT_ONCE):
        for name in expired.values():
            await services.storage.delete(name)
        await forget_files(services.pool, list(expired))
        removed += len(expired)
    return removed


async def delete_orphaned_exports(services: Services, _arguments: Arguments) -> int:
    """Deletes files that a worker wrote which then died before it could record them."""
    removed = 0
    oldest = services.settings.export_retention_hours * 3600 + LONGEST_EXPORT_SECONDS
    async for names in services.storage.names_older_than("exports", oldest):
        for name in names:
            await services.storage.delete(name)
        removed += len(names)
    return removed


async def purge_ended_sessions(services: Services, _arguments: Arguments) -> int:
    """Removes sessions whose refresh tokens have expired, and where users logged in from long ago."""
    return await purge_sessions(services.pool) + await purge_login_places(services.pool)


async def purge_deleted_channels(services: Services, _arguments: Arguments) -> int:
    """Removes the deliveries of channels that were deleted and had too many for one transaction."""
    return await remove_deleted_channels(services.pool)


async def purge_events(services: Services, _arguments: Arguments) -> int:
    """Removes events, with their deliveries, past EVENT_RETENTION_DAYS."""
    return await purges.purge_events(services.pool, retention_days=services.settings.event_retention_days)


async def purge_reminders(services: Services, _arguments: Arguments) -> int:
    """Removes reminders that came due before EVENT_RETENTION_DAYS."""
    return await purges.purge_reminders(services.pool, retention_days=services.settings.event_retention_days)


async def purge_notifications(services: Services, _arguments: Arguments) -> int:
    """Removes notifications past EVENT_RETENTION_DAYS."""
    return await purges.purge_notifications(services.pool, retention_days=services.settings.event_retention_days)


async def refresh_statistics(services: Services, arguments: Arguments) -> int:
    """Has PostgreSQL look at the tasks again after large imports, or because an admin wants it."""
    return await purges.refresh_statistics(services.pool, always=arguments["ordered"])


# -- by order of an admin -------------------------------------------------------------------------------------


async def make_partition(services: Services, arguments: Arguments) -> int:
    """Makes the partition for a range of days."""
    lower, upper = date.fromisoformat(arguments["from"]), date.fromisoformat(arguments["to"])
    _require(await _patiently(partial(create_partition, services.pool, lower, upper)))
    return 1


async def take_partition_out(services: Services, arguments: Arguments) -> int:
    """Detaches a partition; then nobody finds its tasks on a cached page."""
    _require(await _patiently(partial(detach_partition, services.pool, arguments["name"])))
    await services.invalidator.distrust_everything()
    return 1


async def put_partition_back(services: Services, arguments: Arguments) -> int:
    """Attaches a detached partition; then nobody misses its tasks on a cached page."""
    _require(await _patiently(partial(attach_partition, services.pool, arguments["name"])))
    await services.invalidator.distrust_everything()
    return 1


_REFUSALS: dict[Fate, tuple[str, str]] = {
    "unknown": ("not-found", "There is no such partition."),
    "in use": ("partition-conflict", "New tasks go into this partition, or will: it stays attached."),
    "overlaps": ("partition-conflict", "Another partition is for a part of that time already."),
    "does not fit": ("partition-conflict", "The detached table is not like the tasks any more, or its users are gone."),
}


def _require(fate: Fate) -> None:
    """What was done already, by an attempt that did not live to say so, counts as done.

    Raises:
        OrderRefused: it was not done.
    """
    if fate in _REFUSALS:
        raise OrderRefused(*_REFUSALS[fate])


async def _patiently(act: Callable[[], Awaitable[Fate]]) -> Fate:
    """Tries for the locks of partitions again and again: each time those who wait behind us go first."""
    deadline = time.monotonic() + LOCK_PATIENCE_SECONDS
    attempt = 0
    while True:
        try:
            return await act()
        except Exception as error:
            if not is_transient(error) or time.monotonic() > deadline:
                raise
            attempt += 1
            await asyncio.sleep(retry_delay(attempt))


RUNS: dict[str, Run] = {
    "keep_partitions": keep_partitions,
    "purge_finished_jobs": purge_finished_jobs,
    "purge_uploads": purge_uploads,
    "delete_expired_exports": delete_expired_exports,
    "delete_orphaned_exports": delete_orphaned_exports,
    "purge_ended_sessions": purge_ended_sessions,
    "purge_deleted_channels": purge_deleted_channels,
    "purge_events": purge_events,
    "purge_reminders": purge_reminders,
    "purge_notifications": purge_notifications,
    "refresh_statistics": refresh_statistics,
    "create_partition": make_partition,
    "detach_partition": take_partition_out,
    "attach_partition": put_partition_back,
}

SWEEPS: dict[str, Sweep] = {
    "sweep_lanes": sweep_lanes,
    "empty_suspect_cache": empty_suspect_cache,
    "sweep_exports": sweep_exports,
    "sweep_imports": sweep_imports,
}


# -- running --------------------------------------------------------------------------------------------------


async def run_due_maintenance(services: Services) -> None:
    """Notes which jobs are due, and carries out what nobody else does.

    What cannot be done now is left to the next look, in five seconds: repeated, each look would be one more in the
    queue for as long as PostgreSQL is away.
    """
    outage = services.outages["what maintenance needs"]
    try:
        await note_ticks(services.pool, clock.now())
        await run_maintenance(services)
        outage.over()
    except Exception as error:
        if not _will_pass(error):
            raise
        outage.noticed(error)


async def run_maintenance(services: Services) -> None:
    """Carries runs out, one after the other, as long as there are any that nobody else carries out."""
    while not services.stopping.is_set():
        claim = await claim_run(services.pool, new_lease_owner())
        if claim is None:
            return
        with structlog.contextvars.bound_contextvars(maintenance=claim.name, run=claim.id):
            await _carry_out(services, claim)


async def _carry_out(services: Services, claim: ClaimedRun) -> None:
    started = time.perf_counter()
    outcome = "failed"
    try:
        if not claim.is_allowed:
            outcome = "refused"
            await fail_run(services.pool, claim, "forbidden", "Whoever ordered it is no admin any more.")
            return
        if claim.attempts > ATTEMPTS_MAXIMUM:
            log.error("a run of maintenance was left in the middle again and again", attempts=claim.attempts)
            await fail_run(services.pool, claim, "internal-error", "It broke off again and again.")
            return
        async with kept_lease(partial(renew_run, services.pool, claim), every_seconds=RENEW_SECONDS):
            rows = await _run(services, claim)
        await finish_run(services.pool, claim, rows=rows)
        outcome = "succeeded"
        _count(claim.name, rows)
    except LeaseLost:
        outcome = "lost"
    except OrderRefused as refusal:
        outcome = "refused"
        await fail_run(services.pool, claim, refusal.name, refusal.detail)
    except asyncio.CancelledError:
        outcome = "interrupted"
        await _release(services, claim, pause_seconds=0.0)
        raise
    except Exception as error:
        if _will_pass(error):
            outcome = "postponed"
            log.warning("a run of maintenance will be repeated", error=repr(error))
            await _release(services, claim, pause_seconds=REST_SECONDS)
        else:
            log.exception("maintenance failed")
            await fail_run(
                services.pool, claim, "internal-error", f"It failed ({type(error).__name__}): see the worker's log."
            )
    finally:
        metrics.MAINTENANCE_DURATION.labels(claim.name, outcome).observe(time.perf_counter() - started)


def _will_pass(error: Exception) -> bool:
    return is_unavailable(error) or isinstance(error, (*REDIS_FAULTS, StorageUnavailable))


async def _run(services: Services, claim: ClaimedRun) -> int:
    """What the run is about; a sweep that an admin has ordered is run like any other."""
    if claim.name in SWEEPS:
        return await SWEEPS[claim.name](services)
    return await RUNS[claim.name](services, {**claim.arguments, "ordered": claim.job_id is not None})


async def _release(services: Services, claim: ClaimedRun, *, pause_seconds: float) -> None:
    """Lets others take the run up; where that cannot be said, they wait for the lease to lapse."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(RELEASE_SECONDS):
            await release_run(services.pool, claim, pause_seconds=pause_seconds)


def _count(name: str, rows: int) -> None:
    if rows:
        metrics.MAINTENANCE_ROWS.labels(name).inc(rows)
        log.info("maintenance done", name=name, rows=rows)


def _swept(name: str, sweep: Sweep) -> Callable[[Services], Awaitable[None]]:
    """The sweep as a job, which is recorded where PostgreSQL is there to record it.

    One that fails for a fault that passes is not repeated: the next follows in five seconds.
    """

    async def run(services: Services) -> None:
        started = time.perf_counter()
        fault: Exception | None = None
        rows = 0
        try:
            async with asyncio.timeout(LONGEST_SWEEP_SECONDS):
                rows = await sweep(services)
        except Exception as error:
            fault = error
        seconds = time.perf_counter() - started
        metrics.MAINTENANCE_DURATION.labels(name, "failed" if fault else "succeeded").observe(seconds)
        await _record(services, name, seconds=seconds, rows=rows, error=type(fault).__name__ if fault else None)
        outage = services.outages[f"what {name} looks at"]
        if fault is None:
            outage.over()
            metrics.MAINTENANCE_LAST_SUCCESS.labels(name).set(time.time())
        elif _will_pass(fault):
            outage.noticed(fault)
        else:
            raise fault

    run.__name__ = run.__qualname__ = name
    return run


async def _record(services: Services, name: str, *, seconds: float, rows: int, error: str | None) -> None:
    """A sweep is not held up, nor repeated, because it could not be put on record."""
    try:
        async with asyncio.timeout(RECORD_SECONDS):
            await record_sweep(services.pool, name, seconds=seconds, rows=rows, error=error)
    except Exception as fault:
        if not is_unavailable(fault):
            raise


def schedule() -> list[CronJob]:
    """This worker's own copy of the schedule: arq keeps the next run of each entry in it."""
    jobs = [run_due_maintenance, *(_swept(name, sweep) for name, sweep in SWEEPS.items())]
    return [
        cron(
            with_policy(job, is_repeated=False).coroutine,
            name=job.__name__,
            second=set(EVERY_FIVE_SECONDS),
            **ONCE_A_TICK,
        )
        for job in jobs
    ]

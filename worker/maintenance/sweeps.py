"""Sweeps: each looks for work that nobody was called for, every few seconds.

They run by the clock of arq, whether PostgreSQL is there or not: they are what sets things going again.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

from core import lanes, metrics
from core.cache import SUSPECT_FLAG
from core.database.faults import is_unavailable
from core.exports.waiting import expired_files, exports_wait
from core.exports.writes.work import forget_files
from core.imports.waiting import ended_imports, imports_wait
from core.imports.writes.undos import undos_wait
from core.imports.writes.work import clean_up_after
from core.jobs.queues import BULK_QUEUE, RUN_EXPORTS, RUN_IMPORTS, RUN_UNDOS, call_worker
from core.logs import get_logger
from core.maintenance.writes.runs import record_sweep
from worker.maintenance.faults import will_pass
from worker.runner import Job, Services

# However long all places are taken, no more calls than this pile up.
CALLS_MAXIMUM = 32
EXPIRED_AT_ONCE = 100
RECORD_SECONDS = 2.0
LONGEST_SWEEP_SECONDS = 60.0

Sweep = Callable[[Services], Awaitable[int]]

log = get_logger()


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
        await call_worker(services.queue, RUN_EXPORTS)
    return await delete_expired_files(services)


async def sweep_imports(services: Services) -> int:
    """Calls workers for imports that nobody carries on or takes back, and cleans up after those that have ended."""
    for call, wait in ((RUN_IMPORTS, imports_wait), (RUN_UNDOS, undos_wait)):
        if await wait(services.pool) and await services.queue.zcard(BULK_QUEUE) < CALLS_MAXIMUM:
            await call_worker(services.queue, call)
    ended = await ended_imports(services.pool)
    for one in ended:
        await clean_up_after(services.pool, services.storage, one)
    return len(ended)


async def delete_expired_files(services: Services) -> int:
    """Deletes files past EXPORT_RETENTION_HOURS, and those that were given up; returns how many."""
    removed = 0
    while expired := await expired_files(services.pool, limit=EXPIRED_AT_ONCE):
        for name in expired.values():
            await services.storage.delete(name)
        await forget_files(services.pool, list(expired))
        removed += len(expired)
    return removed


SWEEPS: dict[str, Sweep] = {
    "sweep_lanes": sweep_lanes,
    "empty_suspect_cache": empty_suspect_cache,
    "sweep_exports": sweep_exports,
    "sweep_imports": sweep_imports,
}


def as_jobs() -> list[Job]:
    """Each sweep as a job."""
    return [_recorded(name, sweep) for name, sweep in SWEEPS.items()]


def _recorded(name: str, sweep: Sweep) -> Job:
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
        elif will_pass(fault):
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

"""Scheduled work: looks after lanes, the cache's flag, partitions, and rows past their retention.

arq gives each tick of a schedule one job id, so any number of workers runs it once.
"""

import time
from typing import Any

from arq import cron
from arq.cron import CronJob

from core import lanes, metrics
from core.cache import SUSPECT_FLAG
from core.exports.files import LONGEST_EXPORT_SECONDS
from core.exports.writes import expired_files, exports_wait, forget_files, purge_exports
from core.imports.writes import clean_up_after, ended_imports, imports_wait, without_import
from core.jobs import BULK_QUEUE, call_bulk, purge_jobs
from core.logs import get_logger
from core.partitions import ensure_partitions
from core.users.writes import purge_sessions
from worker.runner import Job, Services, with_policy

EVERY_FIVE_SECONDS = frozenset(range(0, 60, 5))
# A job's id is its tick. Another worker's clock, or its sleep between two looks, may be behind: it must find that the
# tick was run already, and arq remembers that no longer than it keeps the result.
ONCE_A_TICK: dict[str, Any] = {"unique": True, "keep_result": 60}
# However long all places are taken, no more calls than this pile up.
CALLS_MAXIMUM = 32
EXPIRED_AT_ONCE = 100
# An upload's command may lie in its lane for as long as PostgreSQL is away.
UPLOAD_KEPT_SECONDS = 3 * 24 * 3600.0

log = get_logger()


async def sweep_lanes(services: Services) -> None:
    """Calls the drain of every lane in which something lies; also of lanes that a lower WRITE_LANES left behind."""
    for lane in await _lanes_with_entries(services):
        await lanes.call_drain(services.queue, lane)
    _succeeded("sweep_lanes")


async def empty_suspect_cache(services: Services) -> None:
    """Empties a cache whose invalidation failed, and gives it free again."""
    if await services.queue.exists(SUSPECT_FLAG) and await services.invalidator.empty_if_suspect():
        log.info("suspect cache emptied")
    _succeeded("empty_suspect_cache")


async def keep_partitions(services: Services) -> None:
    """Makes the partitions that new tasks will soon need."""
    made = await ensure_partitions(
        services.pool,
        ahead=services.settings.partitions_ahead,
        interval=services.settings.partition_interval,
    )
    _succeeded("keep_partitions", rows=made)


async def purge_finished_jobs(services: Services) -> None:
    """Removes jobs past JOB_RETENTION_HOURS."""
    removed = await purge_jobs(services.pool, retention_hours=services.settings.job_retention_hours)
    _succeeded("purge_finished_jobs", rows=removed)


async def sweep_exports(services: Services) -> None:
    """Calls workers for exports that nobody carries out: a call was lost, or a worker died."""
    if await exports_wait(services.pool) and await services.queue.zcard(BULK_QUEUE) < CALLS_MAXIMUM:
        await call_bulk(services.queue, "export")
    _succeeded("sweep_exports")


async def sweep_imports(services: Services) -> None:
    """Calls workers for imports that nobody carries on, and cleans up after those that have ended."""
    if await imports_wait(services.pool) and await services.queue.zcard(BULK_QUEUE) < CALLS_MAXIMUM:
        await call_bulk(services.queue, "import")
    for ended in await ended_imports(services.pool):
        await clean_up_after(services.pool, services.storage, ended)
    _succeeded("sweep_imports")


async def purge_uploads(services: Services) -> None:
    """Deletes uploads that never became imports: the API process that took them has died."""
    removed = await services.storage.remove_unfinished(UPLOAD_KEPT_SECONDS)
    async for names in services.storage.names_older_than("imports", UPLOAD_KEPT_SECONDS):
        for name in await without_import(services.pool, names):
            await services.storage.delete(name)
            removed += 1
    _succeeded("purge_uploads", rows=removed)


async def delete_expired_exports(services: Services) -> None:
    """Deletes files past EXPORT_RETENTION_HOURS, and some days later the exports themselves."""
    removed = 0
    while expired := await expired_files(services.pool, limit=EXPIRED_AT_ONCE):
        for name in expired.values():
            await services.storage.delete(name)
        await forget_files(services.pool, list(expired))
        removed += len(expired)
    removed += await purge_exports(services.pool)
    _succeeded("delete_expired_exports", rows=removed)


async def delete_orphaned_exports(services: Services) -> None:
    """Deletes files that a worker wrote which then died before it could record them."""
    removed = 0
    oldest = services.settings.export_retention_hours * 3600 + LONGEST_EXPORT_SECONDS
    async for names in services.storage.names_older_than("exports", oldest):
        for name in names:
            await services.storage.delete(name)
        removed += len(names)
    _succeeded("delete_orphaned_exports", rows=removed)


async def purge_ended_sessions(services: Services) -> None:
    """Removes sessions whose refresh tokens have expired."""
    _succeeded("purge_ended_sessions", rows=await purge_sessions(services.pool))


SCHEDULE: tuple[tuple[Job, dict[str, int | set[int]]], ...] = (
    (sweep_lanes, {"second": set(EVERY_FIVE_SECONDS)}),
    (empty_suspect_cache, {"second": set(EVERY_FIVE_SECONDS)}),
    (keep_partitions, {"minute": 7, "second": 0}),
    (purge_finished_jobs, {"minute": set(range(0, 60, 10)), "second": 20}),
    (sweep_exports, {"second": set(EVERY_FIVE_SECONDS)}),
    (sweep_imports, {"second": set(EVERY_FIVE_SECONDS)}),
    (purge_uploads, {"minute": 35, "second": 10}),
    (delete_expired_exports, {"second": 50}),
    (delete_orphaned_exports, {"minute": 25, "second": 30}),
    (purge_ended_sessions, {"minute": 40, "second": 40}),
)


def schedule() -> list[CronJob]:
    """This worker's own copy of the schedule: arq keeps the next run of each entry in it."""
    return [
        cron(with_policy(job).coroutine, name=job.__name__, **ONCE_A_TICK, **when)  # type: ignore[arg-type]
        for job, when in SCHEDULE
    ]


async def _lanes_with_entries(services: Services) -> list[int]:
    found = []
    async for key in services.queue.scan_iter(match=lanes.stream_pattern(), count=1000, _type="stream"):
        number = lanes.lane_of_stream(key.decode())
        if number is not None and await services.queue.xlen(key):
            found.append(number)
    return found


def _succeeded(name: str, *, rows: int = 0) -> None:
    metrics.MAINTENANCE_LAST_SUCCESS.labels(name).set(time.time())
    if rows:
        metrics.MAINTENANCE_ROWS.labels(name).inc(rows)
        log.info("maintenance done", name=name, rows=rows)

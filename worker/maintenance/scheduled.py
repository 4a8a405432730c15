"""What is due by the clock: partitions that are made ahead, and what is past its retention."""

from collections.abc import Awaitable, Callable
from typing import Any

from core.batches.writes import purge_slices
from core.channels.writes import purge_deleted_channels as remove_deleted_channels
from core.exports.files import LONGEST_EXPORT_SECONDS
from core.exports.writes.work import purge_exports
from core.imports.waiting import without_import
from core.jobs.writes import purge_jobs
from core.maintenance.writes import purges
from core.partitions.writes import ensure_partitions
from core.users.writes.sessions import purge_login_places, purge_sessions
from worker.maintenance.sweeps import delete_expired_files
from worker.runner import Services

# An upload's command may lie in its lane for as long as PostgreSQL is away.
UPLOAD_KEPT_SECONDS = 3 * 24 * 3600.0

Arguments = dict[str, Any]
Run = Callable[[Services, Arguments], Awaitable[int]]
"""Carries a run out; returns how many rows it removed or made."""


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
    removed = await delete_expired_files(services)
    return removed + await purge_exports(services.pool)


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


SCHEDULED: dict[str, Run] = {
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
}

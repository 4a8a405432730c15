"""Carries out exports: claims one, streams its tasks from PostgreSQL into the store, and records the file.

The rows are the truth: a job on the queue only means that there may be something to do. An export whose worker died
is begun anew, under another name in the store; what the dead one left is never told of.
"""

import asyncio
import contextlib
import hashlib
import time
from dataclasses import dataclass, field

from core import metrics
from core.commands.effects import Effect
from core.database.faults import is_transient
from core.errors import StorageFull, StorageUnavailable
from core.exports.files import Selection, count_tasks, snapshot, write_file
from core.exports.writes.work import (
    ClaimedExport,
    claim_export,
    end_if_forbidden,
    fail_export,
    finish_export,
    release_export,
    renew_export,
)
from core.leases import LeaseLost, kept_lease, new_lease_owner
from core.logs import get_logger
from core.storage import ObjectWriter
from worker.runner import Services

EXPORTS_AT_ONCE = 3
"""In one process."""
RENEW_SECONDS = 1.0
ATTEMPTS_MAXIMUM = 10
RELEASE_SECONDS = 2.0

log = get_logger()


class NoRoom(Exception):
    """The file would pass its user's quota.

    Attributes:
        left: how large it may become.
    """

    def __init__(self, left: int) -> None:
        super().__init__(left)
        self.left = left


class Progress:
    """How far an export has come, and the digest of what was written.

    Attributes:
        left: how large the file may become; None: no limit.
    """

    def __init__(self, writer: ObjectWriter, left: int | None) -> None:
        self.left = left
        self.total: int | None = None
        self.rows = 0
        self._writer = writer
        self._digest = hashlib.sha256()

    @property
    def size(self) -> int:
        return self._writer.bytes

    @property
    def etag(self) -> str:
        """A strong entity tag: other bytes have another."""
        return f'"{self._digest.hexdigest()[:32]}"'

    def count(self, rows: int) -> None:
        self.rows += rows

    async def write(self, data: bytes) -> None:
        """Raises NoRoom, StorageUnavailable."""
        if self.left is not None and self.size + len(data) > self.left:
            raise NoRoom(self.left)
        self._digest.update(data)
        await self._writer.write(data)


@dataclass(frozen=True, slots=True)
class ExportState:
    """What the exports of one process share: `running` is held by each that is carried out."""

    running: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(EXPORTS_AT_ONCE))


async def run_exports(services: Services) -> None:
    """Carries out exports, one after the other, as long as there are any that nobody else carries out."""
    running = services.state_of(ExportState).running
    if running.locked():
        return  # whoever has the places looks for more when they are done
    async with running:
        while not services.stopping.is_set():
            export = await claim_export(services.pool, new_lease_owner())
            if export is None:
                return
            try:
                await _run(services, export)
            except StorageUnavailable as error:
                cause = repr(error.__cause__ or error)
                log.warning("export waits for the store of files", export=export.id, error=cause)
                return


async def _run(services: Services, export: ClaimedExport) -> None:
    started = time.perf_counter()
    outcome = "interrupted"
    try:
        if export.attempts > ATTEMPTS_MAXIMUM:
            raise RuntimeError("an export was begun again and again, and never came to an end")
        if await end_if_forbidden(services.pool, export):
            outcome = "failed"
        elif await _write(services, export):
            outcome = "succeeded"
        else:
            outcome = await _outcome_of_lost(services, export)
    except LeaseLost:
        outcome = await _outcome_of_lost(services, export)
        log.info("export cancelled, or taken over", export=export.id)
    except NoRoom as error:
        outcome = "failed"
        await fail_export(services.pool, export, services.quotas.bytes_exceeded(error.left))
    except StorageFull as error:
        outcome = "failed"
        log.error("there is no room for an export's file", export=export.id, error=repr(error.__cause__))
        full = Effect.rejected("storage-full", "There was no room for the file: try again later.")
        await fail_export(services.pool, export, full)
    except asyncio.CancelledError:
        await _release(services, export)
        raise
    except Exception as error:
        if is_transient(error) or isinstance(error, StorageUnavailable):
            await _release(services, export)
            raise
        outcome = "failed"
        log.exception("export failed", export=export.id)
        refusal = Effect.rejected(
            "internal-error", "The export could not be carried out; it was recorded for the operators."
        )
        await fail_export(services.pool, export, refusal)
    finally:
        metrics.EXPORT_DURATION.labels(export.format, outcome).observe(time.perf_counter() - started)


async def _outcome_of_lost(services: Services, export: ClaimedExport) -> str:
    return "failed" if await end_if_forbidden(services.pool, export) else "cancelled"


async def _write(services: Services, export: ClaimedExport) -> bool:
    """Writes and records the file; False: by then the export had been cancelled, taken over, or forbidden."""
    name = f"exports/{export.id}/{export.owner.rpartition('-')[2]}"
    async with services.storage.writer(name) as writer:
        progress = Progress(writer, await services.quotas.bytes_left(export.user_id, export_id=export.id))

        async def renew() -> bool:
            progress.left = await services.quotas.bytes_left(export.user_id, export_id=export.id)
            return await renew_export(
                services.pool, export, rows=progress.rows, size=progress.size, total=progress.total
            )

        async with kept_lease(renew, every_seconds=RENEW_SECONDS):
            selection = Selection.of(None if export.all_users else export.user_id, export.filters)
            async with snapshot(services.snapshots) as connection:
                progress.total = await count_tasks(connection, selection)
                await write_file(connection, selection, export.format, progress.write, progress.count, bom=export.bom)
            await writer.commit()
    # Where this fails it may have been recorded all the same: maintenance deletes the file if it was not.
    if not await finish_export(
        services.pool,
        export,
        name=name,
        etag=progress.etag,
        size=progress.size,
        rows=progress.rows,
        retention_hours=services.settings.export_retention_hours,
    ):
        await services.storage.delete(name)
        return False
    metrics.EXPORT_ROWS.labels(export.format).inc(progress.rows)
    metrics.EXPORT_BYTES.labels(export.format).inc(progress.size)
    return True


async def _release(services: Services, export: ClaimedExport) -> None:
    """Lets others take the export up at once; where that cannot be said, they wait for the lease to lapse."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(RELEASE_SECONDS):
            await release_export(services.pool, export)

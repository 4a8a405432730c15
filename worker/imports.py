"""Carries on imports: claims one, reads its file chunk by chunk in a thread, and writes each chunk with its checkpoint.

The rows are the truth: a job on the queue only means that there may be something to do. While PostgreSQL works on a
chunk, the next one is read. Several imports run in one process, and take turns at reading; an import gives its place up
when it has had it for a while and others wait.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import structlog

from core import metrics
from core.database.faults import is_transient
from core.errors import ObjectGone, StorageUnavailable
from core.formats.rows import ImportRefused
from core.imports.chunk_builder import Chunk
from core.imports.claims import ClaimedImport, Counts
from core.imports.reading import ImportReader, read_options, too_many_errors
from core.imports.reading_turns import ReadingTurns
from core.imports.waiting import ended_imports, imports_wait
from core.imports.writes.chunks import write_chunk
from core.imports.writes.work import (
    claim_import,
    clean_up_after,
    drop_import,
    fail_import,
    finish_import,
    release_import,
    renew_import,
)
from core.leases import LeaseLost, kept_lease, new_lease_owner
from core.logs import get_logger
from core.partitions.writes import is_missing_partition
from core.redis.clients import REDIS_FAULTS, end_tasks
from worker.missing_partition import make_missing_partition
from worker.runner import Services, retry_delay

IMPORTS_AT_ONCE = 4
"""In one process."""
RENEW_SECONDS = 5.0
TURN_SECONDS = 30.0
"""How long an import keeps its place while others wait for one; passing over what was done before does not count."""
ATTEMPTS_MAXIMUM = 12
"""How often in a row an import may be left in the middle of one chunk: each time its worker may have died of it."""
SKIP_ROWS = 20_000
STORAGE_PAUSE_SECONDS = 15.0
RELEASE_SECONDS = 2.0

T = TypeVar("T")

log = get_logger()


@dataclass(frozen=True, slots=True)
class ImportState:
    """What the imports of one process share.

    Attributes:
        running: held by each import that is carried on.
        turns: whose turn it is to read a file.
        threads: read the files; they wait for their turns.
    """

    running: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(IMPORTS_AT_ONCE))
    turns: ReadingTurns = field(default_factory=ReadingTurns)
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(IMPORTS_AT_ONCE, "import"))

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Has a thread do blocking work on a file; interrupted, the thread is left to end by itself."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, work)


class TurnOver(Exception):
    """The import gives its place up at a checkpoint."""


async def run_imports(services: Services) -> None:
    """Carries imports on, one after the other, as long as there are any that nobody else carries on."""
    running = services.state_of(ImportState).running
    if running.locked():
        return  # whoever has the places looks for more when one gets free
    async with running:
        while not services.stopping.is_set():
            claim = await claim_import(services.pool, new_lease_owner())
            if claim is None:
                break
            with structlog.contextvars.bound_contextvars(import_id=claim.id, user=claim.user_id):
                await _carry_on(services, claim)
            await clean_up_imports(services)


async def clean_up_imports(services: Services) -> int:
    """Deletes the uploads of imports that have ended, however they did; returns how many."""
    ended = await ended_imports(services.pool)
    for one in ended:
        try:
            await clean_up_after(services.pool, services.storage, one)
        except StorageUnavailable as error:
            log.warning("an upload is still there", error=repr(error.__cause__))
            return 0
    return len(ended)


async def _carry_on(services: Services, claim: ClaimedImport) -> None:
    """Works on an import until it has ended, is lost, or gives its place up."""
    started = time.monotonic()
    outcome = "interrupted"
    try:
        if claim.is_unwanted:
            outcome = "cancelled"
            await drop_import(services.pool, claim)
            return
        if claim.attempts > ATTEMPTS_MAXIMUM:
            outcome = "failed"
            log.error("an import was left in the middle again and again", attempts=claim.attempts)
            await _fail(services, claim, "internal-error", "The file could not be imported: work on it broke off again "
                        "and again at the same place. It was recorded for the operators.")  # fmt: skip
            return
        async with kept_lease(partial(renew_import, services.pool, claim), every_seconds=RENEW_SECONDS):
            await _Run(services, claim).to_the_end()
        outcome = "succeeded"
    except LeaseLost:
        log.info("import cancelled, or taken over")
        outcome = "lost"
    except TurnOver:
        outcome = "turn over"
        await _release(services, claim)
    except ImportRefused as refusal:
        outcome = "failed"
        await _fail(services, claim, refusal.name, refusal.detail, **refusal.extra)
    except ObjectGone:
        outcome = "failed"
        await _fail(services, claim, "import-unreadable", "The uploaded file is not there any more: send it again.")
    except StorageUnavailable as error:
        log.warning("the upload cannot be read now", error=repr(error.__cause__))
        await _release(services, claim, pause_seconds=STORAGE_PAUSE_SECONDS)
    except asyncio.CancelledError:
        await _release(services, claim)
        raise
    except Exception as error:
        if is_transient(error) or isinstance(error, REDIS_FAULTS):
            await _release(services, claim)
            raise
        outcome = "failed"
        log.exception("import failed")
        await _fail(services, claim, "internal-error", "The file could not be imported; it was recorded for the "
                    "operators.")  # fmt: skip
    finally:
        log.info("import run ended", outcome=outcome, seconds=round(time.monotonic() - started, 3))


async def _fail(services: Services, claim: ClaimedImport, name: str, detail: str, **extra: Any) -> None:
    await fail_import(services.pool, claim, name, detail, **extra)
    metrics.IMPORTS_ENDED.labels(claim.format, "failed").inc()


async def _release(services: Services, claim: ClaimedImport, *, pause_seconds: float = 0.0) -> None:
    """Lets others take the import up at once; where that cannot be said, they wait for the lease to lapse."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(RELEASE_SECONDS):
            await release_import(services.pool, claim, pause_seconds=pause_seconds)


class _Run:
    """One run of an import, from its checkpoint on."""

    def __init__(self, services: Services, claim: ClaimedImport) -> None:
        self._services = services
        self._claim = claim
        self._counts = claim.counts
        self._state = services.state_of(ImportState)
        self._reader = ImportReader(
            partial(services.storage.open, claim.object),
            claim.format,
            read_options(claim.options, users_time_zone=claim.users_time_zone),
            on_conflict=claim.on_conflict,
            maximum_bytes=services.settings.max_import_bytes,
            turns=self._state.turns,
        )
        self._bytes_read = 0
        self._working_since = time.monotonic()

    async def to_the_end(self) -> None:
        """Writes chunk after chunk.

        Raises:
            LeaseLost, TurnOver: the import goes on elsewhere, or not at all.
            ImportRefused: it ends here, failed.
        """
        # The worker before may have died between a commit and this.
        await self._forget_pages(Counts())
        if not self._claim.counts.read:
            await self._state.in_thread(self._reader.measure)
        await self._skip(self._claim.counts.read)
        turn_ends = time.monotonic() + TURN_SECONDS
        upcoming = asyncio.create_task(self._read(self._counts.failed), name="import chunk")
        try:
            while True:
                chunk = await upcoming
                if not chunk.is_last:
                    upcoming = asyncio.create_task(self._read(self._counts.failed + chunk.failed), name="import chunk")
                await self._write(chunk)
                if chunk.refusal is not None:
                    raise chunk.refusal
                self._require_few_errors()
                if chunk.is_last:
                    break
                await self._give_way(turn_ends)
        finally:
            await end_tasks([upcoming])
        await finish_import(self._services.pool, self._claim)
        metrics.IMPORTS_ENDED.labels(self._claim.format, "succeeded").inc()

    async def _skip(self, rows: int) -> None:
        """Passes over what was dealt with before; in pieces, so that it can be interrupted."""
        while rows > 0:
            passed = await self._state.in_thread(partial(self._reader.skip, min(rows, SKIP_ROWS)))
            rows -= passed
            if not passed:
                return

    async def _read(self, failed: int) -> Chunk:
        maximum = self._claim.max_errors
        failures_left = None if maximum is None else max(0, maximum - failed)
        read = partial(self._reader.read_chunk, failures_left=failures_left)
        chunk = await self._state.in_thread(read)
        metrics.IMPORT_CHUNK_DURATION.labels("read").observe(chunk.seconds)
        return chunk

    async def _write(self, chunk: Chunk) -> None:
        """Writes a chunk; faults of the database that pass are borne as long as the lease lasts."""
        before = self._counts
        now = time.monotonic()
        seconds, self._working_since = now - self._working_since, now
        attempt = 0
        partition_made = False
        while True:
            started = time.perf_counter()
            try:
                self._counts = await write_chunk(
                    self._services.pool,
                    self._claim,
                    before,
                    chunk,
                    self._reader.report,
                    seconds=seconds,
                    quota=self._services.quotas.tasks,
                )
                break
            except Exception as error:
                if is_missing_partition(error) and not partition_made:
                    await make_missing_partition(self._services)
                    partition_made = True
                elif not is_transient(error):
                    raise
                attempt += 1
                log.warning("a chunk will be written again", error=repr(error))
                await asyncio.sleep(retry_delay(attempt))
        metrics.IMPORT_CHUNK_DURATION.labels("write").observe(time.perf_counter() - started)
        self._count(before, chunk)
        await self._forget_pages(before)

    def _count(self, before: Counts, chunk: Chunk) -> None:
        for outcome in ("created", "updated", "skipped", "failed"):
            rows = getattr(self._counts, outcome) - getattr(before, outcome)
            metrics.IMPORT_ROWS.labels(self._claim.format, outcome).inc(rows)
        metrics.IMPORT_ROWS_WARNED.labels(self._claim.format).inc(self._counts.warned - before.warned)
        metrics.IMPORT_BYTES.inc(max(0, chunk.bytes_read - self._bytes_read))
        self._bytes_read = chunk.bytes_read

    async def _forget_pages(self, before: Counts) -> None:
        changed = (self._counts.created, self._counts.updated) != (before.created, before.updated)
        if changed and not self._claim.dry_run:
            await self._services.invalidator.forget_users([self._claim.user_id])

    def _require_few_errors(self) -> None:
        if self._claim.max_errors is not None and self._counts.failed > self._claim.max_errors:
            raise too_many_errors()

    async def _give_way(self, turn_ends: float) -> None:
        if self._services.stopping.is_set():
            raise TurnOver
        if time.monotonic() > turn_ends and await imports_wait(self._services.pool):
            raise TurnOver

"""Writes a chunk of an import: its tasks, what is told of its rows and the checkpoint are one transaction.

So whoever takes an import over goes on after the last whole chunk, and nothing comes twice. A dry run does the same,
but makes no tasks.
"""

from core.database.locks import Lock, locked, number_of
from core.database.pools import Connection, Pool
from core.formats.rows import FileReport, ImportRefused
from core.imports.chunk_builder import Chunk
from core.imports.claims import COUNTS, ClaimedImport, Counts, counts_of
from core.imports.rows import Notice
from core.imports.writes.previews import PREVIEW_TASKS, preview_tasks
from core.imports.writes.rowreports import KNOWN_TOLD_MAXIMUM, as_json, keep_errors, keep_notices
from core.imports.writes.taskrows import CHUNK_SECONDS, Done, write_rows
from core.leases import LEASE_SECONDS, LeaseLost
from core.quotas.refusals import quota_members
from core.quotas.tasks import TaskQuota

# No events for single rows: the end of the import is an event of its own.
_QUIETLY = "SET LOCAL app.quiet_events = 'on'"

_CHECK = f"""
SELECT lease_owner = $2 AND NOT is_unwanted AS is_ours, {COUNTS}
FROM   imports
WHERE  id = $1::text::uuid
"""  # noqa: S608

# The fence: nothing of the chunk stays unless the import is still ours and stands where we found it.
_CHECKPOINT = """
UPDATE imports
SET    rows_read = $4, rows_created = $5, rows_updated = $6, rows_skipped = $7, rows_failed = $8, errors_kept = $9,
       error_bytes = $10, bytes_read = $11, columns = $12::text::json, report = $13::text::json,
       busy_seconds = busy_seconds + $14, attempts = 0, lease_until = now() + make_interval(secs => $15),
       rows_warned = $16, warnings_kept = $17, frame = coalesce($18::text::json, frame),
       preview = preview || $19::text[]::json[]
WHERE  id = $1::text::uuid
AND    lease_owner = $2
AND    NOT is_unwanted
AND    rows_read = $3
"""

_MADE = "INSERT INTO imported_chunks (import_id, rows_read, task_ids) VALUES ($1::text::uuid, $2, $3)"

_PROGRESS = """
UPDATE jobs
SET    progress = row_to_json(passed)
FROM   (SELECT $2::bigint AS done, NULL::bigint AS total, $3::bigint AS failed) AS passed
WHERE  id = $1::text::uuid
"""


async def write_chunk(
    pool: Pool,
    claim: ClaimedImport,
    before: Counts,
    chunk: Chunk,
    report: FileReport,
    *,
    seconds: float,
    quota: TaskQuota,
) -> Counts:
    """Writes a chunk's tasks, its errors and the checkpoint, all or nothing; safe to repeat after a lost connection.

    Args:
        pool: of workers.
        claim: whose import it is.
        before: the counts that the chunk follows.
        chunk: as it was read.
        report: what reading has told about the file so far.
        seconds: of work since the last checkpoint.
        quota: of the user's tasks.

    Returns:
        The counts behind the chunk.

    Raises:
        LeaseLost: the import was cancelled, or somebody else carries it on; nothing was written.
        ImportRefused: the chunk would pass the quota; nothing of it was written.
    """
    async with (
        pool.acquire() as connection,
        locked(connection, Lock.import_chunks, number_of(claim.user_id), longest_seconds=CHUNK_SECONDS),
    ):
        found = await connection.fetchrow(_CHECK, claim.id, claim.owner)
        if found is None or not found["is_ours"]:
            raise LeaseLost
        if found["rows_read"] == before.read + chunk.read and chunk.read:
            return counts_of(found)  # it was committed, and the answer was lost
        if found["rows_read"] != before.read:
            raise LeaseLost
        await connection.execute(_QUIETLY)
        done = await write_rows(connection, claim, before, chunk)
        if done.created and not claim.dry_run:
            await _require_room(connection, claim, quota, done.created)
        if done.made and not claim.dry_run:
            await connection.execute(_MADE, claim.id, before.read, done.made_ids, timeout=CHUNK_SECONDS)
        errors = sorted([*chunk.errors, *done.errors], key=lambda error: (error.number, error.ordinal))
        kept, kept_bytes = await keep_errors(connection, claim, before, errors)
        notices, warned = _notices(before, chunk, done)
        previewed = await preview_tasks(connection, claim, done, wanted=PREVIEW_TASKS - before.previewed)
        after = Counts(
            read=before.read + chunk.read,
            created=before.created + done.created,
            updated=before.updated + done.updated + chunk.updated,
            skipped=before.skipped + done.skipped + chunk.skipped,
            failed=before.failed + chunk.failed + len(done.errors),
            warned=before.warned + warned,
            errors_kept=before.errors_kept + kept,
            error_bytes=before.error_bytes + kept_bytes,
            warnings_kept=before.warnings_kept + await keep_notices(connection, claim, before, notices),
            previewed=before.previewed + len(previewed),
        )
        needs_frame = kept > 0 or (chunk.is_last and after.errors_kept > 0)
        frame = report.frame if needs_frame else None
        await _checkpoint(connection, claim, before, after, chunk.bytes_read, report, seconds, frame, previewed)
    return after


def _notices(before: Counts, chunk: Chunk, done: Done) -> tuple[list[Notice], int]:
    """The notices of a chunk, and how many rows are warned of: not those that the database has refused."""
    known = done.known[: max(0, KNOWN_TOLD_MAXIMUM - before.skipped)]
    failed = {error.number for error in done.errors}
    if not failed:
        return [*chunk.notices, *known], chunk.warned
    kept = [notice for notice in chunk.notices if notice.number not in failed]
    refused = {notice.number for notice in chunk.notices} & failed
    return [*kept, *known], chunk.warned - len(refused)


async def _require_room(connection: Connection, claim: ClaimedImport, quota: TaskQuota, created: int) -> None:
    refusal = await quota.refuse_made(connection, claim.user_id, created)
    if refusal is not None and refusal.error is not None:
        raise ImportRefused("quota-exceeded", refusal.error["detail"], **quota_members(refusal))


async def _checkpoint(
    connection: Connection,
    claim: ClaimedImport,
    before: Counts,
    after: Counts,
    bytes_read: int,
    report: FileReport,
    seconds: float,
    frame: tuple[str, str] | None,
    previewed: list[str],
) -> None:
    status = await connection.execute(
        _CHECKPOINT,
        claim.id,
        claim.owner,
        before.read,
        after.read,
        after.created,
        after.updated,
        after.skipped,
        after.failed,
        after.errors_kept,
        after.error_bytes,
        bytes_read,
        None if report.columns is None else as_json(report.columns),
        as_json(
            {
                "mapping": report.mapping,
                "ignored": report.ignored,
                "has_header": report.has_header,
                "delimiter": report.delimiter,
            }
        ),
        seconds,
        LEASE_SECONDS,
        after.warned,
        after.warnings_kept,
        None if frame is None else as_json(frame),
        previewed,
    )
    if status != "UPDATE 1":
        raise LeaseLost
    await connection.execute(_PROGRESS, claim.id, after.read, after.failed)

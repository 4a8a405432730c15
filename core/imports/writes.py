"""Writes of imports: what their commands do, and how their work goes on from claim to end; chunks are in `chunks`.

Whoever touches both rows of an import locks `imports` first and `jobs` second.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from core.commands import Effect, problem
from core.database.locks import Lock, locked
from core.database.pools import Connection, Pool
from core.database.transactions import delete_in_chunks
from core.imports.claims import ClaimedImport, counts_of
from core.jobs.outcomes import BEGUN
from core.leases import LEASE_SECONDS
from core.storage import Storage

UNPROCESSABLE = 422

# -- commands -------------------------------------------------------------------------------------------------

_CREATE = """
INSERT INTO imports (id, user_id, format, filename, dry_run, options, object, digest, bytes)
SELECT i.id::uuid, i.user_id, i.format, i.filename, i.dry_run, i.options::json, i.object, i.digest, i.bytes
FROM   unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::boolean[], $6::text[], $7::text[], $8::text[],
              $9::bigint[])
       AS i (id, user_id, format, filename, dry_run, options, object, digest, bytes)
"""

# A job's row may still be missing: it is written at the end of the transaction that begins the import. Then the mark
# alone remains, and whoever claims the import ends it.
_CANCEL = """
WITH input AS MATERIALIZED (
    SELECT c.id::uuid AS id, c.user_id, c.place
    FROM   unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS c (id, user_id, place)
), locked AS MATERIALIZED (
    SELECT i.id
    FROM   imports AS i JOIN input USING (id, user_id)
    FOR    UPDATE OF i
), before AS MATERIALIZED (
    SELECT locked.id, j.state
    FROM   locked LEFT JOIN jobs AS j USING (id)
    WHERE  j.state IS NULL OR j.state IN ('queued', 'processing')
), marked AS (
    UPDATE imports AS i
    SET    is_unwanted = true
    FROM   before
    WHERE  i.id = before.id
), cancelled AS (
    UPDATE jobs AS j
    SET    state = 'cancelled', finished_at = clock_timestamp()
    FROM   before
    WHERE  j.id = before.id
    AND    j.state IN ('queued', 'processing')
)
SELECT locked.id IS NOT NULL AS is_there, before.id IS NOT NULL AS is_ended
FROM   input LEFT JOIN locked USING (id) LEFT JOIN before USING (id)
ORDER  BY input.place
"""


async def create_imports(connection: Connection, creations: Sequence[dict[str, Any]]) -> list[Effect]:
    """Begins one import for each of `creations`; their jobs' rows are still to be written, by the same transaction.

    Args:
        connection: in a transaction.
        creations: `job_id`, `user_id`, `format`, `filename`, `dry_run`, `options`, `object` (the upload's name in the
            storage), `digest` (of the upload), `bytes`.
    """
    await connection.execute(
        _CREATE,
        [creation["job_id"] for creation in creations],
        [creation["user_id"] for creation in creations],
        [creation["format"] for creation in creations],
        [creation["filename"] for creation in creations],
        [creation["dry_run"] for creation in creations],
        [orjson.dumps(creation["options"]).decode() for creation in creations],
        [creation["object"] for creation in creations],
        [creation["digest"] for creation in creations],
        [creation["bytes"] for creation in creations],
    )
    return [Effect(BEGUN) for _ in creations]


async def cancel_imports(connection: Connection, cancellations: Sequence[dict[str, Any]]) -> list[Effect]:
    """Ends each named import; a chunk that is being written ends without effect.

    Args:
        connection: in a transaction.
        cancellations: `user_id` and the import's `id`.
    """
    rows = await connection.fetch(
        _CANCEL,
        [cancellation["id"] for cancellation in cancellations],
        [cancellation["user_id"] for cancellation in cancellations],
    )
    return [_cancelled(row["is_there"], row["is_ended"]) for row in rows]


def _cancelled(is_there: bool, is_ended: bool) -> Effect:
    if is_ended:
        return Effect(204)
    if not is_there:
        return Effect.rejected("not-found", "There is no such import.")
    return Effect.rejected("job-not-cancellable", "The import has ended already.")


# -- claiming -------------------------------------------------------------------------------------------------


# Least recently served first; of a user's imports one runs at a time. A released import may have to pause: it then
# has a lease that nobody owns.
_WAITING = """
    SELECT i.id
    FROM   imports AS i JOIN jobs AS j USING (id)
    WHERE  i.object IS NOT NULL
    AND    j.state IN ('queued', 'processing')
    AND    (i.lease_until IS NULL OR i.lease_until < now())
    AND    NOT EXISTS (SELECT FROM imports AS other
                       WHERE  other.user_id = i.user_id
                       AND    other.id <> i.id
                       AND    other.object IS NOT NULL
                       AND    other.lease_owner IS NOT NULL
                       AND    other.lease_until > now())
    ORDER  BY i.turn_at, i.id
"""

_CLAIM = f"""
WITH next AS MATERIALIZED (
    {_WAITING}
    LIMIT  1
    FOR    UPDATE OF i SKIP LOCKED
), claimed AS (
    UPDATE imports AS i
    SET    lease_owner = $1, lease_until = now() + make_interval(secs => $2), attempts = i.attempts + 1,
           turn_at = now()
    FROM   next
    WHERE  i.id = next.id
    RETURNING i.*
), begun AS (
    UPDATE jobs AS j
    SET    state = 'processing', started_at = coalesce(j.started_at, now())
    FROM   claimed
    WHERE  j.id = claimed.id
    AND    j.state = 'queued'
)
SELECT c.id::text, c.user_id, c.format, c.dry_run, c.options::text, c.object, c.bytes, c.attempts, c.is_unwanted,
       c.rows_read, c.rows_created, c.rows_updated, c.rows_skipped, c.rows_failed, c.errors_kept, c.error_bytes,
       coalesce(u.time_zone, 'UTC') AS time_zone
FROM   claimed AS c LEFT JOIN users AS u ON u.id = c.user_id
"""  # noqa: S608

_RENEW = """
UPDATE imports
SET    lease_until = now() + make_interval(secs => $3)
WHERE  id = $1::text::uuid
AND    lease_owner = $2
AND    NOT is_unwanted
"""

_RELEASE = """
UPDATE imports
SET    lease_owner = NULL, lease_until = now() + make_interval(secs => $3), attempts = greatest(attempts - 1, 0),
       turn_at = now()
WHERE  id = $1::text::uuid
AND    lease_owner = $2
"""


async def claim_import(pool: Pool, owner: str) -> ClaimedImport | None:
    """Takes the import that has waited longest, new, released, or left by a dead worker; None: there is none."""
    async with pool.acquire() as connection, locked(connection, Lock.import_claims):
        row = await connection.fetchrow(_CLAIM, owner, LEASE_SECONDS)
    if row is None:
        return None
    return ClaimedImport(
        id=row["id"],
        owner=owner,
        user_id=row["user_id"],
        format=row["format"],
        dry_run=row["dry_run"],
        options=orjson.loads(row["options"]),
        object=row["object"],
        bytes=row["bytes"],
        counts=counts_of(row),
        attempts=row["attempts"],
        is_unwanted=row["is_unwanted"],
        users_time_zone=row["time_zone"],
    )


async def imports_wait(pool: Pool) -> bool:
    """Whether there is an import that `claim_import` would give."""
    return await pool.fetchval(f"SELECT EXISTS ({_WAITING})") is True


async def renew_import(pool: Pool, claim: ClaimedImport) -> bool:
    """Prolongs the lease; False: the import was cancelled, or is not ours any more."""
    return await pool.execute(_RENEW, claim.id, claim.owner, LEASE_SECONDS) == "UPDATE 1"


async def release_import(pool: Pool, claim: ClaimedImport, *, pause_seconds: float = 0.0) -> None:
    """Gives the place to others: the import is claimed again when its turn has come, after the pause at the soonest."""
    await pool.execute(_RELEASE, claim.id, claim.owner, pause_seconds)


# -- ending ---------------------------------------------------------------------------------------------------

_END = """
WITH done AS (
    UPDATE imports
    SET    lease_owner = NULL, lease_until = NULL
    WHERE  id = $1::text::uuid
    AND    lease_owner = $2
    RETURNING *
)
UPDATE jobs AS j
SET    state = $3, status_code = $4, error = $5::text::json, finished_at = clock_timestamp(),
       result = json_build_object('read', done.rows_read, 'created', done.rows_created, 'updated', done.rows_updated,
                                  'skipped', done.rows_skipped, 'failed', done.rows_failed),
       progress = json_build_object('done', done.rows_read,
                                    'total', CASE WHEN $3 = 'succeeded' THEN done.rows_read END,
                                    'failed', done.rows_failed)
FROM   done
WHERE  j.id = done.id
AND    j.state IN ('queued', 'processing')
"""


async def finish_import(pool: Pool, claim: ClaimedImport) -> None:
    """Every row was looked at."""
    await pool.execute(_END, claim.id, claim.owner, "succeeded", 200, None)


async def fail_import(pool: Pool, claim: ClaimedImport, name: str, detail: str, **extra: Any) -> None:
    """The import ends with a problem of a kind in `REJECTIONS`, with members `extra`; what was written stays."""
    content = problem(name, detail, **extra)
    if content["status"] == UNPROCESSABLE:
        content["errors"] = {"file": [detail]}
    await pool.execute(_END, claim.id, claim.owner, "failed", content["status"], orjson.dumps(content).decode())


async def drop_import(pool: Pool, claim: ClaimedImport) -> None:
    """The import was cancelled in the moment in which it was begun."""
    await pool.execute(_END, claim.id, claim.owner, "cancelled", None, None)


_ENDED = """
SELECT i.id::text, i.user_id, i.object, i.dry_run
FROM   imports AS i JOIN jobs AS j USING (id)
WHERE  i.object IS NOT NULL
AND    j.state NOT IN ('queued', 'processing')
LIMIT  $1
"""

_FORGET_TRIED = """
DELETE FROM imported_tasks
WHERE  ctid = ANY (ARRAY(SELECT ctid FROM imported_tasks WHERE user_id = -$1::bigint AND import_id = $2::text::uuid
                         LIMIT $3))
"""

_FORGET_UPLOAD = "UPDATE imports SET object = NULL WHERE id = $1::text::uuid"

_OWNED = "SELECT object FROM imports WHERE object = ANY ($1::text[])"


@dataclass(frozen=True, slots=True)
class EndedImport:
    """An import that has ended, and still has its upload, or what a dry run has noted."""

    id: str
    user_id: int
    object: str
    dry_run: bool


async def ended_imports(pool: Pool, *, limit: int = 100) -> list[EndedImport]:
    """Imports that are still to be cleaned up after."""
    return [EndedImport(*row) for row in await pool.fetch(_ENDED, limit)]


async def clean_up_after(pool: Pool, storage: Storage, ended: EndedImport) -> None:
    """Deletes the upload, and what a dry run has noted.

    Raises:
        StorageUnavailable: the upload is still there; the next look will find it.
    """
    if ended.dry_run:
        await delete_in_chunks(pool, _FORGET_TRIED, ended.user_id, ended.id, chunk=50_000)
    await storage.delete(ended.object)
    await pool.execute(_FORGET_UPLOAD, ended.id)


async def without_import(pool: Pool, names: Sequence[str]) -> list[str]:
    """Those of the uploads' names that no import needs."""
    owned = {row["object"] for row in await pool.fetch(_OWNED, names)}
    return [name for name in names if name not in owned]


_UNFINISHED = """
SELECT j.state, count(*) AS imports, coalesce(extract(epoch FROM now() - min(i.turn_at)), 0)::float8 AS oldest_seconds
FROM   imports AS i JOIN jobs AS j USING (id)
WHERE  i.object IS NOT NULL
AND    j.state IN ('queued', 'processing')
GROUP  BY j.state
"""


async def unfinished_imports(pool: Pool) -> dict[str, tuple[int, float]]:
    """State → how many imports are in it, and for how many seconds the first of them has waited for its turn."""
    rows = await pool.fetch(_UNFINISHED)
    return {row["state"]: (row["imports"], row["oldest_seconds"]) for row in rows}

"""Writes of imports: how their work goes on from claim to end; chunks are in `chunks`.

Whoever touches both rows of an import locks `imports` first and `jobs` second.
"""

from typing import Any

import orjson

from core.commands.effects import problem
from core.database.locks import Lock, locked
from core.database.pools import Pool
from core.database.transactions import delete_in_chunks
from core.imports.claims import COUNTS, ClaimedImport, counts_of
from core.imports.waiting import WAITING, EndedImport
from core.leases import LEASE_SECONDS
from core.storage import Storage

UNPROCESSABLE = 422

_CLAIM = f"""
WITH next AS MATERIALIZED (
    {WAITING}
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
       coalesce(u.time_zone, 'UTC') AS time_zone, {COUNTS}
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


async def renew_import(pool: Pool, claim: ClaimedImport) -> bool:
    """Prolongs the lease; False: the import was cancelled, or is not ours any more."""
    return await pool.execute(_RENEW, claim.id, claim.owner, LEASE_SECONDS) == "UPDATE 1"


async def release_import(pool: Pool, claim: ClaimedImport, *, pause_seconds: float = 0.0) -> None:
    """Gives the place to others: the import is claimed again when its turn has come, after the pause at the soonest."""
    await pool.execute(_RELEASE, claim.id, claim.owner, pause_seconds)


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
       result = row_to_json(counted), progress = row_to_json(passed)
FROM   done,
       LATERAL (SELECT done.rows_read AS read, done.rows_created AS created, done.rows_updated AS updated,
                       done.rows_skipped AS skipped, done.rows_failed AS failed,
                       done.rows_warned AS warned) AS counted,
       LATERAL (SELECT done.rows_read AS done, CASE WHEN $3 = 'succeeded' THEN done.rows_read END AS total,
                       done.rows_failed AS failed) AS passed
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


_FORGET_TRIED = """
DELETE FROM imported_tasks
WHERE  ctid = ANY (ARRAY(SELECT ctid FROM imported_tasks WHERE user_id = -$1::bigint AND import_id = $2::text::uuid
                         LIMIT $3))
"""

_FORGET_UPLOAD = "UPDATE imports SET object = NULL WHERE id = $1::text::uuid"


async def clean_up_after(pool: Pool, storage: Storage, ended: EndedImport) -> None:
    """Deletes the upload, and what a dry run has noted.

    Raises:
        StorageUnavailable: the upload is still there; the next look will find it.
    """
    if ended.dry_run:
        await delete_in_chunks(pool, _FORGET_TRIED, ended.user_id, ended.id, chunk=50_000)
    await storage.delete(ended.object)
    await pool.execute(_FORGET_UPLOAD, ended.id)

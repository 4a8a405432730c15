"""How the work of exports goes on, from claim to end.

Whoever touches both rows of an export locks `exports` first and `jobs` second.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from core.authority import forbidden
from core.commands.effects import Effect
from core.database.pools import Pool
from core.database.transactions import delete_in_chunks
from core.exports.waiting import WAITING
from core.leases import LEASE_SECONDS

KEPT_DAYS = 7
"""How long an export is kept after its file has expired."""


@dataclass(frozen=True, slots=True)
class ClaimedExport:
    """An export that a worker may carry out until its lease lapses.

    Attributes:
        owner: of the lease.
        attempts: how often it was claimed, this time included.
        bom: whether the file begins with a byte order mark.
    """

    id: str
    owner: str
    user_id: int
    all_users: bool
    format: str
    filters: dict[str, Any]
    attempts: int
    bom: bool


# Of a user's exports one runs at a time, so that nobody takes all places; and whoever has had a turn waits behind those
# who have had none.
_CLAIM = f"""
WITH next AS MATERIALIZED (
    {WAITING}
    LIMIT  1
    FOR    UPDATE OF e SKIP LOCKED
), claimed AS (
    UPDATE exports AS e
    SET    lease_owner = $1, lease_until = now() + make_interval(secs => $2), attempts = e.attempts + 1,
           rows = 0, bytes = NULL
    FROM   next
    WHERE  e.id = next.id
    RETURNING e.*
), siblings AS MATERIALIZED (
    SELECT e.id
    FROM   exports AS e JOIN claimed ON claimed.user_id = e.user_id AND claimed.id <> e.id
    WHERE  e.expires_at IS NULL
    FOR    UPDATE OF e SKIP LOCKED
), behind AS (
    UPDATE exports AS e SET turn_at = now() FROM siblings WHERE e.id = siblings.id
), begun AS (
    UPDATE jobs AS j
    SET    state       = CASE WHEN claimed.expires_at IS NULL THEN 'processing' ELSE 'cancelled' END,
           started_at  = CASE WHEN claimed.expires_at IS NULL THEN coalesce(j.started_at, now()) END,
           finished_at = CASE WHEN claimed.expires_at IS NOT NULL THEN clock_timestamp() END,
           progress    = NULL
    FROM   claimed
    WHERE  j.id = claimed.id
)
SELECT id::text, user_id, all_users, format, filters::text, attempts, bom, expires_at IS NOT NULL AS is_given_up
FROM   claimed
"""  # noqa: S608

# Everybody's tasks are for those who are admins now.
_IS_ALLOWED = "(NOT all_users OR EXISTS (SELECT FROM users AS u WHERE u.id = exports.user_id AND u.role = 'admin'))"

_RENEW = f"""
WITH kept AS (
    UPDATE exports
    SET    lease_until = now() + make_interval(secs => $3), rows = $4, bytes = $5
    WHERE  id = $1::text::uuid
    AND    lease_owner = $2
    AND    expires_at IS NULL
    AND    {_IS_ALLOWED}
    RETURNING id
)
UPDATE jobs
SET    progress = row_to_json(told)
FROM   kept, (SELECT $4::bigint AS done, $6::bigint AS total, 0 AS failed) AS told
WHERE  jobs.id = kept.id
"""  # noqa: S608

_RELEASE = """
UPDATE exports
SET    lease_until = now(), attempts = attempts - 1
WHERE  id = $1::text::uuid
AND    lease_owner = $2
AND    expires_at IS NULL
"""

_FINISH = f"""
WITH done AS (
    UPDATE exports
    SET    object = $3, etag = $4, bytes = $5, rows = $6, lease_owner = NULL, lease_until = NULL,
           expires_at = now() + make_interval(hours => $7)
    WHERE  id = $1::text::uuid
    AND    lease_owner = $2
    AND    expires_at IS NULL
    AND    {_IS_ALLOWED}
    RETURNING id
)
UPDATE jobs
SET    state = 'succeeded', status_code = 200, finished_at = clock_timestamp(),
       progress = row_to_json(told)
FROM   done, (SELECT $6::bigint AS done, $6::bigint AS total, 0 AS failed) AS told
WHERE  jobs.id = done.id
"""  # noqa: S608

# $5: only if it holds everybody's tasks and whoever ordered it is no admin any more.
_FAIL = f"""
WITH done AS (
    UPDATE exports
    SET    lease_owner = NULL, lease_until = NULL, expires_at = now()
    WHERE  id = $1::text::uuid
    AND    lease_owner = $2
    AND    expires_at IS NULL
    AND    NOT ($5 AND {_IS_ALLOWED})
    RETURNING id
)
UPDATE jobs
SET    state = 'failed', status_code = $3, error = $4::text::json, finished_at = clock_timestamp()
FROM   done
WHERE  jobs.id = done.id
"""  # noqa: S608


async def claim_export(pool: Pool, owner: str) -> ClaimedExport | None:
    """Takes the export that has waited longest: a new one, or one whose lease has lapsed; None: there is none."""
    while True:
        row = await pool.fetchrow(_CLAIM, owner, LEASE_SECONDS)
        if row is None:
            return None
        if not row["is_given_up"]:
            break
    return ClaimedExport(
        row["id"],
        owner,
        row["user_id"],
        row["all_users"],
        row["format"],
        orjson.loads(row["filters"]),
        row["attempts"],
        row["bom"],
    )


async def renew_export(pool: Pool, export: ClaimedExport, *, rows: int, size: int, total: int | None) -> bool:
    """Renews the lease and records the progress; False: it was cancelled, or is not ours any more."""
    status = await pool.execute(_RENEW, export.id, export.owner, LEASE_SECONDS, rows, size, total)
    return status == "UPDATE 1"


async def release_export(pool: Pool, export: ClaimedExport) -> None:
    """Lets the export be claimed anew at once: this worker stops in the middle of it."""
    await pool.execute(_RELEASE, export.id, export.owner)


async def finish_export(
    pool: Pool, export: ClaimedExport, *, name: str, etag: str, size: int, rows: int, retention_hours: int
) -> bool:
    """Records the file; False: the export was cancelled or is not ours any more, and the file is not recorded."""
    status = await pool.execute(_FINISH, export.id, export.owner, name, etag, size, rows, retention_hours)
    return status == "UPDATE 1"


async def fail_export(pool: Pool, export: ClaimedExport, effect: Effect) -> None:
    """Ends the export with what `effect`, a refusal, says."""
    await _fail(pool, export, effect, if_forbidden=False)


async def end_if_forbidden(pool: Pool, export: ClaimedExport) -> bool:
    """Ends an export of everybody's tasks if whoever ordered it is no admin any more; returns whether it did."""
    return export.all_users and await _fail(pool, export, forbidden(), if_forbidden=True)


async def _fail(pool: Pool, export: ClaimedExport, effect: Effect, *, if_forbidden: bool) -> bool:
    error = orjson.dumps(effect.error).decode()
    status = await pool.execute(_FAIL, export.id, export.owner, effect.status_code, error, if_forbidden)
    return status == "UPDATE 1"


_FORGET_FILES = "UPDATE exports SET object = NULL WHERE id = ANY ($1::text[]::uuid[])"

_PURGE = """
DELETE FROM jobs
WHERE  ctid = ANY (ARRAY(
    SELECT j.ctid FROM jobs AS j JOIN exports AS e USING (id)
    WHERE  e.expires_at < now() - make_interval(days => $1) AND e.object IS NULL
    LIMIT  $2
))
"""


async def forget_files(pool: Pool, export_ids: Sequence[str]) -> None:
    """After files of exports were deleted."""
    await pool.execute(_FORGET_FILES, export_ids)


async def purge_exports(pool: Pool, *, chunk: int = 1000) -> int:
    """Deletes exports, with their jobs, whose file is gone for `KEPT_DAYS`; returns how many."""
    return await delete_in_chunks(pool, _PURGE, KEPT_DAYS, chunk=chunk)

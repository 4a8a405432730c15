"""Writes that take an import back: what it has made and nobody has changed since is deleted, some at a time.

What is still to be looked at stands in `imported_chunks`, and each transaction takes from there what it has dealt with.
So whoever takes the work over goes on where it stands, and an import that is taken back twice is only once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from core.commands.effects import Effect, problem
from core.commands.kinds import Operation, UndoImport
from core.database.locks import Lock, locked, number_of
from core.database.pools import Connection, Pool
from core.jobs.outcomes import BEGUN
from core.leases import LEASE_SECONDS, LeaseLost

TASKS_AT_ONCE = 1000
"""In one transaction: as many as a batch may delete."""

_BEGIN = """
WITH input AS MATERIALIZED (
    SELECT u.id::uuid AS id, u.user_id, u.import_id::uuid AS import_id, u.place
    FROM   unnest($1::text[], $2::bigint[], $3::text[]) WITH ORDINALITY AS u (id, user_id, import_id, place)
), found AS MATERIALIZED (
    SELECT input.*, i.id IS NOT NULL AS is_there, coalesce(j.state NOT IN ('queued', 'processing'), false) AS has_ended,
           EXISTS (SELECT FROM import_undos AS other
                   WHERE  other.user_id = i.user_id AND other.import_id = i.id AND NOT other.is_ended) AS is_under_way
    FROM   input
           LEFT JOIN imports AS i ON i.id = input.import_id AND i.user_id = input.user_id
           LEFT JOIN jobs    AS j ON j.id = i.id
), begun AS (
    INSERT INTO import_undos (id, user_id, import_id)
    SELECT id, user_id, import_id FROM found WHERE has_ended AND NOT is_under_way
)
SELECT is_there, has_ended, is_under_way FROM found ORDER BY place
"""


async def begin_undos(connection: Connection, orders: Sequence[Operation[UndoImport]]) -> list[Effect]:
    """Begins to take back the named imports; their jobs' rows are still to be written, by the same transaction."""
    rows = await connection.fetch(
        _BEGIN,
        [order.job_id for order in orders],
        [order.user_id for order in orders],
        [order.payload["id"] for order in orders],
    )
    return [_begun(row["is_there"], row["has_ended"], row["is_under_way"]) for row in rows]


def _begun(is_there: bool, has_ended: bool, is_under_way: bool) -> Effect:
    if not is_there:
        return Effect.rejected("not-found", "There is no such import.")
    if not has_ended:
        return Effect.rejected("not-ready", "The import has not ended: cancel it first, or wait for its end.")
    if is_under_way:
        return Effect.rejected("not-ready", "The import is being taken back already.")
    return Effect(BEGUN)


@dataclass(frozen=True, slots=True)
class ClaimedUndo:
    """An import that a worker may take back until its lease lapses.

    Attributes:
        owner: of the lease.
        attempts: how often it was claimed since its last progress, this time included.
    """

    id: str
    owner: str
    user_id: int
    import_id: str
    attempts: int


# Of a user one runs at a time; whoever was served least recently is the first.
_WAITING = """
    SELECT u.id
    FROM   import_undos AS u JOIN jobs AS j USING (id)
    WHERE  NOT u.is_ended
    AND    j.state IN ('queued', 'processing')
    AND    (u.lease_until IS NULL OR u.lease_until < now())
    AND    NOT EXISTS (SELECT FROM import_undos AS other
                       WHERE  other.user_id = u.user_id
                       AND    other.id <> u.id
                       AND    NOT other.is_ended
                       AND    other.lease_owner IS NOT NULL
                       AND    other.lease_until > now())
    ORDER  BY u.turn_at, u.id
"""

_CLAIM = f"""
WITH next AS MATERIALIZED (
    {_WAITING}
    LIMIT  1
    FOR    UPDATE OF u SKIP LOCKED
), claimed AS (
    UPDATE import_undos AS u
    SET    lease_owner = $1, lease_until = now() + make_interval(secs => $2), attempts = u.attempts + 1,
           turn_at = now()
    FROM   next
    WHERE  u.id = next.id
    RETURNING u.*
), begun AS (
    UPDATE jobs AS j
    SET    state = 'processing', started_at = coalesce(j.started_at, now())
    FROM   claimed
    WHERE  j.id = claimed.id
    AND    j.state = 'queued'
)
SELECT id::text, user_id, import_id::text, attempts FROM claimed
"""  # noqa: S608

_RELEASE = """
UPDATE import_undos
SET    lease_owner = NULL, lease_until = now(), attempts = greatest(attempts - 1, 0), turn_at = now()
WHERE  id = $1::text::uuid
AND    lease_owner = $2
"""


async def undos_wait(pool: Pool) -> bool:
    """Whether there is an import that `claim_undo` would give."""
    return await pool.fetchval(f"SELECT EXISTS ({_WAITING})") is True


async def claim_undo(pool: Pool, owner: str) -> ClaimedUndo | None:
    """Takes the order that has waited longest: new, released, or left by a dead worker; None: there is none."""
    async with pool.acquire() as connection, locked(connection, Lock.import_claims):
        row = await connection.fetchrow(_CLAIM, owner, LEASE_SECONDS)
    return None if row is None else ClaimedUndo(row["id"], owner, row["user_id"], row["import_id"], row["attempts"])


async def release_undo(pool: Pool, claim: ClaimedUndo) -> None:
    """Gives the place to others: the order is claimed again when its turn has come."""
    await pool.execute(_RELEASE, claim.id, claim.owner)


_ALWAYS_BY_INDEX = "SET LOCAL enable_seqscan = off"

_NEXT = """
SELECT rows_read, task_ids[:$2] AS task_ids
FROM   imported_chunks
WHERE  import_id = $1::text::uuid
ORDER  BY rows_read
LIMIT  1
FOR    UPDATE
"""

_DELETE = "DELETE FROM tasks WHERE user_id = $1 AND id = ANY ($2::bigint[]) AND version = 1"

_COUNT_LEFT = "SELECT count(*) FROM tasks WHERE user_id = $1 AND id = ANY ($2::bigint[])"

_SHORTEN = """
UPDATE imported_chunks SET task_ids = task_ids[$3 + 1:] WHERE import_id = $1::text::uuid AND rows_read = $2
"""

_DROP_EMPTY = "DELETE FROM imported_chunks WHERE import_id = $1::text::uuid AND rows_read = $2 AND task_ids = '{}'"

# The fence: nothing of it stays unless the work is still ours.
_PROGRESS = """
WITH counted AS (
    UPDATE import_undos
    SET    deleted = deleted + $3, changed = changed + $4, gone = gone + $5, attempts = 0,
           lease_until = now() + make_interval(secs => $6)
    WHERE  id = $1::text::uuid
    AND    lease_owner = $2
    RETURNING id, deleted + changed + gone AS done
)
UPDATE jobs AS j
SET    progress = row_to_json(passed)
FROM   counted, LATERAL (SELECT counted.done, NULL::bigint AS total, 0 AS failed) AS passed
WHERE  j.id = counted.id
"""


async def take_back(pool: Pool, claim: ClaimedUndo) -> bool:
    """Deletes those of the next tasks that nobody has changed; False: there were none left to look at.

    A task is judged in the statement that deletes it: a change that is made meanwhile is waited for, and counts.

    Raises:
        LeaseLost: somebody else goes on with it; nothing was deleted.
    """
    async with (
        pool.acquire() as connection,
        locked(connection, Lock.import_chunks, number_of(claim.user_id)),
    ):
        found = await connection.fetchrow(_NEXT, claim.import_id, TASKS_AT_ONCE)
        if found is None:
            return False
        ids = found["task_ids"]
        await connection.execute(_ALWAYS_BY_INDEX)
        deleted = int((await connection.execute(_DELETE, claim.user_id, ids)).rpartition(" ")[2])
        changed = await connection.fetchval(_COUNT_LEFT, claim.user_id, ids)
        await connection.execute(_SHORTEN, claim.import_id, found["rows_read"], len(ids))
        await connection.execute(_DROP_EMPTY, claim.import_id, found["rows_read"])
        counts = (deleted, changed, len(ids) - deleted - changed)
        if await connection.execute(_PROGRESS, claim.id, claim.owner, *counts, LEASE_SECONDS) != "UPDATE 1":
            raise LeaseLost
    return True


_END = """
WITH done AS (
    UPDATE import_undos
    SET    is_ended = true, lease_owner = NULL, lease_until = NULL
    WHERE  id = $1::text::uuid
    AND    lease_owner = $2
    RETURNING *
)
UPDATE jobs AS j
SET    state = $3, status_code = $4, error = $5::text::json, finished_at = clock_timestamp(),
       result = CASE WHEN $5::text IS NULL THEN row_to_json(counted) END, progress = row_to_json(passed)
FROM   done LEFT JOIN imports AS i ON i.id = done.import_id,
       LATERAL (SELECT done.import_id, done.deleted, done.changed, done.gone,
                       coalesce(i.rows_updated, 0) AS updated) AS counted,
       LATERAL (SELECT done.deleted + done.changed + done.gone AS done,
                       CASE WHEN $5::text IS NULL THEN done.deleted + done.changed + done.gone END AS total,
                       0 AS failed) AS passed
WHERE  j.id = done.id
AND    j.state IN ('queued', 'processing')
"""

_IS_KEPT = "SELECT EXISTS (SELECT FROM imports WHERE id = $1::text::uuid)"


async def finish_undo(pool: Pool, claim: ClaimedUndo) -> None:
    """Every task that the import has made was looked at, unless the import is not kept any more."""
    if await pool.fetchval(_IS_KEPT, claim.import_id):
        await pool.execute(_END, claim.id, claim.owner, "succeeded", 200, None)
    else:
        await fail_undo(pool, claim, "not-found", "The import is not kept any more: what is left of it stays.")


async def fail_undo(pool: Pool, claim: ClaimedUndo, name: str, detail: str) -> None:
    """The work ends with a problem of a kind in `REJECTIONS`; what was taken back stays so."""
    content = problem(name, detail)
    await pool.execute(_END, claim.id, claim.owner, "failed", content["status"], orjson.dumps(content).decode())

"""What commands do to exports.

Whoever touches both rows of an export locks `exports` first and `jobs` second.
"""

import itertools
from collections.abc import Sequence

import orjson

from core.authority import current_admins, forbidden
from core.commands.effects import Effect
from core.commands.kinds import BeginExport, CancelExport, Operation
from core.database.pools import Connection
from core.jobs.outcomes import BEGUN

_CREATE = """
INSERT INTO exports (id, user_id, format, filters, all_users, bom)
SELECT e.id::uuid, e.user_id, e.format, e.filters::json, e.all_users, e.bom
FROM   unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::boolean[], $6::boolean[])
       AS e (id, user_id, format, filters, all_users, bom)
"""

# A file is given up by letting it expire now; maintenance deletes it.
_CANCEL = """
WITH input AS MATERIALIZED (
    SELECT c.id::uuid AS id, c.user_id, c.with_file, c.place
    FROM   unnest($1::text[], $2::bigint[], $3::boolean[]) WITH ORDINALITY AS c (id, user_id, with_file, place)
), locked AS MATERIALIZED (
    SELECT e.id, e.expires_at, input.with_file
    FROM   exports AS e JOIN input USING (id, user_id)
    FOR    UPDATE OF e
), ended AS (
    UPDATE exports AS e
    SET    expires_at = now(), lease_owner = NULL, lease_until = NULL
    FROM   locked
    WHERE  e.id = locked.id
    AND    (locked.expires_at IS NULL OR locked.with_file AND locked.expires_at > now())
    RETURNING e.id
), cancelled AS (
    UPDATE jobs AS j
    SET    state = 'cancelled', finished_at = clock_timestamp()
    FROM   ended
    WHERE  j.id = ended.id
    AND    j.state IN ('queued', 'processing')
)
SELECT ended.id IS NOT NULL AS is_ended, before.state
FROM   input
       LEFT JOIN ended          ON ended.id = input.id
       LEFT JOIN jobs AS before ON before.id = input.id AND before.user_id = input.user_id AND before.kind = 'export'
ORDER  BY input.place
"""


async def create_exports(connection: Connection, creations: Sequence[Operation[BeginExport]]) -> list[Effect]:
    """Begins one export for each of `creations`; their jobs' rows are still to be written, by the same transaction.

    Args:
        connection: in a transaction.
        creations: those of everybody's tasks are refused unless their users are admins now.
    """
    admins = await current_admins(connection, [one.user_id for one in creations if one.payload["all_users"]])
    are_allowed = [not one.payload["all_users"] or one.user_id in admins for one in creations]
    begun = list(itertools.compress(creations, are_allowed))
    await connection.execute(
        _CREATE,
        [creation.job_id for creation in begun],
        [creation.user_id for creation in begun],
        [creation.payload["format"] for creation in begun],
        [orjson.dumps(creation.payload["filters"]).decode() for creation in begun],
        [creation.payload["all_users"] for creation in begun],
        [creation.payload.get("bom", False) for creation in begun],
    )
    return [Effect(BEGUN) if is_allowed else forbidden() for is_allowed in are_allowed]


async def cancel_exports(connection: Connection, cancellations: Sequence[Operation[CancelExport]]) -> list[Effect]:
    """Ends each named export; `connection` is in a transaction."""
    rows = await connection.fetch(
        _CANCEL,
        [cancellation.payload["id"] for cancellation in cancellations],
        [cancellation.user_id for cancellation in cancellations],
        [cancellation.payload.get("with_file", False) for cancellation in cancellations],
    )
    return [_cancelled(row["is_ended"], row["state"]) for row in rows]


def _cancelled(is_ended: bool, state: str | None) -> Effect:
    if is_ended:
        return Effect(204)
    if state is None:
        return Effect.rejected("not-found", "There is no such export.")
    return Effect.rejected("job-not-cancellable", "The export has ended already.")

"""Writes of imports: what their commands do.

Whoever touches both rows of an import locks `imports` first and `jobs` second.
"""

from collections.abc import Sequence

import orjson

from core.commands.effects import Effect
from core.commands.kinds import BeginImport, CancelImport, Operation
from core.database.pools import Connection
from core.jobs.outcomes import BEGUN

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


async def create_imports(connection: Connection, creations: Sequence[Operation[BeginImport]]) -> list[Effect]:
    """Begins one import for each of `creations`; their jobs' rows are still to be written, by the same transaction."""
    await connection.execute(
        _CREATE,
        [creation.job_id for creation in creations],
        [creation.user_id for creation in creations],
        [creation.payload["format"] for creation in creations],
        [creation.payload["filename"] for creation in creations],
        [creation.payload["dry_run"] for creation in creations],
        [orjson.dumps(creation.payload["options"]).decode() for creation in creations],
        [creation.payload["object"] for creation in creations],
        [creation.payload["digest"] for creation in creations],
        [creation.payload["bytes"] for creation in creations],
    )
    return [Effect(BEGUN) for _ in creations]


async def cancel_imports(connection: Connection, cancellations: Sequence[Operation[CancelImport]]) -> list[Effect]:
    """Ends each named import; a chunk that is being written ends without effect. `connection` is in a transaction."""
    rows = await connection.fetch(
        _CANCEL,
        [cancellation.payload["id"] for cancellation in cancellations],
        [cancellation.user_id for cancellation in cancellations],
    )
    return [_cancelled(row["is_there"], row["is_ended"]) for row in rows]


def _cancelled(is_there: bool, is_ended: bool) -> Effect:
    if is_ended:
        return Effect(204)
    if not is_there:
        return Effect.rejected("not-found", "There is no such import.")
    return Effect.rejected("job-not-cancellable", "The import has ended already.")

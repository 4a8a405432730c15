"""Writes of jobs: the rows of commands that were carried out, and their end."""

from collections.abc import Sequence

import orjson

from core.commands.effects import Effect
from core.commands.wire import Command
from core.database.pools import Connection, Pool
from core.database.transactions import delete_in_chunks
from core.jobs.outcomes import BEGUN, state_of

_RECORD = """
INSERT INTO jobs (id, user_id, kind, state, status_code, task_id, result, error, fingerprint, request_id,
                  created_at, started_at, finished_at)
SELECT j.id::uuid, j.user_id, j.kind, j.state, j.status_code, j.task_id, j.result::json, j.error::json,
       j.fingerprint, j.request_id, j.created_at::timestamptz,
       CASE WHEN j.state <> 'queued' THEN now() END, CASE WHEN j.state <> 'queued' THEN clock_timestamp() END
FROM   unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::smallint[], $6::bigint[], $7::text[], $8::text[],
              $9::text[], $10::text[], $11::text[])
       AS j (id, user_id, kind, state, status_code, task_id, result, error, fingerprint, request_id, created_at)
ON CONFLICT (id) DO NOTHING
"""

_PURGE = """
DELETE FROM jobs
WHERE  ctid = ANY (ARRAY(
    SELECT ctid FROM jobs WHERE created_at < now() - make_interval(hours => $1)
    AND    kind <> 'export'
    AND    state IN ('succeeded', 'rejected', 'failed', 'cancelled') LIMIT $2
))
"""


async def record_jobs(connection: Connection, done: Sequence[tuple[Command, Effect]]) -> int:
    """Writes the job rows of commands, in the transaction of their effects.

    Returns:
        How many rows were new; fewer than `done` means that a command had been carried out before, and that
        the transaction must be rolled back.
    """
    commands = [command for command, _ in done]
    effects = [effect for _, effect in done]
    status = await connection.execute(
        _RECORD,
        [c.id for c in commands],
        [c.user_id for c in commands],
        [c.kind for c in commands],
        [state_of(e) for e in effects],
        [None if e.status_code == BEGUN else e.status_code for e in effects],
        [e.task_id for e in effects],
        [None if e.status_code == BEGUN else e.result for e in effects],
        [None if e.error is None else orjson.dumps(e.error).decode() for e in effects],
        [c.fingerprint for c in commands],
        [c.request_id for c in commands],
        [c.created_at for c in commands],
    )
    return int(status.rpartition(" ")[2])


async def purge_jobs(pool: Pool, *, retention_hours: int, chunk: int = 5000) -> int:
    """Deletes finished jobs past their retention, `chunk` rows a transaction; returns how many.

    Exports are not among them: they are told of for longer than their files are kept.
    """
    return await delete_in_chunks(pool, _PURGE, retention_hours, chunk=chunk)

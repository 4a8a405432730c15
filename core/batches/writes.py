"""Writes of what the slices of a large batch came to, and their end."""

from core.batches.queries import Slice
from core.database.pools import Connection, Pool
from core.database.transactions import delete_in_chunks

_RECORD = """
INSERT INTO batch_slices (job_id, position, operations, results) VALUES ($1::text::uuid, $2, $3, $4)
ON CONFLICT (job_id, position) DO NOTHING
"""

_FORGET = "DELETE FROM batch_slices WHERE job_id = $1::text::uuid"
_PURGE = """
DELETE FROM batch_slices
WHERE  ctid = ANY (ARRAY(SELECT ctid FROM batch_slices AS s
                         WHERE  s.created_at < now() - make_interval(hours => $1)
                         AND    EXISTS (SELECT FROM jobs WHERE id = s.job_id) LIMIT $2))
"""


async def record_slice(connection: Connection, job_id: str, done: Slice) -> bool:
    """Writes a slice's row, in the transaction of its operations; False: they were carried out before."""
    status = await connection.execute(_RECORD, job_id, done.position, done.operations, done.results)
    return bool(status == "INSERT 0 1")


async def forget_slices(connection: Connection, job_id: str) -> None:
    """Removes the slices of a batch whose job's row is written in the same transaction."""
    await connection.execute(_FORGET, job_id)


async def purge_slices(pool: Pool, *, retention_hours: int, chunk: int = 1000) -> int:
    """Deletes what is left of batches that were ended from outside, past the retention of jobs; returns how many."""
    return await delete_in_chunks(pool, _PURGE, retention_hours, chunk=chunk)

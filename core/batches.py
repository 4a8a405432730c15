"""What the slices of a large batch came to, until the last one is done and the job's row holds all of it.

A batch is no transaction: each operation has its own fate. So it is carried out in slices, each a transaction that also
writes a row here. Whoever carries on after a worker has died begins behind the last slice.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import UUID

from core.database.pools import Connection, Pool
from core.database.schema import metadata
from core.database.transactions import delete_in_chunks

batch_slices = sa.Table(
    "batch_slices",
    metadata,
    sa.Column("job_id", UUID, nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("operations", sa.Integer, nullable=False),
    sa.Column("results", sa.Text, nullable=False),
    sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.PrimaryKeyConstraint("job_id", "position"),
    sa.Index(
        "batch_slices_created_at_idx", "created_at", postgresql_using="brin", postgresql_with={"autosummarize": "on"}
    ),
)


@dataclass(frozen=True, slots=True)
class Slice:
    """Some operations of a batch that were carried out.

    Attributes:
        position: of the first one in the batch.
        operations: how many.
        results: theirs, as finished JSON with commas between them.
    """

    position: int
    operations: int
    results: str


_STORED = """
SELECT job_id::text, position, operations, results
FROM   batch_slices
WHERE  job_id = ANY ($1::text[]::uuid[])
ORDER  BY job_id, position
"""
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


async def stored_slices(connection: Connection, job_ids: Sequence[str]) -> dict[str, list[Slice]]:
    """Job id → its slices in their order, of those batches that were begun and not finished."""
    found: dict[str, list[Slice]] = {}
    for row in await connection.fetch(_STORED, job_ids):
        found.setdefault(row["job_id"], []).append(Slice(row["position"], row["operations"], row["results"]))
    return found


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

"""Reads of what the slices of a large batch came to."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.database.pools import Connection


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


async def stored_slices(connection: Connection, job_ids: Sequence[str]) -> dict[str, list[Slice]]:
    """Job id → its slices in their order, of those batches that were begun and not finished."""
    found: dict[str, list[Slice]] = {}
    for row in await connection.fetch(_STORED, job_ids):
        found.setdefault(row["job_id"], []).append(Slice(row["position"], row["operations"], row["results"]))
    return found

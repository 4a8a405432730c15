"""Which imports wait: for a worker, or for being cleaned up after; read with the rights of workers."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.database.pools import Pool

# Least recently served first; of a user's imports one runs at a time. A released import may have to pause: it then
# has a lease that nobody owns.
WAITING = """
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
"""SQL: the imports that a worker may claim, in the order of their turns."""


async def imports_wait(pool: Pool) -> bool:
    """Whether there is an import that `claim_import` would give."""
    return await pool.fetchval(f"SELECT EXISTS ({WAITING})") is True


_ENDED = """
SELECT i.id::text, i.user_id, i.object, i.dry_run
FROM   imports AS i JOIN jobs AS j USING (id)
WHERE  i.object IS NOT NULL
AND    j.state NOT IN ('queued', 'processing')
LIMIT  $1
"""

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

"""What users have of what takes room or others' time."""

from dataclasses import dataclass

from core.database.read_pool import ReadPool
from core.database.reads import fetch_row
from core.identity import ME, MY_ID

# An import whose job has no row yet was begun by this very transaction. A file that was given up takes room until it
# has been deleted.
FILES = """
    (SELECT count(*) FROM exports AS e WHERE e.user_id = u.user_id AND e.expires_at IS NULL)
    + (SELECT count(*) FROM imports AS i LEFT JOIN jobs AS j USING (id)
       WHERE  i.user_id = u.user_id AND i.object IS NOT NULL
       AND    (j.state IS NULL OR j.state IN ('queued', 'processing'))) AS waiting_jobs,
    (SELECT count(*) FROM exports AS e
     WHERE  e.user_id = u.user_id AND (e.object IS NOT NULL OR e.expires_at IS NULL)
     AND    (e.expires_at IS NULL OR e.expires_at > now())) AS exports_kept,
    (SELECT coalesce(sum(e.bytes), 0) FROM exports AS e
     WHERE  e.user_id = u.user_id AND (e.object IS NOT NULL OR e.expires_at IS NULL)
     AND    e.id IS DISTINCT FROM $2::text::uuid)
    + (SELECT coalesce(sum(i.bytes), 0) FROM imports AS i
       WHERE  i.user_id = u.user_id AND i.object IS NOT NULL) AS stored_bytes
"""
"""SQL: what the user in a row `u` has; the export `$2` (null: none) is not counted among the bytes."""

_OWN = f"""
SELECT held.*
FROM   {ME},
       LATERAL (SELECT {FILES} FROM (SELECT {MY_ID} AS user_id) AS u LIMIT 1) AS held
"""  # noqa: S608


@dataclass(slots=True)
class Held:
    """What a user has of long work and its files."""

    waiting_jobs: int
    exports_kept: int
    stored_bytes: int


async def read_held(pool: ReadPool, user_id: int) -> Held:
    """What the caller has, for a refusal before anything is sent; the worker checks again.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    row = await fetch_row(pool, _OWN, pool.identities.user(user_id), None)
    assert row is not None, "sums and counts always give a row"
    return Held(row["waiting_jobs"], row["exports_kept"], int(row["stored_bytes"]))

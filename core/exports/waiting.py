"""Which exports wait: for a worker, or for the end of their files; read with the rights of workers."""

from core.database.pools import Pool

# An export may be cancelled in the very batch that began it, before it has a job's row. It is found here, to end its
# job.
WAITING = """
    SELECT e.id
    FROM   exports AS e JOIN jobs AS j USING (id)
    WHERE  (e.expires_at IS NULL OR e.attempts = 0)
    AND    (j.state = 'queued' OR j.state = 'processing' AND e.lease_until < now())
    AND    NOT EXISTS (SELECT FROM exports AS other
                       WHERE  other.user_id = e.user_id
                       AND    other.id <> e.id
                       AND    other.expires_at IS NULL
                       AND    other.lease_until > now())
    ORDER  BY e.turn_at NULLS FIRST, j.created_at, e.id
"""
"""SQL: the exports that a worker may claim, in the order of their turns."""


async def exports_wait(pool: Pool) -> bool:
    """Whether there is an export that `claim_export` would give."""
    return await pool.fetchval(f"SELECT EXISTS ({WAITING})") is True


_EXPIRED = """
SELECT id::text, object FROM exports WHERE object IS NOT NULL AND expires_at <= now() LIMIT $1
"""


async def expired_files(pool: Pool, *, limit: int) -> dict[str, str]:
    """Export → the name of its file, for files whose time is over."""
    rows = await pool.fetch(_EXPIRED, limit)
    return {row["id"]: row["object"] for row in rows}

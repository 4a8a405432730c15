"""Reads of lanes as PostgreSQL has them."""

from core.database.pools import Pool


async def lane_claims(pool: Pool) -> dict[str, str]:
    """Lane → who claimed it last (host, process)."""
    return {row["name"]: row["claimed_by"] for row in await pool.fetch("SELECT name, claimed_by FROM lanes")}

"""Partitions of `tasks`: ranges of ids, made ahead of time."""

from core.database import Pool


async def ensure_partitions(pool: Pool, *, years_ahead: int) -> int:
    """Makes what is missing of the partitions for this year and the next `years_ahead`; returns how many."""
    return int(await pool.fetchval("SELECT ensure_task_partitions($1)", years_ahead))

"""Makes partitions of `tasks` ahead of time, and detaches and attaches them."""

from datetime import date
from typing import Literal

import asyncpg

from core.database.pools import Pool

Fate = Literal["done", "done already", "unknown", "in use", "overlaps", "does not fit"]
"""What became of an order about a partition; all but the first say why nothing was done."""

# Attaching looks at every row once.
LONGEST_ATTACH_SECONDS = 6 * 3600.0


async def ensure_partitions(pool: Pool, *, ahead: int, interval: str = "year") -> int:
    """Makes what is missing of the partitions for now and the next `ahead` intervals; returns how many.

    Raises:
        Exception: a transient fault; locks that are not to be had at once are given up, so that nobody waits for long.
    """
    return int(await pool.fetchval("SELECT ensure_task_partitions($1, $2)", ahead, interval))


async def create_partition(pool: Pool, lower: date, upper: date) -> Fate:
    """Makes the partition for the days from `lower` to before `upper`, in UTC; the same exceptions."""
    sql = "SELECT create_task_partition($1::date::timestamp AT TIME ZONE 'UTC', $2::date::timestamp AT TIME ZONE 'UTC')"
    fate: Fate = await pool.fetchval(sql, lower, upper)
    return fate


async def detach_partition(pool: Pool, name: str) -> Fate:
    """Takes a partition out of `tasks`; its table stays, with its rows. The same exceptions."""
    fate: Fate = await pool.fetchval("SELECT detach_task_partition($1)", name)
    return fate


async def attach_partition(pool: Pool, name: str) -> Fate:
    """Puts a detached partition back; the same exceptions."""
    fate: Fate = await pool.fetchval("SELECT attach_task_partition($1)", name, timeout=LONGEST_ATTACH_SECONDS)
    return fate


def is_missing_partition(error: BaseException) -> bool:
    """Whether a task could not be written because no partition is for its id."""
    # The state is that of a violated check, and the text is in the server's language; but every check has a name.
    return (
        isinstance(error, asyncpg.CheckViolationError)
        and error.constraint_name is None
        and error.table_name is not None
        and error.table_name.startswith("tasks")
    )

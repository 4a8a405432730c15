"""Partitions of `tasks`: ranges of ids, which carry the time of their making; made ahead of time, detached when old."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal

import asyncpg

from core.database import AnyPool, Pool, fetch_row, fetch_rows

Fate = Literal["done", "done already", "unknown", "in use", "overlaps", "does not fit"]
"""What became of an order about a partition; all but the first say why nothing was done."""

EARLIEST = date(2020, 1, 1)
LATEST = date(2089, 1, 1)
"""Where ids begin, and where they no longer fit in 53 bits."""

# Attaching looks at every row once.
LONGEST_ATTACH_SECONDS = 6 * 3600.0

_COLUMNS = """
    name, lower AS "from", upper AS "to", is_attached AS attached,
    lower <= now() AND now() < upper AND is_attached AS current, rows, bytes
"""

_LIST = f"""
SELECT coalesce(json_agg(p ORDER BY p."from", p.name), '[]')::text
FROM   (SELECT {_COLUMNS} FROM task_partitions) AS p
"""  # noqa: S608

_BOUNDS = "SELECT name, lower, upper, is_attached FROM task_partitions ORDER BY lower, name"


@dataclass(frozen=True, slots=True)
class Partition:
    """A range of time whose tasks lie together; `upper` is not in it."""

    name: str
    lower: datetime
    upper: datetime
    is_attached: bool


async def list_partitions(pool: AnyPool) -> str:
    """All partitions, the detached ones too, as a JSON array; rows are PostgreSQL's estimates.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    row = await fetch_row(pool, _LIST)
    assert row is not None, "an aggregate has a row"
    return str(row[0])


async def partition_bounds(pool: AnyPool) -> list[Partition]:
    """All partitions, the detached ones too, in the order of time.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    return [Partition(*row.values()) for row in await fetch_rows(pool, _BOUNDS)]


def time_left(partitions: Sequence[Partition], now: datetime) -> timedelta:
    """For how long from now every new task finds a partition; 0: there is none for it now."""
    reached = now
    for partition in sorted(partitions, key=lambda partition: partition.lower):
        if partition.is_attached and partition.lower <= reached < partition.upper:
            reached = partition.upper
    return reached - now


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

"""Which partitions `tasks` has: ranges of ids, which carry the time of their making."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from core.database.pools import AnyPool
from core.database.reads import fetch_row, fetch_rows

EARLIEST = date(2020, 1, 1)
LATEST = date(2089, 1, 1)
"""Where ids begin, and where they no longer fit in 53 bits."""

_COLUMNS = """
    name, json_moment(lower)::json AS "from", json_moment(upper)::json AS "to", is_attached AS attached,
    lower <= now() AND now() < upper AND is_attached AS current, rows, bytes
"""

_LIST = f"""
SELECT '[' || coalesce(string_agg(row_to_json(p)::text, ',' ORDER BY p."from"::text, p.name), '') || ']'
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

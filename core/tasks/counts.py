"""How many tasks there are: exactly up to a bound, which bounds the cost, and above it as PostgreSQL expects."""

from dataclasses import dataclass
from typing import Any

import orjson

from core.database.read_pool import ReadPool
from core.database.reads import fetch_row
from core.identity import ME
from core.tasks.queries import Caller, TaskFilter, visible_tasks

EXACT_UP_TO = 10_000


@dataclass(frozen=True, slots=True)
class TaskCount:
    """How many tasks, and whether that is an estimate."""

    count: int
    estimated: bool


async def count_tasks(pool: ReadPool, caller: Caller, task_filter: TaskFilter) -> TaskCount:
    """How many tasks the caller would find in a list with this filter.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    source, conditions = visible_tasks(task_filter, all_users=caller.is_admin)
    narrowing, values = task_filter.conditions(first=2)
    sql = f"""
        SELECT count(*) AS count
        FROM   {ME},
               LATERAL (SELECT 1
                        FROM   {source} AS t
                        WHERE  {" AND ".join(conditions + narrowing)}
                        LIMIT  {EXACT_UP_TO + 1:d}) AS found
    """  # noqa: S608 - made of this package's own text; what clients send are parameters
    row = await fetch_row(pool, sql, caller.identity(pool), *values)
    assert row is not None, "an aggregate always gives a row"
    if row["count"] <= EXACT_UP_TO:
        return TaskCount(row["count"], estimated=False)
    return TaskCount(max(EXACT_UP_TO + 1, await _expected(pool, caller, task_filter)), estimated=True)


_ALL = "EXPLAIN (FORMAT JSON) SELECT 1 FROM tasks"

_KNOWN = """
SELECT sum(greatest(partition.reltuples, 0))::float8 AS rows
FROM   pg_class AS partition JOIN pg_inherits ON inhrelid = partition.oid
WHERE  inhparent = 'tasks'::regclass
"""


async def _expected(pool: ReadPool, caller: Caller, task_filter: TaskFilter) -> int:
    """What the statistics say of the tasks that the caller may see: nothing is read but them.

    PostgreSQL takes the policy for a filter that many rows do not pass, though each row of the caller passes it. How
    many it leaves out shows in what is expected of the whole table, and is made up for.
    """
    narrowing, values = task_filter.conditions(first=1)
    if not caller.is_admin:
        narrowing.append(f"t.user_id = ${len(values) + 1}::bigint")
        values.append(caller.user_id)
    elif task_filter.user_id is None:
        narrowing.append("t.user_id > 0")
    wanted = f"EXPLAIN (FORMAT JSON) SELECT 1 FROM tasks AS t WHERE {' AND '.join(narrowing)}"  # noqa: S608
    expected, of_all = await _planned_rows(pool, wanted, *values), await _planned_rows(pool, _ALL)
    known = await fetch_row(pool, _KNOWN)
    rows: float = (known and known["rows"]) or of_all
    return round(expected * rows / of_all)


async def _planned_rows(pool: ReadPool, explain: str, *values: Any) -> float:
    row = await fetch_row(pool, explain, *values)
    assert row is not None, "a plan is one text"
    return float(orjson.loads(row[0])[0]["Plan"]["Plan Rows"])

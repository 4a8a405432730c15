"""Reads of tasks: one statement, one round trip, the identity inside it, and JSON text out of PostgreSQL.

The caller's identity is set in the FROM clause. The sub-query depends on it, so it is set before a row is looked at,
and row-level security holds even behind a transaction pooler. Every such sub-query has a LIMIT: without one PostgreSQL
may pull it up into the join and scan the table before the identity is set, and then nothing is seen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from functools import lru_cache
from typing import Any
from unicodedata import normalize

from core.database.faults import is_data_fault
from core.database.pools import Connection
from core.database.read_pool import ReadPool
from core.database.reads import fetch_row
from core.errors import AnchorGone, CursorInvalid
from core.identity import ME, MY_ID
from core.pagination import DAMAGED, decode_cursor, encode_cursor, scope_digest
from core.tasks.fields import OPEN_STATUSES
from core.tasks.search import pattern_of
from core.tasks.values import is_day


@dataclass(frozen=True, slots=True)
class Sort:
    """An order made total by the id.

    Attributes:
        key: the SQL expression before the id; None where the id alone orders.
        kind: of the key in a cursor.
        cast: the SQL type of the key's parameter.
        descending: both the key and the id.
    """

    key: str | None = None
    kind: type = int
    cast: str = "bigint"
    descending: bool = False


_MOMENT: dict[str, Any] = {"kind": datetime, "cast": "text::timestamptz"}

SORTS: dict[str, Sort] = {
    "id": Sort(),
    "-id": Sort(descending=True),
    "priority": Sort("t.priority", cast="smallint"),
    "-priority": Sort("t.priority", cast="smallint", descending=True),
    # Tasks without a due date come last.
    "due_date": Sort("coalesce(t.due_date, 'infinity')", **_MOMENT),
    "-due_date": Sort("coalesce(t.due_date, '-infinity')", descending=True, **_MOMENT),
    "created_at": Sort("t.created_at", **_MOMENT),
    "-created_at": Sort("t.created_at", descending=True, **_MOMENT),
    "updated_at": Sort("t.updated_at", **_MOMENT),
    "-updated_at": Sort("t.updated_at", descending=True, **_MOMENT),
}


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """Which tasks; None, False or empty means no restriction."""

    user_id: int | None = None
    priority: tuple[int, ...] | None = None
    priority_min: int | None = None
    priority_max: int | None = None
    status: tuple[str, ...] | None = None
    due_before: str | None = None
    due_after: str | None = None
    overdue: bool = False
    label: tuple[str, ...] | None = None
    words: tuple[str, ...] | None = None

    @classmethod
    def from_query(cls, given: Mapping[str, Any]) -> "TaskFilter":
        """The filter of validated query parameters; other parameters are ignored."""
        named = {f.name: given[f.name] for f in fields(cls) if f.name in given}
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in named.items()
        }
        return cls(**values, words=tuple(given["q"].split()) if "q" in given else None)

    def conditions(self, *, first: int) -> tuple[list[str], list[Any]]:
        """Its conditions on `tasks AS t` in SQL, and the values of their parameters, which begin at `$first`."""
        present, values = _parameters(self)
        return _conditions(present, first), values


_UTC = "(({0})::timestamp {1} interval '16 hours') AT TIME ZONE 'UTC'"
_THERE = "(SELECT day_start({0}, known_time_zone(u.time_zone)) FROM users AS u WHERE u.id = t.user_id)"
# One condition a filter; `$n` becomes the parameter's number.
_CONDITIONS = {
    "user_id": "t.user_id = $n::bigint",
    "priority": "t.priority = ANY ($n::smallint[])",
    "priority_min": "t.priority >= $n::smallint",
    "priority_max": "t.priority <= $n::smallint",
    "status": "t.status = ANY ($n::text[])",
    "due_before": "t.due_date < $n::text::timestamptz",
    "due_after": "t.due_date > $n::text::timestamptz",
    # Before a day begins, and after it has ended, where the task's user lives. What is far from it is told first: no
    # zone is more than 16 hours away from UTC.
    "due_before_day": f"t.due_date < {_UTC.format('$n::text::date', '+')} "
    f"AND t.due_date < {_THERE.format('$n::text::date')}",
    "due_after_day": f"t.due_date >= {_UTC.format('$n::text::date + 1', '-')} "
    f"AND t.due_date >= {_THERE.format('$n::text::date + 1')}",
    "label": "t.labels && $n::text[]",
    "words": "(t.title || ' ' || coalesce(t.description, '')) ~ ALL ($n::text[])",
}
_OPEN = ", ".join(f"'{status}'" for status in OPEN_STATUSES)
_OVERDUE = f"t.due_date < now() AND t.status IN ({_OPEN})"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as row-level security knows it."""

    user_id: int
    is_admin: bool = False

    def identity(self, pool: ReadPool) -> str:
        """What tells the policies who asks: an admin's is for statements that span all users."""
        return pool.identities.admin(self.user_id) if self.is_admin else pool.identities.user(self.user_id)


@dataclass(frozen=True, slots=True)
class TaskQuery:
    """A page's worth of tasks."""

    filter: TaskFilter
    sort: str = "id"
    limit: int = 100
    cursor: str | None = None
    last_id: int | None = None


@dataclass(frozen=True, slots=True)
class TaskPage:
    """`items` is a finished JSON array; `next_cursor` is None on the last page."""

    items: str
    next_cursor: str | None


def visible_tasks(task_filter: TaskFilter, *, all_users: bool) -> tuple[str, list[str]]:
    """Where a list with this filter finds its tasks, as `t`, and on which conditions: the caller's, or all users'."""
    return _visible(_parameters(task_filter)[0], all_users)


def _visible(present: frozenset[str], all_users: bool) -> tuple[str, list[str]]:
    if not all_users:
        return "tasks", [f"t.user_id = {MY_ID}"]
    # `labelled_tasks` is a view without row-level security, under which no index finds labels.
    source = "labelled_tasks" if "label" in present else "tasks"
    conditions = ["me IS NOT NULL"]
    if "user_id" not in present:
        conditions.append("t.user_id > 0")  # lets PostgreSQL use the indexes that span all users
    return source, conditions


@lru_cache(maxsize=1024)
def _list_sql(present: frozenset[str], sort_name: str, limit: int, from_position: bool, all_users: bool) -> str:
    """The statement for one shape of list.

    The limit stands in the text. With a parameter, PostgreSQL expects a generic plan to read a tenth of the table. So
    it plans anew at each execution, and that costs more than twice what the execution does.
    """
    sort = SORTS[sort_name]
    source, conditions = _visible(present, all_users)
    task = "task_json(t)" if source == "tasks" else "t.task"
    first = 2
    narrowing = _conditions(present, first)
    conditions += narrowing
    first += len(narrowing) - ("overdue" in present)
    comparison, direction = ("<", " DESC") if sort.descending else (">", "")
    keys = ["t.id"] if sort.key is None else [sort.key, "t.id"]
    if from_position:
        marks = ["bigint"] if sort.key is None else [sort.cast, "bigint"]
        position = ", ".join(f"${first + offset}::{mark}" for offset, mark in enumerate(marks))
        conditions.append(f"({', '.join(keys)}) {comparison} ({position})")
    return f"""
        SELECT count(*) > {limit:d} AS more,
               '[' || coalesce(string_agg(page.task, ',' ORDER BY page.place) FILTER (WHERE page.place <= {limit:d}),
                               '') || ']' AS items,
               max(page.sort_key) FILTER (WHERE page.place = {limit:d}) AS last_key,
               max(page.id)       FILTER (WHERE page.place = {limit:d}) AS last_id
        FROM   {ME},
               LATERAL (
                   SELECT row_number() OVER () AS place, t.*
                   FROM   (SELECT t.id, ({keys[0]})::text AS sort_key, {task} AS task
                           FROM   {source} AS t
                           WHERE  {" AND ".join(conditions)}
                           ORDER  BY {", ".join(key + direction for key in keys)}
                           LIMIT  {limit + 1:d}) AS t
               ) AS page
    """  # noqa: S608 - made of this module's own text; what clients send are parameters


_ONE_OF_OWN = f"""
SELECT t.*
FROM   {ME},
       LATERAL (SELECT task_json(t) AS task, t.version
                FROM   tasks AS t WHERE t.user_id = {MY_ID} AND t.id = $2 LIMIT 1) AS t
"""  # noqa: S608

_ONE_OF_ALL = f"""
SELECT t.*
FROM   {ME},
       LATERAL (SELECT task_json(t) AS task, t.version
                FROM   tasks AS t WHERE t.user_id > 0 AND t.id = $2 AND me IS NOT NULL LIMIT 1) AS t
"""  # noqa: S608


async def list_tasks(pool: ReadPool, caller: Caller, query: TaskQuery) -> TaskPage:
    """A page of the tasks that the caller may see: an admin's list spans all users unless it names one.

    Raises:
        CursorInvalid: the cursor is damaged or belongs to another list.
        AnchorGone: `last_id` names a task that is not (any more) there for the caller.
        DatabaseUnavailable: the database cannot answer.
    """
    sort = SORTS[query.sort]
    scope = scope_digest(query.filter, query.sort, caller.is_admin)
    position: list[Any] = []
    if query.cursor is not None:
        kinds = (int,) if sort.key is None else (sort.kind, int)
        position = decode_cursor(query.cursor, scope, *kinds)
    elif query.last_id is not None:
        position = await _position_of(pool, caller, query.last_id, sort)
    present, values = _parameters(query.filter)
    sql = _list_sql(present, query.sort, query.limit, bool(position), caller.is_admin)
    try:
        row = await fetch_row(pool, sql, caller.identity(pool), *values, *position)
    except Exception as error:
        if position and is_data_fault(error):
            raise CursorInvalid(DAMAGED) from None  # only a cursor's values can be wrong for their types
        raise
    assert row is not None, "an aggregate always gives a row"
    next_cursor = None
    if row["more"]:
        last = [row["last_id"]]
        if sort.key is not None:
            last.insert(0, int(row["last_key"]) if sort.kind is int else row["last_key"])
        next_cursor = encode_cursor(scope, *last)
    return TaskPage(row["items"], next_cursor)


async def read_task(pool: ReadPool, caller: Caller, task_id: int) -> tuple[str, int] | None:
    """The task's JSON and version; None where it does not exist for the caller.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    row = await fetch_row(pool, _ONE_OF_ALL if caller.is_admin else _ONE_OF_OWN, caller.identity(pool), task_id)
    return None if row is None else (row["task"], row["version"])


_OWNERS = "SELECT id, user_id FROM tasks WHERE user_id > 0 AND id = ANY ($1::bigint[])"


async def owners_of_tasks(connection: Connection, task_ids: Sequence[int]) -> dict[int, int]:
    """Task id → owner, for those that exist: an admin's command names a task but not its owner."""
    rows = await connection.fetch(_OWNERS, task_ids)
    return {row["id"]: row["user_id"] for row in rows}


def _parameters(task_filter: TaskFilter) -> tuple[frozenset[str], list[Any]]:
    given = {f.name: value for f in fields(task_filter) if (value := getattr(task_filter, f.name)) not in (None, False)}
    if "words" in given:
        given["words"] = [pattern_of(word) for word in given["words"]]
    if "label" in given:
        # Those from before labels were normalised may be written apart.
        given["label"] = [normalize(form, label) for label in given["label"] for form in ("NFC", "NFD")]
    for name in ("due_before", "due_after"):
        if name in given and is_day(given[name]):
            given[f"{name}_day"] = given.pop(name)
    return frozenset(given), [given[name] for name in _CONDITIONS if name in given]


def _conditions(present: frozenset[str], first: int) -> list[str]:
    """One condition a filter, and last the one without a parameter."""
    names = [name for name in _CONDITIONS if name in present]
    conditions = [_CONDITIONS[name].replace("$n", f"${number}") for number, name in enumerate(names, first)]
    return [*conditions, _OVERDUE] if "overdue" in present else conditions


async def _position_of(pool: ReadPool, caller: Caller, task_id: int, sort: Sort) -> list[Any]:
    source = _ANCHOR_OF_ALL if caller.is_admin else _ANCHOR_OF_OWN
    row = await fetch_row(pool, source.replace("$key", sort.key or "t.id"), caller.identity(pool), task_id)
    if row is None:
        raise AnchorGone(f"There is no task {task_id} any more to start after: page with the cursor instead.")
    if sort.key is None:
        return [task_id]
    return [int(row["key"]) if sort.kind is int else row["key"], task_id]


_ANCHOR_OF_OWN = f"""
SELECT ($key)::text AS key
FROM   {ME},
       LATERAL (SELECT * FROM tasks WHERE user_id = {MY_ID} AND id = $2 LIMIT 1) AS t
"""  # noqa: S608

_ANCHOR_OF_ALL = f"""
SELECT ($key)::text AS key
FROM   {ME},
       LATERAL (SELECT * FROM tasks WHERE user_id > 0 AND id = $2 AND me IS NOT NULL LIMIT 1) AS t
"""  # noqa: S608

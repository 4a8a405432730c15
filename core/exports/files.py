"""The content of an export: PostgreSQL renders CSV and JSON and sends it while it reads. No row is held here.

A file is read in one transaction, from one snapshot.
"""

import asyncio
import codecs
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from core.database.pools import Connection, Pool
from core.exports.ical import CALENDAR_END, ICAL_COLUMNS, Calendar
from core.tasks.fields import FIELDS, Field
from core.tasks.kinds import FreeText, LabelList, Moment
from core.tasks.queries import SORTS, TaskFilter

LONGEST_EXPORT_SECONDS = 6 * 3600.0
CALENDAR_BATCH = 500

# COPY has no format for raw lines. JSON escapes control characters, so these two never occur in it, and COPY never
# quotes or escapes anything.
_RAW_QUOTE, _RAW_DELIMITER = "\x01", "\x02"

_BEGIN = """
BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY;
SET LOCAL statement_timeout = 0;
SET LOCAL transaction_timeout = 0;
SET LOCAL client_connection_check_interval = '1s';
SET LOCAL timezone = 'UTC';
SET LOCAL datestyle = 'ISO'
"""

Write = Callable[[bytes], Coroutine[Any, Any, None]]
"""Takes the next bytes of the file."""

Count = Callable[[int], None]
"""Is told how many more rows were written."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which tasks are exported, and in which order.

    Attributes:
        user_id: the owner; None: everybody's, which is for admins.
        sort: a key of `SORTS`.
    """

    user_id: int | None
    filter: TaskFilter
    sort: str = "id"

    @classmethod
    def of(cls, user_id: int | None, filters: dict[str, Any]) -> "Selection":
        return cls(user_id, TaskFilter.from_query(filters), filters.get("sort", "id"))

    def source(self) -> tuple[str, list[Any]]:
        """FROM and WHERE, and the values of the parameters.

        The owner is in the condition, because a worker's role sees all rows.
        """
        narrowing, values = self.filter.conditions(first=2 if self.user_id is not None else 1)
        if self.user_id is not None:
            return _source(["t.user_id = $1::bigint", *narrowing]), [self.user_id, *values]
        return _source(["t.user_id > 0", *narrowing]), values  # opens the indexes that span all users

    def order(self) -> str:
        sort = SORTS[self.sort]
        direction = " DESC" if sort.descending else ""
        return "ORDER BY " + ", ".join(key + direction for key in (sort.key, "t.id") if key is not None)


def _source(conditions: list[str]) -> str:
    return f"FROM tasks AS t WHERE {' AND '.join(conditions)}"


@contextlib.asynccontextmanager
async def snapshot(pool: Pool) -> AsyncIterator[Connection]:
    """A connection whose transaction sees the tables as they are now, and may last as long as an export does.

    Where the body is left in the middle, the connection is cut, and PostgreSQL notices. To end a COPY properly, asyncpg
    would wait for an answer that may have come already.
    """
    async with pool.acquire() as connection:
        try:
            await connection.execute(_BEGIN)
            yield connection
            await connection.execute("COMMIT")
        except BaseException:
            connection.terminate()
            raise


async def count_tasks(connection: Connection, selection: Selection) -> int:
    """How many tasks there are to export."""
    source, values = selection.source()
    total: int = await connection.fetchval(
        f"SELECT count(*) {source}",
        *values,
        timeout=LONGEST_EXPORT_SECONDS,
    )
    return total


async def write_file(
    connection: Connection, selection: Selection, export_format: str, write: Write, count: Count, *, bom: bool = False
) -> None:
    """Renders the selected tasks.

    Args:
        connection: in a `snapshot`.
        selection: which tasks.
        export_format: a key of `FORMATS`.
        write: gets the file's bytes, piece by piece; PostgreSQL waits for it.
        count: told of rows as they are written.
        bom: whether the file begins with a byte order mark, by which spreadsheets know UTF-8.
    """
    if bom:
        await write(codecs.BOM_UTF8)
    await _WRITERS[export_format](connection, selection, write, count)


# -- CSV ------------------------------------------------------------------------------------------------------

# A spreadsheet takes these for the beginning of a formula; an apostrophe is put in front of them: = + - @ TAB CR '
_GUARDED = "CASE WHEN ascii({0}) IN (61, 43, 45, 64, 9, 13, 39) THEN '''' || {0} ELSE {0} END"
_JOINED = r"nullif(replace(array_to_string({0}, ','), '\', '\\'), '')"  # no label holds a comma
_MOMENT = "replace(left({0}::text, -3), ' ', 'T') || 'Z'"  # without the +00 of UTC


def _cell(field: Field) -> str:
    column = f"t.{field.name}"
    match field.kind:
        case FreeText():
            return _GUARDED.format(column)
        case LabelList():
            return _GUARDED.format(f"({_JOINED.format(column)})")
        case Moment():
            return _MOMENT.format(column)
        case _:
            return column


_CSV_COLUMNS = ", ".join(f"{_cell(field)} AS {field.name}" for field in FIELDS)


class _CsvRows:
    """Counts records: ends of lines outside quotes."""

    def __init__(self, count: Count) -> None:
        self._count = count
        self._is_quoted = False
        self._header = 1

    def see(self, data: bytes) -> None:
        parts = data.split(b'"')
        rows = sum(part.count(b"\n") for part in parts[int(self._is_quoted) :: 2])
        self._is_quoted ^= len(parts) % 2 == 0
        if rows:
            self._count(rows - self._header)
            self._header = 0


async def _write_csv(connection: Connection, selection: Selection, write: Write, count: Count) -> None:
    rows = _CsvRows(count)

    async def take(data: bytes) -> None:
        rows.see(data)
        await write(data)

    source, values = selection.source()
    await connection.copy_from_query(
        f"SELECT {_CSV_COLUMNS} {source} {selection.order()}",
        *values,
        output=take,
        format="csv",
        header=True,
        timeout=LONGEST_EXPORT_SECONDS,
    )


# -- JSON -----------------------------------------------------------------------------------------------------


async def _copy_json(connection: Connection, selection: Selection, take: Write) -> None:
    """Tasks as the API answers them, each on a line."""
    source, values = selection.source()
    await connection.copy_from_query(
        f"SELECT task_json(t) {source} {selection.order()}",
        *values,
        output=take,
        format="csv",
        quote=_RAW_QUOTE,
        delimiter=_RAW_DELIMITER,
        timeout=LONGEST_EXPORT_SECONDS,
    )


async def _write_ndjson(connection: Connection, selection: Selection, write: Write, count: Count) -> None:
    async def take(data: bytes) -> None:
        count(data.count(b"\n"))
        await write(data)

    await _copy_json(connection, selection, take)


async def _write_json(connection: Connection, selection: Selection, write: Write, count: Count) -> None:
    """An array. The end of a line is held back until it is known whether another item follows."""
    before = b"[\n"

    async def take(data: bytes) -> None:
        nonlocal before
        body, end = (data[:-1], b",\n") if data.endswith(b"\n") else (data, b"")
        count(data.count(b"\n"))
        await write(before + body.replace(b"\n", b",\n"))
        before = end

    await _copy_json(connection, selection, take)
    await write(b"\n]\n" if before == b",\n" else b"[]\n")


# -- iCalendar ------------------------------------------------------------------------------------------------


async def _write_ics(connection: Connection, selection: Selection, write: Write, count: Count) -> None:
    calendar = Calendar()
    await write(calendar.start())
    source, values = selection.source()
    cursor = await connection.cursor(f"SELECT {ICAL_COLUMNS} {source} {selection.order()}", *values)
    while rows := await cursor.fetch(CALENDAR_BATCH, timeout=LONGEST_EXPORT_SECONDS):
        await write(await asyncio.to_thread(calendar.render, map(dict, rows)))
        count(len(rows))
    await write(CALENDAR_END)


_WRITERS = {"csv": _write_csv, "ndjson": _write_ndjson, "json": _write_json, "ics": _write_ics}

"""Reads of imports and of what is told of their rows: the caller's own, as finished JSON."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import orjson

from core.database.faults import is_data_fault
from core.database.read_pool import ReadPool
from core.database.reads import fetch_row, fetch_rows
from core.errors import CursorInvalid
from core.formats.failed_rows import FailedRow
from core.identity import ME, MY_ID
from core.jobs.queries import JOB_COLUMNS_JSON, JobView, ListedJob, fetch_newest_first
from core.pagination import DAMAGED

ERRORS_AT_ONCE = 1000
FAILED_AT_ONCE = 100

_IMPORT_JSON = f"""
    (SELECT row_to_json(import)::text
     FROM   (SELECT {JOB_COLUMNS_JSON}, j.format, j.filename, j.dry_run,
                    coalesce(j.options ->> 'on_conflict', 'skip') AS on_conflict, j.bytes, j.bytes_read,
                    j.rows_read AS read, j.rows_created AS created, j.rows_updated AS updated,
                    j.rows_skipped AS skipped, j.rows_failed AS failed, j.rows_warned AS warned,
                    CASE WHEN j.busy_seconds > 0 THEN round((j.rows_read / j.busy_seconds)::numeric, 1) END
                    AS rows_per_second,
                    CASE WHEN j.state = 'processing' AND j.bytes_read > 0
                         THEN ceil(j.busy_seconds * (j.bytes - j.bytes_read) / j.bytes_read) END AS eta_seconds,
                    coalesce(j.report -> 'ignored', '{{}}') AS ignored,
                    nullif((j.report -> 'mapping')::text, 'null')::json AS mapping) AS import)
"""  # noqa: S608

_JOINED = f"""
    SELECT i.format, i.filename, i.dry_run, i.options, i.bytes, i.bytes_read, i.rows_read, i.rows_created,
           i.rows_updated, i.rows_skipped, i.rows_failed, i.rows_warned, i.busy_seconds, i.report, jobs.*
    FROM   imports AS i JOIN jobs USING (id)
    WHERE  i.user_id = {MY_ID}
"""  # noqa: S608

_ONE = f"""
SELECT {_IMPORT_JSON} AS job, j.state
FROM   {ME},
       LATERAL ({_JOINED} AND i.id = $2::text::uuid LIMIT 1) AS j
"""  # noqa: S608

_LIST = f"""
SELECT j.id::text, j.created_at::text, {_IMPORT_JSON} AS job
FROM   {ME},
       LATERAL ({_JOINED}
                AND    ($2::text IS NULL OR (jobs.created_at, jobs.id) < ($2::text::timestamptz, $3::text::uuid))
                ORDER  BY jobs.created_at DESC, jobs.id DESC
                LIMIT  $4) AS j
"""  # noqa: S608

_FILE = f"""
SELECT i.format, i.columns::text, i.has_header, i.delimiter, i.frame::text, i.encoding
FROM   {ME},
       LATERAL (SELECT format, columns, report ->> 'has_header' AS has_header, report ->> 'delimiter' AS delimiter,
                       frame, options ->> 'encoding' AS encoding
                FROM   imports WHERE user_id = {MY_ID} AND id = $2::text::uuid LIMIT 1) AS i
"""  # noqa: S608

_PREVIEW = f"""
SELECT i.tasks
FROM   {ME},
       LATERAL (SELECT coalesce(array_to_json(preview)::text, '[]') AS tasks
                FROM   imports WHERE user_id = {MY_ID} AND id = $2::text::uuid LIMIT 1) AS i
"""  # noqa: S608

# A row's values are kept with the first of its errors.
_ERRORS = f"""
SELECT e.row, e.number, e."column", e.message, e."values"::text,
       (SELECT row_to_json(error)::text
        FROM   (SELECT e.row, e."column", e.message, e."values") AS error) AS error
FROM   {ME},
       LATERAL (SELECT e.row, e.number, e."column", e.message, coalesce(e."values", first."values") AS "values"
                FROM   import_errors AS e
                       LEFT JOIN import_errors AS first
                       ON  first.import_id = e.import_id AND first.row = e.row AND first.number = 1
                WHERE  e.user_id = {MY_ID}
                AND    e.import_id = $2::text::uuid
                AND    (e.row, e.number) > ($3::bigint, $4::smallint)
                ORDER  BY e.row, e.number
                LIMIT  $5) AS e
"""  # noqa: S608


_WARNINGS = f"""
SELECT w.row, w.number,
       (SELECT row_to_json(warning)::text FROM (SELECT w.row, w."column", w.message) AS warning) AS warning
FROM   {ME},
       LATERAL (SELECT row, number, "column", message
                FROM   import_warnings
                WHERE  user_id = {MY_ID}
                AND    import_id = $2::text::uuid
                AND    (row, number) > ($3::bigint, $4::smallint)
                ORDER  BY row, number
                LIMIT  $5) AS w
"""  # noqa: S608

# A row's source is kept with the first of its errors where it is more than the values; an empty one is not given back.
_FAILED = f"""
SELECT f.row, f.source, f.reasons
FROM   {ME},
       LATERAL (SELECT first.row, coalesce(first.source, first."values"::text) AS source,
                       (SELECT array_agg(coalesce(e."column" || ': ', '') || e.message ORDER BY e.number)
                        FROM   import_errors AS e
                        WHERE  e.user_id = {MY_ID} AND e.import_id = first.import_id AND e.row = first.row) AS reasons
                FROM   import_errors AS first
                WHERE  first.user_id = {MY_ID}
                AND    first.import_id = $2::text::uuid
                AND    first.number = 1
                AND    first.row > $3::bigint
                AND    coalesce(first.source, first."values"::text) <> ''
                ORDER  BY first.row
                LIMIT  $4) AS f
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class ImportedFile:
    """What is known of the file that an import reads.

    Attributes:
        format: a key of `FORMATS`.
        columns: the header of a CSV; None for other files, and before it was read.
        encoding: that the client named.
        frame: what stands before and behind its rows.
    """

    format: str
    columns: list[str] | None
    has_header: bool
    delimiter: str
    encoding: str | None
    frame: tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class ListedWarning:
    """What was replaced or left out of a row, with its place in the order."""

    body: str
    row: int
    number: int


@dataclass(frozen=True, slots=True)
class ListedError:
    """One error of a row, with its place in the order.

    Attributes:
        values: the row as it stands in the file; None where it was too large to be kept.
    """

    body: str
    row: int
    number: int
    column: str | None
    message: str
    values: Any


async def read_import(pool: ReadPool, user_id: int, import_id: str) -> JobView | None:
    """The user's own import; None where there is no row (yet).

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    row = await fetch_row(pool, _ONE, pool.identities.user(user_id), import_id)
    return None if row is None else JobView(row["job"], row["state"], "import")


async def list_imports(pool: ReadPool, user_id: int, *, after: tuple[str, str] | None, limit: int) -> list[ListedJob]:
    """The user's own imports, newest first; `after` is the place (`created_at`, `id`) of the last one seen.

    Raises:
        CursorInvalid: `after`, which comes from a cursor, is no place.
        DatabaseUnavailable: the database cannot answer.
    """
    return await fetch_newest_first(pool, _LIST, pool.identities.user(user_id), after=after, limit=limit)


async def list_errors(
    pool: ReadPool, user_id: int, import_id: str, *, after: tuple[int, int], limit: int
) -> list[ListedError]:
    """Errors of the rows of the user's own import, in the order of the file; `after` is the place (row, number).

    Raises:
        CursorInvalid: `after`, which comes from a cursor, is no place.
        DatabaseUnavailable: the database cannot answer.
    """
    try:
        rows = await fetch_rows(pool, _ERRORS, pool.identities.user(user_id), import_id, *after, limit)
    except Exception as error:
        if is_data_fault(error):
            raise CursorInvalid(DAMAGED) from None
        raise
    return [
        ListedError(
            row["error"],
            row["row"],
            row["number"],
            row["column"],
            row["message"],
            None if row["values"] is None else orjson.loads(row["values"]),
        )
        for row in rows
    ]


async def all_errors(pool: ReadPool, user_id: int, import_id: str) -> AsyncIterator[list[ListedError]]:
    """Every kept error, some at a time; those of one row may be apart.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    after = (0, 0)
    while found := await list_errors(pool, user_id, import_id, after=after, limit=ERRORS_AT_ONCE):
        yield found
        after = (found[-1].row, found[-1].number)


async def list_warnings(
    pool: ReadPool, user_id: int, import_id: str, *, after: tuple[int, int], limit: int
) -> list[ListedWarning]:
    """What was replaced or left out of rows of the user's own import, in the order of the file; else as `list_errors`.

    Raises:
        CursorInvalid: `after`, which comes from a cursor, is no place.
        DatabaseUnavailable: the database cannot answer.
    """
    try:
        rows = await fetch_rows(pool, _WARNINGS, pool.identities.user(user_id), import_id, *after, limit)
    except Exception as error:
        if is_data_fault(error):
            raise CursorInvalid(DAMAGED) from None
        raise
    return [ListedWarning(row["warning"], row["row"], row["number"]) for row in rows]


async def failed_rows(pool: ReadPool, user_id: int, import_id: str) -> AsyncIterator[list[FailedRow]]:
    """The rows that failed and can be given back, some at a time.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    after = 0
    while rows := await fetch_rows(pool, _FAILED, pool.identities.user(user_id), import_id, after, FAILED_AT_ONCE):
        yield [FailedRow(row["source"], row["reasons"]) for row in rows]
        after = rows[-1]["row"]


async def read_preview(pool: ReadPool, user_id: int, import_id: str) -> str:
    """The first tasks that come of the user's own import, as a list in JSON.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    row = await fetch_row(pool, _PREVIEW, pool.identities.user(user_id), import_id)
    return "[]" if row is None else row["tasks"]


async def read_file(pool: ReadPool, user_id: int, import_id: str) -> ImportedFile | None:
    """What is known of the file of the user's own import; None where there is no row (yet).

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    row = await fetch_row(pool, _FILE, pool.identities.user(user_id), import_id)
    if row is None:
        return None
    return ImportedFile(
        row["format"],
        None if row["columns"] is None else orjson.loads(row["columns"]),
        row["has_header"] != "false",
        row["delimiter"] or ",",
        row["encoding"],
        None if row["frame"] is None else tuple(orjson.loads(row["frame"])),
    )

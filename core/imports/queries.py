"""Reads of imports and of their row errors: the caller's own, as finished JSON."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import orjson

from core.database.faults import is_data_fault
from core.database.read_pool import ReadPool
from core.database.reads import fetch_row, fetch_rows
from core.errors import CursorInvalid
from core.identity import ME, MY_ID
from core.jobs.queries import JOB_COLUMNS_JSON, JobView, ListedJob, fetch_newest_first
from core.pagination import DAMAGED

ERRORS_AT_ONCE = 1000

_IMPORT_JSON = f"""
    (SELECT row_to_json(import)::text
     FROM   (SELECT {JOB_COLUMNS_JSON}, j.format, j.filename, j.dry_run,
                    coalesce(j.options ->> 'on_conflict', 'skip') AS on_conflict, j.bytes, j.bytes_read,
                    j.rows_read AS read, j.rows_created AS created, j.rows_updated AS updated,
                    j.rows_skipped AS skipped, j.rows_failed AS failed,
                    CASE WHEN j.busy_seconds > 0 THEN round((j.rows_read / j.busy_seconds)::numeric, 1) END
                    AS rows_per_second,
                    CASE WHEN j.state = 'processing' AND j.bytes_read > 0
                         THEN ceil(j.busy_seconds * (j.bytes - j.bytes_read) / j.bytes_read) END AS eta_seconds,
                    coalesce(j.report -> 'ignored', '{{}}') AS ignored,
                    nullif((j.report -> 'mapping')::text, 'null')::json AS mapping) AS import)
"""  # noqa: S608

_JOINED = f"""
    SELECT i.format, i.filename, i.dry_run, i.options, i.bytes, i.bytes_read, i.rows_read, i.rows_created,
           i.rows_updated, i.rows_skipped, i.rows_failed, i.busy_seconds, i.report, jobs.*
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

_COLUMNS = f"""
SELECT i.columns::text
FROM   {ME},
       LATERAL (SELECT columns FROM imports WHERE user_id = {MY_ID} AND id = $2::text::uuid LIMIT 1) AS i
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


async def columns_of(pool: ReadPool, user_id: int, import_id: str) -> list[str] | None:
    """The header of the CSV that is imported; None for other files, and before it was read.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    row = await fetch_row(pool, _COLUMNS, pool.identities.user(user_id), import_id)
    if row is None or row["columns"] is None:
        return None
    columns: list[str] = orjson.loads(row["columns"])
    return columns

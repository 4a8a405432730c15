"""Keeps what is told of a chunk's rows, errors and notices, up to a limit, in the chunk's transaction."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from core.database.pools import Connection
from core.formats.rows import Source
from core.formats.streams.icalendar import as_text
from core.imports.chunk_builder import MESSAGE_MAXIMUM
from core.imports.claims import ClaimedImport, Counts
from core.imports.rows import Notice, RowError
from core.imports.writes.taskrows import CHUNK_SECONDS

KEPT_ERRORS_MAXIMUM = 100_000
KEPT_NOTICES_MAXIMUM = 100_000
KNOWN_TOLD_MAXIMUM = 1_000
"""Of the rows whose tasks were known, so many are told; the count of skipped rows has them all."""
KEPT_ROW_MAXIMUM = 64 << 10
"""Characters of one row that failed which are kept: for the list of errors, and to be given back."""
KEPT_ROWS_TOTAL = 64 << 20

_TOO_LARGE = " The row is too large to be given back by errors/file."
_NO_ROOM = " So much has failed that errors/file does not give this row back."

_ERRORS = """
INSERT INTO import_errors (import_id, user_id, row, number, "column", message, "values", source)
SELECT $1::text::uuid, $2, e.row, e.number, e."column", e.message, e."values"::json, e.source
FROM   unnest($3::bigint[], $4::smallint[], $5::text[], $6::text[], $7::text[], $8::text[])
       AS e (row, number, "column", message, "values", source)
ON     CONFLICT DO NOTHING
"""

_NOTICES = """
INSERT INTO import_warnings (import_id, user_id, row, number, "column", message)
SELECT $1::text::uuid, $2, w.row, w.number, w."column", w.message
FROM   unnest($3::bigint[], $4::smallint[], $5::text[], $6::text[]) AS w (row, number, "column", message)
ON     CONFLICT DO NOTHING
"""


async def keep_errors(
    connection: Connection, claim: ClaimedImport, before: Counts, errors: Sequence[RowError]
) -> tuple[int, int]:
    """Keeps errors with their rows, up to a limit; returns how many, and the size of the rows."""
    kept = errors[: max(0, KEPT_ERRORS_MAXIMUM - before.errors_kept)]
    if not kept:
        return 0, 0
    size = 0
    told: list[str] = []
    values: list[str | None] = []
    sources: list[str | None] = []
    for error in kept:
        note, shown, source = "", None, None
        if error.ordinal == 1:  # the others of the row have the same
            room = KEPT_ROWS_TOTAL - before.error_bytes - size
            note, shown, source = kept_row(error, room)
        size += len(shown or "") + len(source or "")
        told.append(_storable(error.message + note))
        values.append(shown)
        sources.append(source)
    await connection.execute(
        _ERRORS,
        claim.id,
        claim.user_id,
        [error.number for error in kept],
        [error.ordinal for error in kept],
        [_column(error.column) for error in kept],
        told,
        values,
        sources,
        timeout=CHUNK_SECONDS,
    )
    return len(kept), size


async def keep_notices(connection: Connection, claim: ClaimedImport, before: Counts, notices: Sequence[Notice]) -> int:
    """Keeps notices, up to a limit; returns how many."""
    kept = notices[: max(0, KEPT_NOTICES_MAXIMUM - before.warnings_kept)]
    if kept:
        await connection.execute(
            _NOTICES,
            claim.id,
            claim.user_id,
            [notice.number for notice in kept],
            [notice.ordinal for notice in kept],
            [_column(notice.column) for notice in kept],
            [_storable(notice.message) for notice in kept],
            timeout=CHUNK_SECONDS,
        )
    return len(kept)


def as_json(values: Any) -> str:
    """JSON text of what a file said, whatever that is."""
    try:
        return orjson.dumps(values, default=str).decode()
    except (TypeError, ValueError):  # lone surrogates, numbers over 64 bits, keys that are no text
        return json.dumps(_plain(values), default=str, separators=(",", ":"))


def kept_row(error: RowError, room: int) -> tuple[str, str | None, str | None]:
    """What of a row is kept: a note where that is not all, its values, and its source where that is more.

    An empty source is one that is not given back.
    """
    values: str | None = as_json(error.values)
    source = _text(error.source)
    assert values is not None
    is_too_large = source == "" or max(len(values), len(source or "")) > KEPT_ROW_MAXIMUM
    if is_too_large and source is not None:
        source = ""
    if len(values) > KEPT_ROW_MAXIMUM:
        values = None
    if len(values or "") + len(source or "") > room:
        return _NO_ROOM, None, None if source is None else ""
    return _TOO_LARGE if is_too_large else "", values, source


def _text(source: Source | None) -> str | None:
    if source is None:
        return None
    if isinstance(source, bytes):
        return _storable(as_text(source))
    if isinstance(source, str):
        return _storable(source)
    return as_json(source) if source else ""


def _column(column: str | None) -> str | None:
    return None if column is None else _storable(column)[:MESSAGE_MAXIMUM]


def _plain(values: Any) -> Any:
    if isinstance(values, Mapping):
        return {str(key): _plain(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [_plain(value) for value in values]
    if isinstance(values, str):
        return _storable(values)
    return values


def _storable(text: str) -> str:
    return text.replace("\x00", "\ufffd").encode(errors="replace").decode()

"""Keeps the errors of a chunk's rows for their report, up to a limit, in the chunk's transaction."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from core.database.pools import Connection
from core.imports.chunk_builder import MESSAGE_MAXIMUM
from core.imports.claims import ClaimedImport, Counts
from core.imports.rows import RowError
from core.imports.writes.taskrows import CHUNK_SECONDS

KEPT_ERRORS_MAXIMUM = 100_000
KEPT_VALUES_MAXIMUM = 64 << 10
"""Bytes of one row's values that are kept for the report of its errors."""
KEPT_VALUES_TOTAL = 64 << 20

_ERRORS = """
INSERT INTO import_errors (import_id, user_id, row, number, "column", message, "values")
SELECT $1::text::uuid, $2, e.row, e.number, e."column", e.message, e."values"::json
FROM   unnest($3::bigint[], $4::smallint[], $5::text[], $6::text[], $7::text[])
       AS e (row, number, "column", message, "values")
ON     CONFLICT DO NOTHING
"""


async def keep_errors(
    connection: Connection, claim: ClaimedImport, before: Counts, errors: Sequence[RowError]
) -> tuple[int, int]:
    """Keeps errors for their report, up to a limit; returns how many, and the bytes of their values."""
    kept = errors[: max(0, KEPT_ERRORS_MAXIMUM - before.errors_kept)]
    if not kept:
        return 0, 0
    size = 0
    values: list[str | None] = []
    for error in kept:
        text = as_json(error.values) if error.ordinal == 1 else None  # the others of the row have the same
        if text is not None and (
            len(text) > KEPT_VALUES_MAXIMUM or before.error_bytes + size + len(text) > KEPT_VALUES_TOTAL
        ):
            text = None
        size += len(text or "")
        values.append(text)
    await connection.execute(
        _ERRORS,
        claim.id,
        claim.user_id,
        [error.number for error in kept],
        [error.ordinal for error in kept],
        [None if error.column is None else _storable(error.column)[:MESSAGE_MAXIMUM] for error in kept],
        [_storable(error.message) for error in kept],
        values,
        timeout=CHUNK_SECONDS,
    )
    return len(kept), size


def as_json(values: Any) -> str:
    """JSON text of what a file said, whatever that is."""
    try:
        return orjson.dumps(values, default=str).decode()
    except (TypeError, ValueError):  # lone surrogates, numbers over 64 bits, keys that are no text
        return json.dumps(_plain(values), default=str, separators=(",", ":"))


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

"""Puts what a format yields into chunks: each row is validated by the very rules of the API, and gets its key."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from asyncpg.pgproto.pgproto import UUID
from marshmallow import ValidationError

from core.formats.faults import faults_of
from core.formats.rows import BadRow, ImportRefused, Row, SkippedRow
from core.imports.rows import (
    CONTENT_BYTES,
    FIELD_BITS,
    KEY_BYTES,
    Notice,
    OnConflict,
    RowError,
    TaskRow,
    conflict,
    content_key,
    content_of,
    merge,
)
from core.tasks.validation import load_import

ROW_ERRORS_MAXIMUM = 20
MESSAGE_MAXIMUM = 1000


@dataclass(slots=True)
class Chunk:
    """Some rows that follow each other.

    Attributes:
        rows: for the database.
        keys, columns: of the rows, made here while the database works on the chunk before.
        errors: of the rows that failed.
        notices: what was replaced or left out of other rows, and why some were left out as a whole.
        warned: how many rows have a notice, those not counted that were left out as a whole.
        read: how many rows were looked at: `len(rows) + failed + skipped + updated`.
        failed: how many of them have errors.
        skipped: how many are left out on purpose, or repeat an earlier row of this chunk without any change of it.
        updated: how many repeat an earlier row of this chunk, and were merged into it.
        bytes_read: of the upload, from its beginning.
        seconds: that reading it took, in turn.
        is_last: whether the file ends here.
        refusal: why the file cannot be read on; then this chunk is the last one.
    """

    rows: list[TaskRow] = field(default_factory=list)
    keys: list[UUID] = field(default_factory=list)
    columns: list[list[Any]] = field(default_factory=list)
    errors: list[RowError] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    warned: int = 0
    read: int = 0
    failed: int = 0
    skipped: int = 0
    updated: int = 0
    bytes_read: int = 0
    seconds: float = 0.0
    is_last: bool = False
    refusal: ImportRefused | None = None


class ChunkBuilder:
    """Puts items into a chunk."""

    def __init__(self, chunk: Chunk, source: str, on_conflict: OnConflict) -> None:
        self.characters = 0
        self._chunk = chunk
        self._source = f"{source}\0".encode()
        self._on_conflict = on_conflict
        self._seen: dict[UUID, TaskRow] = {}
        self._occurrences: dict[bytes, int] = {}

    def add(self, item: Row) -> None:
        """Validates a row."""
        try:
            fields = load_import(item.fields)
        except ValidationError as error:
            self._tell(item, [(fault.column, fault.message) for fault in faults_of(error, item.columns)])
            return
        row = self._row(item, fields)
        self.characters += len(fields["title"]) + len(fields.get("description") or "") + 100
        if item.source is not None and isinstance(item.source, (str, bytes)):
            self.characters += len(item.source)
        if not row.is_of_content:
            earlier = self._seen.setdefault(row.key, row)
            if earlier is not row:
                if self._repeat(earlier, row):
                    self._warn(item)
                return
        self._chunk.rows.append(row)
        if item.warnings:
            self._warn(item)

    def fail(self, item: BadRow) -> None:
        """Takes what a format could not make a task of."""
        self._tell(item, [(item.column, item.message), *((other.column, other.message) for other in item.more)])

    def skip(self, item: SkippedRow) -> None:
        """Takes what a format leaves out on purpose."""
        self._chunk.skipped += 1
        self._chunk.notices.append(Notice(item.number, 1, None, item.reason[:MESSAGE_MAXIMUM]))

    def _warn(self, item: Row) -> None:
        """Tells what was not taken as it stands in the file."""
        if not item.warnings:
            return
        self._chunk.warned += 1
        for ordinal, warning in enumerate(item.warnings[:ROW_ERRORS_MAXIMUM], 1):
            self._chunk.notices.append(Notice(item.number, ordinal, warning.column, warning.message[:MESSAGE_MAXIMUM]))

    def _tell(self, item: Row | BadRow, faults: Sequence[tuple[str | None, str]]) -> None:
        """The row fails, and all that is wrong with it is told."""
        self._chunk.failed += 1
        self.characters += 1000
        for ordinal, (column, message) in enumerate(faults[:ROW_ERRORS_MAXIMUM], 1):
            self._chunk.errors.append(
                RowError(item.number, ordinal, column, message[:MESSAGE_MAXIMUM], item.values, item.source)
            )

    def _row(self, item: Row, fields: dict[str, Any]) -> TaskRow:
        external_id = fields.get("external_id")
        if external_id is not None:
            key = UUID(hashlib.blake2b(self._source + external_id.encode(), digest_size=KEY_BYTES).digest())
        else:
            content = orjson.dumps(content_of(fields))
            key = self._next_equal(hashlib.blake2b(self._source + content, digest_size=CONTENT_BYTES).digest())
        given = _given(item.fields) if self._on_conflict == "update" else 0
        return TaskRow(item.number, key, external_id is None, given, fields, item.values, item.source)

    def _next_equal(self, content: bytes) -> UUID:
        occurrence = self._occurrences.get(content, 0) + 1
        self._occurrences[content] = occurrence
        return content_key(content, occurrence)

    def _repeat(self, earlier: TaskRow, row: TaskRow) -> bool:
        """A row with the external id of an earlier one of this chunk: a mistake in the file, unless it may update.

        Returns whether it may.
        """
        if self._on_conflict != "update":
            self._chunk.failed += 1
            self._chunk.errors.append(conflict(row, f"Row {earlier.number} has this external id, too."))
            return False
        if merge(earlier, row):
            self._chunk.updated += 1
        else:
            self._chunk.skipped += 1
        return True


def _given(fields: Mapping[str, Any]) -> int:
    given = 0
    for name in fields:
        given |= FIELD_BITS.get(name, 0)
    return given

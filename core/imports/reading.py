"""Reads an upload, chunk by chunk, into rows that are ready for the database.

All of it is plain, blocking work of the processor: it belongs into a thread. What a format yields is validated here
by the very rules of the API, and gets the key by which a row is known again when its file is imported once more.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Any, BinaryIO, Literal, cast
from zoneinfo import ZoneInfo

import orjson
from asyncpg.pgproto.pgproto import UUID
from marshmallow import ValidationError

from core.formats.registry import FORMATS
from core.formats.rows import BadRow, FileReport, ImportRefused, ReadOptions, Row, Rows, Values
from core.formats.streams.decompress import is_compressed, open_decompressed
from core.imports.reading_turns import ReadingTurns, Turn
from core.tasks.fields import DEFAULT_RECURRENCE_FROM
from core.tasks.validation import load_import

CHUNK_ROWS = 10_000
CHUNK_SECONDS = 2.0
"""In turn: rows that cost more make smaller chunks, so that an import can be cancelled, or put down."""
CHUNK_CHARACTERS = 8 << 20
"""Of titles and descriptions: a chunk is in memory twice or thrice, as the next one is read while it is written."""
ROW_ERRORS_MAXIMUM = 20
MESSAGE_MAXIMUM = 1000
MAGIC_BYTES = 8
MEASURE_BYTES = 1 << 20
# How often it is looked whether others wait, or the chunk has taken its time: not for each of rows of 30 µs.
_LOOK_ROWS = 8
KEY_BYTES = 16
CONTENT_BYTES = 12
OCCURRENCE_BYTES = KEY_BYTES - CONTENT_BYTES
MOST_EQUALS = (1 << 8 * OCCURRENCE_BYTES) - 1

OnConflict = Literal["skip", "update", "error"]

FIELDS = (
    "title", "description", "priority", "status", "due_date", "labels", "created_at", "completed_at", "recurrence",
    "recurrence_from",
)  # fmt: skip
FIELD_BITS = {name: 1 << place for place, name in enumerate(FIELDS)}


@dataclass(slots=True)
class TaskRow:
    """A row that passed validation.

    Attributes:
        number: as the format counts.
        key: of what the row is about: its source and external id, else its content and which of its equals it is.
        is_of_content: whether the key was made from the content.
        given: a bit for each field that the row has (`FIELD_BITS`).
        values: the row as it stands in the file.
    """

    number: int
    key: UUID
    is_of_content: bool
    given: int
    title: str
    description: str | None
    priority: int
    status: str
    due_date: datetime | None
    labels: list[str]
    created_at: datetime | None
    completed_at: datetime | None
    recurrence: str | None
    recurrence_from: str
    values: Values


@dataclass(slots=True)
class RowError:
    """One thing that is wrong with a row; `ordinal` counts from 1 within the row."""

    number: int
    ordinal: int
    column: str | None
    message: str
    values: Values


@dataclass(slots=True)
class Chunk:
    """Some rows that follow each other.

    Attributes:
        rows: for the database.
        keys, columns: of the rows, made here while the database works on the chunk before.
        errors: of the rows that failed.
        read: how many rows were looked at: `len(rows) + failed + skipped + updated`.
        failed: how many of them have errors.
        skipped: how many repeat an earlier row of this chunk, and would change nothing of it.
        updated: how many repeat an earlier row of this chunk, and were merged into it.
        bytes_read: of the upload, from its beginning.
        seconds: that reading it took, in turn.
        is_last: whether the file ends here.
        refusal: why the file cannot be read on; then this chunk is the last one.
    """

    rows: list[TaskRow] = field(default_factory=list)
    keys: list[UUID] = field(default_factory=list)
    columns: tuple[list[Any], ...] = ()
    errors: list[RowError] = field(default_factory=list)
    read: int = 0
    failed: int = 0
    skipped: int = 0
    updated: int = 0
    bytes_read: int = 0
    seconds: float = 0.0
    is_last: bool = False
    refusal: ImportRefused | None = None


def read_options(options: Mapping[str, Any], *, users_time_zone: str) -> ReadOptions:
    """What the client said about its file, from an import's `options`."""
    return ReadOptions(
        time_zone=_zone(options.get("time_zone") or users_time_zone),
        delimiter=options.get("delimiter"),
        encoding=options.get("encoding"),
        mapping=options.get("mapping"),
        include_pull_requests=options.get("pull_requests", False),
    )


def _zone(name: str) -> tzinfo:
    return ZoneInfo(name)


class ImportReader:
    """Reads one upload from its beginning to its end; from one thread at a time, which waits for its turn."""

    def __init__(
        self,
        open_upload: Callable[[], BinaryIO],
        format_name: str,
        options: ReadOptions,
        *,
        on_conflict: OnConflict,
        maximum_bytes: int,
        turns: ReadingTurns | None = None,
    ) -> None:
        """
        Args:
            open_upload: gives the upload's stream; called at the first read.
            format_name: a key of `FORMATS`.
            options: what the client said about the file.
            on_conflict: what becomes of a row that stands for the same task as an earlier one.
            maximum_bytes: of the upload's contents, decompressed.
            turns: shared with the other readers of the process; None: there are none.
        """
        self.report = FileReport()
        self._turns = turns or ReadingTurns()
        self._turn: Turn | None = None
        self._open = open_upload
        self._format = FORMATS[format_name]
        self._options = options
        self._on_conflict = on_conflict
        self._maximum_bytes = maximum_bytes
        self._source = source_of(format_name)
        self._stream: _CountedStream | None = None
        self._rows: Rows | None = None

    def _open_rows(self) -> Rows:
        if self._rows is None:
            # On both sides: a little that is compressed can be much, and much of it can be nothing.
            self._stream = _CountedStream(_gives_way(self._open(), self._give_way))
            contents = open_decompressed(cast(BinaryIO, self._stream), maximum_bytes=self._maximum_bytes)
            self._rows = self._format.read(_gives_way(contents, self._give_way), self._options, self.report)
        return self._rows

    def _give_way(self) -> None:
        if self._turn is not None:
            self._turn.give_way()

    @contextmanager
    def _in_turn(self) -> Iterator[Turn]:
        with self._turns.one() as turn:
            self._turn = turn
            try:
                yield turn
            finally:
                self._turn = None

    def measure(self) -> None:
        """Unpacks a compressed file once, to nowhere, so that of a bomb or of half a file not a row goes in.

        Raises:
            ImportRefused: it unpacks to too much, or cannot be unpacked to its end.
            ObjectGone, StorageUnavailable: it cannot be read.
        """
        with self._open() as upload:
            beginning = upload.read(MAGIC_BYTES)
        if not is_compressed(beginning):
            return
        with self._in_turn():
            upload = _gives_way(self._open(), self._give_way)
            with open_decompressed(upload, maximum_bytes=self._maximum_bytes) as contents:
                while contents.read(MEASURE_BYTES):
                    self._give_way()

    def skip(self, rows: int) -> int:
        """Passes over rows that were dealt with before, for about `CHUNK_SECONDS`; returns how many: 0 at the end.

        Raises:
            ImportRefused: the file cannot be read on.
            ObjectGone, StorageUnavailable: its storage cannot.
        """
        passed = 0
        with self._in_turn() as turn:
            source = self._open_rows()
            while passed < rows and next(source, None) is not None:
                passed += 1
                if not passed % _LOOK_ROWS:
                    turn.give_way()
                    if turn.used() > CHUNK_SECONDS:
                        break
        return passed

    def read_chunk(self, *, failures_left: int | None = None) -> Chunk:
        """The next rows.

        Args:
            failures_left: how many more rows may fail; with one more the import ends.

        Raises:
            ObjectGone, StorageUnavailable: the upload cannot be read. The reader is of no use any more.
        """
        with self._in_turn() as turn:
            chunk = self._read_chunk(failures_left, turn)
            chunk.seconds = turn.used()
        return chunk

    def _read_chunk(self, failures_left: int | None, turn: Turn) -> Chunk:
        chunk = Chunk()
        try:
            chunk.is_last = self._fill(chunk, failures_left, turn)
        except ImportRefused as refusal:
            chunk.refusal = refusal
        except RecursionError:
            chunk.refusal = ImportRefused("import-unreadable", "The file is nested too deeply.")
        chunk.is_last = chunk.is_last or chunk.refusal is not None
        chunk.columns = columns_of(chunk.rows)
        chunk.keys = [row.key for row in chunk.rows]
        chunk.bytes_read = self._stream.count if self._stream is not None else 0
        return chunk

    def _fill(self, chunk: Chunk, failures_left: int | None, turn: Turn) -> bool:
        """Fills a chunk; returns whether the file has ended."""
        builder = _Builder(chunk, self._source, self._on_conflict)
        for item in self._open_rows():
            chunk.read += 1
            if type(item) is Row:
                builder.add(item)
            else:
                builder.fail(cast(BadRow, item))
            if failures_left is not None and chunk.failed > failures_left:
                raise too_many_errors()
            if chunk.read >= CHUNK_ROWS or builder.characters >= CHUNK_CHARACTERS:
                return False
            if not chunk.read % _LOOK_ROWS:
                turn.give_way()
                if turn.used() > CHUNK_SECONDS:
                    return False
        return True


def too_many_errors() -> ImportRefused:
    return ImportRefused(
        "import-too-many-errors",
        "More rows failed than max_errors allows. Those before the last failure have been imported.",
    )


def source_of(format_name: str) -> str:
    """The program that a format's external ids belong to: its formats share them."""
    return format_name.rpartition("-")[0] or format_name


class _Builder:
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
            self._refuse(item, error)
            return
        row = self._row(item, fields)
        self.characters += len(row.title) + len(row.description or "") + 100
        if not row.is_of_content:
            earlier = self._seen.setdefault(row.key, row)
            if earlier is not row:
                self._repeat(item, earlier, row)
                return
        self._chunk.rows.append(row)

    def fail(self, item: BadRow) -> None:
        """Takes what a format could not even read."""
        self._chunk.failed += 1
        self._chunk.errors.append(RowError(item.number, 1, item.column, item.message[:MESSAGE_MAXIMUM], item.values))
        self.characters += 1000

    def _refuse(self, item: Row, error: ValidationError) -> None:
        self._chunk.failed += 1
        self.characters += 1000
        messages = error.messages if isinstance(error.messages, Mapping) else {"_schema": error.messages}
        found = [
            (item.columns.get(name, name), message) for name, texts in messages.items() for message in _flat(texts)
        ]
        for ordinal, (column, message) in enumerate(found[:ROW_ERRORS_MAXIMUM], 1):
            name = None if column == "_schema" else column
            self._chunk.errors.append(RowError(item.number, ordinal, name, message[:MESSAGE_MAXIMUM], item.values))

    def _row(self, item: Row, fields: dict[str, Any]) -> TaskRow:
        external_id = fields.get("external_id")
        due_date, created_at, completed_at = (
            fields.get("due_date"),
            fields.get("created_at"),
            fields.get("completed_at"),
        )
        labels = fields.get("labels") or []
        title, description = fields["title"], fields.get("description")
        priority, status = fields["priority"], fields["status"]
        recurrence = fields.get("recurrence")
        recurrence_from = fields.get("recurrence_from", DEFAULT_RECURRENCE_FROM)
        if external_id is not None:
            key = UUID(hashlib.blake2b(self._source + external_id.encode(), digest_size=KEY_BYTES).digest())
        else:
            said = [title, description, priority, status, due_date, labels, created_at, completed_at]
            if recurrence is not None:  # what does not recur is known again from before anything could
                said += [recurrence, recurrence_from]
            content = orjson.dumps(said)
            key = self._next_equal(hashlib.blake2b(self._source + content, digest_size=CONTENT_BYTES).digest())
        parse = datetime.fromisoformat
        return TaskRow(
            item.number,
            key,
            external_id is None,
            _given(item.fields) if self._on_conflict == "update" else 0,
            title,
            description,
            priority,
            status,
            None if due_date is None else parse(due_date),
            labels,
            None if created_at is None else parse(created_at),
            None if completed_at is None else parse(completed_at),
            recurrence,
            recurrence_from,
            item.values,
        )

    def _next_equal(self, content: bytes) -> UUID:
        occurrence = self._occurrences.get(content, 0) + 1
        self._occurrences[content] = occurrence
        return content_key(content, occurrence)

    def _repeat(self, item: Row, earlier: TaskRow, row: TaskRow) -> None:
        """A row with the external id of an earlier one of this chunk: a mistake in the file, unless it may update."""
        if self._on_conflict == "update":
            if merge(earlier, row):
                self._chunk.updated += 1
            else:
                self._chunk.skipped += 1
        else:
            self._chunk.failed += 1
            self._chunk.errors.append(conflict(row, f"Row {earlier.number} has this external id, too."))


def content_key(content: bytes, occurrence: int) -> UUID:
    """The key of a row that has no external id: a digest of what it says, and the how many-th of its equals it is."""
    return UUID(content + occurrence.to_bytes(OCCURRENCE_BYTES, "big"))


def content_and_occurrence(key: UUID) -> tuple[bytes, int]:
    """What `content_key` made the key of."""
    return key.bytes[:CONTENT_BYTES], int.from_bytes(key.bytes[CONTENT_BYTES:], "big")


def columns_of(rows: Sequence[TaskRow]) -> tuple[list[Any], ...]:
    """The fields of rows, column by column, in the order of `FIELDS`."""
    return (
        [row.title for row in rows],
        [row.description for row in rows],
        [row.priority for row in rows],
        [row.status for row in rows],
        [row.due_date for row in rows],
        [_array_literal(row.labels) if row.labels else None for row in rows],
        [row.created_at for row in rows],
        [row.completed_at for row in rows],
        [row.recurrence for row in rows],
        [row.recurrence_from for row in rows],
    )


def _array_literal(texts: Sequence[str]) -> str:
    """A `text[]` in PostgreSQL's own notation: arrays inside an array of parameters would have to be of one length."""
    quoted = (text.replace("\\", "\\\\").replace('"', '\\"') for text in texts)
    return "{" + ",".join(f'"{text}"' for text in quoted) + "}"


def merge(earlier: TaskRow, later: TaskRow) -> bool:
    """Lets the later row change what it has fields for; returns whether that changed anything."""
    changed = False
    for name, bit in FIELD_BITS.items():
        if later.given & bit and getattr(earlier, name) != getattr(later, name):
            setattr(earlier, name, getattr(later, name))
            changed = True
    if earlier.status != "completed":
        earlier.completed_at = None
    earlier.given |= later.given
    return changed


def conflict(row: TaskRow, message: str) -> RowError:
    """What `on_conflict=error` says of a row."""
    return RowError(row.number, 1, "external_id", message, row.values)


def _given(fields: Mapping[str, Any]) -> int:
    given = 0
    for name in fields:
        given |= FIELD_BITS.get(name, 0)
    return given


def _flat(messages: Any) -> list[str]:
    """marshmallow's messages of one field; those about a part of it are told with the part's name."""
    if isinstance(messages, Mapping):
        return [f"{key}: {text}" for key, inner in messages.items() for text in _flat(inner)]
    return [str(message) for message in messages]


def _gives_way(stream: BinaryIO, give_way: Callable[[], None]) -> BinaryIO:
    return cast(BinaryIO, _GivingWay(stream, give_way))


class _GivingWay:
    """A stream whose reader lets others go first before it goes on."""

    def __init__(self, stream: BinaryIO, give_way: Callable[[], None]) -> None:
        self._stream = stream
        self._give_way = give_way

    def read(self, size: int = -1, /) -> bytes:
        self._give_way()
        return self._stream.read(size)


class _CountedStream:
    """A stream that tells how much was read of it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.count = 0

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size)
        self.count += len(data)
        return data

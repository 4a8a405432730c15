"""Reads an upload, chunk by chunk, into rows that are ready for the database.

All of it is plain, blocking work of the processor: it belongs into a thread.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO, cast
from zoneinfo import ZoneInfo

from core.formats.registry import FORMATS
from core.formats.rows import BadRow, FileReport, ImportRefused, ReadOptions, Row, Rows, SkippedRow
from core.formats.streams.decompress import is_compressed, open_decompressed
from core.imports.chunk_builder import Chunk, ChunkBuilder
from core.imports.reading_turns import ReadingTurns, Turn
from core.imports.rows import OnConflict, columns_of

CHUNK_ROWS = 10_000
CHUNK_SECONDS = 2.0
"""In turn: rows that cost more make smaller chunks, so that an import can be cancelled, or put down."""
CHUNK_CHARACTERS = 8 << 20
"""Of titles and descriptions: a chunk is in memory twice or thrice, as the next one is read while it is written."""
MAGIC_BYTES = 8
MEASURE_BYTES = 1 << 20
# How often it is looked whether others wait, or the chunk has taken its time: not for each of rows of 30 µs.
_LOOK_ROWS = 8


def read_options(options: Mapping[str, Any], *, users_time_zone: str) -> ReadOptions:
    """What the client said about its file, from an import's `options`."""
    return ReadOptions(
        time_zone=ZoneInfo(options.get("time_zone") or users_time_zone),
        delimiter=options.get("delimiter"),
        encoding=options.get("encoding"),
        mapping=options.get("mapping"),
        include_pull_requests=options.get("pull_requests", False),
        lists_as=options.get("lists_as", "text"),
        columns_as=options.get("columns_as", "text"),
    )


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
        builder = ChunkBuilder(chunk, self._source, self._on_conflict)
        for item in self._open_rows():
            chunk.read += 1
            if type(item) is Row:
                builder.add(item)
            elif type(item) is SkippedRow:
                builder.skip(item)
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

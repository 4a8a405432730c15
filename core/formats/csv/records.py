"""The records of a CSV, as people's files have them, one after the other and within limits.

A record may be damaged: longer than 1 MiB, with a cell of over 128 KiB, with a quote that never closes, with bytes of
another encoding. It is told as `Damaged`, without being held in memory, and reading goes on after it.
"""

import csv
import io
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import BinaryIO

from core.formats.csv.damage import Damaged, EndOfRecord, readable_cells, readable_lines, readable_text
from core.formats.csv.dialect import (
    SEP_LINE,
    checked_delimiter,
    find_delimiter,
    has_space_after,
    is_blank,
    is_wrapped,
    lenient_records,
    unwrapped,
)
from core.formats.rows import FileReport, ImportRefused, ReadOptions
from core.formats.streams.text import BLOCK, MARK, Text

RECORD_MAXIMUM = 1024 * 1024
COLUMNS_MAXIMUM = 1000
_SAMPLE_RECORDS = 200
_SAMPLE_MINIMUM = 3  # a header, and two that show what stands below
# How often lines are read again that were taken for the text of a cell, unless more was read well in between: else a
# file of nothing but open quotes would take the square of its length.
_RESUMES_MAXIMUM = 20


class Records:
    """The records of a file, to be walked over once.

    Attributes:
        delimiter: between cells.
        skips_space: whether blanks after a delimiter are no part of the next cell.
        sample: the first records, up to 200, whole ones only.
    """

    def __init__(self, stream: BinaryIO, options: ReadOptions, report: FileReport) -> None:
        """Reads the first block, and finds out the delimiter where `options` has none; `report` gets it.

        Raises:
            ImportRefused: the encoding or the delimiter is none, or the file is empty.
        """
        self._text = Text(stream, options.encoding or None)
        blocks = self._text.blocks()
        first = next(blocks, "")
        if not first.strip("\ufeff\r\n\t ,;|"):
            following = next((block for block in blocks if block.strip()), None)
            if following is None:
                raise ImportRefused("import-empty", "The file is empty.")
            first += following
        named = SEP_LINE.match(first)
        if named:
            first = first[named.end() :]
        wanted = options.delimiter or (named[1] if named else None)
        self._look_at(first, wanted)
        # Where a huge record fills the beginning, what follows it tells more of the file.
        while len(self.sample) < _SAMPLE_MINIMUM and len(first) < 2 * RECORD_MAXIMUM and (block := next(blocks, "")):
            first += block
            self._look_at(first, wanted)
        report.delimiter = self.delimiter
        self._pieces = _pieces(chain([first], blocks))
        if self._is_wrapped:
            self._pieces = map(unwrapped, self._pieces)
        self._held: list[str] = []
        self._is_exhausted = False
        self._width = 0
        self._names: list[str] = []
        self._resumes = 0
        self._records = self._read()
        self._rows = self._numbered()

    def header(self) -> list[str]:
        """The first record that is not blank, its cells without blanks around them.

        Raises:
            ImportRefused: there is none, it is damaged, or it has more than 1000 columns.
        """
        for record in self._records:
            if isinstance(record, Damaged):
                raise ImportRefused("import-unreadable", f"The header cannot be read: {record.message}")
            if not is_blank(record):
                self.limit_columns(record)
                self._width = len(record)
                self._names = [cell.strip(" \t\r\n\ufeff") for cell in record]
                return self._names
        raise ImportRefused("import-empty", "The file has nothing but blank lines.")

    @staticmethod
    def limit_columns(record: list[str]) -> None:
        """Refuses a file of more than 1000 columns."""
        if len(record) > COLUMNS_MAXIMUM:
            raise ImportRefused(
                "import-too-large", f"The file has {len(record):,} columns; at most {COLUMNS_MAXIMUM:,} are read."
            )

    def require_rows(self) -> None:
        """Looks whether any record follows; `numbered` yields it all the same.

        Raises:
            ImportRefused: `import-empty`: none does.
        """
        self._rows = chain([next(self._rows)], self._rows)

    def numbered(self) -> Iterator[tuple[int, list[str] | Damaged]]:
        """The records that follow, but for blank ones, which count in the numbers all the same: from 1.

        Raises:
            ImportRefused: `import-empty`: none follows.
        """
        return self._rows

    def _numbered(self) -> Iterator[tuple[int, list[str] | Damaged]]:
        is_empty = True
        for number, record in enumerate(self._records, start=1):
            if not isinstance(record, Damaged):
                # Any of the cells has something in it, most often the first.
                if not any(map(str.strip, record)):
                    continue
                if len(record) > COLUMNS_MAXIMUM:
                    record = Damaged(
                        f"The row has {len(record):,} cells; at most {COLUMNS_MAXIMUM:,} are read.",
                        readable_cells(record[:20]),
                        source=list(map(readable_text, record)),
                    )
                elif self._text.has_marks and (damaged := self._marked(record)):
                    record = damaged
            is_empty = False
            yield number, record
        if is_empty:
            raise ImportRefused("import-empty", "The file has a header, but no rows.")

    def _look_at(self, text: str, wanted: str | None) -> None:
        """Finds out how the file is written, and samples it, by its beginning."""
        self._is_wrapped = is_wrapped(text)
        if self._is_wrapped:
            text = "".join(map(unwrapped, io.StringIO(text, newline="\n")))
        self.delimiter = checked_delimiter(wanted) if wanted else find_delimiter(text)
        self.skips_space = has_space_after(self.delimiter, text)
        self.sample = self._sample(text)

    def _sample(self, text: str) -> list[list[str]]:
        records = islice(lenient_records(text, self.delimiter, self.skips_space), _SAMPLE_RECORDS)
        found = [record for record in records if not is_blank(record)]
        # The block's end cuts a record, most often.
        is_cut = len(text) >= BLOCK // 4 and not text.endswith("\n")
        return found[:-1] if is_cut and 1 < len(found) < _SAMPLE_RECORDS else found

    def _read(self) -> Iterator[list[str] | Damaged]:
        while not self._is_exhausted:
            held = self._held
            reader = csv.reader(
                self._lines(), delimiter=self.delimiter, skipinitialspace=self.skips_space, strict=False
            )
            try:
                for record in reader:
                    if self._is_exhausted:
                        yield self._after_open_quote(record, reader.line_num)
                        break
                    held.clear()
                    if not self._width:
                        self._width = len(record)
                    yield record
            except csv.Error as error:
                yield self._after_error(str(error), reader.line_num)
            except _TooLong:
                yield self._after_error("long", reader.line_num)

    def _lines(self) -> Iterator[str]:
        """The lines of the current record, which are held until it is whole."""
        held = self._held
        size = 0
        for line in self._pieces:
            if held:
                size += len(line)
            else:
                size = len(line)
            held.append(line)
            if size > RECORD_MAXIMUM:
                raise _TooLong
            yield line
        self._is_exhausted = True

    def _after_open_quote(self, record: list[str], lines_read: int) -> Damaged:
        """The file ended inside a cell: its first line is at fault, and what follows may be rows."""
        lines = self._held.copy()
        self._held.clear()
        if self._resume_after(lines, lines_read):
            self._is_exhausted = False
            return self._open_quote(lines[0])
        return Damaged(
            "A quote is opened in this row and never closed; all that follows is taken for its text.",
            readable_cells(record[:20]),
            source=list(map(readable_text, record)),
        )

    def _after_error(self, error: str, lines_read: int) -> Damaged:
        lines = self._held.copy()
        self._held.clear()
        if self._resume_after(lines, lines_read):
            return self._open_quote(lines[0])
        end = EndOfRecord(self.delimiter, self.skips_space)
        is_over = any(end.feed(line) for line in lines)
        while not is_over and (line := next(self._pieces, None)) is not None:
            is_over = end.feed(line)
        shown = readable_lines(lines[:1])
        self._is_exhausted = not is_over
        if not is_over and end.is_quoted:
            return Damaged("The row is too long, and the file ends in it: a quote is opened and never closed.", shown)
        if "field larger" in error:
            return Damaged(f"A cell has more than {csv.field_size_limit():,} characters.", shown)
        if error == "long":
            return Damaged(f"The row has more than {RECORD_MAXIMUM:,} characters.", shown)
        return Damaged(
            "A line ends within a cell, with a mere CR and without quotes around it.",
            shown,
            source=self._split(lines[0]),
        )

    def _open_quote(self, line: str) -> Damaged:
        return Damaged(
            "A quote is opened in this row and never closed.", readable_lines([line]), source=self._split(line)
        )

    def _split(self, line: str) -> list[str]:
        """The cells of a line, quotes and all: as somebody sees them who is to mend it."""
        return readable_text(line.rstrip("\r\n")).split(self.delimiter)

    def _resume_after(self, lines: list[str], lines_read: int) -> bool:
        """Goes back to the lines behind an open quote, where they are rows and not the text of a cell."""
        if self._width < 3 or not lines or '"' not in lines[0]:
            return False
        rest = lines[1:]
        looked_at = [line for line in rest[:50] if line.strip()]
        widths = [len(next(lenient_records(line, self.delimiter, self.skips_space), [])) for line in looked_at]
        if not looked_at or widths.count(self._width) < 0.9 * len(looked_at):
            return False
        if lines_read < 2 * len(lines):
            if self._resumes >= _RESUMES_MAXIMUM:
                return False
            self._resumes += 1
        self._pieces = chain(rest, self._pieces)
        return True

    def _marked(self, record: list[str]) -> Damaged | None:
        for position, cell in enumerate(record):
            if mark := MARK.search(cell):
                byte = ord(mark[0]) - 0xDC00
                around = readable_text(cell[max(0, mark.start() - 20) : mark.end() + 20])
                return Damaged(
                    f"The cell has the byte 0x{byte:02X}, which is not {self._text.encoding}: “{around}”. Save the file"
                    " in one encoding, or name the one that it has.",
                    readable_cells(record),
                    self._names[position] if position < len(self._names) else str(position + 1),
                    list(map(readable_text, record)),
                )
        return None


class _TooLong(Exception):
    """A record is longer than may be held."""


def _pieces(blocks: Iterable[str]) -> Iterator[str]:
    """Lines with their newlines; of a line longer than a record may be, pieces."""
    rest = ""
    for block in blocks:
        end = block.rfind("\n") + 1
        if not end:
            rest += block
            if len(rest) > RECORD_MAXIMUM:
                yield rest
                rest = ""
            continue
        yield from io.StringIO(rest + block[:end], newline="\n")
        rest = block[end:]
    if rest:
        yield rest

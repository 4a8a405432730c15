"""Records that cannot be read: what is told of them, and where the next one begins."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from core.formats.rows import BadRow
from core.formats.streams.text import MARK

_SHOWN = 1000  # characters of a cell or a line


@dataclass(frozen=True, slots=True)
class Damaged:
    """A record that could not be read.

    Attributes:
        message: what is wrong, for the reader of the report.
        cells: its beginning, or as much as could be read.
        column: the header's name of the column that is wrong; None: the record as a whole.
        source: all of its cells, to be mended; empty where they are too long.
    """

    message: str
    cells: list[str]
    column: str | None = None
    source: list[str] = field(default_factory=list, compare=False)

    def as_bad_row(self, number: int) -> BadRow:
        """The row that it fails as."""
        return BadRow(number, self.column, self.message, self.cells, source=self.source)


class EndOfRecord:
    """Looks for a record's end, as Python's csv reader would find it, and holds nothing.

    Attributes:
        is_quoted: whether it is looking within a cell in quotes.
    """

    def __init__(self, delimiter: str, skips_space: bool) -> None:
        self._delimiter = delimiter
        self._opening = re.compile(re.escape(delimiter) + (" *" if skips_space else "") + '"')
        self.is_quoted = False
        self._is_at_start = True

    def feed(self, piece: str) -> bool:
        """Whether the record ends with this line."""
        position = 0
        while True:
            if self.is_quoted:
                position = piece.find('"', position) + 1
                if not position:
                    return False
                if piece[position : position + 1] == '"':
                    position += 1
                else:
                    self.is_quoted = False
            elif self._is_at_start and piece.startswith('"'):
                self.is_quoted = True
                position = 1
            elif opening := self._opening.search(piece, position):
                self.is_quoted = True
                position = opening.end()
            else:
                self._is_at_start = False
                return piece.endswith("\n")
            self._is_at_start = False


def readable_text(text: str) -> str:
    """A text without the marks of bytes that could not be decoded."""
    return MARK.sub("\ufffd", text)


def readable_cells(cells: Iterable[str]) -> list[str]:
    """The beginnings of cells."""
    return [readable_text(cell[:_SHOWN]) for cell in cells]


def readable_lines(lines: Iterable[str]) -> list[str]:
    """The beginnings of lines."""
    return [readable_text(line[:_SHOWN].rstrip("\r\n")) for line in lines]

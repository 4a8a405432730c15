"""What the tests of formats share: reading a file as an import does."""

import io
import re
from datetime import UTC, tzinfo
from typing import Any, BinaryIO
from zoneinfo import ZoneInfo

from core.formats.rows import BadRow, FileReport, Format, ImportRefused, ReadOptions, Row, SkippedRow

_DONE_INSTEAD = "left out|stands? in|stands whole in|is 5|is pending|was taken|was read in|replaced"
BERLIN = ZoneInfo("Europe/Berlin")


class Result:
    """What became of a file.

    Attributes:
        rows: all, in order.
        refused: what ended the reading.
    """

    def __init__(self, format_: Format, data: bytes, options: ReadOptions) -> None:
        self.report = FileReport()
        self.rows: list[Row | BadRow | SkippedRow] = []
        self.refused: ImportRefused | None = None
        try:
            for row in format_.read(io.BytesIO(data), options, self.report):
                self.rows.append(row)
        except ImportRefused as refused:
            self.refused = refused

    @property
    def good(self) -> list[Row]:
        return [row for row in self.rows if isinstance(row, Row)]

    @property
    def bad(self) -> list[BadRow]:
        return [row for row in self.rows if isinstance(row, BadRow)]

    @property
    def skipped(self) -> list[SkippedRow]:
        return [row for row in self.rows if isinstance(row, SkippedRow)]

    @property
    def warned(self) -> list[tuple[int, str | None]]:
        """Number and column of each warning; none of them without a word on what was done instead."""
        warnings = [(row.number, warning) for row in self.good for warning in row.warnings]
        assert all(re.search(_DONE_INSTEAD, warning.message) for _, warning in warnings), warnings
        return [(number, warning.column) for number, warning in warnings]

    @property
    def fields(self) -> list[dict[str, Any]]:
        return [row.fields for row in self.good]

    @property
    def one(self) -> dict[str, Any]:
        """The fields of the only row."""
        assert not self.refused, self.refused.detail
        assert not self.bad, self.bad
        assert not self.skipped, self.skipped
        (row,) = self.good
        return row.fields


def read(format_: Format, data: bytes | str, *, time_zone: tzinfo = UTC, **options: Any) -> Result:
    """Reads a file to its end."""
    content = data.encode() if isinstance(data, str) else data
    return Result(format_, content, ReadOptions(time_zone=time_zone, **options))


class Repeated(io.RawIOBase, BinaryIO):  # type: ignore[misc]
    """A file of many megabytes that is never whole in memory: a beginning, and then the same again and again."""

    def __init__(self, beginning: bytes, unit: bytes, size: int) -> None:
        self._beginning = beginning
        self._unit = unit
        self._units = unit * (2 + 65536 // len(unit))
        self._at = 0
        self._size = size

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if self._beginning:
            block, self._beginning = self._beginning[:size], self._beginning[size:]
            return block
        begin = self._at % len(self._unit)
        block = self._units[begin : begin + min(size, 65536, self._size - self._at)]
        self._at += len(block)
        return block

"""Rows of a file as they are given back when they fail, and what becomes of them when they are sent again."""

from collections.abc import Sequence

from core.formats.failed_rows import FailedRow, FailedRowsWriter, Surroundings
from core.formats.rows import BadRow, FileReport, Format, SkippedRow
from core.imports.rows import RowError
from core.imports.writes.rowreports import kept_row
from tests.core.formats.harness import Result

NO_LIMIT = 1 << 62
REASON = "title: What is wrong -- with it; is 'told', here."


def given_back(format_: Format, result: Result, *, reason: str = REASON) -> bytes:
    """The file of failed rows, as if all rows of a file had failed."""
    report: FileReport = result.report
    around = Surroundings(report.columns or (), report.has_header, report.delimiter, report.frame)
    writer = FailedRowsWriter(format_.form, around)
    pieces = [writer.begin()]
    for row in result.rows:
        if isinstance(row, SkippedRow):
            continue
        _, values, source = kept_row(RowError(row.number, 1, None, reason, row.values, row.source), NO_LIMIT)
        text = values if source is None else source
        if text:
            pieces.append(writer.add(FailedRow(text, [reason])))
    pieces.append(writer.end())
    return "".join(pieces).encode()


def told(result: Result) -> Sequence[object]:
    """What rows say, without their numbers."""
    rows = (row for row in result.rows if not isinstance(row, SkippedRow))
    return [row.message if isinstance(row, BadRow) else row.fields for row in rows]

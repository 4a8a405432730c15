"""Files of rows that failed, each in the form that its rows came in, to be mended and sent again.

Where the form can hold it, each row has the reason with it, and reading passes it over: a column `error` at the end of
a CSV, a member `error` at the beginning of an object of JSON that has none for itself, a property `X-TENFOLD-ERROR` of
a component of iCalendar, a comment before an element of XML.
"""

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import orjson

from core.formats.rows import Form
from core.formats.streams.icalendar import as_lines

ERROR = "error"
"""The column, and the member, that holds the reason."""

_NOT_IN_A_COMMENT = re.compile(r"(?<=-)(?=-)|[^\t\x20-\ud7ff\ue000-\ufffd]")


@dataclass(frozen=True, slots=True)
class FileForm:
    """A form, as a client gets it.

    Attributes:
        media_type: of the file.
        extension: of its name.
    """

    media_type: str
    extension: str


FILE_FORMS: dict[Form, FileForm] = {
    "csv": FileForm("text/csv", "csv"),
    "json": FileForm("application/json", "json"),
    "ndjson": FileForm("application/x-ndjson", "ndjson"),
    "icalendar": FileForm("text/calendar", "ics"),
    "xml": FileForm("application/xml", "xml"),
}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What was told about the file that the rows came from (`FileReport`).

    Attributes:
        columns: of a CSV.
        has_header: whether it has one.
        delimiter: of its cells.
        frame: what stands before and behind the rows.
    """

    columns: Sequence[str] = ()
    has_header: bool = True
    delimiter: str = ","
    frame: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class FailedRow:
    """A row that failed.

    Attributes:
        source: its text in the file; of a CSV its cells as a list in JSON, or a list of such lists.
        reasons: each a sentence.
    """

    source: str
    reasons: Sequence[str]


IN_LINES = ("", "")
"""The frame of a file of JSON whose objects were read in lines."""


def form_of_file(form: Form, around: Surroundings) -> Form:
    """The form of one file of a format: JSON of any program may come in lines."""
    return "ndjson" if form == "json" and around.frame == IN_LINES else form


class FailedRowsWriter:
    """Writes one file, piece by piece."""

    def __init__(self, form: Form, around: Surroundings) -> None:
        form = form_of_file(form, around)
        self._around = around
        before, after = around.frame or ("[", "]") if form == "json" else around.frame or ("", "")
        self._before, self._after = before, after
        self._separator = ""
        self._write: Callable[[FailedRow], str] = {
            "csv": self._records,
            "json": self._item,
            "ndjson": _line,
            "icalendar": _component,
            "xml": _element,
        }[form]
        self._is_csv = form == "csv"

    def begin(self) -> str:
        """What stands before the first row."""
        if not self._is_csv:
            return self._before
        return self._cells([*self._own(self._around.columns), ERROR]) if self._around.has_header else ""

    def add(self, row: FailedRow) -> str:
        """A row, with its reasons where there is a place for them."""
        return self._write(row)

    def end(self) -> str:
        """What stands behind the last row."""
        return self._after

    def _records(self, row: FailedRow) -> str:
        """A record, or several that tell of one task, each with the reason."""
        source = orjson.loads(row.source)
        records = source if source and isinstance(source[0], list) else [source]
        return "".join(self._record(list(map(str, cells)), row) for cells in records)

    def _record(self, cells: list[str], row: FailedRow) -> str:
        if not self._around.has_header:
            return self._cells(cells)  # without names, one more column would be one of the task's
        width = len(self._around.columns)
        cells += [""] * (width - len(cells))
        # What the header has no column for stays, behind the reason, if it is anything.
        more = cells[width:] if any(map(str.strip, cells[width:])) else []
        return self._cells([*self._own(cells[:width]), _sentence(row), *more])

    def _own(self, cells: Sequence[str]) -> list[str]:
        """Cells without that of the reason that an earlier file has added."""
        last = len(self._around.columns) - 1
        is_ours = last >= 0 and self._around.columns[last] == ERROR
        return list(cells[:last] if is_ours else cells)

    def _cells(self, cells: Sequence[str]) -> str:
        text = io.StringIO()
        csv.writer(text, delimiter=self._around.delimiter).writerow(cells)
        return text.getvalue()

    def _item(self, row: FailedRow) -> str:
        separator, self._separator = self._separator, ","
        return f"{separator}\n{_with_member(row)}"


def _sentence(row: FailedRow) -> str:
    """The reasons; their end tells them from what else stands in a column or member of this name."""
    told = " ".join(row.reasons)
    return told if told.endswith(".") else f"{told}."


def _line(row: FailedRow) -> str:
    return f"{_with_member(row)}\n"


def _with_member(row: FailedRow) -> str:
    """An object's text with the reason as its first member.

    What is no object stays as it is, and so does one that has a member of this name for itself.
    """
    text = row.source.strip()
    try:
        content = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    if not isinstance(content, dict):
        return text
    if ERROR in content:
        if next(iter(content)) != ERROR:
            return text
        del content[ERROR]  # the reason that an earlier file has added
        text = orjson.dumps(content).decode()
    rest = text[1:].lstrip()
    comma = "" if rest.startswith("}") else ","
    return f'{{"{ERROR}":{orjson.dumps(_sentence(row)).decode()}{comma}{rest}'


def _component(row: FailedRow) -> str:
    told = " ".join(row.reasons).replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,").replace("\n", "\\n")
    kept = "\n".join(line for line in row.source.split("\n") if not line.startswith("X-TENFOLD-ERROR:"))
    return as_lines(kept, f"X-TENFOLD-ERROR:{told}")


def _element(row: FailedRow) -> str:
    told = _NOT_IN_A_COMMENT.sub(" ", " ".join(row.reasons))
    return f"\n<!-- {ERROR}: {told} -->\n{row.source}"

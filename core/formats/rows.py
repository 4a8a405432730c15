"""What a format reads out of a file, row by row; the vocabulary of every module in `core.formats`."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any, BinaryIO, Literal, TypeVar

_T = TypeVar("_T")

_EXCERPT_MAXIMUM = 500
FRAME_MAXIMUM = 1 << 20
"""Characters that are kept of what stands around the rows of a file."""

Values = Mapping[str, Any] | list[str]
"""A row as it stands in the file: a CSV record's cells, or an object as far as it is worth showing."""

Source = str | bytes | Mapping[str, Any] | list[str] | list[list[str]]
"""All of a row, to be given back where it fails: text of the file, an object of JSON, or a CSV record's cells, also of
several records that tell of one task."""


@dataclass(frozen=True, slots=True)
class RowWarning:
    """Something of a row that was not taken as it stands in the file, although the row is a task.

    Attributes:
        column: the file's own name of the column; None: the row as a whole.
        message: what was wrong, and what was done instead.
    """

    column: str | None
    message: str


@dataclass(slots=True)
class Row:
    """A row that became fields.

    Attributes:
        number: from 1, as a person would count in the file: data records of a CSV, lines of NDJSON, items of a list.
        fields: what `core.tasks.validation.load_import` takes; not yet validated. Times are RFC 3339 with an offset.
        values: the row as it stands in the file, for the report of its errors.
        columns: field → the file's own name of the column that it came from, where that is another.
        warnings: what of it was replaced or left out.
        source: all of it, where that is more than `values`.
    """

    number: int
    fields: dict[str, Any]
    values: Values
    columns: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[RowWarning, ...] = ()
    source: Source | None = field(default=None, compare=False)


@dataclass(slots=True)
class BadRow:
    """A row that cannot be a task.

    Attributes:
        number: as of a `Row`.
        column: the file's own name of the column that is wrong; None: the row as a whole.
        message: what is wrong, and where it helps, what would be right.
        values: the row as it stands in the file, as far as it could be read.
        more: what else is wrong with it; column and message as the first's.
        source: all of it, where that is more than `values`; empty where that would be too much.
    """

    number: int
    column: str | None
    message: str
    values: Values
    more: tuple[RowWarning, ...] = ()
    source: Source | None = field(default=None, compare=False)


@dataclass(slots=True)
class SkippedRow:
    """A row that is left out on purpose: it is no task, or another row tells the same.

    Attributes:
        number: as of a `Row`.
        reason: why, in a sentence for whoever sent the file.
        values: the row as it stands in the file.
    """

    number: int
    reason: str
    values: Values


Rows = Iterator[Row | BadRow | SkippedRow]


class ImportRefused(Exception):
    """The file as a whole cannot be imported; the import ends `failed` with this as its problem.

    Rows that came before it have been imported and counted.

    Attributes:
        name: of the problem: `import-empty`, `import-unreadable`, `import-wrong-format`, `import-too-large`,
            `import-mapping-invalid`, `import-format-unknown`.
        detail: what is wrong, where (line, byte, column name), and what to do.
        extra: further members of the problem.
    """

    def __init__(self, name: str, detail: str, **extra: Any) -> None:
        super().__init__(detail)
        self.name = name
        self.detail = detail
        self.extra = extra


def until_refused(items: Iterable[_T]) -> tuple[list[_T], ImportRefused | None]:
    """All items of a file that has to be held, and what ended the reading: those before it are rows all the same."""
    found: list[_T] = []
    try:
        found.extend(items)
    except ImportRefused as refused:
        return found, refused
    return found, None


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What the client said about its file.

    Attributes:
        time_zone: of dates that have none; a row's own zone goes before it.
        delimiter: of a CSV; None: found out.
        encoding: a name that Python's codecs know; None: found out (BOM, UTF-8, else Windows-1252).
        mapping: column → field, constants and value maps, for a CSV of any program; None: guessed from the header.
        include_pull_requests: whether GitHub's pull requests become tasks, too.
        lists_as: what lists, columns and projects become: labels, or lines of the description.
        columns_as: whether one that is called as a status is (Doing, En cours, Done) sets the status instead.
    """

    time_zone: tzinfo
    delimiter: str | None = None
    encoding: str | None = None
    mapping: Mapping[str, Any] | None = None
    include_pull_requests: bool = False
    lists_as: Literal["labels", "text"] = "text"
    columns_as: Literal["statuses", "text"] = "text"


@dataclass(slots=True)
class FileReport:
    """What reading tells about the file besides its rows; filled while it goes on.

    Attributes:
        columns: the header of a CSV, for the report of errors in the file's own form; None for other forms.
        has_header: whether the CSV has one; else its columns are numbers.
        delimiter: of the CSV.
        frame: what stands before and behind the rows of a file, and is needed to understand them.
        mapping: the mapping that was used, where one was guessed.
        ignored: reason → how many records were passed over on purpose (pull requests, separators, notes).
    """

    columns: list[str] | None = None
    has_header: bool = True
    delimiter: str = ","
    frame: tuple[str, str] | None = None
    mapping: dict[str, Any] | None = None
    ignored: dict[str, int] = field(default_factory=dict)

    def ignore(self, reason: str) -> None:
        """Counts a record that is passed over."""
        self.ignored[reason] = self.ignored.get(reason, 0) + 1


@dataclass(frozen=True, slots=True)
class Head:
    """The first bytes of a file, decompressed, as formats look at them to tell whether it is theirs.

    Attributes:
        data: up to 64 KiB.
        text: the same, decoded as far as it can be, without a BOM.
        filename: as the client called it, lower case; empty where it did not.
        is_whole: whether that is the whole file.
    """

    data: bytes
    text: str
    filename: str
    is_whole: bool


Certainty = Literal[0, 1, 2, 3]
"""0: not ours. 1: readable as ours, for want of a better one. 2: looks like ours. 3: cannot be anything else."""


Form = Literal["csv", "json", "ndjson", "icalendar", "xml"]
"""How files of a format are written."""


@dataclass(frozen=True, slots=True)
class Format:
    """A program's export, as one module of `core.formats.programs` reads it.

    Attributes:
        name: as clients say it: `todoist-csv`, `trello-json` …
        title: as people say it.
        recognise: how certain it is that a file which begins so is of this format; must be quick, and never raise.
        read: a generator over the rows. The stream is decompressed, may be read once, and is not seekable.
            Raises `ImportRefused` for a file that cannot be read on.
        form: how its files are written.
    """

    name: str
    title: str
    recognise: Callable[[Head], Certainty]
    read: Callable[[BinaryIO, ReadOptions, FileReport], Rows]
    form: Form = "json"


def excerpt(content: Any) -> Values:
    """What the report of errors shows of an object: its texts and numbers, none of them long."""
    if not isinstance(content, dict):
        return {"item": _short(str(content)[:_EXCERPT_MAXIMUM])}
    return {
        _short(name): _short(value) if isinstance(value, str) else value
        for name, value in content.items()
        if isinstance(value, str | int | float) or value is None
    }


def _short(text: str) -> str:
    text = text if len(text) <= _EXCERPT_MAXIMUM else text[: _EXCERPT_MAXIMUM - 1] + "…"
    if not text.isascii():
        text = text.encode(errors="replace").decode()
    return text.replace("\0", "�")

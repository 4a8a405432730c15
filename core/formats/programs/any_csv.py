"""A CSV of any other program: by the client's mapping (`csv/mapping.py`), or by a guess (`csv/guessing.py`).

- Priorities are 1 (highest) to 10, or words (Highest 1, High 3, Medium 5, Low 7, Lowest 9 and the like, in many
  languages); states are words, also `yes` and `x`, or a date of completion.
- By a mapping, a word that nobody knows fails its row: the mapping's `values` can tell what it means. By a guess it
  stands in the description, and the field has its default.
- `none`, `null`, `n/a`, `-` and the like are nothing, except in texts. A row without a title fails.
- An `external_id` that is an address also stands in the description, as `Source: …`.
"""

import re
from collections.abc import Callable
from datetime import datetime, tzinfo
from functools import partial
from typing import Any, BinaryIO

from core.formats.csv.guessing import NOTHING, guess, has_header
from core.formats.csv.headers import first_records, head_text, positions_of
from core.formats.csv.mapping import OFTEN, OTHERS, Column, Plan, plan_columns, refused, wants_header
from core.formats.csv.records import Records
from core.formats.csv.rows import parsed_rows
from core.formats.dates import parse_due, parse_moment
from core.formats.parsed_task import ParsedTask
from core.formats.rows import Certainty, FileReport, Format, Head, ReadOptions, Rows
from core.formats.values import WrongValue
from core.formats.words import priority_of, status_of
from core.tasks.fields import STATUSES

_OTHER_FORMS = ("{", "[", "<", "BEGIN:", "%PDF", "PK\x03")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_CSV_NAMES = (".csv", ".tsv", ".tab", ".csv.gz", ".tsv.gz", ".csv.zst", ".tsv.zst")


def _recognise(head: Head) -> Certainty:
    text = head_text(head).lstrip("\ufeff \r\n\t")
    if text.startswith(_OTHER_FORMS) or _CONTROL.search(text.partition("\n")[0]):
        return 0
    if head.filename.endswith(_CSV_NAMES):
        return 1
    records = first_records(head)
    if len(records) < 2:
        return 0
    # The last one may be cut.
    widths = {len(record) for record in (records if head.is_whole else records[:-1])}
    return 1 if len(widths) == 1 and widths.pop() > 1 else 0


def _read(stream: BinaryIO, options: ReadOptions, report: FileReport) -> Rows:
    records = Records(stream, options, report)
    sample = records.sample
    mapping = options.mapping
    has_names = wants_header(mapping) if mapping is not None else None
    if has_names is None:
        has_names = _names_columns(sample, mapping)
    positions: dict[str, list[int]] = {}
    if has_names:
        header = records.header()
        width = len(header)
        positions = positions_of(header, report)
        sample = sample[1:]
    else:
        width = max(map(len, sample), default=1)
        Records.limit_columns(sample[0] if sample else [])
        header = [str(number) for number in range(1, width + 1)]
        report.columns = header
        report.has_header = False
    if mapping is None:
        mapping = report.mapping = _guessed(header if has_names else None, sample, records)
    reader = _Reader(plan_columns(mapping, positions, width), options.time_zone, is_guess=report.mapping is not None)
    yield from parsed_rows(records, width if has_names else None, reader.parse, reader.names)


def _guessed(header: list[str] | None, sample: list[list[str]], records: Records) -> dict[str, Any]:
    mapping = guess(header, sample)
    if mapping is None:
        if not sample:
            # Nothing to guess from: what there is tells what is wrong.
            next(records.numbered(), None)
        raise refused("It cannot be guessed which column is the title; say so with a mapping.")
    return mapping


def _names_columns(sample: list[list[str]], mapping: Any) -> bool:
    """Whether the first record is a header: it has a name that the mapping says, or looks like one."""
    columns = mapping.get("columns") if mapping is not None else None
    if isinstance(columns, dict) and sample:
        names = {cell.strip(" \t\ufeff") for cell in sample[0]}
        if any(str(name).strip() in names for name in columns):
            return True
        if not all(str(name).strip().isdecimal() for name in columns):
            return True
    return has_header(sample)


_ReadCell = Callable[[ParsedTask, Column, str], Any]
"""Reads a cell: returns the value of its field; None where there is none, or it went into the task itself."""


class _Reader:
    """Makes tasks of a file's rows.

    Attributes:
        names: field → name of its column.
    """

    def __init__(self, plan: Plan, time_zone: tzinfo, *, is_guess: bool) -> None:
        self._time_zone = time_zone
        self._is_guess = is_guess
        self.names = {column.field: column.name for column in plan.columns}
        self._constants = {
            name: value for name, value in plan.constants.items() if name not in ("labels", "description")
        }
        self._labels = plan.constants.get("labels") or ()
        self._description = plan.constants.get("description") or ""
        if plan.date_pattern is not None:
            pattern = plan.date_pattern
            self._parse_moment: Callable[[str, tzinfo], str] = partial(_by_pattern, pattern=pattern)
            self._parse_due: Callable[[str, tzinfo], str] = partial(_by_pattern, pattern=pattern, is_due=True)
        else:
            self._parse_moment = partial(parse_moment, day_first=plan.day_first)
            self._parse_due = partial(parse_due, day_first=plan.day_first)
        readers: dict[str, _ReadCell] = {
            "priority": self._priority,
            "status": self._status,
            "due_date": self._date,
            "created_at": self._date,
            "completed_at": self._date,
            "labels": self._add_labels,
            "external_id": _add_address,
            "description": _add_text,
            "detail": _add_detail,
            "note": _add_note,
            "parent": _set_parent,
            "source": _add_source,
        }
        self._title = next(column for column in plan.columns if column.field == "title")
        self._external_id = next((column for column in plan.columns if column.field == "external_id"), None)
        self._columns = [(column, readers[column.field]) for column in plan.columns if column is not self._title]

    def parse(self, cells: list[str]) -> ParsedTask:
        """The task that a record becomes.

        Raises:
            WrongValue: a cell of it is wrong.
        """
        title = _first(self._title, cells)
        if not title:
            raise WrongValue(self._title.name, "The title is empty.")
        task = ParsedTask(title, _first(self._external_id, cells) if self._external_id is not None else "")
        for label in self._labels:
            task.label(label)
        values = self._constants.copy()
        for column, read in self._columns:
            for cell in _said(column, cells):
                value = read(task, column, cell)
                if value is not None:
                    values[column.field] = value
        task.body = task.body or self._description
        self._settle_completion(task, values)
        task.set(**values)
        return task

    def _settle_completion(self, task: ParsedTask, values: dict[str, Any]) -> None:
        """What has a time of completion is completed, unless a status says otherwise."""
        if values.get("completed_at") is None:
            return
        if "status" not in self.names:
            values["status"] = "completed"
        elif values.get("status") != "completed":
            # Cancelled, or opened again.
            task.fact("Closed", values.pop("completed_at"))

    def _mapped(self, column: Column, cell: str) -> tuple[bool, Any]:
        """Whether the mapping says what a word means, and what."""
        folded = cell.casefold()
        if folded in column.values:
            return True, column.values[folded]
        if OTHERS in column.values and folded not in NOTHING:
            return True, column.values[OTHERS]
        return False, None

    def _priority(self, task: ParsedTask, column: Column, cell: str) -> Any:
        is_mapped, value = self._mapped(column, cell)
        if is_mapped or cell.casefold() in NOTHING:
            return value
        if cell.isdecimal() and len(cell) < 3 and 1 <= int(cell) <= 10:
            return int(cell)
        known = priority_of(cell)
        if known is None:
            self._refuse(task, column, cell, "is no priority: 1 (highest) to 10, or a word such as high")
        return known

    def _status(self, task: ParsedTask, column: Column, cell: str) -> Any:
        is_mapped, value = self._mapped(column, cell)
        if is_mapped or cell.casefold() in NOTHING:
            return value
        known = status_of(cell)
        if known is None:
            statuses = ", ".join(STATUSES)
            self._refuse(task, column, cell, f"is no known status: {statuses}, or a word such as done")
        return known

    def _refuse(self, task: ParsedTask, column: Column, cell: str, problem: str) -> None:
        """A word that nobody knows fails its row by a mapping; by a guess it stands in the description.

        Raises:
            WrongValue: there is a mapping.
        """
        if not self._is_guess:
            raise WrongValue(column.name, f"“{cell[:60]}” {problem}; the mapping's values can tell what others mean.")
        task.fact(column.name, cell)

    def _date(self, _: ParsedTask, column: Column, cell: str) -> str | None:
        is_mapped, value = self._mapped(column, cell)
        if is_mapped:
            if value is None:
                return None
            cell = value
        if cell.casefold() in NOTHING:
            return None
        try:
            return (self._parse_due if column.field == "due_date" else self._parse_moment)(cell, self._time_zone)
        except ValueError as error:
            raise WrongValue(column.name, str(error)) from None

    def _add_labels(self, task: ParsedTask, column: Column, cell: str) -> None:
        if cell.casefold() in NOTHING:
            return
        # Also as a list of JSON or Python, which scripts write.
        for part in cell.strip("[]").replace(";", ",").replace("|", ",").replace("\n", ",").split(","):
            label = part.strip().strip("'\"")
            is_mapped, value = self._mapped(column, label)
            if label and (not is_mapped or value is not None):
                task.label(value if is_mapped else label)


def _said(column: Column, cells: list[str]) -> list[str]:
    """What stands in a column, or in all those of its name; for a scalar field only the first that says something."""
    found = [cell for position in column.positions if position < len(cells) and (cell := cells[position].strip())]
    return found if column.field in OFTEN else found[:1]


def _first(column: Column, cells: list[str]) -> str:
    return next((column.prefix + cell for cell in _said(column, cells)), "")


def _add_text(task: ParsedTask, _: Column, cell: str) -> None:
    task.body = f"{task.body}\n\n{cell}" if task.body else cell


def _add_detail(task: ParsedTask, column: Column, cell: str) -> None:
    task.fact(f"Column {column.name}" if column.name.isdecimal() else column.name, cell)


def _add_note(task: ParsedTask, _: Column, cell: str) -> None:
    task.comment(cell)


def _set_parent(task: ParsedTask, _: Column, cell: str) -> None:
    task.parent = cell


def _add_source(task: ParsedTask, _: Column, cell: str) -> None:
    task.fact("Source", cell)


def _add_address(task: ParsedTask, _: Column, cell: str) -> None:
    """An external id that is an address also tells the source."""
    if cell.startswith(("https://", "http://")):
        task.fact("Source", cell)


def _by_pattern(text: str, time_zone: tzinfo, *, pattern: str, is_due: bool = False) -> str:
    try:
        moment = datetime.strptime(text, pattern)  # noqa: DTZ007, the zone follows
    except ValueError:
        raise ValueError(f"“{text[:60]}” is no date of the form {pattern}.") from None
    return (parse_due if is_due else parse_moment)(moment.isoformat(), time_zone)


FORMAT = Format("csv", "CSV of any program", _recognise, _read, form="csv")

"""Makes tasks of the rows of a table, as a plan of its columns says."""

from collections.abc import Callable
from datetime import datetime, tzinfo
from functools import partial
from typing import Any

from marshmallow import ValidationError

from core.formats.csv.mapping import OFTEN, OTHERS, Column, Plan
from core.formats.csv.words import NOTHING
from core.formats.dates import is_day, is_end_of_day, parse_due, parse_moment
from core.formats.parsed_task import IS_PENDING, ParsedTask
from core.formats.rows import ReadOptions
from core.formats.values import quoted, read_moment
from core.formats.words import priority_of, status_of
from core.tasks.fields import HIGHEST_PRIORITY, IMPORTED, LOWEST_PRIORITY, STATUSES
from core.tasks.kinds import Choice, LabelList, Moment, Number
from core.tasks.validation import load_import

# A rule and a list are looked at when due date and status are known.
_LATE = ("recurrence", "list")
# A day is held against the due date, which must be known.
_DAY = "due_day"
_KINDS = {field.name: field.kind for field in IMPORTED}
_ReadCell = Callable[[ParsedTask, Column, str], None]


class TaskReader:
    """Makes tasks of a file's rows.

    Attributes:
        names: field → name of its column.
    """

    def __init__(self, plan: Plan, options: ReadOptions, *, is_guess: bool) -> None:
        """
        Args:
            plan: of the columns.
            options: of the reader.
            is_guess: whether nobody has said what the columns mean: then what cannot be read costs no row.
        """
        self._options = options
        self._is_guess = is_guess
        self._day_first = plan.day_first
        self.names = {column.field: column.name for column in plan.columns}
        self._constants = {
            name: value for name, value in plan.constants.items() if name not in ("labels", "description")
        }
        self._labels = plan.constants.get("labels") or ()
        self._description = plan.constants.get("description") or ""
        self._parse_moment: Callable[..., str] = parse_moment
        self._parse_due: Callable[..., str] = parse_due
        if plan.date_pattern is not None:
            self._parse_moment = partial(_by_pattern, pattern=plan.date_pattern, parse=parse_moment)
            self._parse_due = partial(_by_pattern, pattern=plan.date_pattern, parse=parse_due)
        readers: dict[str, _ReadCell] = {
            "priority": self._set_priority,
            "status": self._set_status,
            "due_date": self._set_due,
            "due_day": self._set_day,
            "created_at": self._set_moment,
            "completed_at": self._set_moment,
            "labels": self._add_labels,
            "list": self._place,
            "recurrence": _repeat,
            "external_id": _add_address,
            "description": _add_text,
            "detail": add_detail,
            "note": _add_note,
            "parent": _set_parent,
            "source": _add_source,
        }
        self._title = next(column for column in plan.columns if column.field == "title")
        self._external_id = next((column for column in plan.columns if column.field == "external_id"), None)
        columns = [
            (column, readers.get(column.field, self._set_other))
            for column in sorted(plan.columns, key=lambda column: column.field == _DAY)
            if column is not self._title
        ]
        self._columns = [(column, read) for column, read in columns if column.field not in _LATE]
        self._late_columns = [(column, read) for column, read in columns if column.field in _LATE]

    def parse(self, cells: list[str]) -> ParsedTask:
        """The task that a record becomes; it fails without a title, and by a mapping with what cannot be read."""
        title = _first(self._title, cells)
        task = ParsedTask(title, _first(self._external_id, cells) if self._external_id is not None else "")
        if not title:
            task.fail(self._title.name, "The title is empty.")
        for label in self._labels:
            task.label(label)
        task.set(**self._constants)
        for column, read in self._columns:
            for cell in _said(column, cells):
                read(task, column, cell)
        self._settle_completion(task)
        for column, read in self._late_columns:
            for cell in _said(column, cells):
                read(task, column, cell)
        task.body = task.body or self._description
        return task

    def _settle_completion(self, task: ParsedTask) -> None:
        """What has a time of completion is completed, unless a status says otherwise."""
        completed_at = task.get("completed_at")
        if completed_at is None or task.get("status") == "completed":
            return
        if "status" not in self.names:
            task.complete(completed_at)
        else:
            # Cancelled, or opened again.
            task.fact("Closed", completed_at)

    def _mapped(self, column: Column, cell: str) -> tuple[bool, Any]:
        """Whether the mapping says what a word means, and what."""
        if not column.values:
            return False, None
        folded = cell.casefold()
        if folded in column.values:
            return True, column.values[folded]
        if OTHERS in column.values and folded not in NOTHING:
            return True, column.values[OTHERS]
        return False, None

    def _set_priority(self, task: ParsedTask, column: Column, cell: str) -> None:
        is_mapped, value = self._mapped(column, cell)
        if is_mapped or cell.casefold() in NOTHING:
            task.set(priority=value)
        elif (number := number_of(cell)) is not None:
            task.set(priority=number)
        elif self._is_guess:
            task.set_priority(cell, column.name)
        elif (known := priority_of(cell)) is not None:
            task.set(priority=known)
        else:
            _refuse(task, column, cell, "is no priority: 1 (highest) to 10, or a word such as high")

    def _set_status(self, task: ParsedTask, column: Column, cell: str) -> None:
        is_mapped, value = self._mapped(column, cell)
        if is_mapped or cell.casefold() in NOTHING:
            task.set(status=value)
        elif (known := status_of(cell)) is not None:
            task.set(status=known)
        else:
            problem = f"is no known status: {', '.join(STATUSES)}, or a word such as done"
            if self._is_guess:
                message = f"{quoted(cell)} {problem}. {IS_PENDING}, and it stands in the description."
                task.keep(column.name, cell, column.name, message)
            else:
                _refuse(task, column, cell, problem)

    def _set_due(self, task: ParsedTask, column: Column, cell: str) -> None:
        self._read_date(task, column, cell, self._parse_due, task.set_due_as)

    def _set_moment(self, task: ParsedTask, column: Column, cell: str) -> None:
        self._read_date(task, column, cell, self._parse_moment, lambda moment, _: task.set(**{column.field: moment}))

    def _set_day(self, task: ParsedTask, column: Column, cell: str) -> None:
        self._read_date(
            task, column, cell, self._parse_day, lambda day, time_zone: self._take_day(task, column, day, time_zone)
        )

    def _parse_day(self, text: str, time_zone: tzinfo, *, day_first: bool | None = None) -> str:
        day = self._parse_due(text, time_zone, day_first=day_first)
        if not is_day(day):
            raise ValueError(f"{quoted(text)} is no day; write it as 2026-01-31.")
        return day

    def _take_day(self, task: ParsedTask, column: Column, day: str, time_zone: tzinfo) -> None:
        """The day goes before a due date that is not the end of it."""
        due_date, due_day = task.get("due_date"), task.get(_DAY)
        is_same = due_day == day if due_day is not None else due_date is None or is_end_of_day(due_date, day)
        if not is_same:
            name = self.names.get("due_date", "due_date")
            message = f"The day {day} contradicts the due date. The day was taken, and the due date stands in the"
            task.keep(name, due_day or due_date, column.name, f"{message} description.")
        task.set_due_as(day, time_zone)

    def _set_other(self, task: ParsedTask, column: Column, cell: str) -> None:
        """A field that nobody else has a word for: as it is sent to the API, or nearly so."""
        if isinstance(_KINDS[column.field], Moment):
            self._set_moment(task, column, cell)
            return
        is_mapped, value = self._mapped(column, cell)
        if not is_mapped:
            value = None if cell.casefold() in NOTHING else _as_sent(column.field, cell)
        if value is None:
            return
        try:
            load_import({"title": "-", column.field: value})
        except ValidationError as error:
            messages = " ".join(map(str, error.messages_dict.get(column.field, [])))
            problem = f"{quoted(cell)} is no {column.field}: {messages}"
            if self._is_guess:
                message = f"{problem} It was left out, and stands in the description."
                task.keep(column.name, cell, column.name, message)
            else:
                task.fail(column.name, problem)
        else:
            task.set(**{column.field: value})

    def _read_date(
        self,
        task: ParsedTask,
        column: Column,
        cell: str,
        parse: Callable[..., str],
        take: Callable[[str, tzinfo], None],
    ) -> None:
        is_mapped, value = self._mapped(column, cell)
        text = value if is_mapped else cell
        if text is None or text.casefold() in NOTHING:
            return
        time_zone = column.time_zone or self._options.time_zone
        try:
            moment = read_moment(text, parse, time_zone, day_first=self._day_first)
        except ValueError as error:
            if self._is_guess:
                task.keep(column.name, cell, column.name, f"{error} It was left out, and stands in the description.")
            else:
                task.fail(column.name, str(error))
            return
        if moment is not None:
            take(moment, time_zone)

    def _add_labels(self, task: ParsedTask, column: Column, cell: str) -> None:
        if cell.casefold() in NOTHING:
            return
        # Also as a list of JSON or Python, which scripts write.
        for part in cell.strip("[]").replace(";", ",").replace("|", ",").replace("\n", ",").split(","):
            label = part.strip().strip("'\"")
            is_mapped, value = self._mapped(column, label)
            if label and (not is_mapped or value is not None):
                task.label(value if is_mapped else label)

    def _place(self, task: ParsedTask, column: Column, cell: str) -> None:
        if cell.casefold() not in NOTHING:
            task.place(column.name, cell, self._options, task.get("completed_at"))


def _as_sent(field: str, cell: str) -> Any:
    """A cell as the API takes the field."""
    match _KINDS[field]:
        case Number():
            return int(cell) if cell.isdecimal() and len(cell) < 10 else cell
        case Choice():
            return cell.casefold().replace(" ", "_").replace("-", "_")
        case LabelList():
            return [label for part in cell.split(",") if (label := part.strip())]
        case _:
            return cell


def number_of(cell: str) -> int | None:
    """A priority that is written as a number, also by a spreadsheet: 3, 3.0, 3,0."""
    if not cell[:1].isdecimal():
        return None
    whole, _, rest = cell.replace(",", ".").partition(".")
    if whole.isdecimal() and len(whole) < 3 and not rest.strip("0"):
        number = int(whole)
        if HIGHEST_PRIORITY <= number <= LOWEST_PRIORITY:
            return number
    return None


def add_detail(task: ParsedTask, column: Column, cell: str) -> None:
    """Makes a cell a line of the description."""
    task.fact(f"Column {column.name}" if column.name.isdecimal() else column.name, cell)


def _refuse(task: ParsedTask, column: Column, cell: str, problem: str) -> None:
    task.fail(column.name, f"{quoted(cell)} {problem}; the mapping's values can tell what others mean.")


def _said(column: Column, cells: list[str]) -> list[str]:
    """What stands in a column, or in all those of its name; for a scalar field only the first that says something."""
    found = [cell for position in column.positions if position < len(cells) and (cell := cells[position].strip())]
    return found if column.field in OFTEN else found[:1]


def _first(column: Column, cells: list[str]) -> str:
    return next((column.prefix + cell for cell in _said(column, cells)), "")


def _add_text(task: ParsedTask, _: Column, cell: str) -> None:
    task.body = f"{task.body}\n\n{cell}" if task.body else cell


def _add_note(task: ParsedTask, _: Column, cell: str) -> None:
    task.comment(cell)


def _set_parent(task: ParsedTask, _: Column, cell: str) -> None:
    task.parent = cell


def _add_source(task: ParsedTask, _: Column, cell: str) -> None:
    task.fact("Source", cell)


def _repeat(task: ParsedTask, column: Column, cell: str) -> None:
    if cell.casefold() not in NOTHING:
        task.repeat(cell, column.name)


def _add_address(task: ParsedTask, _: Column, cell: str) -> None:
    """An external id that is an address also tells the source."""
    if cell.startswith(("https://", "http://")):
        task.fact("Source", cell)


def _by_pattern(
    text: str, time_zone: tzinfo, *, pattern: str, parse: Callable[..., str], day_first: bool | None = None
) -> str:
    try:
        moment = datetime.strptime(text, pattern)  # noqa: DTZ007, the zone follows
    except ValueError:
        raise ValueError(f"{quoted(text)} is no date of the form {pattern}.") from None
    return parse(moment.isoformat(), time_zone, day_first=day_first)

"""A CSV of any other program: by the client's mapping (`csv/mapping.py`), or by a guess (`csv/guessing.py`).

- Priorities are 1 (highest) to 10, or words (Highest 1, High 3, Medium 5, Low 7, Lowest 9 and the like, in many
  languages); states are words, also `yes` and `x`, or a date of completion.
- By a mapping, a word that nobody knows fails its row: the mapping's `values` can tell what it means. By a guess it
  stands in the description, and the field has its default.
- `none`, `null`, `n/a`, `-` and the like are nothing, except in texts. A row without a title fails.
- An `external_id` that is an address also stands in the description, as `Source: …`.
"""

import re
from collections.abc import Callable, Iterator
from datetime import datetime, tzinfo
from functools import partial
from typing import Any, BinaryIO

from core.formats.csv.damage import Damaged
from core.formats.csv.guessing import NOTHING, guess, has_header
from core.formats.csv.headers import first_records, positions_of, text_of
from core.formats.csv.mapping import OTHERS, Column, Plan, plan, refused, wants_header
from core.formats.csv.records import Records
from core.formats.csv.rows import too_many_cells
from core.formats.dates import parse_due, parse_moment
from core.formats.parsed_task import ParsedTask
from core.formats.rows import BadRow, Certainty, FileReport, Format, Head, ReadOptions, Row, Rows
from core.formats.values import WrongValue
from core.formats.words import priority_of, status_of

_OTHER_FORMS = ("{", "[", "<", "BEGIN:", "%PDF", "PK\x03")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_CSV_NAMES = (".csv", ".tsv", ".tab", ".csv.gz", ".tsv.gz", ".csv.zst", ".tsv.zst")


def _recognise(head: Head) -> Certainty:
    text = text_of(head).lstrip("\ufeff \r\n\t")
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
    records = Records(stream, options)
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
    if mapping is None:
        mapping = guess(header if has_names else None, sample)
        if mapping is None:
            if not sample:
                # Nothing to guess from: what there is tells what is wrong.
                for _ in records.numbered():
                    break
            raise refused("It cannot be guessed which column is the title; say so with a mapping.")
        report.mapping = mapping
    reader = _Reader(plan(mapping, positions, width), options.time_zone, is_guess=report.mapping is not None)
    for number, cells in records.numbered():
        if isinstance(cells, Damaged):
            yield cells.as_bad_row(number)
        elif has_names and (message := too_many_cells(cells, width)):
            yield BadRow(number, None, message, cells)
        else:
            yield reader.row(number, cells)


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


class _Reader:
    """Makes tasks of a file's rows."""

    def __init__(self, by: Plan, time_zone: tzinfo, *, is_guess: bool) -> None:
        self._plan = by
        self._time_zone = time_zone
        self._is_guess = is_guess
        self._columns = {column.field: column.name for column in by.columns}
        if by.date_pattern is not None:
            pattern = by.date_pattern
            self._parse: Callable[[str, tzinfo], str] = partial(_by_pattern, pattern=pattern)
            self._parse_due: Callable[[str, tzinfo], str] = partial(_by_pattern, pattern=pattern, is_due=True)
        else:
            self._parse = partial(parse_moment, day_first=by.day_first)
            self._parse_due = partial(parse_due, day_first=by.day_first)
        self._readers: dict[str, Callable[[ParsedTask, Column, str], Any]] = {
            "priority": self._priority,
            "status": self._status,
            "due_date": self._date,
            "created_at": self._date,
            "completed_at": self._date,
        }

    def row(self, number: int, cells: list[str]) -> Row | BadRow:
        """The task that a record becomes."""
        try:
            return self._draft(cells).row(number, cells, self._columns)
        except WrongValue as wrong:
            return BadRow(number, wrong.column, wrong.message, cells)

    def _draft(self, cells: list[str]) -> ParsedTask:
        title = self._first("title", cells)
        if title is None:
            raise WrongValue(self._columns["title"], "The title is empty.")
        external_id = self._first("external_id", cells) or ""
        draft = ParsedTask(title, external_id)
        constants = self._plan.constants
        values = {name: value for name, value in constants.items() if name not in ("labels", "description")}
        for label in constants.get("labels") or ():
            draft.label(label)
        bodies = []
        for column in self._plan.columns:
            field = column.field
            for cell in _said(column, cells):
                if field in self._readers:
                    value = self._readers[field](draft, column, cell)
                    if value is not None:
                        values[field] = value
                elif field == "labels":
                    self._add_labels(draft, column, cell)
                elif field == "description":
                    bodies.append(cell)
                elif field == "detail":
                    draft.fact(f"Column {column.name}" if column.name.isdecimal() else column.name, cell)
                elif field == "note":
                    draft.comment(cell)
                elif field == "parent":
                    draft.parent = cell
                elif field == "source" or (field == "external_id" and cell.startswith(("https://", "http://"))):
                    draft.fact("Source", cell)
        draft.body = "\n\n".join(bodies) or constants.get("description") or ""
        completed_at = values.get("completed_at")
        if completed_at is not None:
            if "status" not in self._columns:
                values["status"] = "completed"
            elif values.get("status") != "completed":
                # Cancelled, or opened again.
                draft.fact("Closed", values.pop("completed_at"))
        draft.set(**values)
        return draft

    def _first(self, field: str, cells: list[str]) -> str | None:
        for column in self._plan.columns:
            if column.field == field:
                return next((column.prefix + cell for cell in _said(column, cells)), None)
        return None

    def _mapped(self, column: Column, cell: str) -> tuple[bool, Any]:
        """Whether the mapping says what a word means, and what."""
        folded = cell.casefold()
        if folded in column.values:
            return True, column.values[folded]
        if OTHERS in column.values and folded not in NOTHING:
            return True, column.values[OTHERS]
        return False, None

    def _priority(self, draft: ParsedTask, column: Column, cell: str) -> Any:
        is_mapped, value = self._mapped(column, cell)
        if is_mapped or cell.casefold() in NOTHING:
            return value
        if cell.isdecimal() and len(cell) < 3 and 1 <= int(cell) <= 10:
            return int(cell)
        known = priority_of(cell)
        if known is None:
            if not self._is_guess:
                raise WrongValue(
                    column.name,
                    f"“{cell[:60]}” is no priority: 1 (highest) to 10, or a word such as high; the mapping's values can"
                    " tell what others mean.",
                )
            draft.fact(column.name, cell)
        return known

    def _status(self, draft: ParsedTask, column: Column, cell: str) -> Any:
        is_mapped, value = self._mapped(column, cell)
        if is_mapped or cell.casefold() in NOTHING:
            return value
        known = status_of(cell)
        if known is None:
            if not self._is_guess:
                raise WrongValue(
                    column.name,
                    f"“{cell[:60]}” is no known status: pending, in_progress, blocked, completed, cancelled, or a word"
                    " such as done; the mapping's values can tell what others mean.",
                )
            draft.fact(column.name, cell)
        return known

    def _date(self, _: ParsedTask, column: Column, cell: str) -> str | None:
        is_mapped, value = self._mapped(column, cell)
        if is_mapped:
            if value is None:
                return None
            cell = value
        if cell.casefold() in NOTHING:
            return None
        try:
            return (self._parse_due if column.field == "due_date" else self._parse)(cell, self._time_zone)
        except ValueError as error:
            raise WrongValue(column.name, str(error)) from None

    def _add_labels(self, draft: ParsedTask, column: Column, cell: str) -> None:
        if cell.casefold() in NOTHING:
            return
        # Also as a list of JSON or Python, which scripts write.
        for part in cell.strip("[]").replace(";", ",").replace("|", ",").replace("\n", ",").split(","):
            label = part.strip().strip("'\"")
            is_mapped, value = self._mapped(column, label)
            if label and (not is_mapped or value is not None):
                draft.label(value if is_mapped else label)


def _said(column: Column, cells: list[str]) -> Iterator[str]:
    """What stands in a column, or in all those of its name; for a scalar field only the first that says something."""
    for position in column.positions:
        if position < len(cells) and (cell := cells[position].strip()):
            yield cell
            if column.field not in ("description", "labels", "detail", "note"):
                return


def _by_pattern(text: str, time_zone: tzinfo, *, pattern: str, is_due: bool = False) -> str:
    try:
        moment = datetime.strptime(text, pattern)  # noqa: DTZ007, the zone follows
    except ValueError:
        raise ValueError(f"“{text[:60]}” is no date of the form {pattern}.") from None
    return (parse_due if is_due else parse_moment)(moment.isoformat(), time_zone)


FORMAT = Format("csv", "CSV of any program", _recognise, _read, is_csv=True)

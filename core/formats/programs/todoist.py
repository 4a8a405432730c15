"""Todoist's CSV, as projects and templates are exported and as people write it for Todoist's import.

- Priorities 1, 2, 3, 4 become 1, 4, 7, 10; empty: the default.
- `INDENT` tells the parent (`Part of: …`), section records the section (`Section: …`, or a label or a status if that
  is wanted), note records follow their task as comments;
  a file attached to a note becomes its name and address. Records of other types are passed over.
- `@word` in the content is a label. A `* ` before it, which makes a task that cannot be checked, is taken off.
- `DATE` (or `DUE_DATE`, or else `DEADLINE`) becomes the due date if it is a date; `every day` becomes `Repeats: every
  day`, and what needs Todoist to understand, such as `next monday`, `Due: next monday`.
- A content with commas that should stand in quotes is put together again where the columns behind it tell how.
"""

import json
import re
from collections.abc import Mapping
from typing import BinaryIO

from core.formats.csv.damage import Damaged
from core.formats.csv.headers import first_records, positions_of, upper_positions
from core.formats.csv.records import Records
from core.formats.csv.rows import by_name, sampled
from core.formats.dates import day_order, parse_due
from core.formats.parsed_task import PRIORITY_IS_5, UNTITLED, ParsedTask
from core.formats.rows import BadRow, Certainty, FileReport, Format, Head, ImportRefused, ReadOptions, Rows
from core.formats.values import quoted
from core.formats.zones import zone_of

_PRIORITIES = {"1": 1, "2": 4, "3": 7, "4": 10}
_DATE_COLUMNS = ("DATE", "DUE_DATE", "DEADLINE")
_INDENT = re.compile(r"\s*\d*\s*")
_LABEL = re.compile(r"(?:(?<=\s)|^)@([^\s@,]+)(?=\s|$)")
_ATTACHMENT = re.compile(r"\[\[file (\{.*?\})\]\]", re.DOTALL)
# Digits between separators are meant as a date, and words as Todoist's own language.
_NUMERIC = re.compile(r"\s*\d[\d./:\sTZ+-]*(?:[ap]m)?\s*", re.IGNORECASE)
_RECURRING = re.compile(
    r"\s*(?:every|ev|after|daily|weekly|monthly|yearly|quarterly|jede[nrs]?|täglich|wöchentlich|monatlich|chaque"
    r"|tous|toutes|cada|todos|todas|ogni|elke|iedere|co|każd\w+|кажд\w+|varje|hver|毎)\b",
    re.IGNORECASE,
)
_INDENT_MAXIMUM = 50


def _recognise(head: Head) -> Certainty:
    records = first_records(head)
    names = {name.upper() for name in records[0]} if records else set()
    if not {"TYPE", "CONTENT"} <= names:
        return 0
    return 3 if names & {"INDENT", "PRIORITY"} else 2


def _read(stream: BinaryIO, options: ReadOptions, report: FileReport) -> Rows:
    records = Records(stream, options, report)
    header = records.header()
    positions_of(header, report)
    positions = upper_positions(header)
    if not {"TYPE", "CONTENT"} <= positions.keys():
        raise ImportRefused("import-wrong-format", "A Todoist CSV has columns TYPE and CONTENT; this header has not.")
    day_first = day_order(sampled(records, positions, _DATE_COLUMNS))
    project = _Project(options, day_first)
    for number, cells in records.numbered():
        if isinstance(cells, Damaged):
            yield from project.finish()
            yield cells.as_bad_row(number)
            continue
        whole = _rejoined(cells, positions, len(header))
        if whole is None:
            yield from project.finish()
            yield BadRow(
                number,
                "CONTENT",
                f"The row has {len(cells)} cells, the header {len(header)}: a content with commas must stand in"
                " quotes.",
                cells,
            )
            continue
        record = {name: cell.strip() for name, cell in by_name(whole, positions).items()}
        kind = record["TYPE"].casefold()
        if kind == "task":
            yield from project.finish()
            project.begin(number, record, cells, whole)
        elif kind == "section":
            yield from project.finish()
            project.enter_section(record["CONTENT"], cells)
        elif kind != "note" or not project.add_note(record["CONTENT"], cells):
            reason = {"note": "notes without a task", "meta": "settings of the view"}.get(
                kind, "records of other types"
            )
            report.ignore(reason)
    yield from project.finish()


class _Project:
    """What the records before tell about a task: its section, its parents, and the notes that come after it."""

    def __init__(self, options: ReadOptions, day_first: bool | None) -> None:
        self._options = options
        self._day_first = day_first
        self._section = ""
        self._section_records: list[list[str]] = []
        self._records: list[list[str]] = []
        self._parents: list[str] = []
        self._task: ParsedTask | None = None
        self._number = 0
        self._cells: list[str] = []
        self._columns: dict[str, str] = {}

    def enter_section(self, name: str, cells: list[str]) -> None:
        self._section = name
        self._section_records = [cells]
        self._parents.clear()

    def add_note(self, text: str, cells: list[str]) -> bool:
        """Whether there is a task that it belongs to."""
        if self._task is None:
            return False
        self._task.comment(_ATTACHMENT.sub(_attachment, text))
        self._records.append(cells)
        return True

    def finish(self) -> Rows:
        """The task whose notes have all come."""
        if self._task is not None:
            yield self._task.row(self._number, self._cells, self._columns, self._records)
            self._task = None

    def begin(self, number: int, record: Mapping[str, str], cells: list[str], whole: list[str]) -> None:
        """Begins a task; `whole` are the cells as their columns have them."""
        self._task = self._parse(record)
        self._number, self._cells = number, cells
        self._records = [*self._section_records, whole]

    def _parse(self, record: Mapping[str, str]) -> ParsedTask:
        content = record["CONTENT"].removeprefix("* ")
        title = " ".join(_LABEL.sub("", content).split()) or content
        task = ParsedTask(title)
        task.parent = self._enter_level(task, record.get("INDENT") or "1", title or UNTITLED)
        task.body = record.get("DESCRIPTION", "")
        task.place("Section", self._section, self._options)
        task.set(priority=task.known(record.get("PRIORITY", ""), "PRIORITY", _PRIORITIES, PRIORITY_IS_5))
        for label in _LABEL.findall(content) if title != content else ():
            task.label(label)
        task.fact("Responsible", record.get("RESPONSIBLE", ""))
        if record.get("DURATION"):
            task.fact("Duration", f"{record['DURATION']} {record.get('DURATION_UNIT', '')}")
        self._columns = self._set_dates(task, record)
        return task

    def _enter_level(self, task: ParsedTask, indent: str, title: str) -> str:
        """Puts a task among the parents of those that follow; returns the title of its own, empty where it has none."""
        if not (indent.isdecimal() and len(indent) < 4):
            task.warn("INDENT", f"{quoted(indent)} is no level of indentation, 1 and up; it was taken for 1.")
            indent = "1"
        level = min(int(indent), _INDENT_MAXIMUM, len(self._parents) + 1)
        del self._parents[max(level - 1, 0) :]
        parent = self._parents[-1] if self._parents else ""
        self._parents.append(title)
        return parent

    def _set_dates(self, task: ParsedTask, record: Mapping[str, str]) -> dict[str, str]:
        """Sets the due date, and says which column it came from."""
        columns = {"title": "CONTENT", "priority": "PRIORITY", "description": "DESCRIPTION"}
        time_zone = zone_of(record.get("TIMEZONE", "")) or self._options.time_zone
        for name in _DATE_COLUMNS:
            text = record.get(name, "")
            if not text:
                continue
            try:
                parse_due(text, time_zone, day_first=self._day_first)
            except ValueError as error:
                name_of_fact = "Repeats" if _RECURRING.match(text) else "Deadline" if name == "DEADLINE" else "Due"
                problem = str(error) if _NUMERIC.fullmatch(text) else f"{quoted(text)} needs Todoist to be understood."
                task.keep(name_of_fact, text, name, f"{problem} It stands in the description.")
            else:
                if "due_date" in columns:
                    task.fact("Deadline", text)
                else:
                    task.set_due(text, name, time_zone, day_first=self._day_first)
                    columns["due_date"] = name
        return columns


def _attachment(match: re.Match[str]) -> str:
    try:
        file = json.loads(match[1])
        name, url = file.get("file_name") or file.get("title") or "file", file.get("file_url") or file.get("url") or ""
    except (ValueError, AttributeError):
        return match[0]
    return f"Attachment: {name} {url}".rstrip()


def _fits(cells: list[str], positions: Mapping[str, int], width: int) -> bool:
    """Whether what stands in the columns can be meant for them."""

    def cell(name: str) -> str:
        return cells[positions[name]].strip() if name in positions and positions[name] < len(cells) else ""

    is_task = cell("TYPE").casefold() == "task"
    return (
        not any(map(str.strip, cells[width:]))
        and (not is_task or cell("PRIORITY") in ("", *_PRIORITIES))
        and bool(_INDENT.fullmatch(cell("INDENT")))
        and len(cell("INDENT")) < 4
    )


def _rejoined(cells: list[str], positions: Mapping[str, int], width: int) -> list[str] | None:
    """The cells as their columns have them; None if that cannot be told.

    A content with commas and without quotes is split into several cells. Cells are put together until a priority and an
    indentation stand where they should: first those of the content, then, where there is one, those of the description.
    """
    if _fits(cells, positions, width):
        # An empty priority may be half of a split content that moved to the right.
        return cells if len(cells) <= width or not _is_split(cells, positions) else _joined(cells, positions, width)
    # Without a cell too many nothing is split: the cell itself is wrong.
    return _joined(cells, positions, width) if len(cells) > width else cells


def _is_split(cells: list[str], positions: Mapping[str, int]) -> bool:
    content = cells[positions["CONTENT"]]
    return content.count("(") > content.count(")")


def _joined(cells: list[str], positions: Mapping[str, int], width: int) -> list[str] | None:
    for name in ("CONTENT", "DESCRIPTION"):
        if name not in positions:
            continue
        start = positions[name]
        found = []
        for extra in range(1, len(cells) - width + 1):
            joined = [*cells[:start], ",".join(cells[start : start + extra + 1]), *cells[start + extra + 1 :]]
            if _fits(joined, positions, width) and not _is_split(joined, positions) and _has_numbers(joined, positions):
                found.append(joined)
        if found:
            return found[0]
    return None


def _has_numbers(cells: list[str], positions: Mapping[str, int]) -> bool:
    """Whether there is a priority where it should be, by which a shift shows."""
    return all(
        name not in positions or (positions[name] < len(cells) and cells[positions[name]].strip().isdecimal())
        for name in ("PRIORITY", "INDENT")
    )


FORMAT = Format("todoist-csv", "Todoist", _recognise, _read, form="csv")

"""Toodledo's CSV.

- Priorities 3 (top), 2, 1, 0, -1 become 1, 2, 5, 7, 10; empty: the default.
- `Active` is `in_progress`; `Waiting`, `Hold`, `Delegated` and `Postponed` are `blocked`; `Canceled` is `cancelled`;
  what has a date in `COMPLETED` is `completed`. Other states, such as `Next Action`, stand in the description.
- `DUEDATE` with `DUETIME`; without a time it is the end of that day.
- Tags are labels, and a star is the label `starred`. Folder, context, goal, location, start, repetition and length
  stand in the description.
"""

from collections.abc import Mapping
from typing import BinaryIO

from core.formats.csv.headers import first_records, positions_of, upper_positions
from core.formats.csv.records import Records
from core.formats.csv.rows import by_name, parsed_rows, sampled
from core.formats.dates import day_order
from core.formats.parsed_task import PRIORITY_IS_5, ParsedTask
from core.formats.rows import Certainty, FileReport, Format, Head, ImportRefused, ReadOptions, Rows
from core.formats.words import plain

_PRIORITIES = {
    word: priority
    for words, priority in (
        (("3", "top", "3 top"), 1),
        (("2", "high", "2 high"), 2),
        (("1", "medium", "1 medium"), 5),
        (("0", "low", "0 low"), 7),
        (("-1", "negative", "-1 negative"), 10),
    )
    for word in words
}
_STATUSES = {
    "active": "in_progress",
    "waiting": "blocked",
    "hold": "blocked",
    "delegated": "blocked",
    "postponed": "blocked",
    "canceled": "cancelled",
    "cancelled": "cancelled",
    "completed": "completed",
}
_FIELDS = {
    "title": "TASK",
    "description": "NOTE",
    "priority": "PRIORITY",
    "status": "STATUS",
    "due_date": "DUEDATE",
    "labels": "TAG",
    "completed_at": "COMPLETED",
}
_DATES = ("STARTDATE", "DUEDATE", "COMPLETED")
_NO_DATES = ("", "0000-00-00")


def _recognise(head: Head) -> Certainty:
    records = first_records(head)
    names = {name.upper() for name in records[0]} if records else set()
    return 3 if {"TASK", "FOLDER", "DUEDATE"} <= names else 0


def _read(stream: BinaryIO, options: ReadOptions, report: FileReport) -> Rows:
    records = Records(stream, options, report)
    header = records.header()
    positions_of(header, report)
    positions = upper_positions(header)
    if "TASK" not in positions:
        raise ImportRefused("import-wrong-format", "A Toodledo CSV has a column TASK; this header has none.")
    day_first = day_order(sampled(records, positions, _DATES))

    def parse(cells: list[str]) -> ParsedTask:
        return _parse(by_name(cells, positions), options, day_first)

    yield from parsed_rows(records, len(header), parse, _FIELDS)


def _parse(record: Mapping[str, str], options: ReadOptions, day_first: bool | None) -> ParsedTask:
    def cell(name: str) -> str:
        text = record.get(name, "").strip()
        return "" if name in _DATES and text in _NO_DATES else text

    def when(date: str, clock: str) -> str:
        return " ".join(filter(None, (cell(date), cell(clock)))) if cell(date) else ""

    zone = options.time_zone
    task = ParsedTask(cell("TASK"))
    task.body = record.get("NOTE", "")
    task.parent = cell("PARENT")
    # plain() takes hyphens for blanks.
    priority = "-1" if cell("PRIORITY").startswith("-1") else plain(cell("PRIORITY"))
    task.set(priority=task.known(priority, "PRIORITY", _PRIORITIES, PRIORITY_IS_5, name="Priority"))
    word = cell("STATUS")
    status = _STATUSES.get(plain(word))
    task.set(status=status)
    if status is None and plain(word) != "none":
        task.fact("Status", word)
    task.set_due(when("DUEDATE", "DUETIME"), "DUEDATE", zone, day_first=day_first)
    completed_at = task.moment(cell("COMPLETED"), "COMPLETED", zone, day_first=day_first)
    if completed_at or status == "completed":
        task.complete(completed_at)
    for tag in cell("TAG").split(","):
        task.label(tag)
    if plain(cell("STAR")) in ("yes", "1", "true"):
        task.label("starred")
    task.place("Folder", cell("FOLDER"), options, completed_at)
    for name, column in (("Context", "CONTEXT"), ("Goal", "GOAL"), ("Location", "LOCATION")):
        task.fact(name, cell(column))
    task.fact("Start", when("STARTDATE", "STARTTIME"))
    if plain(cell("REPEAT")) != "none":
        task.fact("Repeats", cell("REPEAT"))
    if cell("LENGTH") != "0":
        task.fact("Length", cell("LENGTH"))
    return task


FORMAT = Format("toodledo-csv", "Toodledo", _recognise, _read, form="csv")

"""TickTick's backup CSV.

- The records before the header (date, version, statuses) are passed over.
- Priorities 5, 3, 1, 0 become 1, 4, 7, 10. Status 0 is `pending`, 1 and 2 are `completed`, -1 (won't do) `cancelled`.
- An all-day date is the day that begins at its instant in the row's own time zone.
- `taskId` is the `external_id`, and `parentId` names the parent, by its title where the file tells it before.
- A checklist's items become `- [ ]` and `- [x]`; list, column, start and reminder stand in the description, and so does
  a repetition that is no rule which a task can follow.
"""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta, tzinfo
from typing import BinaryIO

from core.formats.csv.headers import first_records, positions_of
from core.formats.csv.records import Records
from core.formats.csv.rows import by_name, parsed_rows
from core.formats.dates import parse_moment
from core.formats.parsed_task import IS_PENDING, PRIORITY_IS_5, ParsedTask
from core.formats.rows import Certainty, FileReport, Format, Head, ImportRefused, ReadOptions, Rows
from core.formats.zones import zone_of

_PRIORITIES = {"5": 1, "3": 4, "1": 7, "0": 10}
_STATUSES = {"0": "pending", "1": "completed", "2": "completed", "-1": "cancelled"}
_COLUMNS = frozenset({"Title", "Status", "List Name"})
_FIELDS = {
    "title": "Title",
    "description": "Content",
    "priority": "Priority",
    "status": "Status",
    "due_date": "Due Date",
    "labels": "Tags",
    "created_at": "Created Time",
    "completed_at": "Completed Time",
    "external_id": "taskId",
    "recurrence": "Repeat",
}
_PREAMBLE_MAXIMUM = 20
_ITEM = re.compile(r"([▫▪])([^▫▪]*)")
_TITLES_MAXIMUM = 20_000


def _recognise(head: Head) -> Certainty:
    for record in first_records(head):
        if set(record) >= _COLUMNS:
            return 3 if "taskId" in record else 2
    return 0


def _read(stream: BinaryIO, options: ReadOptions, report: FileReport) -> Rows:
    records = Records(stream, options, report)
    for _ in range(_PREAMBLE_MAXIMUM):
        header = records.header()
        if set(header) >= _COLUMNS:
            break
    else:
        raise ImportRefused(
            "import-wrong-format",
            f"A TickTick backup has a header with {', '.join(sorted(_COLUMNS))}; this file has not.",
        )
    positions = {name: where[0] for name, where in positions_of(header, report).items()}
    titles: dict[str, str] = {}

    def parse(cells: list[str]) -> ParsedTask:
        return _parse(by_name(cells, positions), options, titles)

    yield from parsed_rows(records, len(header), parse, _FIELDS)


def _parse(record: Mapping[str, str], options: ReadOptions, titles: dict[str, str]) -> ParsedTask:
    def cell(name: str) -> str:
        return record.get(name, "").strip()

    own_id, parent_id = cell("taskId"), cell("parentId")
    task = ParsedTask(cell("Title"), own_id)
    task.parent = titles.get(parent_id, f"task {parent_id} of TickTick") if parent_id else ""
    if own_id and len(titles) < _TITLES_MAXIMUM:
        titles[own_id] = task.title
    content = record.get("Content", "")
    if cell("Kind").casefold() == "checklist" or cell("Is Check list").casefold() in ("y", "true"):
        task.checklist("", ((text, mark == "▪") for mark, text in _ITEM.findall(content) if text.strip()))
        content = _ITEM.sub("", content)
    task.body = content
    zone = zone_of(cell("Timezone")) or options.time_zone
    is_all_day = cell("Is All Day").casefold() == "true"
    status = task.known(cell("Status"), "Status", _STATUSES, IS_PENDING)
    task.set(
        priority=task.known(cell("Priority"), "Priority", _PRIORITIES, PRIORITY_IS_5),
        status=status,
        created_at=task.moment(cell("Created Time"), "Created Time", zone),
    )
    task.set_due(cell("Due Date"), "Due Date", zone, parse=_all_day if is_all_day else parse_moment)
    # An open task that repeats keeps the time at which it was done last.
    done_at = task.moment(cell("Completed Time"), "Completed Time", zone)
    if status == "completed":
        task.complete(done_at)
    elif done_at:
        task.fact("Last completed", done_at)
    for tag in cell("Tags").split(","):
        task.label(tag)
    task.place("List", " / ".join(filter(None, (cell("Folder Name"), cell("List Name")))), options, done_at)
    task.place("Column", cell("Column Name"), options, done_at)
    if cell("Start Date") != cell("Due Date"):
        task.fact("Start", task.moment(cell("Start Date"), "Start Date", zone) or "")
    task.repeat(cell("Repeat"), "Repeat")
    task.fact("Reminder", cell("Reminder"))
    return task


def _all_day(text: str, zone: tzinfo, *, day_first: bool | None = None) -> str:
    """The day that begins at an instant: in the row's zone, or else nearest to it, as the zone may not be told."""
    begins = datetime.fromisoformat(parse_moment(text, zone, day_first=day_first))
    try:
        return (begins.astimezone(zone) + timedelta(hours=12)).date().isoformat()
    except OverflowError:
        return begins.date().isoformat()


FORMAT = Format("ticktick-csv", "TickTick", _recognise, _read, form="csv")

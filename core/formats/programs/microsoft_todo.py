"""Microsoft To Do, as Microsoft Graph answers it: tasks in `value`, an array of tasks, or lists with their `tasks`.

- Importance: high → 2, normal → 5, low → 8.
- `completed` stays, with its time; `inProgress` is `in_progress`, `waitingOnOthers` is `blocked`, `notStarted` and
  `deferred` are `pending`.
- Due dates are days. They are written as a midnight: of the zone that stands beside it, of the reader's, or of the zone
  that the app was in, which nothing tells; then it is the midnight that is nearest. Zones may have Windows' names.
- Categories are labels; steps become a checklist; list, recurrence, reminder, start and linked resources become lines.
- What a delta says was removed is skipped.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta, tzinfo
from functools import partial
from typing import Any, BinaryIO

from core.formats.dates import parse_moment
from core.formats.html_text import text_of_html
from core.formats.json_object import JsonObject, row_of_object, text_in
from core.formats.parsed_task import IS_PENDING, PRIORITY_IS_5, ParsedTask
from core.formats.rows import Certainty, FileReport, Format, Head, ImportRefused, ReadOptions, Rows, RowWarning
from core.formats.streams.json_shape import shape_of
from core.formats.streams.json_stream import json_document
from core.formats.values import quoted
from core.formats.zones import windows_zone_of

REMOVED = "The task was removed."
_COLUMNS = {"description": "body", "due_date": "dueDateTime", "completed_at": "completedDateTime"}
_IMPORTANCES = {"high": 2, "normal": 5, "low": 8, "": 5}
_STATUSES = {
    "notStarted": "pending",
    "inProgress": "in_progress",
    "waitingOnOthers": "blocked",
    "deferred": "pending",
    "completed": "completed",
}
_MARKS = frozenset(
    {"createdDateTime", "lastModifiedDateTime", "importance", "isReminderOn", "dueDateTime", "checklistItems"}
)


def recognise(head: Head) -> Certainty:
    """What Graph answers names its type, and its tasks have a title and an importance."""
    shape = shape_of(head.text)
    if shape.top in ("object", "lines") and "value" in shape.keys("") and "todoTask" in head.text:
        return 3
    for path in ("value[]", "[]", "value[].tasks[]", "[].tasks[]"):
        keys = shape.keys(path)
        if "title" in keys and len(keys & _MARKS) >= 2:
            return 3
    return 0


def read(stream: BinaryIO, options: ReadOptions, report: FileReport) -> Rows:
    """A row a task."""
    document = json_document(stream, options.encoding)
    entries = document.get("value") if isinstance(document, dict) else document
    if not isinstance(entries, list):
        raise ImportRefused("import-wrong-format", "Not an answer of Microsoft Graph: there is no list “value” in it.")
    tasks = list(_tasks(entries))
    for number, (list_name, entry) in enumerate(tasks, start=1):
        parse = partial(_parse, list_name=list_name, options=options)
        source = {"displayName": list_name, "tasks": [entry]} if list_name else entry
        yield row_of_object(number, entry, _COLUMNS, parse, source)
    if not tasks:
        raise ImportRefused("import-empty", "The file holds no tasks.")


def _tasks(entries: list[Any]) -> Iterator[tuple[str, Any]]:
    for entry in entries:
        if isinstance(entry, dict) and isinstance(entry.get("tasks"), list):
            yield from ((text_in(entry.get("displayName")) or "", task) for task in entry["tasks"])
        else:
            yield "", entry


def _parse(item: JsonObject, list_name: str, options: ReadOptions) -> ParsedTask | str:
    if "@removed" in item:
        return REMOVED
    task = ParsedTask(item.text("title"), item.text("id"))
    body = item.object("body", "content")
    content = body.text("content")
    task.body = text_of_html(content) if body.text("contentType").lower() == "html" else content
    task.set(
        priority=task.known(item.text("importance"), "importance", _IMPORTANCES, PRIORITY_IS_5, name="Importance"),
        created_at=item.moment("createdDateTime", options.time_zone),
    )
    _set_due(item, task, options)
    status = task.known(item.text("status"), "status", _STATUSES, IS_PENDING, name="Status")
    completions = (_moment(item, "completedDateTime", options), item.moment("lastModifiedDateTime", options.time_zone))
    if status == "completed":
        task.complete(*completions)
    else:
        task.set(status=status or "pending")
    for category in item.texts("categories"):
        task.label(category)
    steps = item.objects("checklistItems", "displayName")
    task.checklist("", ((step.text("displayName"), step.flag("isChecked")) for step in steps))
    task.place("List", list_name, options, *completions)
    task.fact("Starts", _moment(item, "startDateTime", options) or "")
    task.fact("Reminder", _moment(item, "reminderDateTime", options) or "")
    if "recurrence" in item:
        task.fact("Repeats", _recurrence(item.object("recurrence")))
    for resource in item.objects("linkedResources", "webUrl"):
        task.fact("Link", f"{resource.text('displayName')} {resource.text('webUrl')}")
    return task


def _moment(item: JsonObject, name: str, options: ReadOptions) -> str | None:
    """A `dateTimeTimeZone`: a time without an offset, and the name of its zone."""
    value = item.object(name, "dateTime")
    return value.moment("dateTime", _zone(value, options)) if "dateTime" in value else None


def _set_due(item: JsonObject, task: ParsedTask, options: ReadOptions) -> None:
    """Sets the day that is meant by an instant: it is a midnight somewhere."""
    value = item.object("dueDateTime", "dateTime")
    text, column = value.text("dateTime"), value.column("dateTime")
    zone = _zone(value, options)
    try:
        due = datetime.fromisoformat(parse_moment(text, zone))
        there, here = due.astimezone(zone), due.astimezone(options.time_zone)
        nearest = there + timedelta(hours=12)
    except (ValueError, OverflowError):
        task.set_due(text, column, zone)
        return
    if there.time() == time():
        day = there
    elif here.time() == time():
        day = here
    else:
        day = nearest
        message = f"{quoted(text)} is no midnight here; it was taken for the day whose beginning is nearest."
        task.warn(column, message)
    task.set_due_as(day.date().isoformat(), options.time_zone)


def _zone(value: JsonObject, options: ReadOptions) -> tzinfo:
    name = value.line("timeZone")
    if not name:
        return options.time_zone
    if name.upper() in ("UTC", "TZONE://MICROSOFT/UTC"):
        return UTC
    zone = windows_zone_of(name)
    if zone is None:
        message = f"The time zone {quoted(name)} is unknown; the date was read in {options.time_zone}."
        value.warnings.append(RowWarning(value.column("timeZone"), message))
    return zone or options.time_zone


def _recurrence(recurrence: JsonObject) -> str:
    """In words: every 2 weeks on monday, friday until 2026-12-31."""
    pattern, span = recurrence.object("pattern"), recurrence.object("range")
    kind = pattern.text("type")
    unit = {"daily": "day", "weekly": "week"}.get(kind) or ("month" if "onthly" in kind else "year")
    interval = int(pattern.number("interval")) or 1
    words = [f"every {interval} {unit}s" if interval > 1 else f"every {unit}"]
    days = ", ".join(pattern.texts("daysOfWeek"))
    if kind.startswith("relative"):
        words.append(f"on the {pattern.text('index')} {days}")
    elif kind.startswith("absolute"):
        month = int(pattern.number("month"))
        words.append(f"on day {int(pattern.number('dayOfMonth'))}" + (f" of month {month}" if month else ""))
    elif days and kind == "weekly":
        words.append(f"on {days}")
    if span.text("type") == "endDate":
        words.append(f"until {span.text('endDate')}")
    elif span.text("type") == "numbered":
        words.append(f"{int(span.number('numberOfOccurrences'))} times")
    return " ".join(words)


FORMAT = Format("microsoft-todo-json", "Microsoft To Do (Graph JSON)", recognise, read)

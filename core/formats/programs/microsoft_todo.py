"""Microsoft To Do, as Microsoft Graph answers it: tasks in `value`, an array of tasks, or lists with their `tasks`.

- Importance: high → 2, normal → 5, low → 8.
- `completed` stays, with its time; `inProgress` is `in_progress`, `waitingOnOthers` is `blocked`, `notStarted` and
  `deferred` are `pending`.
- Due dates are days: midnight in the date's own zone becomes the end of that day. Zones may have Windows' names.
- Categories are labels; steps become a checklist; recurrence, reminder, start and linked resources become lines.
"""

from collections.abc import Iterator
from datetime import UTC, tzinfo
from functools import partial
from typing import Any, BinaryIO

from core.formats.html_text import text_of_html
from core.formats.json_object import JsonObject, row_of_object
from core.formats.parsed_task import ParsedTask
from core.formats.rows import Certainty, FileReport, Format, Head, ImportRefused, ReadOptions, Rows
from core.formats.streams.json_shape import shape_of
from core.formats.streams.json_stream import json_document
from core.formats.values import WrongValue
from core.formats.zones import windows_zone_of

REMOVED = "removed tasks"
_COLUMNS = {"description": "body", "due_date": "dueDateTime", "completed_at": "completedDateTime"}
_IMPORTANCES = {"high": 2, "normal": 5, "low": 8, "": 5}
_STATUSES = {
    "notStarted": "pending",
    "inProgress": "in_progress",
    "waitingOnOthers": "blocked",
    "deferred": "pending",
    "": "pending",
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
    """A row a task; what a delta says was removed is passed over and counted."""
    document = json_document(stream, options.encoding)
    entries = document.get("value") if isinstance(document, dict) else document
    if not isinstance(entries, list):
        raise ImportRefused("import-wrong-format", "Not an answer of Microsoft Graph: there is no list “value” in it.")
    number = 0
    for list_name, entry in _tasks(entries):
        if isinstance(entry, dict) and "@removed" in entry:
            report.ignore(REMOVED)
            continue
        number += 1
        parse = partial(_parse, list_name=list_name, options=options)
        source = {"displayName": list_name, "tasks": [entry]} if list_name else entry
        yield row_of_object(number, entry, _COLUMNS, parse, source)
    if not number and not report.ignored:
        raise ImportRefused("import-empty", "The file holds no tasks.")


def _tasks(entries: list[Any]) -> Iterator[tuple[str, Any]]:
    for entry in entries:
        if isinstance(entry, dict) and isinstance(entry.get("tasks"), list):
            yield from ((str(entry.get("displayName") or ""), task) for task in entry["tasks"])
        else:
            yield "", entry


def _parse(item: JsonObject, list_name: str, options: ReadOptions) -> ParsedTask:
    task = ParsedTask(item.text("title"), item.text("id"))
    body = item.object("body")
    content = body.text("content")
    task.body = text_of_html(content) if body.text("contentType").lower() == "html" else content
    importance, status = item.text("importance"), item.text("status")
    if importance not in _IMPORTANCES:
        raise WrongValue("importance", f"{importance!r} is no importance: high, normal or low.")
    task.set(
        priority=_IMPORTANCES[importance],
        created_at=item.moment("createdDateTime", options.time_zone),
        due_date=_moment(item, "dueDateTime", options, is_due=True),
    )
    if status == "completed":
        modified = item.moment("lastModifiedDateTime", options.time_zone)
        task.complete(_moment(item, "completedDateTime", options), modified)
    elif status in _STATUSES:
        task.set(status=_STATUSES[status])
    else:
        raise WrongValue("status", f"{status!r} is no status: {', '.join(filter(None, _STATUSES))} or completed.")
    for category in item.list("categories"):
        task.label(str(category))
    task.checklist("", ((step.text("displayName"), step.flag("isChecked")) for step in item.objects("checklistItems")))
    task.fact("List", list_name)
    task.fact("Starts", _moment(item, "startDateTime", options) or "")
    task.fact("Reminder", _moment(item, "reminderDateTime", options) or "")
    if "recurrence" in item:
        task.fact("Repeats", _recurrence(item.object("recurrence")))
    for resource in item.objects("linkedResources"):
        task.fact("Link", f"{resource.text('displayName')} {resource.text('webUrl')}")
    return task


def _moment(item: JsonObject, name: str, options: ReadOptions, *, is_due: bool = False) -> str | None:
    """A `dateTimeTimeZone`: a time without an offset, and the name of its zone."""
    if name not in item:
        return None
    value = item.object(name)
    zone = _zone(value, options)
    return value.due("dateTime", zone) if is_due else value.moment("dateTime", zone)


def _zone(value: JsonObject, options: ReadOptions) -> tzinfo:
    name = value.line("timeZone")
    if not name:
        return options.time_zone
    if name.upper() in ("UTC", "TZONE://MICROSOFT/UTC"):
        return UTC
    zone = windows_zone_of(name)
    if zone is None:
        raise WrongValue(value.column("timeZone"), f"The time zone {name!r} is unknown.")
    return zone


def _recurrence(recurrence: JsonObject) -> str:
    """In words: every 2 weeks on monday, friday until 2026-12-31."""
    pattern, span = recurrence.object("pattern"), recurrence.object("range")
    kind = pattern.text("type")
    unit = {"daily": "day", "weekly": "week"}.get(kind) or ("month" if "onthly" in kind else "year")
    interval = int(pattern.number("interval")) or 1
    words = [f"every {interval} {unit}s" if interval > 1 else f"every {unit}"]
    days = ", ".join(str(day) for day in pattern.list("daysOfWeek"))
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

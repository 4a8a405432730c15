"""Google Tasks: `Tasks.json` of Google Takeout, and what the Tasks API answers.

- Google has no priorities: all have 5. `completed` stays, with its time; what is marked deleted is `cancelled`.
- A due time of midnight UTC is how Google writes a day.
- The list becomes `List: <title>`, or a label or a status if that is wanted; a parent task `Part of: <title>`, the
  notes the description. Titles may be empty.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any, BinaryIO

from core.formats.json_object import JsonObject, row_of_object, text_in
from core.formats.parsed_task import IS_PENDING, ParsedTask
from core.formats.rows import Certainty, FileReport, Format, Head, ImportRefused, ReadOptions, Rows
from core.formats.streams.json_shape import shape_of
from core.formats.streams.json_stream import json_document

_COLUMNS = {"description": "notes", "due_date": "due", "completed_at": "completed"}
_MIDNIGHT = ("T00:00:00.000Z", "T00:00:00Z")
_STATUSES = {"needsAction": "pending", "completed": "completed"}


def recognise(head: Head) -> Certainty:
    """Every object of Google's says of what kind it is."""
    shape = shape_of(head.text)
    if shape.top is None or '"tasks#task' not in head.text:
        return 0
    return 3 if "kind" in shape.keys("") or "kind" in shape.keys("[]") else 0


def read(stream: BinaryIO, options: ReadOptions, report: FileReport) -> Rows:
    """A row a task of any list."""
    document = json_document(stream, options.encoding)
    if not isinstance(document, dict | list):
        raise ImportRefused("import-wrong-format", "Not an export of Google Tasks: an object or a list is expected.")
    tasks = list(_tasks(document))
    if not tasks:
        raise ImportRefused("import-empty", "The file holds no tasks.")
    titles = {
        str(task.get("id")): text_in(task.get("title")) or ""
        for _, task in tasks
        if isinstance(task, dict) and "id" in task
    }
    for number, (list_title, task) in enumerate(tasks, start=1):
        parse = partial(_parse, list_title=list_title, titles=titles, options=options)
        source = {"kind": "tasks#tasks", "title": list_title, "items": [task]}
        yield row_of_object(number, task, _COLUMNS, parse, source)


def _tasks(document: Any) -> Iterator[tuple[str, Any]]:
    """Tasks with their list's title: of lists of lists, of one list, or of an array of either."""
    whole = JsonObject(document if isinstance(document, dict) else {"items": document})
    for entry in whole.items("items"):
        if isinstance(entry, dict) and ("items" in entry or entry.get("kind") in ("tasks#tasks", "tasks#taskList")):
            item = JsonObject(entry)
            yield from ((item.line("title"), task) for task in item.items("items"))
        else:
            yield whole.line("title"), entry


def _parse(item: JsonObject, list_title: str, titles: dict[str, str], options: ReadOptions) -> ParsedTask:
    zone = options.time_zone
    task = ParsedTask(item.text("title"), item.text("id"))
    task.body = item.text("notes")
    task.parent = titles.get(item.text("parent"), "")
    due = item.text("due")
    for midnight in _MIDNIGHT:
        due = due.removesuffix(midnight)
    task.set_due(due, "due", zone)
    task.set(created_at=item.moment("created", zone))
    completed_at = item.moment("completed", zone)
    status = task.known(item.text("status"), "status", _STATUSES, IS_PENDING, name="Status")
    if status == "completed" or (status is None and completed_at):
        task.complete(completed_at, item.moment("updated", zone))
    elif item.flag("deleted"):
        task.set(status="cancelled")
    task.place("List", list_title, options, completed_at, item.moment("updated", zone))
    for link in item.objects("links", "link"):
        task.fact("Link", f"{link.text('description')} {link.text('link')}")
    task.fact("Source", item.text("webViewLink"))
    return task


FORMAT = Format("google-tasks-json", "Google Tasks (Takeout)", recognise, read)

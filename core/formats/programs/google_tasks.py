"""Google Tasks: `Tasks.json` of Google Takeout, and what the Tasks API answers.

- Google has no priorities: all have 5. `completed` stays, with its time; what is marked deleted is `cancelled`.
- A due time of midnight UTC is how Google writes a day: it becomes the end of that day in the reader's time zone.
- The list becomes `List: <title>`, a parent task `Part of: <title>`, the notes the description. Titles may be empty.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any, BinaryIO

from core.formats.json_object import JsonObject, row_of_object
from core.formats.parsed_task import ParsedTask
from core.formats.rows import Certainty, FileReport, Format, Head, ImportRefused, ReadOptions, Rows
from core.formats.streams.json_shape import shape_of
from core.formats.streams.json_stream import json_document
from core.formats.values import WrongValue

_COLUMNS = {"description": "notes", "due_date": "due", "completed_at": "completed"}
_MIDNIGHT = ("T00:00:00.000Z", "T00:00:00Z")
_STATUSES = ("needsAction", "completed", "")


def recognise(head: Head) -> Certainty:
    """Every object of Google's says of what kind it is."""
    shape = shape_of(head.text)
    if shape.top is None or '"tasks#task' not in head.text:
        return 0
    return 3 if "kind" in shape.keys("") or "kind" in shape.keys("[]") else 0


def read(stream: BinaryIO, options: ReadOptions, report: FileReport) -> Rows:
    """A row a task of any list."""
    document = json_document(stream, options.encoding)
    try:
        tasks = list(_tasks(document, ""))
    except WrongValue as wrong:
        raise ImportRefused("import-wrong-format", f"Not an export of Google Tasks: {wrong.column}: {wrong}") from None
    if not tasks:
        raise ImportRefused("import-empty", "The file holds no tasks.")
    titles = {
        str(task.get("id")): str(task.get("title") or "")
        for _, task in tasks
        if isinstance(task, dict) and "id" in task
    }
    for number, (list_title, task) in enumerate(tasks, start=1):
        parse = partial(_parse, list_title=list_title, titles=titles, options=options)
        source = {"kind": "tasks#tasks", "title": list_title, "items": [task]}
        yield row_of_object(number, task, _COLUMNS, parse, source)


def _tasks(document: Any, list_title: str) -> Iterator[tuple[str, Any]]:
    """Tasks with their list's title: of lists of lists, of one list, or of an array of either."""
    for entry in document if isinstance(document, list) else JsonObject(document).list("items"):
        if isinstance(entry, dict) and ("items" in entry or entry.get("kind") in ("tasks#tasks", "tasks#taskList")):
            item = JsonObject(entry, "items")
            yield from ((item.line("title"), task) for task in item.list("items"))
        else:
            yield list_title or _title_of(document), entry


def _title_of(document: Any) -> str:
    return JsonObject(document).line("title") if isinstance(document, dict) else ""


def _parse(item: JsonObject, list_title: str, titles: dict[str, str], options: ReadOptions) -> ParsedTask:
    zone = options.time_zone
    task = ParsedTask(item.text("title"), item.text("id"))
    task.body = item.text("notes")
    task.parent = titles.get(item.text("parent"), "")
    due = item.text("due")
    for midnight in _MIDNIGHT:
        due = due.removesuffix(midnight)
    task.set(
        due_date=JsonObject({"due": due}).due("due", zone),
        created_at=item.moment("created", zone),
    )
    status = item.text("status")
    if status not in _STATUSES:
        raise WrongValue("status", f"{status!r} is no status of Google's: needsAction or completed.")
    if status == "completed":
        task.complete(item.moment("completed", zone), item.moment("updated", zone))
    elif item.flag("deleted"):
        task.set(status="cancelled")
    task.fact("List", list_title)
    for link in item.objects("links"):
        task.fact("Link", f"{link.text('description')} {link.text('link')}")
    task.fact("Source", item.text("webViewLink"))
    return task


FORMAT = Format("google-tasks-json", "Google Tasks (Takeout)", recognise, read)

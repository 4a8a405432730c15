"""What `task export` prints: an array, or (before Taskwarrior 2.4) one task a line.

- Priorities: H → 2, M and none → 5, L → 8.
- `completed` stays, with its `end`; `deleted` is `cancelled`; a task that was started is `in_progress`; one that
  depends on an open task of the file is `blocked`; others (`waiting`, too) are `pending`.
- The template of a recurring task is skipped where one of its tasks is in the file, else it is `pending`.
- A due date of midnight is how Taskwarrior writes a day.
- Tags are labels. Annotations follow as comments. Project, dependencies, recurrence, dates for which we have no field,
  and the user's own attributes become lines of the description.
"""

from functools import partial
from typing import Any, BinaryIO

from core.formats.failed_rows import ERROR
from core.formats.json_object import JsonObject, row_of_object, text_in
from core.formats.parsed_task import IS_PENDING, PRIORITY_IS_5, ParsedTask
from core.formats.rows import (
    BadRow,
    Certainty,
    FileReport,
    Format,
    Head,
    ImportRefused,
    ReadOptions,
    Rows,
    until_refused,
)
from core.formats.streams.json_shape import shape_of
from core.formats.streams.json_stream import json_items, limited

_COLUMNS = {"title": "description", "due_date": "due", "created_at": "entry", "completed_at": "end"}
_PRIORITIES = {"H": 2, "M": 5, "L": 8, "": 5}
_OPEN = frozenset({"pending", "waiting"})
_STATUSES = dict.fromkeys((*sorted(_OPEN), "recurring"), "pending") | {"completed": "completed", "deleted": "cancelled"}
TEMPLATE = "The template of a recurring task, of which the file has tasks."
_DATES = {"wait": "Waits until", "scheduled": "Scheduled", "until": "Ends", "start": "Started"}
# What was read, and what means nothing outside Taskwarrior.
_KNOWN = frozenset(
    {*_COLUMNS.values(), *_DATES, "annotations", "depends", "priority", "project", "recur", "status", "tags", "uuid"}
    | {"id", "imask", "last", "mask", "modified", "parent", "rtype", "template", "urgency", ERROR}
)


def recognise(head: Head) -> Certainty:
    """Tasks have a description, a uuid and an entry."""
    shape = shape_of(head.text)
    keys = shape.keys("[]" if shape.top == "array" else "")
    if {"description", "uuid", "entry"} <= keys:
        return 3
    return 2 if {"description", "uuid", "status"} <= keys else 0


def read(stream: BinaryIO, options: ReadOptions, report: FileReport) -> Rows:
    """A row a task. All are held, because a dependency may come later than what depends on it."""
    found, refused = until_refused(json_items(limited(stream), options.encoding))
    tasks: dict[str, dict[str, Any]] = {}
    for one in found:
        if not isinstance(one, BadRow):
            tasks[str(one[1].get("uuid"))] = one[1]
    if tasks and not any("description" in task for task in tasks.values()):
        raise ImportRefused(
            "import-wrong-format", "A list of Taskwarrior's tasks is expected, each with a description."
        )
    parents = {str(task["parent"]) for task in tasks.values() if task.get("parent")}
    parse = partial(_parse, tasks=tasks, parents=parents, options=options)
    for one in found:
        if isinstance(one, BadRow):
            yield one
        else:
            yield row_of_object(one[0], one[1], _COLUMNS, parse, one[2])
    if refused is not None:
        raise refused
    if not found:
        raise ImportRefused("import-empty", "The file holds no tasks.")


def _parse(
    item: JsonObject, tasks: dict[str, dict[str, Any]], parents: set[str], options: ReadOptions
) -> ParsedTask | str:
    zone = options.time_zone
    uuid = item.text("uuid")
    if item.content.get("status") == "recurring" and uuid in parents:
        return TEMPLATE
    task = ParsedTask(item.text("description"), uuid)
    priority = item.text("priority").upper()
    dependencies = item.texts("depends")  # before Taskwarrior 2.6 one text with commas
    task.set(
        priority=task.known(priority, "priority", _PRIORITIES, PRIORITY_IS_5, name="Priority"),
        created_at=item.moment("entry", zone),
    )
    task.set_due(item.text("due"), "due", zone)
    _set_status(item, task, any(_is_open(tasks.get(one)) for one in dependencies), options)
    for tag in item.texts("tags"):
        task.label(tag)
    task.place("Project", item.text("project"), options)
    for one in dependencies:
        title = tasks.get(one, {}).get("description")
        task.fact("Depends on", title if isinstance(title, str) else one)
    task.fact("Repeats", item.text("recur"))
    for name, heading in _DATES.items():
        task.fact(heading, item.moment(name, zone) or "")
    for name, value in item.content.items():
        if name not in _KNOWN:
            task.fact(name, text_in(value) or "")
    for annotation in item.objects("annotations", "description"):
        task.comment(annotation.text("description"), annotation.moment("entry", zone))
    return task


def _set_status(item: JsonObject, task: ParsedTask, is_blocked: bool, options: ReadOptions) -> None:
    word = item.text("status").lower()
    status = task.known(word, "status", _STATUSES, IS_PENDING, name="Status")
    if status == "completed":
        task.complete(item.moment("end", options.time_zone), item.moment("modified", options.time_zone))
    elif word in _OPEN and "start" in item:
        task.set(status="in_progress")
    elif word in _OPEN and is_blocked:
        task.set(status="blocked")
    else:
        task.set(status=status or "pending")


def _is_open(task: dict[str, Any] | None) -> bool:
    return task is not None and task.get("status", "pending") in ("pending", "waiting")


FORMAT = Format("taskwarrior-json", "Taskwarrior", recognise, read)

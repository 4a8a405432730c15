"""What `task export` prints: an array, or (before Taskwarrior 2.4) one task a line.

- Priorities: H → 2, M and none → 5, L → 8.
- `completed` stays, with its `end`; `deleted` is `cancelled`; a task that was started is `in_progress`; one that
  depends on an open task of the file is `blocked`; others (`waiting` and the templates of recurring tasks, too) are
  `pending`.
- Tags are labels. Annotations follow as comments. Project, dependencies, recurrence, dates for which we have no field,
  and the user's own attributes become lines of the description.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any, BinaryIO

from core.formats.failed_rows import ERROR
from core.formats.json_object import JsonObject, row_of_object
from core.formats.parsed_task import ParsedTask
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
from core.formats.values import WrongValue

_COLUMNS = {"title": "description", "due_date": "due", "created_at": "entry", "completed_at": "end"}
_PRIORITIES = {"H": 2, "M": 5, "L": 8, "": 5}
_OPEN = frozenset({"pending", "waiting"})
_STATUSES = _OPEN | {"completed", "deleted", "recurring"}
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
    for one in found:
        if isinstance(one, BadRow):
            yield one
        else:
            yield row_of_object(one[0], one[1], _COLUMNS, partial(_parse, tasks=tasks, options=options), one[2])
    if refused is not None:
        raise refused
    if not found:
        raise ImportRefused("import-empty", "The file holds no tasks.")


def _parse(item: JsonObject, tasks: dict[str, dict[str, Any]], options: ReadOptions) -> ParsedTask:
    zone = options.time_zone
    uuid = item.text("uuid")
    task = ParsedTask(item.text("description"), uuid)
    priority = item.text("priority").upper()
    if priority not in _PRIORITIES:
        raise WrongValue("priority", f"{priority!r} is no priority of Taskwarrior: H, M, L or none.")
    dependencies = list(_dependencies(item))
    task.set(
        priority=_PRIORITIES[priority],
        created_at=item.moment("entry", zone),
        due_date=item.due("due", zone),
    )
    _set_status(item, task, any(_is_open(tasks.get(one)) for one in dependencies), options)
    for tag in item.list("tags"):
        task.label(str(tag))
    task.fact("Project", item.text("project"))
    for one in dependencies:
        title = tasks.get(one, {}).get("description")
        task.fact("Depends on", title if isinstance(title, str) else one)
    task.fact("Repeats", item.text("recur"))
    for name, heading in _DATES.items():
        task.fact(heading, item.moment(name, zone) or "")
    for name, value in item.content.items():
        if name not in _KNOWN and isinstance(value, str | int | float):
            task.fact(name, str(value))
    for annotation in item.objects("annotations"):
        task.comment(annotation.text("description"), annotation.moment("entry", zone))
    return task


def _set_status(item: JsonObject, task: ParsedTask, is_blocked: bool, options: ReadOptions) -> None:
    status = item.text("status") or "pending"
    if status not in _STATUSES:
        raise WrongValue("status", f"{status!r} is no status of Taskwarrior: {', '.join(sorted(_STATUSES))}.")
    if status == "completed":
        task.complete(item.moment("end", options.time_zone), item.moment("modified", options.time_zone))
    elif status == "deleted":
        task.set(status="cancelled")
    elif status in _OPEN and "start" in item:
        task.set(status="in_progress")
    elif status in _OPEN and is_blocked:
        task.set(status="blocked")
    else:
        task.set(status="pending")


def _dependencies(item: JsonObject) -> Iterator[str]:
    """An array, or before Taskwarrior 2.6 one text with commas."""
    depends = item.content.get("depends")
    for one in depends.split(",") if isinstance(depends, str) else item.list("depends"):
        if str(one).strip():
            yield str(one).strip()


def _is_open(task: dict[str, Any] | None) -> bool:
    return task is not None and task.get("status", "pending") in _OPEN


FORMAT = Format("taskwarrior-json", "Taskwarrior", recognise, read)

"""Getting Things GNOME's tasks: `gtg_tasks.xml` of 0.3 and 0.4, `gtg_data.xml` of 0.5 and later.

- `Done` is `completed`, with its day; `Dismiss` is `cancelled`.
- GTG has no priorities: all have 5. Tags are labels, without the @ in front.
- A due date is a day; the fuzzy ones (`now`, `soon`, `someday`) become lines.
- A subtask gets `Part of: <parent's title>`; the marks of tags and subtasks inside the text go.
"""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO
from xml.etree.ElementTree import Element

from core.formats.parsed_task import IS_PENDING, ParsedTask
from core.formats.rows import (
    FRAME_MAXIMUM,
    Certainty,
    FileReport,
    Format,
    Head,
    ImportRefused,
    ReadOptions,
    Rows,
    excerpt,
    until_refused,
)
from core.formats.streams.xml_stream import source_of, text_of, xml_elements

_COLUMNS = {"description": "content", "due_date": "duedate", "created_at": "addeddate", "completed_at": "donedate"}
_FUZZY = frozenset({"now", "soon", "someday"})
_STATUSES = {"active": "pending", "done": "completed", "dismiss": "cancelled", "dismissed": "cancelled"}
_ROOTS = ("project", "gtgData", "tasklist")
_SUBTASK_MARK = re.compile(r"(?<![ \t→])[ \t→]*(?:<subtask>[^<]*</subtask>|\{![^{}]*!\})[ \t]*\n?")
_TAG_MARK = re.compile(r"</?tag>")
_BEGINNING = re.compile(r"<(?:project|gtgData|tasklist)[\s>]")
_TASK = re.compile(r"<task\b[^>]*\bstatus=")


@dataclass(slots=True)
class _Task:
    """What was read of a task.

    Attributes:
        values: name → text, for the report of errors, too.
        source: the element.
    """

    id: str
    values: dict[str, str]
    tags: list[str]
    subtasks: list[str]
    source: str


def recognise(head: Head) -> Certainty:
    """A root element of GTG's, with tasks of GTG's."""
    if not head.text.lstrip().startswith("<") or not _BEGINNING.search(head.text):
        return 0
    return 3 if "<gtgData" in head.text or _TASK.search(head.text) else 1


def read(stream: BinaryIO, options: ReadOptions, report: FileReport) -> Rows:
    """A row a task. All are held, because a parent may come later than its children."""
    tasks, refused = until_refused(_tasks(stream, options, report))
    parents = {child: task.values["title"] for task in tasks for child in task.subtasks}
    for number, task in enumerate(tasks, start=1):
        values = excerpt({name: value for name, value in task.values.items() if value})
        yield _parse(task, parents, options).row(number, values, _COLUMNS, task.source)
    if refused is not None:
        raise refused
    if not tasks:
        raise ImportRefused("import-empty", "The file holds no tasks.")


def _tasks(stream: BinaryIO, options: ReadOptions, report: FileReport) -> Iterator[_Task]:
    names: dict[str, str] = {}
    definitions = ""
    report.frame = framed("")
    for element in xml_elements(stream, options.encoding, ("tag", "task"), _ROOTS):
        if element.tag == "task":
            yield _read(element, names)
        elif element.get("name"):  # of the list in front of the tasks
            names[element.get("id") or ""] = element.get("name") or ""
            if len(definitions) < FRAME_MAXIMUM:
                definitions += source_of(element)
                report.frame = framed(definitions)


def framed(definitions: str) -> tuple[str, str]:
    """What stands around tasks, in the form of today, which is read in the same way."""
    return f"<gtgData><taglist>{definitions}</taglist><tasklist>", "</tasklist></gtgData>"


def _read(element: Element, tag_names: dict[str, str]) -> _Task:
    values = {
        "id": element.get("uuid") or element.get("id") or "",
        "status": element.get("status") or "",
        "title": text_of(element, "title"),
        "addeddate": text_of(element, "addeddate") or text_of(element, "dates/added"),
        "modified": text_of(element, "modified") or text_of(element, "dates/modified"),
        "startdate": text_of(element, "startdate") or text_of(element, "dates/start"),
        "duedate": text_of(element, "duedate") or text_of(element, "dates/due") or text_of(element, "dates/fuzzyDue"),
        "donedate": text_of(element, "donedate") or text_of(element, "dates/done"),
        "repeats": text_of(element, "recurring/term") if element.get("recurring") != "False" else "",
        "content": element.findtext("content") or "",
    }
    tags = [tag.strip() for tag in (element.get("tags") or "").split(",")]
    tags += [tag_names.get(text_of(tag), text_of(tag)) for tag in element.iterfind("tags/tag")]
    subtasks = [text_of(child) for child in (*element.iterfind("subtask"), *element.iterfind("subtasks/sub"))]
    return _Task(element.get("id") or "", values, tags, subtasks, source_of(element))


def _parse(task: _Task, parents: dict[str, str], options: ReadOptions) -> ParsedTask:
    values = task.values
    zone = options.time_zone
    parsed = ParsedTask(values["title"], values["id"])
    # The text is XML inside XML.
    parsed.body = html.unescape(_TAG_MARK.sub("", _SUBTASK_MARK.sub("", values["content"]))).strip()
    parsed.parent = parents.get(task.id, "")
    status = parsed.known(values["status"].lower(), "status", _STATUSES, IS_PENDING, name="Status")
    if status == "completed":
        # Its day is all that GTG has.
        parsed.complete(*(parsed.moment(values[name], name, zone) for name in ("donedate", "modified")))
    else:
        parsed.set(status=status or "pending")
    parsed.set(created_at=parsed.moment(values["addeddate"], "addeddate", zone))
    for tag in task.tags:
        parsed.label(tag.removeprefix("@"))
    for name, heading in (("duedate", "Due"), ("startdate", "Starts")):
        date = values[name]
        if date.lower() in _FUZZY:
            parsed.fact(heading, date)
        elif name == "duedate":
            parsed.set_due(date, name, zone)
        else:
            parsed.fact(heading, parsed.moment(date, name, zone) or "")
    parsed.fact("Repeats", values["repeats"])
    return parsed


FORMAT = Format("gtg-xml", "Getting Things GNOME (XML)", recognise, read, form="xml")

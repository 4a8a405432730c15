"""GitHub issues as JSON: the REST API's arrays, and what `gh issue list --json …` prints.

- Title and body stay; comments that are in the file follow the body.
- Closed issues are `completed` at `closed_at`; those closed as not planned or as duplicates, and pull requests closed
  without a merge, are `cancelled`.
- GitHub has no priorities: all have 5. Labels stay labels. Milestone, assignees, projects and their columns become
  lines of the description; projects and columns also labels and statuses, if that is wanted.
- The external id is `owner/repository#number`, so that all shapes of the same issue are one task.
- Pull requests, which the REST API lists among the issues, are skipped, unless asked for.
"""

import re
from typing import BinaryIO

from core.formats.json_object import JsonObject, row_of_object
from core.formats.parsed_task import IS_PENDING, ParsedTask
from core.formats.rows import (
    BadRow,
    Certainty,
    FileReport,
    Format,
    Head,
    ImportRefused,
    ReadOptions,
    Row,
    Rows,
    SkippedRow,
    excerpt,
)
from core.formats.streams.json_shape import shape_of
from core.formats.streams.json_stream import json_items

PULL_REQUEST = "A pull request. With pull_requests=true it becomes a task, too."
_ADDRESS = re.compile(r"https?://[^/]+/(?:repos/|api/v3/repos/)?([^/]+/[^/]+)/(issues|pulls?)/(\d+)")
_NOT_DONE = frozenset({"not_planned", "duplicate"})
_STATES = {"open": "pending", "closed": "completed", "merged": "completed"}
_COLUMNS = {"description": "body", "status": "state"}
_MARKS = frozenset(
    {"html_url", "url", "body", "labels", "assignees", "milestone", "createdAt", "closedAt", "stateReason", "closed"}
)
_OF_ISSUES = _MARKS | {"number", "title"}


def recognise(head: Head) -> Certainty:
    """Issues have a number, a title and a state, and one of the members that only GitHub has."""
    shape = shape_of(head.text)
    keys = shape.keys("[]" if shape.top == "array" else "")
    if {"html_url", "repository_url", "number", "title"} <= keys:
        return 3
    if {"number", "title"} <= keys and keys & _MARKS:
        return 3 if _ADDRESS.search(head.text) else 2
    return 2 if "title" in keys and _ADDRESS.search(head.text) and keys & (_MARKS - {"url"}) else 0


def read(stream: BinaryIO, options: ReadOptions, report: FileReport) -> Rows:
    """A row an issue; pull requests, too, if that is an option."""
    is_empty = True
    for found in json_items(stream, options.encoding):
        is_empty = False
        if isinstance(found, BadRow):
            yield found
            continue
        number, content, source = found
        if number == 1 and not (_OF_ISSUES & content.keys()):
            raise ImportRefused("import-wrong-format", "A list of GitHub's issues is expected, each with its title.")
        if _is_pull_request(content) and not options.include_pull_requests:
            yield SkippedRow(number, PULL_REQUEST, excerpt(content))
            continue
        yield _row(number, content, source, options)
    if is_empty:
        raise ImportRefused("import-empty", "The file holds no issues.")


def _is_pull_request(content: dict[str, object]) -> bool:
    if content.get("pull_request"):
        return True
    address = _ADDRESS.match(str(content.get("html_url") or content.get("url") or ""))
    return address is not None and address[2] != "issues"


def _row(number: int, content: dict[str, object], source: str, options: ReadOptions) -> Row | BadRow | SkippedRow:
    def parse(issue: JsonObject) -> ParsedTask:
        url = issue.text("html_url") or issue.text("url")
        address = _ADDRESS.match(url)
        task = ParsedTask(issue.text("title"), f"{address[1]}#{address[3]}" if address else issue.text("node_id"))
        task.body = issue.text("body")
        _set_status(issue, task, options)
        task.set(created_at=_moment(issue, "created_at", "createdAt", options))
        for label in issue.texts("labels"):
            task.label(label)
        task.fact("Milestone", issue.text("milestone"))
        task.fact("Assigned to", ", ".join(issue.texts("assignees")))
        for item in (*issue.objects("projectItems", "title"), *issue.objects("projectCards", "title")):
            task.place("Project", item.text("title") or item.text("project"), options)
            task.place("Column", item.text("status") or item.text("column"), options)
        task.fact("Source", url)
        for comment in _comments(issue):
            author = comment.text("user") or comment.text("author")
            task.comment(comment.text("body"), _moment(comment, "created_at", "createdAt", options), author)
        return task

    return row_of_object(number, content, _COLUMNS, parse, source)


def _set_status(issue: JsonObject, task: ParsedTask, options: ReadOptions) -> None:
    closed_at = _moment(issue, "closed_at", "closedAt", options)
    state = issue.text("state").lower() or ("closed" if issue.flag("closed") or closed_at else "open")
    status = task.known(state, "state", _STATES, IS_PENDING, name="State")
    reason = (issue.text("state_reason") or issue.text("stateReason")).lower()
    pull_request = issue.content.get("pull_request")
    is_dropped = isinstance(pull_request, dict) and "merged_at" in pull_request and not pull_request["merged_at"]
    if state == "closed" and (reason in _NOT_DONE or is_dropped):
        task.set(status="cancelled")
    elif status == "completed":
        task.complete(closed_at, _moment(issue, "updated_at", "updatedAt", options))
    else:
        task.set(status=status)


def _comments(issue: JsonObject) -> list[JsonObject]:
    """Of the REST API `comments` is their number."""
    comments = list(issue.objects("comments_content", "body"))
    if not isinstance(issue.content.get("comments"), int | float):
        comments += issue.objects("comments", "body")
    return comments


def _moment(item: JsonObject, name: str, name_of_gh: str, options: ReadOptions) -> str | None:
    return item.moment(name if name in item else name_of_gh, options.time_zone)


FORMAT = Format("github-json", "GitHub issues (JSON)", recognise, read)

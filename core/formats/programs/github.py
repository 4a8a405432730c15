"""GitHub issues as JSON: the REST API's arrays, and what `gh issue list --json …` prints.

- Title and body stay; comments that are in the file follow the body.
- Closed issues are `completed` at `closed_at`; those closed as not planned or as duplicates, and pull requests closed
  without a merge, are `cancelled`.
- GitHub has no priorities: all have 5. Labels stay labels. Milestone and assignees become lines of the description.
- The external id is `owner/repository#number`, so that both shapes of the same issue are one task.
- Pull requests, which the REST API lists among the issues, are passed over and counted, unless asked for.
"""

import re
from typing import BinaryIO

from core.formats.json_object import JsonObject, row_of_object
from core.formats.parsed_task import ParsedTask
from core.formats.rows import BadRow, Certainty, FileReport, Format, Head, ImportRefused, ReadOptions, Row, Rows
from core.formats.streams.json_shape import shape_of
from core.formats.streams.json_stream import json_items
from core.formats.values import WrongValue

PULL_REQUESTS = "pull requests"
_ADDRESS = re.compile(r"https?://[^/]+/(?:repos/|api/v3/repos/)?([^/]+/[^/]+)/(issues|pulls?)/(\d+)")
_NOT_DONE = frozenset({"not_planned", "duplicate"})
_STATES = {"open": "pending", "closed": "completed", "merged": "completed"}
_COLUMNS = {"description": "body", "status": "state"}
_MARKS = frozenset(
    {"html_url", "url", "body", "labels", "assignees", "milestone", "createdAt", "closedAt", "stateReason", "closed"}
)


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
        if number == 1 and not ({"title", "number"} & content.keys()):
            raise ImportRefused("import-wrong-format", "A list of GitHub's issues is expected, each with its title.")
        if _is_pull_request(content) and not options.include_pull_requests:
            report.ignore(PULL_REQUESTS)
            continue
        yield _row(number, content, source, options)
    if is_empty:
        raise ImportRefused("import-empty", "The file holds no issues.")


def _is_pull_request(content: dict[str, object]) -> bool:
    if content.get("pull_request"):
        return True
    address = _ADDRESS.match(str(content.get("html_url") or content.get("url") or ""))
    return address is not None and address[2] != "issues"


def _row(number: int, content: dict[str, object], source: str, options: ReadOptions) -> Row | BadRow:
    def parse(issue: JsonObject) -> ParsedTask:
        url = issue.text("html_url") or issue.text("url")
        address = _ADDRESS.match(url)
        task = ParsedTask(issue.text("title"), f"{address[1]}#{address[3]}" if address else issue.text("node_id"))
        task.body = issue.text("body")
        _set_status(issue, task, options)
        task.set(created_at=_moment(issue, "created_at", "createdAt", options))
        for label in issue.list("labels"):
            task.label(label if isinstance(label, str) else JsonObject(label, "labels").text("name"))
        if "milestone" in issue:
            task.fact("Milestone", issue.object("milestone").text("title"))
        task.fact("Assigned to", ", ".join(person.line("login") for person in issue.objects("assignees")))
        task.fact("Source", url)
        for comment in _comments(issue):
            author = comment.object("user" if "user" in comment else "author").text("login")
            task.comment(comment.text("body"), _moment(comment, "created_at", "createdAt", options), author)
        return task

    return row_of_object(number, content, _COLUMNS, parse, source)


def _set_status(issue: JsonObject, task: ParsedTask, options: ReadOptions) -> None:
    state = issue.text("state").lower() or ("closed" if issue.flag("closed") else "open")
    if state not in _STATES:
        raise WrongValue("state", f"{state!r} is no state of an issue: open or closed.")
    reason = (issue.text("state_reason") or issue.text("stateReason")).lower()
    pull_request = issue.object("pull_request")
    is_dropped = "merged_at" in pull_request.content and not pull_request.content["merged_at"]
    if state == "closed" and (reason in _NOT_DONE or is_dropped):
        task.set(status="cancelled")
    elif state == "open":
        task.set(status="pending")
    else:
        task.complete(
            _moment(issue, "closed_at", "closedAt", options), _moment(issue, "updated_at", "updatedAt", options)
        )


def _comments(issue: JsonObject) -> list[JsonObject]:
    """Of the REST API `comments` is their number."""
    comments = list(issue.objects("comments_content"))
    if isinstance(issue.content.get("comments"), list):
        comments += issue.objects("comments")
    return comments


def _moment(item: JsonObject, name: str, name_of_gh: str, options: ReadOptions) -> str | None:
    return item.moment(name if name in item else name_of_gh, options.time_zone)


FORMAT = Format("github-json", "GitHub issues (JSON)", recognise, read)

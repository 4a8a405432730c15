"""GitHub's issues as JSON: the REST API's shape and that of `gh`."""

import json
from typing import Any

import pytest

from core.formats.programs.github import FORMAT, PULL_REQUEST
from core.formats.registry import head_of
from tests.core.formats.harness import read

REST: dict[str, Any] = {
    "url": "https://api.github.com/repos/octo/hello/issues/7",
    "repository_url": "https://api.github.com/repos/octo/hello",
    "html_url": "https://github.com/octo/hello/issues/7",
    "id": 123456,
    "node_id": "I_x",
    "number": 7,
    "title": "It crashes",
    "user": {"login": "alice"},
    "labels": [{"name": "bug"}, "help wanted", {"name": "a, b"}],
    "state": "open",
    "assignees": [{"login": "bob"}, {"login": "carol"}],
    "milestone": {"title": "1.0"},
    "comments": 2,
    "created_at": "2026-01-01T10:00:00Z",
    "updated_at": "2026-01-03T10:00:00Z",
    "closed_at": None,
    "body": "Steps:\r\n1. start",
}
GH: dict[str, Any] = {
    "assignees": [{"login": "bob"}],
    "body": "Steps:\n1. start",
    "closed": True,
    "closedAt": "2026-01-02T10:00:00Z",
    "comments": [{"author": {"login": "carol"}, "body": "Same here", "createdAt": "2026-01-01T11:00:00Z"}],
    "createdAt": "2026-01-01T10:00:00Z",
    "id": "I_x",
    "labels": [{"id": "LA", "name": "bug"}],
    "milestone": None,
    "number": 7,
    "state": "CLOSED",
    "stateReason": "COMPLETED",
    "title": "It crashes",
    "url": "https://github.com/octo/hello/issues/7",
}


def one(**changes: Any) -> dict[str, Any]:
    return read(FORMAT, json.dumps([{**REST, **changes}])).one


def test_an_issue_of_the_rest_api() -> None:
    assert one() == {
        "title": "It crashes",
        "description": "Steps:\n1. start\n\nLabels: a, b\nMilestone: 1.0\nAssigned to: bob, carol\n"
        "Source: https://github.com/octo/hello/issues/7",
        "status": "pending",
        "labels": ["bug", "help wanted"],
        "created_at": "2026-01-01T10:00:00+00:00",
        "external_id": "octo/hello#7",
    }


def test_an_issue_of_gh_is_the_same_task() -> None:
    assert read(FORMAT, json.dumps([GH])).one == {
        "title": "It crashes",
        "description": "Steps:\n1. start\n\nAssigned to: bob\nSource: https://github.com/octo/hello/issues/7\n\n"
        "Comment (2026-01-01T11:00:00+00:00, carol):\nSame here",
        "status": "completed",
        "completed_at": "2026-01-02T10:00:00+00:00",
        "labels": ["bug"],
        "created_at": "2026-01-01T10:00:00+00:00",
        "external_id": "octo/hello#7",
    }


def test_comments_that_a_dump_put_beside_the_issue_follow_it() -> None:
    comments = [{"user": {"login": "dan"}, "body": "me too", "created_at": "2026-01-01T12:00:00Z"}]
    description = one(comments_content=comments)["description"]
    assert description.endswith("Comment (2026-01-01T12:00:00+00:00, dan):\nme too")


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"state": "open", "state_reason": "reopened"}, "pending"),
        ({"state": "closed"}, "completed"),
        ({"state": "closed", "state_reason": "completed"}, "completed"),
        ({"state": "closed", "state_reason": "not_planned"}, "cancelled"),
        ({"state": "closed", "state_reason": "duplicate"}, "cancelled"),
        ({"state": "CLOSED", "stateReason": "NOT_PLANNED"}, "cancelled"),
        ({"state": None, "closed": True}, "completed"),
        ({"state": None}, "completed"),
    ],
)
def test_the_state_decides(changes: dict[str, Any], status: str) -> None:
    assert one(closed_at="2026-01-02T10:00:00Z", **changes)["status"] == status


def test_a_closed_issue_without_its_time_has_that_of_its_last_change() -> None:
    assert one(state="closed")["completed_at"] == "2026-01-03T10:00:00+00:00"


PULLS = [
    {"pull_request": {"url": "https://api.github.com/repos/octo/hello/pulls/8"}},
    {"html_url": "https://github.com/octo/hello/pull/8"},
]


@pytest.mark.parametrize("changes", PULLS)
def test_pull_requests_are_skipped_with_the_reason(changes: dict[str, Any]) -> None:
    result = read(FORMAT, json.dumps([REST, {**REST, **changes}, REST]))
    assert [row.number for row in result.good] == [1, 3]
    assert [(row.number, row.reason) for row in result.skipped] == [(2, PULL_REQUEST)]
    only = read(FORMAT, json.dumps([{**REST, **changes}]))
    assert len(only.skipped) == 1
    assert only.refused is None


@pytest.mark.parametrize("changes", PULLS)
def test_pull_requests_are_tasks_if_asked_for(changes: dict[str, Any]) -> None:
    result = read(FORMAT, json.dumps([REST, {**REST, **changes}]), include_pull_requests=True)
    assert len(result.good) == 2
    assert result.skipped == []


@pytest.mark.parametrize(("merged_at", "status"), [(None, "cancelled"), ("2026-01-02T10:00:00Z", "completed")])
def test_a_pull_request_is_completed_by_its_merge(merged_at: str | None, status: str) -> None:
    pull = {**REST, "state": "closed", "pull_request": {"merged_at": merged_at}}
    assert read(FORMAT, json.dumps([pull]), include_pull_requests=True).one["status"] == status


@pytest.mark.parametrize(
    ("changes", "column"),
    [
        ({"state": "half-open"}, "state"),
        ({"created_at": "yesterday-ish"}, "created_at"),
        ({"labels": [{}]}, "labels"),
        ({"body": {"a": 1}}, "body"),
        ({"assignees": [{"login": []}]}, "assignees"),
    ],
)
def test_a_member_that_makes_no_sense_costs_no_row_and_is_told_by_its_name(
    changes: dict[str, Any], column: str
) -> None:
    result = read(FORMAT, json.dumps([{**REST, **changes}, REST]))
    assert (1, column) in result.warned
    assert len(result.good) == 2


def test_a_page_saved_as_one_object_a_line_is_read_too() -> None:
    assert len(read(FORMAT, json.dumps(REST) + "\n" + json.dumps(GH) + "\n").good) == 2


def test_what_powershell_saved_is_read() -> None:
    assert (
        read(FORMAT, json.dumps([{**GH, "title": "Stürzt ab"}], ensure_ascii=False).encode("utf-16")).one["title"]
        == "Stürzt ab"
    )


@pytest.mark.parametrize(("text", "name"), [("[]", "import-empty"), ('{"cards": []}', "import-wrong-format")])
def test_a_file_without_issues_is_refused(text: str, name: str) -> None:
    result = read(FORMAT, text)
    assert result.refused is not None
    assert result.refused.name == name


@pytest.mark.parametrize("issue", [REST, GH, {"number": 1, "title": "a", "url": "https://github.com/a/b/issues/1"}])
@pytest.mark.parametrize("layout", [None, 2])
def test_both_shapes_are_recognised(issue: dict[str, Any], layout: int | None) -> None:
    text = json.dumps([issue] * 100, indent=layout)
    assert FORMAT.recognise(head_of(text.encode(), "", True)) == 3
    assert FORMAT.recognise(head_of(text[:300].encode(), "", False)) >= 0


@pytest.mark.parametrize("text", ['[{"title": "a"}]', '{"cards": []}', "number,title\n", ""])
def test_others_are_not_recognised(text: str) -> None:
    assert FORMAT.recognise(head_of(text.encode(), "", True)) == 0

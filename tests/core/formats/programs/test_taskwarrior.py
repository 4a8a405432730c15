"""What `task export` prints."""

import json
from typing import Any

import pytest

from core.formats.programs.taskwarrior import FORMAT
from core.formats.registry import head_of
from tests.core.formats.harness import read

TASK: dict[str, Any] = {
    "id": 1,
    "uuid": "u1",
    "description": "Book a venue",
    "entry": "20260101T100000Z",
    "modified": "20260104T100000Z",
    "due": "20260201T170000Z",
    "status": "pending",
    "priority": "H",
    "project": "party",
    "tags": ["mall", "phone"],
    "annotations": [{"entry": "20260102T100000Z", "description": "the 13th looks good"}],
    "estimate": 30,
    "urgency": 12.5,
}


def one(**changes: Any) -> dict[str, Any]:
    return read(FORMAT, json.dumps([{**TASK, **changes}])).one


def test_a_task_with_everything() -> None:
    assert one() == {
        "title": "Book a venue",
        "description": "Project: party\nestimate: 30\n\nComment (2026-01-02T10:00:00+00:00):\nthe 13th looks good",
        "priority": 2,
        "status": "pending",
        "due_date": "2026-02-01T17:00:00+00:00",
        "labels": ["mall", "phone"],
        "created_at": "2026-01-01T10:00:00+00:00",
        "external_id": "u1",
    }


@pytest.mark.parametrize(("word", "priority"), [("H", 2), ("M", 5), ("L", 8), ("", 5), (None, 5)])
def test_priorities(word: str | None, priority: int) -> None:
    assert one(priority=word)["priority"] == priority


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"status": "pending"}, "pending"),
        ({"status": "pending", "start": "20260103T100000Z"}, "in_progress"),
        ({"status": "waiting", "wait": "20260301T000000Z"}, "pending"),
        ({"status": "recurring", "recur": "weekly"}, "pending"),
        ({"status": "deleted", "end": "20260103T100000Z"}, "cancelled"),
        ({"status": "completed", "end": "20260103T100000Z"}, "completed"),
    ],
)
def test_statuses(changes: dict[str, Any], status: str) -> None:
    fields = one(**changes)
    assert fields["status"] == status
    assert fields.get("completed_at") == ("2026-01-03T10:00:00+00:00" if status == "completed" else None)


def test_a_completed_task_without_its_end_has_the_time_of_its_last_change() -> None:
    assert one(status="completed")["completed_at"] == "2026-01-04T10:00:00+00:00"


@pytest.mark.parametrize("depends", [["u2", "u3", "gone"], "u2,u3,gone"])
def test_dependencies_are_named_and_open_ones_block(depends: object) -> None:
    tasks = [
        {**TASK, "depends": depends},
        {**TASK, "uuid": "u2", "description": "Find a date", "status": "completed"},
        {**TASK, "uuid": "u3", "description": "Save money"},
    ]
    first = read(FORMAT, json.dumps(tasks)).fields[0]
    assert "Depends on: Find a date\nDepends on: Save money\nDepends on: gone" in first["description"]
    assert first["status"] == "blocked"
    tasks[2]["status"] = "deleted"
    assert read(FORMAT, json.dumps(tasks)).fields[0]["status"] == "pending"


def test_dates_and_recurrence_without_a_field_are_lines() -> None:
    description = one(status="recurring", recur="yearly", until="20300101T000000Z", scheduled="20260110T000000Z")[
        "description"
    ]
    for line in (
        "Repeats: yearly",
        "Ends: 2030-01-01T00:00:00+00:00",
        "Scheduled: 2026-01-10T00:00:00+00:00",
    ):
        assert line in description.split("\n")


@pytest.mark.parametrize("separator", ["\n", ",\n", ",\r\n"])
def test_one_task_a_line_is_read_too(separator: str) -> None:
    text = separator.join(json.dumps({**TASK, "uuid": str(number)}) for number in range(3))
    assert [row.number for row in read(FORMAT, text).good] == [1, 2, 3]
    assert FORMAT.recognise(head_of(text.encode(), "", True)) == 3


def test_a_truncated_file_gives_the_tasks_before() -> None:
    result = read(FORMAT, json.dumps([TASK, TASK])[:-20])
    assert len(result.good) == 1
    assert result.refused is not None
    assert result.refused.name == "import-unreadable"


@pytest.mark.parametrize(
    ("changes", "column"),
    [({"priority": "urgent"}, "priority"), ({"status": "gone"}, "status"), ({"due": "20261301T000000Z"}, "due")],
)
def test_a_value_that_is_none_costs_no_row_and_is_told_by_its_name(changes: dict[str, Any], column: str) -> None:
    result = read(FORMAT, json.dumps([TASK, {**TASK, **changes}]))
    assert result.warned == [(2, column)]


@pytest.mark.parametrize(("text", "name"), [("[]", "import-empty"), ('[{"title": "a"}]', "import-wrong-format")])
def test_a_file_without_tasks_is_refused(text: str, name: str) -> None:
    result = read(FORMAT, text)
    assert result.refused is not None
    assert result.refused.name == name


@pytest.mark.parametrize(("text", "certainty"), [(json.dumps([TASK], indent=1), 3), ('[{"description": "a"}]', 0)])
def test_recognising(text: str, certainty: int) -> None:
    assert FORMAT.recognise(head_of(text.encode(), "", True)) == certainty

"""Microsoft To Do, as Graph answers it."""

import json
from typing import Any

import pytest

from core.formats.programs.microsoft_todo import FORMAT, REMOVED
from core.formats.registry import head_of
from tests.core.formats.harness import BERLIN, read

TASK: dict[str, Any] = {
    "@odata.etag": 'W/"x"',
    "importance": "high",
    "isReminderOn": True,
    "status": "notStarted",
    "title": "Water the trees",
    "createdDateTime": "2026-01-01T04:49:33.0062602Z",
    "lastModifiedDateTime": "2026-01-03T04:49:33.0698644Z",
    "categories": ["garden", "Red category"],
    "id": "AQMk=",
    "body": {"content": "Ten litres each.", "contentType": "text"},
    "dueDateTime": {"dateTime": "2026-02-01T00:00:00.0000000", "timeZone": "UTC"},
    "reminderDateTime": {"dateTime": "2026-01-31T14:00:00.0000000", "timeZone": "W. Europe Standard Time"},
    "checklistItems": [
        {"displayName": "Fill the can", "isChecked": True},
        {"displayName": "Carry it", "isChecked": False},
    ],
    "recurrence": {
        "pattern": {"type": "weekly", "interval": 2, "daysOfWeek": ["monday", "friday"]},
        "range": {"type": "noEnd"},
    },
    "linkedResources": [{"displayName": "Mail", "webUrl": "https://outlook.office.com/x"}],
}


def graph(*tasks: object) -> str:
    context = "https://graph.microsoft.com/v1.0/$metadata#Collection(todoTask)"
    return json.dumps({"@odata.context": context, "value": list(tasks)})


def one(**changes: Any) -> dict[str, Any]:
    return read(FORMAT, graph({**TASK, **changes}), time_zone=BERLIN).one


def test_a_task_with_everything() -> None:
    assert one() == {
        "title": "Water the trees",
        "description": """Ten litres each.

- [x] Fill the can
- [ ] Carry it

Reminder: 2026-01-31T13:00:00+00:00
Repeats: every 2 weeks on monday, friday
Link: Mail https://outlook.office.com/x""",
        "priority": 2,
        "status": "pending",
        "due_date": "2026-02-01T22:59:59+00:00",
        "due_day": "2026-02-01",
        "labels": ["garden", "Red category"],
        "created_at": "2026-01-01T04:49:33.006260+00:00",
        "external_id": "AQMk=",
    }


@pytest.mark.parametrize(
    ("moment", "zone", "warnings"),
    [
        ("2026-07-01T00:00:00.0000000", "UTC", 0),
        ("2026-07-01T00:00:00.0000000", "Europe/Berlin", 0),
        ("2026-07-01T00:00:00.0000000", "W. Europe Standard Time", 0),
        ("2026-07-01T00:00:00.0000000", "Pacific Standard Time", 0),
        ("2026-07-01T00:00:00.0000000", "India Standard Time", 0),
        ("2026-07-01T00:00:00.0000000", "", 0),
        ("2026-06-30T22:00:00.0000000", "UTC", 0),  # of the reader's zone
        ("2026-07-01T04:00:00.0000000", "UTC", 1),  # of New York's
        ("2026-06-30T18:30:00.0000000", "UTC", 1),  # of India's
    ],
)
def test_a_due_date_is_the_day_whose_midnight_it_is(moment: str, zone: str, warnings: int) -> None:
    changed = {**TASK, "dueDateTime": {"dateTime": moment, "timeZone": zone}}
    result = read(FORMAT, graph(changed), time_zone=BERLIN)
    assert result.one["due_date"] == "2026-07-01T21:59:59+00:00"
    assert result.warned == [(1, "dueDateTime.dateTime")] * warnings


@pytest.mark.parametrize(("importance", "priority"), [("high", 2), ("normal", 5), ("low", 8), (None, 5)])
def test_importances(importance: str | None, priority: int) -> None:
    assert one(importance=importance)["priority"] == priority


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("notStarted", "pending"),
        ("inProgress", "in_progress"),
        ("waitingOnOthers", "blocked"),
        ("deferred", "pending"),
        ("completed", "completed"),
    ],
)
def test_statuses(word: str, status: str) -> None:
    assert one(status=word)["status"] == status


def test_a_completed_task_has_its_time_or_that_of_its_last_change() -> None:
    completed = {"dateTime": "2026-01-02T05:00:00.0000000", "timeZone": "UTC"}
    assert one(status="completed", completedDateTime=completed)["completed_at"] == "2026-01-02T05:00:00+00:00"
    assert one(status="completed")["completed_at"] == "2026-01-03T04:49:33.069864+00:00"


def test_a_body_in_html_becomes_text() -> None:
    body = {"contentType": "html", "content": "<html><body><div>Ten&nbsp;litres</div><div>each</div></body></html>"}
    assert one(body=body)["description"].startswith("Ten litres\neach\n")


@pytest.mark.parametrize(
    ("pattern", "span", "words"),
    [
        ({"type": "daily", "interval": 1}, {"type": "noEnd"}, "every day"),
        ({"type": "absoluteMonthly", "interval": 3, "dayOfMonth": 5}, {}, "every 3 months on day 5"),
        ({"type": "absoluteYearly", "interval": 1, "dayOfMonth": 5, "month": 2}, {}, "every year on day 5 of month 2"),
        (
            {"type": "relativeMonthly", "interval": 1, "index": "last", "daysOfWeek": ["friday"]},
            {"type": "endDate", "endDate": "2026-12-31"},
            "every month on the last friday until 2026-12-31",
        ),
        ({"type": "weekly", "interval": 1}, {"type": "numbered", "numberOfOccurrences": 4}, "every week 4 times"),
    ],
)
def test_recurrences_are_told_in_words(pattern: dict[str, Any], span: dict[str, Any], words: str) -> None:
    description = one(recurrence={"pattern": pattern, "range": span})["description"]
    assert f"Repeats: {words}" in description.split("\n")


def test_arrays_and_lists_with_their_tasks_are_read_too() -> None:
    assert len(read(FORMAT, json.dumps([TASK, TASK])).good) == 2
    lists = {"value": [{"displayName": "Garden", "tasks": [TASK]}, {"displayName": "Empty", "tasks": []}]}
    assert "List: Garden" in read(FORMAT, json.dumps(lists)).one["description"]
    assert FORMAT.recognise(head_of(json.dumps(lists).encode(), "", True)) == 3


def test_removed_tasks_of_a_delta_are_skipped() -> None:
    result = read(FORMAT, graph({"id": "x", "@removed": {"reason": "deleted"}}, TASK))
    assert [row.number for row in result.good] == [2]
    assert [(row.number, row.reason) for row in result.skipped] == [(1, REMOVED)]


@pytest.mark.parametrize(
    ("changes", "column"),
    [
        ({"importance": "utmost"}, "importance"),
        ({"status": "gone"}, "status"),
        ({"dueDateTime": {"dateTime": "2026-02-30T00:00:00", "timeZone": "UTC"}}, "dueDateTime.dateTime"),
        ({"dueDateTime": {"dateTime": "2026-02-01T00:00:00", "timeZone": "Middle-earth"}}, "dueDateTime.timeZone"),
        ({"dueDateTime": {"dateTime": "2026-02-01T00:00:00", "timeZone": "../../etc/passwd"}}, "dueDateTime.timeZone"),
        ({"dueDateTime": [[]]}, "dueDateTime"),
        ({"body": [[]]}, "body"),
    ],
)
def test_a_value_that_is_none_costs_no_row_and_is_told_by_its_name(changes: dict[str, Any], column: str) -> None:
    result = read(FORMAT, graph(TASK, {**TASK, **changes}))
    assert result.warned == [(2, column)]


@pytest.mark.parametrize(
    ("document", "name"), [({"value": []}, "import-empty"), ({}, "import-wrong-format"), (7, "import-wrong-format")]
)
def test_a_file_without_tasks_is_refused(document: object, name: str) -> None:
    result = read(FORMAT, json.dumps(document))
    assert result.refused is not None
    assert result.refused.name == name


@pytest.mark.parametrize(("text", "certainty"), [(graph(TASK), 3), (json.dumps([TASK]), 3), ('[{"title": "a"}]', 0)])
def test_recognising(text: str, certainty: int) -> None:
    assert FORMAT.recognise(head_of(text.encode(), "", True)) == certainty

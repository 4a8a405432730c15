"""What receivers are told: JSON as it is, and words that every service takes."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.channels.schemas import EVENTS, TEST_EVENT
from core.deliveries.messages import BODY_MAXIMUM, TITLE_MAXIMUM, Message, link_of, message_of, webhook_body

TASK = {
    "title": "Renew the\ncertificates",
    "description": "All of them.",
    "priority": 1,
    "status": "in_progress",
    "due_date": "2026-07-31T12:00:00+00:00",
}


def message(event: str, data: dict[str, Any], zone: str = "Europe/Berlin", *, link: str | None = None) -> Message:
    return message_of(event, orjson.dumps(data).decode(), zone, link)


def test_a_webhooks_body_has_the_data_as_it_is() -> None:
    data = '{"task": {"id": 9007199254740993}}\n'
    body = webhook_body("task.created", "2026-01-31T12:00:00.000000Z", data, "https://example.com/app/tasks/7")
    assert b'{"task": {"id": 9007199254740993}' in body
    assert orjson.loads(body) == {
        "type": "task.created",
        "timestamp": "2026-01-31T12:00:00.000000Z",
        "data": {"task": {"id": 9007199254740993}, "url": "https://example.com/app/tasks/7"},
    }
    assert orjson.loads(webhook_body("channel.test", "", '{"channel":{"id":1}}', None))["data"]["url"] is None


@pytest.mark.parametrize(
    ("event", "task_id", "data", "link"),
    [
        ("task.reminder", 7, "{}", "/app/tasks/7"),
        ("task.updated", 7, "{}", "/app/tasks/7"),
        ("task.deleted", 7, "{}", None),
        ("task.reminder", None, '{"tasks": []}', "/app/tasks"),
        ("import.finished", None, '{"import": {"id": "0197"}}', "/app/imports/0197"),
        ("import.finished", None, '{"import": {}}', None),
        ("channel.test", None, "{}", None),
    ],
)
def test_people_are_told_where_to_see_it_where_the_service_knows_its_address(
    event: str, task_id: int | None, data: str, link: str | None
) -> None:
    found = link_of("https://example.com/tenfold", event, task_id, data)
    assert found == (None if link is None else f"https://example.com/tenfold{link}")
    assert link_of("", event, task_id, data) is None


@pytest.mark.parametrize("description", ["Two\nlines", "y" * 20_000, None])
def test_a_link_stands_at_the_end_whole_whatever_stands_before_it(description: str | None) -> None:
    link = "https://example.com/app/tasks/7"
    found = message("task.created", {"task": {"title": "x", "description": description}}, link=link)
    assert found.body.split("\n")[-1] == link
    assert len(found.body) <= BODY_MAXIMUM
    assert (description or "")[:100] in found.body
    digest = message("task.reminder", {"tasks": [TASK | {"title": "x" * 255}] * 50, "total": 50}, link=link)
    assert digest.body.endswith(f" more\n\n{link}")
    assert len(digest.body) <= BODY_MAXIMUM


def test_a_reminder_says_when_the_task_is_due_in_the_users_time_zone() -> None:
    found = message("task.reminder", {"task": TASK, "reminder": {"due_at": "2026-07-31T11:00:00+00:00", "late_by": 0}})
    assert found.title == "Reminder: Renew the certificates"
    assert found.body.splitlines() == [
        "Due: 2026-07-31 14:00 CEST",
        "Priority: 1",
        "Status: in progress",
        "",
        "All of them.",
    ]


def test_a_late_reminder_says_so() -> None:
    found = message("task.reminder", {"task": TASK, "reminder": {"due_at": "2026-07-31T11:00:00+00:00", "late_by": 90}})
    assert "This reminder is late; it was due 2026-07-31 13:00 CEST." in found.body


def test_a_digest_lists_tasks_as_far_as_there_is_room() -> None:
    found = message("task.reminder", {"tasks": [TASK | {"title": "x" * 255}] * 50, "total": 1234, "reminder": {}})
    assert found.title == "1234 tasks to be reminded of"
    *listed, rest = found.body.splitlines()
    assert 0 < len(listed) < 50
    assert rest == f"and {1234 - len(listed)} more"
    assert len(found.body) <= BODY_MAXIMUM


def test_an_import_tells_its_counts() -> None:
    found = message("import.finished", {"import": {"state": "failed", "filename": "a.csv", "read": 3, "failed": 1}})
    assert found == Message("An import has failed", "File: a.csv\nread: 3\nfailed: 1")


def test_long_texts_are_cut() -> None:
    found = message("task.created", {"task": {"title": "x" * 255, "description": "y" * 20_000}})
    assert (len(found.title), len(found.body)) == (TITLE_MAXIMUM, BODY_MAXIMUM)
    assert found.title.endswith("…")
    assert found.body.endswith("…")


def test_what_is_due_all_day_is_due_on_a_day() -> None:
    task = TASK | {"due_date": "2026-07-31T21:59:59Z", "due_day": "2026-07-31"}
    assert "Due: 2026-07-31\n" in message("task.created", {"task": task}, "Europe/Berlin").body
    digest = message("task.reminder", {"tasks": [task], "total": 1, "reminder": {}}, "Europe/Berlin")
    assert digest.body.endswith(", due 2026-07-31")


@pytest.mark.parametrize("due", ["infinity", "0044-03-15T12:00:00+00:00 BC", "9999-12-31T23:59:59+00:00"])
def test_a_date_beyond_the_calendar_is_told_as_it_is(due: str) -> None:
    found = message("task.created", {"task": TASK | {"due_date": due}}, "Pacific/Kiritimati")
    assert f"Due: {due}" in found.body


@given(st.sampled_from([*EVENTS, TEST_EVENT]), st.text(), st.text(max_size=30))
def test_no_text_and_no_time_zone_is_a_fault(event: str, text: str, zone: str) -> None:
    data = {"task": TASK | {"title": text, "description": text}}
    found = message_of(event, orjson.dumps(data).decode(), zone, None)
    assert "\n" not in found.title

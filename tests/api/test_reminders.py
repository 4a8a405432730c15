"""Reminders, offsets, recurrence and notifications over HTTP."""

from typing import Any

import pytest

from core.clock import now
from core.reminders.writes.sending import send_due
from tests.factories import create_task
from tests.harness import Service

DUE = "2099-03-30T12:00:00Z"


async def test_offsets_of_the_profile_make_reminders_of_new_tasks(service: Service) -> None:
    answer = await service.alice.patch("/user/me", {"reminder_offsets": ["p1d", "PT1H", "PT1H"]})
    assert (answer.status, answer.json["reminder_offsets"]) == (200, ["P1D", "PT1H"])
    assert (await service.alice.get("/user/me")).json["reminder_offsets"] == ["P1D", "PT1H"]
    task = await create_task(service.alice, due_date=DUE)
    answer = await service.alice.get(f"/tasks/{task['id']}/reminders")
    assert answer.json == {
        "is_own": False,
        "reminders": [
            {"rule": "P1D", "due_at": "2099-03-29T12:00:00Z", "state": "pending", "sent_at": None},
            {"rule": "PT1H", "due_at": "2099-03-30T11:00:00Z", "state": "pending", "sent_at": None},
        ],
    }


@pytest.mark.parametrize(
    "offsets",
    [
        "P1D",
        None,
        {"P1D": 1},
        ["1 day"],
        [""],
        ["P"],
        ["PT"],
        ["P1DT"],
        ["-P1D"],
        ["P1Y"],
        ["P0.5D"],
        ["P367D"],
        ["PT99999H"],
        ["P9999999999D"],
        ["P\u0661D"],
        ["P1D\n"] * 0 + ["P1D; DROP TABLE tasks"],
        [1],
        [f"PT{number}M" for number in range(11)],
    ],
)
async def test_what_are_no_offsets_is_refused(service: Service, offsets: Any) -> None:
    answer = await service.alice.patch("/user/me", {"reminder_offsets": offsets})
    assert answer.status == 422
    assert "reminder_offsets" in str(answer.json["errors"])


async def test_a_tasks_own_reminders_are_set_read_and_given_back(service: Service) -> None:
    task = await create_task(service.alice, due_date=DUE)
    path = f"/tasks/{task['id']}/reminders"
    answer = await service.alice.put(path, {"reminders": ["PT30M", "2098-01-01T09:00:00+01:00"]})
    assert (answer.status, answer.json["is_own"]) == (200, True)
    assert answer.json["reminders"] == [
        {"rule": "2098-01-01T08:00:00Z", "due_at": "2098-01-01T08:00:00Z", "state": "pending",
         "sent_at": None},
        {"rule": "PT30M", "due_at": "2099-03-30T11:30:00Z", "state": "pending", "sent_at": None},
    ]  # fmt: skip
    assert (await service.alice.get(path)).json == answer.json
    assert (await service.alice.put(path, {"reminders": None})).json == {"is_own": False, "reminders": []}
    assert (await service.alice.get(f"/tasks/{task['id']}")).json["version"] == task["version"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"reminders": "PT1H"},
        {"reminders": ["tomorrow"]},
        {"reminders": ["2099-01-01T09:00:00"]},
        {"reminders": ["P1D", None]},
        {"reminders": ["P1D"], "more": 1},
        {"reminders": [f"PT{number}M" for number in range(21)]},
    ],
)
async def test_what_are_no_reminders_is_refused(service: Service, body: Any) -> None:
    task = await create_task(service.alice)
    assert (await service.alice.put(f"/tasks/{task['id']}/reminders", body)).status == 422


async def test_reminders_of_anothers_task_are_not_there_but_for_an_admin(service: Service) -> None:
    task = await create_task(service.alice, due_date=DUE)
    path = f"/tasks/{task['id']}/reminders"
    assert (await service.bob.get(path)).status == 404
    assert (await service.bob.put(path, {"reminders": ["PT1H"]})).status == 404
    assert (await service.admin.put(path, {"reminders": ["PT1H"]})).status == 200
    assert [one["rule"] for one in (await service.admin.get(path)).json["reminders"]] == ["PT1H"]
    assert (await service.alice.get(path)).json["is_own"] is True


async def test_notifications_are_listed_newest_first_and_marked_as_read(service: Service) -> None:
    await service.alice.patch("/user/me", {"reminder_offsets": ["PT0M"]})
    for number in range(3):
        await create_task(service.alice, title=f"Task {number}", due_date=f"2099-03-30T12:00:0{number}+00:00")
    later = now().replace(year=2099, month=3, day=30, hour=12, minute=0, second=30)
    await send_due(service.worker.services.pool, later, digest_over=20)
    page = (await service.alice.get("/notifications?limit=2")).json
    assert [one["text"] for one in page["items"]] == [
        "Task 2, due 2099-03-30 12:00 UTC",
        "Task 1, due 2099-03-30 12:00 UTC",
    ]
    rest = (await service.alice.get(f"/notifications?limit=2&cursor={page['next_cursor']}")).json
    assert ([one["text"][:6] for one in rest["items"]], rest["next_cursor"]) == (["Task 0"], None)
    first = page["items"][0]
    assert (first["event"], first["read_at"]) == ("task.reminder", None)
    marked = await service.alice.patch(f"/notifications/{first['id']}", {"read": True})
    assert marked.status == 200
    assert marked.json["read_at"] is not None
    assert len((await service.alice.get("/notifications?unread=true")).items) == 2
    assert (await service.alice.patch(f"/notifications/{first['id']}", {"read": False})).json["read_at"] is None
    assert (await service.bob.patch(f"/notifications/{first['id']}", {"read": True})).status == 404
    assert (await service.bob.get("/notifications")).items == []


async def test_a_recurring_task_is_followed_by_the_next_one_when_it_is_completed(service: Service) -> None:
    task = await create_task(service.alice, recurrence="rrule:freq=weekly", due_date=DUE)
    assert (task["recurrence"], task["recurrence_from"]) == ("FREQ=WEEKLY", "due_date")
    await service.alice.patch(f"/tasks/{task['id']}", {"status": "completed"})
    items = (await service.alice.get("/tasks")).items
    assert [(one["status"], one["due_date"]) for one in items] == [
        ("completed", DUE),
        ("pending", "2099-04-06T12:00:00Z"),
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {"recurrence": "FREQ=MINUTELY"},
        {"recurrence": "every monday"},
        {"recurrence": ""},
        {"recurrence": 7},
        {"recurrence": "FREQ=DAILY;COUNT=1"},
        {"recurrence": "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"},
        {"recurrence": "FREQ=DAILY;UNTIL=20990330", "due_date": DUE},
        {"recurrence": "FREQ=DAILY;BYMONTH=" + ",".join(["1"] * 400)},
        {"recurrence_from": "yesterday"},
        {"recurrence_from": None},
    ],
)
async def test_a_recurrence_that_is_none_is_refused(service: Service, fields: dict[str, Any]) -> None:
    answer = await service.alice.post("/tasks", {"title": "Water the plants", **fields})
    assert (answer.status, len(answer.json["errors"])) == (422, 1)
    answer = await service.alice.post(
        "/tasks/batch", {"operations": [{"op": "create", "fields": {"title": "x", **fields}}]}
    )
    assert answer.json["results"][0]["status"] == 422


NOTIFICATIONS = """
INSERT INTO notifications (user_id, event, text, read_at)
SELECT $1, 'task.reminder', 'Task ' || n, CASE WHEN n > $2::int THEN now() END FROM generate_series(1, 5) AS n
"""


async def test_unread_notifications_are_counted_and_all_are_marked_as_read(service: Service) -> None:
    for user, unread in ((service.alice, 4), (service.bob, 2)):
        await service.rows(NOTIFICATIONS, user.id, unread)
        assert (await user.get("/notifications/count")).json == {"unread": unread}
    [before] = await service.rows(
        "SELECT * FROM notifications WHERE user_id = $1 AND text = 'Task 5'", service.alice.id
    )
    marked = await service.alice.post("/notifications/read", data=b"", headers={"Idempotency-Key": "all"})
    assert (marked.status, marked.json) == (200, {"unread": 0})
    assert (await service.alice.get("/notifications/count")).json == {"unread": 0}
    assert (await service.alice.get("/notifications?unread=true")).items == []
    assert len((await service.alice.get("/notifications")).items) == 5
    [after] = await service.rows("SELECT * FROM notifications WHERE user_id = $1 AND text = 'Task 5'", service.alice.id)
    assert after == before, "when it was read stays as it is"
    assert (await service.bob.get("/notifications/count")).json == {"unread": 2}
    assert (await service.charlie.get("/notifications/count")).json == {"unread": 0}


async def test_a_repeat_of_marking_all_as_read_marks_no_later_one(service: Service) -> None:
    headers = {"Idempotency-Key": "all"}
    assert (await service.alice.post("/notifications/read", data=b"", headers=headers)).status == 200
    await service.rows(NOTIFICATIONS, service.alice.id, 3)
    again = await service.alice.post("/notifications/read", data=b"", headers=headers)
    assert (again.status, again.headers["Idempotent-Replayed"]) == (200, "true")
    assert (await service.alice.get("/notifications/count")).json == {"unread": 3}
    later = await service.alice.post("/notifications/read", data=b"", headers={"Prefer": "respond-async"})
    assert later.status == 202
    job = await service.alice.get(later.headers["Location"], headers={"Prefer": "wait=5"})
    assert (job.json["state"], job.json["result"]) == ("succeeded", {"unread": 0})

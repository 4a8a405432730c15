"""Create, read and delete single tasks."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.api.problems import assert_problem
from tests.factories import create_task, task_fields
from tests.harness import Service

FIELDS = [
    "id", "user_id", "title", "description", "priority", "status", "due_date", "labels", "created_at",
    "updated_at", "completed_at", "version", "recurrence", "recurrence_from", "due_day",
]  # fmt: skip


# -- create ---------------------------------------------------------------------------------------------------


async def test_a_created_task_has_every_field_and_the_defaults(service: Service) -> None:
    before = datetime.now(UTC)
    answer = await service.alice.post("/tasks", {"title": "Water the plants"})
    task = answer.json
    assert answer.status == 201
    assert list(task) == FIELDS
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.headers["Location"] == f"/tasks/{task['id']}"
    assert answer.headers["ETag"] == '"1"'
    assert task | {"id": 0, "created_at": "", "updated_at": ""} == {
        "id": 0,
        "user_id": service.alice.id,
        "title": "Water the plants",
        "description": None,
        "priority": 5,
        "status": "pending",
        "due_date": None,
        "labels": [],
        "created_at": "",
        "updated_at": "",
        "completed_at": None,
        "version": 1,
        "recurrence": None,
        "recurrence_from": "due_date",
        "due_day": None,
    }
    created = datetime.fromisoformat(task["created_at"])
    assert task["created_at"] == task["updated_at"]
    assert created.utcoffset().total_seconds() == 0  # type: ignore[union-attr]
    assert abs((created - before).total_seconds()) < 5


async def test_every_field_can_be_given(service: Service) -> None:
    given = {
        "title": "Überweisung prüfen",
        "description": "読み込み\n\t🚀",
        "priority": 1,
        "status": "in_progress",
        "due_date": "2031-05-06T07:08:09.123456Z",
        "labels": ["security", "次回", 'a "quoted" \\ one', "{}", "null", "on call"],
    }
    created = await service.alice.post("/tasks", given)
    assert created.status == 201
    assert {name: created.json[name] for name in given} == given
    assert (await service.alice.get(f"/tasks/{created.json['id']}")).json == created.json


async def test_an_answered_task_is_committed(service: Service) -> None:
    task = await create_task(service.alice, title="Committed")
    [row] = await service.rows("SELECT user_id, title, version FROM tasks WHERE id = $1", task["id"])
    assert row == {"user_id": service.alice.id, "title": "Committed", "version": 1}


async def test_ids_fit_53_bits_carry_the_time_and_grow(service: Service) -> None:
    tasks = [await create_task(service.alice) for _ in range(3)]
    ids = [task["id"] for task in tasks]
    assert ids == sorted(set(ids))
    assert ids[-1] < 1 << 53
    milliseconds = (ids[0] >> 12) + datetime(2020, 1, 1, tzinfo=UTC).timestamp() * 1000
    assert abs(milliseconds / 1000 - datetime.now(UTC).timestamp()) < 5


async def test_the_title_is_trimmed_before_it_is_measured(service: Service) -> None:
    answer = await service.alice.post("/tasks", {"title": f" \t{'ü' * 255}\n "})
    assert answer.status == 201
    assert answer.json["title"] == "ü" * 255


async def test_characters_count_and_not_bytes(service: Service) -> None:
    answer = await service.alice.post("/tasks", {"title": "🚀" * 255, "description": "🚀" * 20_000})
    assert answer.status == 201
    assert len(answer.json["description"]) == 20_000


async def test_labels_are_trimmed_and_each_stands_once_in_the_order_sent(service: Service) -> None:
    task = await create_task(service.alice, labels=["zebra", " \tapple ", "zebra", "Zebra", "apple"])
    assert task["labels"] == ["zebra", "apple", "Zebra"]
    assert (await service.alice.get(f"/tasks/{task['id']}")).json == task


async def test_twenty_labels_of_fifty_characters_fit(service: Service) -> None:
    labels = [f"{number:02}{'🚀' * 48}" for number in range(20)]
    assert (await create_task(service.alice, labels=labels))["labels"] == labels


@pytest.mark.parametrize("none", [[], None])
async def test_no_labels_are_an_empty_list(service: Service, none: Any) -> None:
    assert (await create_task(service.alice, labels=none))["labels"] == []


async def test_an_update_replaces_the_labels_as_a_whole(service: Service) -> None:
    task = await create_task(service.alice, labels=["a", "b", "c"])
    changed = (await service.alice.patch(f"/tasks/{task['id']}", {"labels": ["d", "b"]})).json
    assert changed["labels"] == ["d", "b"]
    assert (await service.alice.patch(f"/tasks/{task['id']}", {"labels": []})).json["labels"] == []


@pytest.mark.parametrize("status", ["pending", "in_progress", "blocked", "completed", "cancelled"])
async def test_each_status_is_known(service: Service, status: str) -> None:
    task = await create_task(service.alice, status=status)
    assert task["status"] == status
    assert (task["completed_at"] is not None) == (status == "completed")


@pytest.mark.parametrize(
    ("given", "answered"),
    [
        ("2031-05-06T07:08:09Z", "2031-05-06T07:08:09Z"),
        ("2031-05-06t07:08:09z", "2031-05-06T07:08:09Z"),
        ("2031-05-06T07:08:09+02:00", "2031-05-06T05:08:09Z"),
        ("2031-01-01T00:30:00-05:30", "2031-01-01T06:00:00Z"),
        ("2031-05-06T07:08:09.5+00:00", "2031-05-06T07:08:09.5Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
    ],
)
async def test_a_due_date_is_answered_as_the_same_instant_in_utc(service: Service, given: str, answered: str) -> None:
    assert (await create_task(service.alice, due_date=given))["due_date"] == answered


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("title", None),
        ("title", ""),
        ("title", " \t\n"),
        ("title", "x" * 256),
        ("title", "a\x00b"),
        ("title", 5),
        ("title", ["a"]),
        ("description", "x" * 20_001),
        ("description", "a\x00b"),
        ("description", {}),
        ("priority", 0),
        ("priority", 11),
        ("priority", -1),
        ("priority", 5.5),
        ("priority", 5.0),
        ("priority", "5"),
        ("priority", True),
        ("priority", None),
        ("priority", 1 << 63),
        ("priority", 1e300),
        ("status", "done"),
        ("status", "Pending"),
        ("status", ""),
        ("status", None),
        ("status", ["pending"]),
        ("due_date", "tomorrow"),
        ("due_date", "2031-05-06T07:08:09"),
        ("due_date", "2031-05-06 07:08:09Z"),
        ("due_date", "2031-02-30T07:08:09Z"),
        ("due_date", "2031-05-06T25:08:09Z"),
        ("due_date", "2031-05-06T07+02:00"),
        ("due_date", "2031-05-06T070809+00:00"),
        ("due_date", "2031-W05-6T07:08:09Z"),
        ("due_date", "2031-05-06T07:08:09+25:00"),
        ("due_date", "2031-05-06T07:08:09+01:00:30"),
        ("due_date", "2031-05-06T07:08:09,5+00:00"),
        ("due_date", "２031-05-06T07:08:09Z"),
        ("due_date", "0001-01-01T00:00:00+01:00"),
        ("due_date", "infinity"),
        ("due_date", 1_900_000_000),
        ("labels", "security"),
        ("labels", {"security": True}),
        ("labels", [""]),
        ("labels", [" "]),
        ("labels", [None]),
        ("labels", [5]),
        ("labels", [["security"]]),
        ("labels", ["a,b"]),
        ("labels", ["a\x00b"]),
        ("labels", ["x" * 51]),
        ("labels", [str(number) for number in range(21)]),
        ("id", 5),
        ("user_id", 5),
        ("version", 1),
        ("created_at", "2031-05-06T07:08:09Z"),
        ("completed_at", None),
        ("Title", "x"),
    ],
)
async def test_an_invalid_field_is_422_by_its_name_and_nothing_is_made(
    service: Service, field: str, value: Any
) -> None:
    answer = await service.alice.post("/tasks", {"title": "A task", field: value})
    assert list(assert_problem(answer, 422, "validation-error")["errors"]) == [field]
    assert await service.rows("SELECT id FROM tasks") == []


async def test_a_title_is_required(service: Service) -> None:
    answer = await service.alice.post("/tasks", {})
    assert list(assert_problem(answer, 422, "validation-error")["errors"]) == ["title"]


# -- read -----------------------------------------------------------------------------------------------------


async def test_a_task_that_was_created_can_be_read(service: Service) -> None:
    created = await service.alice.post("/tasks", task_fields())
    read = await service.alice.get(f"/tasks/{created.json['id']}")
    assert read.status == 200
    assert read.json == created.json
    assert read.headers["ETag"] == '"1"'


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
async def test_a_task_that_does_not_exist_is_404(service: Service, method: str) -> None:
    body = {"json": {"title": "x"}} if method in ("PUT", "PATCH") else {}
    answer = await service.alice.request(method, "/tasks/4711", **body)
    assert assert_problem(answer, 404, "not-found")["instance"] == "/tasks/4711"


# -- delete ---------------------------------------------------------------------------------------------------


async def test_a_deleted_task_is_gone_for_every_method(service: Service) -> None:
    path = f"/tasks/{(await create_task(service.alice))['id']}"
    answer = await service.alice.delete(path)
    assert (answer.status, answer.body) == (204, b"")
    assert (await service.alice.get(path)).status == 404
    assert (await service.alice.patch(path, {"title": "x"})).status == 404
    assert (await service.alice.delete(path)).status == 404
    assert await service.rows("SELECT id FROM tasks") == []


async def test_a_delete_touches_no_other_task(service: Service) -> None:
    first, second = await create_task(service.alice), await create_task(service.alice)
    await service.alice.delete(f"/tasks/{first['id']}")
    assert (await service.alice.get(f"/tasks/{second['id']}")).json == second


async def test_a_date_that_contradicts_the_day_of_a_recurring_task_is_422(service: Service) -> None:
    body = {"title": "x", "due_date": "2035-01-01", "due_day": None, "recurrence": "FREQ=DAILY"}
    answer = await service.alice.post("/tasks", body)
    assert (answer.status, list(answer.json["errors"])) == (422, ["due_day"])


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("due_day", "2030-02-30", "no such day"),
        ("due_date", "2030-02-30", "no such day"),
        ("due_day", "tomorrow", "Not a day"),
        ("due_date", "tomorrow", "Neither"),
    ],
)
async def test_what_is_no_day_is_told_as_what_it_is(service: Service, field: str, value: str, told: str) -> None:
    answer = await service.alice.post("/tasks", {"title": "x", field: value})
    assert answer.status == 422
    assert told in answer.json["errors"][field][0]

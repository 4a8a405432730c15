"""Update single tasks: what a patch names, and nothing else."""

import asyncio
from typing import Any

import pytest

from tests.api.problems import assert_problem
from tests.factories import create_task
from tests.harness import Service


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_an_update_changes_only_what_it_names(service: Service, method: str) -> None:
    task = await create_task(
        service.alice,
        description="Keep me",
        priority=2,
        status="blocked",
        due_date="2031-05-06T07:08:09Z",
        labels=["keep", "us"],
    )
    answer = await service.alice.request(method, f"/tasks/{task['id']}", json={"title": "Another title"})
    assert answer.status == 200
    assert answer.headers["ETag"] == '"2"'
    assert answer.json == task | {"title": "Another title", "version": 2, "updated_at": answer.json["updated_at"]}
    assert answer.json["updated_at"] > task["updated_at"]
    assert (await service.alice.get(f"/tasks/{task['id']}")).json == answer.json


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_null_clears_what_may_be_empty(service: Service, method: str) -> None:
    task = await create_task(
        service.alice, description="Away with me", due_date="2031-05-06T07:08:09Z", labels=["away", "with us"]
    )
    cleared = {"description": None, "due_date": None, "labels": None}
    answer = await service.alice.request(method, f"/tasks/{task['id']}", json=cleared)
    assert answer.status == 200
    assert (answer.json["description"], answer.json["due_date"], answer.json["labels"]) == (None, None, [])
    assert answer.json["title"] == task["title"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("title", "Another"),
        ("description", "Something"),
        ("priority", 10),
        ("status", "cancelled"),
        ("due_date", "2032-01-01T00:00:00Z"),
        ("labels", ["security", "on-call"]),
    ],
)
async def test_each_field_can_be_changed_alone(service: Service, field: str, value: Any) -> None:
    task = await create_task(service.alice)
    answer = await service.alice.patch(f"/tasks/{task['id']}", {field: value})
    assert answer.json == task | {field: value, "version": 2, "updated_at": answer.json["updated_at"]}


async def test_a_patch_that_names_nothing_changes_nothing(service: Service) -> None:
    task = await create_task(service.alice)
    answer = await service.alice.patch(f"/tasks/{task['id']}", {})
    assert answer.status == 200
    assert answer.json == task


async def test_a_merge_patch_may_say_that_it_is_one(service: Service) -> None:
    task = await create_task(service.alice)
    answer = await service.alice.patch(
        f"/tasks/{task['id']}", data=b'{"priority": 3}', headers={"Content-Type": "application/merge-patch+json"}
    )
    assert answer.status == 200
    assert answer.json["priority"] == 3


async def test_completed_at_is_set_and_cleared_by_the_status(service: Service) -> None:
    path = f"/tasks/{(await create_task(service.alice))['id']}"
    completed = (await service.alice.patch(path, {"status": "completed"})).json
    assert completed["completed_at"] == completed["updated_at"]
    again = (await service.alice.patch(path, {"status": "completed", "priority": 1})).json
    assert again["completed_at"] == completed["completed_at"]
    assert (await service.alice.patch(path, {"title": "Still completed"})).json["completed_at"] is not None
    assert (await service.alice.patch(path, {"status": "pending"})).json["completed_at"] is None


async def test_updates_of_different_fields_at_once_all_hold(service: Service) -> None:
    task = await create_task(service.alice)
    changes: list[dict[str, Any]] = [
        {"title": "Changed"}, {"description": "Changed"}, {"priority": 1}, {"status": "blocked"},
        {"due_date": "2032-01-01T00:00:00Z"}, {"labels": ["changed"]},
    ]  # fmt: skip
    answers = await asyncio.gather(*(service.alice.patch(f"/tasks/{task['id']}", change) for change in changes))
    assert sorted(answer.json["version"] for answer in answers) == [2, 3, 4, 5, 6, 7]
    read = (await service.alice.get(f"/tasks/{task['id']}")).json
    assert {name: read[name] for change in changes for name in change} == {
        name: value for change in changes for name, value in change.items()
    }


async def test_a_change_to_equal_values_raises_no_version_and_tells_nobody(service: Service) -> None:
    task = await create_task(
        service.alice, due_date="2030-01-31T17:00:00Z", labels=["b", "a"], recurrence="FREQ=DAILY", description="d"
    )
    path = f"/tasks/{task['id']}"
    await service.rows(
        "INSERT INTO channels (user_id, kind, url_encrypted, url_masked, events) "
        "VALUES ($1, 'webhook', '', '', '{task.updated}')",
        service.alice.id,
    )
    same = {name: task[name] for name in ("title", "description", "priority", "status", "labels", "recurrence")}
    for body in (same, {"due_date": "2030-01-31T18:00:00+01:00"}, {"priority": task["priority"]}, {}):
        answer = await service.alice.patch(path, body)
        assert (answer.status, answer.json) == (200, task)
        assert answer.headers["ETag"] == '"1"'
    many = [{"op": "update", "id": task["id"], "fields": same} for _ in range(3)]
    results = (await service.alice.post("/tasks/batch", {"operations": many})).json["results"]
    assert [result["task"] for result in results] == [task] * 3
    assert await service.rows("SELECT FROM events WHERE user_id = $1", service.alice.id) == []
    assert (await service.alice.patch(path, {"title": "another"})).json["version"] == 2


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize("body", [{"title": None}, {"priority": 0}, {"version": 1}, {"id": 1}, {"title": "a\x00b"}])
async def test_an_invalid_update_is_422_and_changes_nothing(
    service: Service, method: str, body: dict[str, Any]
) -> None:
    task = await create_task(service.alice)
    answer = await service.alice.request(method, f"/tasks/{task['id']}", json=body)
    assert list(assert_problem(answer, 422, "validation-error")["errors"]) == list(body)
    assert (await service.alice.get(f"/tasks/{task['id']}")).json == task

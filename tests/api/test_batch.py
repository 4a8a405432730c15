"""`POST /tasks/batch`: many operations in order, each with its own fate."""

from typing import Any

import pytest

from tests.api.problems import assert_problem
from tests.factories import create_task, task_fields
from tests.harness import Client, Service


async def run(client: Client, *operations: Any) -> list[dict[str, Any]]:
    answer = await client.post("/tasks/batch", {"operations": list(operations)})
    assert answer.status == 207, answer
    assert list(answer.json) == ["results"]
    results: list[dict[str, Any]] = answer.json["results"]
    assert len(results) == len(operations)
    return results


async def test_results_stand_in_the_order_of_the_request(service: Service) -> None:
    old = await create_task(service.alice, title="old")
    doomed = await create_task(service.alice)
    results = await run(
        service.alice,
        {"op": "create", "fields": {"title": "first"}},
        {"op": "delete", "id": doomed["id"]},
        {"op": "update", "id": old["id"], "fields": {"title": "new"}},
        {"op": "create", "fields": {"title": "second", "priority": 1}},
        {"op": "delete", "id": 4711},
    )
    assert [result["status"] for result in results] == [201, 204, 200, 201, 404]
    assert [set(result) for result in results] == [
        {"status", "task"}, {"status"}, {"status", "task"}, {"status", "task"}, {"status", "error"},
    ]  # fmt: skip
    assert results[0]["task"]["title"] == "first"
    assert results[2]["task"] == old | {
        "title": "new", "version": 2, "updated_at": results[2]["task"]["updated_at"],
    }  # fmt: skip
    assert results[4]["error"]["type"] == "/problems/not-found"
    assert results[4]["error"]["status"] == 404
    titles = [task["title"] for task in (await service.alice.get("/tasks")).items]
    assert titles == ["new", "first", "second"]


async def test_operations_on_one_task_happen_in_their_order(service: Service) -> None:
    task = await create_task(service.alice)
    results = await run(
        service.alice,
        {"op": "update", "id": task["id"], "fields": {"title": "one"}},
        {"op": "update", "id": task["id"], "fields": {"title": "two", "status": "completed"}},
        {"op": "update", "id": task["id"], "fields": {"status": "pending"}},
        {"op": "delete", "id": task["id"]},
        {"op": "update", "id": task["id"], "fields": {"title": "three"}},
        {"op": "delete", "id": task["id"]},
    )
    assert [result["status"] for result in results] == [200, 200, 200, 204, 404, 404]
    assert [result["task"]["title"] for result in results[:3]] == ["one", "two", "two"]
    assert [result["task"]["version"] for result in results[:3]] == [2, 3, 4]
    assert results[1]["task"]["completed_at"] is not None
    assert results[2]["task"]["completed_at"] is None


async def test_if_version_lets_only_the_first_of_two_updates_through(service: Service) -> None:
    task = await create_task(service.alice)
    results = await run(
        service.alice,
        {"op": "update", "id": task["id"], "if_version": 1, "fields": {"title": "mine"}},
        {"op": "update", "id": task["id"], "if_version": 1, "fields": {"title": "yours"}},
        {"op": "delete", "id": task["id"], "if_version": 1},
        {"op": "delete", "id": task["id"], "if_version": 2},
    )
    assert [result["status"] for result in results] == [200, 412, 412, 204]
    assert results[1]["error"]["type"] == "/problems/version-conflict"


@pytest.mark.parametrize(
    ("operation", "fields"),
    [
        ({"op": "create", "fields": {"title": ""}}, ["fields.title"]),
        ({"op": "create", "fields": {"title": "a\x00b"}}, ["fields.title"]),
        ({"op": "create", "fields": {"title": "a", "colour": 1}}, ["fields.colour"]),
        ({"op": "create", "fields": {}}, ["fields.title"]),
        ({"op": "create", "id": 1, "fields": {"title": "a"}}, ["id"]),
        ({"op": "create", "if_version": 1, "fields": {"title": "a"}}, ["if_version"]),
        ({"op": "create"}, ["fields"]),
        ({"op": "create", "fields": "title"}, ["fields.body"]),
        ({"op": "update", "fields": {"title": "a"}}, ["id"]),
        ({"op": "update", "id": 1}, ["fields"]),
        ({"op": "update", "id": "1", "fields": {}}, ["id"]),
        ({"op": "update", "id": 0, "fields": {}}, ["id"]),
        ({"op": "update", "id": -1, "fields": {}}, ["id"]),
        ({"op": "update", "id": 1 << 63, "fields": {}}, ["id"]),
        ({"op": "update", "id": 1.0, "fields": {}}, ["id"]),
        ({"op": "update", "id": 1, "if_version": "1", "fields": {}}, ["if_version"]),
        ({"op": "update", "id": 1, "fields": {"priority": 0}}, ["fields.priority"]),
        ({"op": "delete"}, ["id"]),
        ({"op": "delete", "id": 1, "fields": {}}, ["fields"]),
        ({"op": "delete", "id": None}, ["id"]),
        ({"op": "upsert", "id": 1}, ["op"]),
        ({"op": None}, ["op"]),
        ({"op": ["create"]}, ["op"]),
        ({"id": 1}, ["op"]),
        ({"op": "delete", "id": 1, "why": 1}, ["why"]),
        (None, ["body"]),
        ([], ["body"]),
        ("create", ["body"]),
        (7, ["body"]),
    ],
)
async def test_an_invalid_operation_is_refused_alone(service: Service, operation: Any, fields: list[str]) -> None:
    before, refused, after = await run(
        service.alice,
        {"op": "create", "fields": {"title": "before"}},
        operation,
        {"op": "create", "fields": {"title": "after"}},
    )
    assert (before["status"], refused["status"], after["status"]) == (201, 422, 201)
    assert refused["error"]["type"] == "/problems/validation-error"
    assert list(refused["error"]["errors"]) == fields
    assert [task["title"] for task in (await service.alice.get("/tasks")).items] == ["before", "after"]


@pytest.mark.parametrize(
    "body",
    [{}, {"operations": []}, {"operations": None}, {"operations": {}}, {"operations": "x"}],
    ids=["missing", "empty", "null", "object", "text"],
)
async def test_a_batch_needs_operations(service: Service, body: dict[str, Any]) -> None:
    problem = assert_problem(await service.alice.post("/tasks/batch", body), 422, "validation-error")
    assert list(problem["errors"]) == ["operations"]


async def test_a_batch_has_1000_operations_at_the_most(service: Service) -> None:
    create = {"op": "create", "fields": {"title": "x"}}
    results = await run(service.alice, *[create] * 1000)
    assert {result["status"] for result in results} == {201}
    ids = [result["task"]["id"] for result in results]
    assert len(set(ids)) == 1000
    assert ids == sorted(ids)
    answer = await service.alice.post("/tasks/batch", {"operations": [create] * 1001})
    assert list(assert_problem(answer, 422, "validation-error")["errors"]) == ["operations"]
    assert await service.rows("SELECT count(*) AS count FROM tasks") == [{"count": 1000}]


async def test_a_batch_of_nothing_but_refusals_is_207_too(service: Service) -> None:
    results = await run(service.alice, {"op": "create"}, {"op": "nothing"})
    assert [result["status"] for result in results] == [422, 422]


async def test_a_batch_cannot_touch_the_tasks_of_others(service: Service) -> None:
    task = await create_task(service.alice)
    results = await run(
        service.bob,
        {"op": "update", "id": task["id"], "fields": {"title": "bob was here"}},
        {"op": "delete", "id": task["id"]},
    )
    missing = await run(service.bob, {"op": "update", "id": 4711, "fields": {}}, {"op": "delete", "id": 4711})
    assert results == missing
    assert (await service.alice.get(f"/tasks/{task['id']}")).json == task


async def test_an_admins_batch_changes_anybodys_tasks_and_creates_own_ones(service: Service) -> None:
    hers, his = await create_task(service.alice), await create_task(service.bob)
    results = await run(
        service.admin,
        {"op": "update", "id": hers["id"], "fields": {"priority": 1}},
        {"op": "delete", "id": his["id"]},
        {"op": "create", "fields": task_fields()},
    )
    assert [result["status"] for result in results] == [200, 204, 201]
    assert results[0]["task"]["user_id"] == service.alice.id
    assert results[2]["task"]["user_id"] == service.admin.id
    assert (await service.alice.get(f"/tasks/{hers['id']}")).json["priority"] == 1
    assert (await service.bob.get(f"/tasks/{his['id']}")).status == 404


async def test_a_batch_leaves_one_job_whose_result_is_the_answer(service: Service) -> None:
    results = await run(service.alice, {"op": "create", "fields": task_fields()}, {"op": "delete", "id": 4711})
    [job] = (await service.alice.get("/jobs")).items
    assert (job["kind"], job["state"], job["status_code"]) == ("task.batch", "succeeded", 207)
    assert job["result"] == {"results": results}


async def test_changes_whose_results_would_not_fit_into_one_answer_are_refused_alone(service: Service) -> None:
    """Each of them is answered with all of the task, whose characters take six bytes each."""
    task = await create_task(service.alice, description="\x01" * 20_000)
    changes = [{"op": "update", "id": task["id"], "fields": {"title": f"{n}"}} for n in range(200)]
    results = await run(service.alice, {"op": "create", "fields": task_fields()}, *changes)
    done = [result for result in results if "task" in result]
    assert 100 < len(done) < 200
    assert results[: len(done)] == done
    for refused in results[len(done) :]:
        assert (refused["status"], refused["error"]["type"]) == (422, "/problems/too-expensive")
    now = await service.alice.get(f"/tasks/{task['id']}")
    assert (now.json["title"], now.json["version"]) == (done[-1]["task"]["title"], len(done))
    [again] = await run(service.alice, changes[-1])
    assert again["status"] == 200

"""Partitions and maintenance over HTTP: for admins alone, as jobs."""

from datetime import UTC, datetime
from typing import Any

import pytest

from core.maintenance.schedule import NAMES
from tests.api.problems import assert_problem
from tests.factories import create_tasks
from tests.harness import Answer, Service, eventually

YEAR = datetime.now(UTC).year
ORDERS = [
    ("POST", "/admin/partitions"),
    ("POST", "/admin/partitions/tasks_2020/detach"),
    ("POST", "/admin/partitions/tasks_2020/attach"),
    ("POST", "/admin/maintenance/keep_partitions"),
]


async def ended(service: Service, answer: Answer) -> dict[str, Any]:
    """The job that a 202 began, when it has ended."""
    assert answer.status == 202, answer
    assert answer.headers["Location"] == f"/jobs/{answer.json['id']}"
    assert answer.json["kind"] == "maintenance"

    async def look() -> Any:
        job = await service.admin.get(answer.headers["Location"], headers={"Prefer": "wait=5"})
        return job.json if job.json["finished_at"] else None

    job: dict[str, Any] = await eventually(look)
    return job


async def partition(service: Service, name: str) -> dict[str, Any] | None:
    items = (await service.admin.get("/admin/partitions")).json["items"]
    return next((item for item in items if item["name"] == name), None)


# -- for admins alone


@pytest.mark.parametrize(("method", "path"), [("GET", "/admin/partitions"), ("GET", "/admin/maintenance"), *ORDERS])
async def test_nobody_else_is_let_in(service: Service, method: str, path: str) -> None:
    assert_problem(await service.alice.request(method, path), 403, "forbidden")
    assert (await service.with_token(None).request(method, path)).status == 401
    assert await service.rows("SELECT id FROM jobs") == []


# -- partitions


async def test_partitions_are_listed_in_the_order_of_time(service: Service) -> None:
    await create_tasks(service.alice, [{}, {}])
    items = (await service.admin.get("/admin/partitions")).json["items"]
    assert [item["name"] for item in items] == [f"tasks_{YEAR + number}" for number in range(3)]
    first = items[0]
    assert set(first) == {"name", "from", "to", "attached", "current", "rows", "bytes"}
    assert datetime.fromisoformat(first["from"]) == datetime(YEAR, 1, 1, tzinfo=UTC)
    assert datetime.fromisoformat(first["to"]) == datetime(YEAR + 1, 1, 1, tzinfo=UTC)
    assert [item["current"] for item in items] == [True, False, False]
    assert all(item["attached"] and item["rows"] >= 0 for item in items)
    assert first["bytes"] > 0


async def test_a_partition_is_made_for_a_year_detached_and_attached_again(maintained: Service) -> None:
    admin = maintained.admin
    job = await ended(maintained, await admin.post("/admin/partitions", {"year": 2021}))
    assert (job["state"], job["status_code"], job["result"]) == ("succeeded", 200, {"rows": 1})
    async with maintained.owner() as owner:
        await owner.execute(
            "INSERT INTO tasks (id, user_id, title) VALUES (task_id_floor('2021-05-01'), $1, 'old')",
            maintained.alice.id,
        )
    task = (await maintained.alice.get("/tasks")).items[0]
    job = await ended(maintained, await admin.post("/admin/partitions/tasks_2021/detach"))
    assert job["state"] == "succeeded", job
    assert (await maintained.alice.get("/tasks")).items == []
    assert (await maintained.alice.get(f"/tasks/{task['id']}")).status == 404
    found = await partition(maintained, "tasks_2021")
    assert found is not None
    assert (found["attached"], found["current"]) == (False, False)
    assert_problem(await admin.post("/admin/partitions/tasks_2021/detach"), 409, "partition-conflict")
    assert (await ended(maintained, await admin.post("/admin/partitions/tasks_2021/attach")))["state"] == "succeeded"
    assert (await maintained.alice.get("/tasks")).items == [task]
    assert_problem(await admin.post("/admin/partitions/tasks_2021/attach"), 409, "partition-conflict")


async def test_a_partition_is_made_for_any_range_of_days(maintained: Service) -> None:
    await ended(
        maintained, await maintained.admin.post("/admin/partitions", {"from": "2022-03-01", "to": "2022-03-11"})
    )
    found = await partition(maintained, "tasks_20220301_20220311")
    assert found is not None
    assert datetime.fromisoformat(found["to"]) == datetime(2022, 3, 11, tzinfo=UTC)


async def test_a_job_for_a_time_that_has_a_partition_is_rejected(maintained: Service) -> None:
    job = await ended(maintained, await maintained.admin.post("/admin/partitions", {"year": YEAR}))
    assert (job["state"], job["status_code"]) == ("rejected", 409)
    assert job["error"]["type"] == "/problems/partition-conflict"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "from"),
        ({"from": "2022-01-01"}, "to"),
        ({"from": "2022-01-01", "to": "2022-01-01"}, "to"),
        ({"from": "2022-02-01", "to": "2022-01-01"}, "to"),
        ({"from": "2019-12-31", "to": "2020-02-01"}, "to"),
        ({"from": "2089-01-01", "to": "2089-02-01"}, "to"),
        ({"from": "2022-01-01T00:00:00Z", "to": "2022-02-01"}, "from"),
        ({"year": 2028, "from": "2028-01-01"}, "year"),
        ({"year": 2019}, "year"),
        ({"year": "2028"}, "year"),
        ({"year": 2028, "name": "x"}, "name"),
    ],
)
async def test_a_range_that_is_none_is_refused(service: Service, body: dict[str, Any], field: str) -> None:
    problem = assert_problem(await service.admin.post("/admin/partitions", body), 422, "validation-error")
    assert field in problem["errors"]


@pytest.mark.parametrize("name", [f"tasks_{YEAR}", f"tasks_{YEAR + 1}"])
async def test_the_current_partition_and_those_to_come_cannot_be_detached(service: Service, name: str) -> None:
    assert_problem(await service.admin.post(f"/admin/partitions/{name}/detach"), 409, "partition-conflict")


@pytest.mark.parametrize("name", ["users", "tasks_1999", "tasks_2026%3B"])
@pytest.mark.parametrize("what", ["attach", "detach"])
async def test_a_partition_that_does_not_exist_is_not_found(service: Service, name: str, what: str) -> None:
    assert_problem(await service.admin.post(f"/admin/partitions/{name}/{what}"), 404, "not-found")


# -- maintenance


async def test_every_job_of_maintenance_is_listed_with_its_last_runs(maintained: Service) -> None:
    job = await ended(maintained, await maintained.admin.post("/admin/maintenance/purge_ended_sessions"))
    assert job["state"] == "succeeded"
    items = (await maintained.admin.get("/admin/maintenance")).json["items"]
    assert [item["name"] for item in items] == list(NAMES)
    found = next(item for item in items if item["name"] == "purge_ended_sessions")
    assert found["every_seconds"] == 3600
    assert datetime.fromisoformat(found["next_run_at"]) > datetime.now(UTC)
    # Others may have been due by the clock just now.
    [ordered] = [run for run in found["runs"] if run["job_id"] == job["id"]]
    assert ordered == ordered | {"state": "succeeded", "rows": 0, "error": None}
    assert ordered["seconds"] >= 0
    last = max(datetime.fromisoformat(run["finished_at"]) for run in found["runs"] if run["state"] == "succeeded")
    assert datetime.fromisoformat(found["last_success_at"]) == last


async def test_a_repeat_with_the_same_key_orders_one_run(maintained: Service) -> None:
    answers = [
        await maintained.admin.post("/admin/maintenance/sweep_lanes", headers={"Idempotency-Key": "k"})
        for _ in range(2)
    ]
    assert answers[0].json["id"] == answers[1].json["id"]
    assert answers[1].headers["Idempotent-Replayed"] == "true"
    ordered = await maintained.rows(
        "SELECT id FROM maintenance_runs WHERE job_id = $1::text::uuid", answers[0].json["id"]
    )
    assert len(ordered) == 1


async def test_a_repeated_detaching_gets_the_first_answer_though_the_partition_is_detached(maintained: Service) -> None:
    await ended(maintained, await maintained.admin.post("/admin/partitions", {"year": 2021}))
    path, key = "/admin/partitions/tasks_2021/detach", {"Idempotency-Key": "once"}
    first = await ended(maintained, await maintained.admin.post(path, headers=key))
    again = await maintained.admin.post(path, headers=key)
    assert again.status == 202
    assert again.json == first


async def test_maintenance_that_does_not_exist_is_not_found(service: Service) -> None:
    for name in ("drop_everything", "create_partition"):
        assert_problem(await service.admin.post(f"/admin/maintenance/{name}"), 404, "not-found")

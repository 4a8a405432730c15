"""What an admin could do ends with the role, at once and everywhere, be it ordered, stored or queued before.

The tokens here are those from before: each process remembers for a while whom they belong to.
"""

from typing import Any

import pytest

from core.users.admin import promote
from tests.api.problems import assert_problem
from tests.conftest import MakeService
from tests.factories import create_task, create_tasks
from tests.harness import Answer, Service, eventually

ASYNC = {"Prefer": "respond-async"}


async def demote(service: Service) -> None:
    await promote(service.settings, "admin", "user")


async def ended(service: Service, location: str) -> dict[str, Any]:
    async def look() -> Any:
        answer = await service.admin.get(location, headers={"Prefer": "wait=5"})
        return answer.json if answer.json.get("finished_at") else None

    job: dict[str, Any] = await eventually(look)
    return job


# -- reads


async def test_a_demoted_admin_sees_only_their_own_at_once_in_every_process(make_service: MakeService) -> None:
    service = await make_service()
    other = await make_service(settings=service.settings, with_worker=False)
    task = await create_task(service.alice, labels=["red"], due_date="2099-01-01T00:00:00Z")
    own = await create_task(service.admin, labels=["red"])
    before = [service.admin, other.with_token(service.admin.token)]
    for admin in before:
        assert {item["id"] for item in (await admin.get("/tasks")).items} == {task["id"], own["id"]}
    await demote(service)
    for admin in before:
        assert [item["id"] for item in (await admin.get("/tasks")).items] == [own["id"]]
        assert (await admin.get(f"/tasks?user_id={service.alice.id}")).items == []
        assert task["id"] not in {item["id"] for item in (await admin.get("/tasks?label=red")).items}
        assert_problem(await admin.get(f"/tasks/{task['id']}"), 404, "not-found")
        assert_problem(await admin.get(f"/tasks/{task['id']}/reminders"), 404, "not-found")
        for path in ("/admin/partitions", "/admin/maintenance"):
            assert_problem(await admin.get(path), 403, "forbidden")


# -- exports


@pytest.fixture
async def exporting(make_service: MakeService) -> Service:
    return await make_service(queues=("writes", "bulk", "maintenance"))


async def test_an_export_of_everybodys_tasks_is_not_handed_out_to_a_demoted_admin(exporting: Service) -> None:
    await create_task(exporting.alice)
    answer = await exporting.admin.post("/exports", {"format": "csv"})
    export = await ended(exporting, f"/exports/{answer.json['id']}")
    assert (await exporting.admin.get(export["file"])).status == 200
    await demote(exporting)
    assert_problem(await exporting.admin.get(export["file"]), 403, "forbidden")
    assert_problem(await exporting.admin.get(export["file"], headers={"Range": "bytes=0-9"}), 403, "forbidden")
    fresh = exporting.with_token(exporting.mint(exporting.admin.id))
    assert_problem(await fresh.get(export["file"]), 403, "forbidden")
    await promote(exporting.settings, "admin")
    assert (await exporting.with_token(exporting.mint(exporting.admin.id)).get(export["file"])).status == 200


async def test_a_demoted_admins_export_of_their_own_is_theirs(exporting: Service) -> None:
    await demote(exporting)
    client = exporting.with_token(exporting.mint(exporting.admin.id, "admin"))
    answer = await client.post("/exports", {"format": "csv"})
    export = await ended(exporting, f"/exports/{answer.json['id']}")
    assert (await client.get(export["file"])).status == 200


# -- what waits in a lane


@pytest.fixture
async def queued(make_service: MakeService) -> Service:
    """A service whose commands wait until `service.worker.start()`."""
    return await make_service(with_worker=False)


async def insert_task(service: Service, owner: int) -> int:
    [row] = await service.rows("INSERT INTO tasks (user_id, title) VALUES ($1, 'as it was') RETURNING id", owner)
    return int(row["id"])


async def titles(service: Service) -> set[str]:
    return {row["title"] for row in await service.rows("SELECT title FROM tasks")}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "/tasks/{id}", {"title": "taken over"}),
        ("DELETE", "/tasks/{id}", None),
        ("PUT", "/tasks/{id}/reminders", {"reminders": ["PT1H"]}),
    ],
)
async def test_a_command_on_anothers_task_is_refused_when_it_is_applied(
    queued: Service, method: str, path: str, body: Any
) -> None:
    hers = await insert_task(queued, queued.alice.id)
    mine = await insert_task(queued, queued.admin.id)
    options = {} if body is None else {"json": body}
    answers = [
        await queued.admin.request(method, path.format(id=task), headers=ASYNC, **options) for task in (hers, mine)
    ]
    assert [answer.status for answer in answers] == [202, 202]
    await demote(queued)
    await queued.worker.start()
    refused, done = [await ended(queued, answer.headers["Location"]) for answer in answers]
    assert (refused["state"], refused["status_code"]) == ("rejected", 403)
    assert refused["error"]["type"] == "/problems/forbidden"
    assert done["state"] == "succeeded", done
    [task] = await queued.rows("SELECT title, reminder_rules FROM tasks WHERE id = $1", hers)
    assert (task["title"], task["reminder_rules"]) == ("as it was", None)


async def test_in_a_batch_each_operation_on_anothers_task_is_refused_alone(queued: Service) -> None:
    hers = await insert_task(queued, queued.alice.id)
    mine = await insert_task(queued, queued.admin.id)
    operations = [
        {"op": "update", "id": hers, "fields": {"title": "taken over"}},
        {"op": "update", "id": mine, "fields": {"title": "my own"}},
        {"op": "delete", "id": hers},
        {"op": "create", "fields": {"title": "new"}},
        {"op": "update", "id": hers + 1_000_000, "fields": {"title": "nobody's"}},
    ]
    answer = await queued.admin.post("/tasks/batch", {"operations": operations}, headers=ASYNC)
    await demote(queued)
    await queued.worker.start()
    job = await ended(queued, answer.headers["Location"])
    assert [result["status"] for result in job["result"]["results"]] == [403, 200, 403, 201, 403]
    assert await titles(queued) == {"as it was", "my own", "new"}


@pytest.mark.parametrize(
    ("path", "body"), [("/exports", {"format": "csv"}), ("/admin/maintenance/keep_partitions", None)]
)
async def test_long_work_that_is_for_admins_is_refused_when_it_is_applied(
    queued: Service, path: str, body: Any
) -> None:
    options = {} if body is None else {"json": body}
    answer = await queued.admin.request("POST", path, headers=ASYNC, **options)
    assert answer.status == 202
    await demote(queued)
    await queued.worker.start()
    job = await ended(queued, f"/jobs/{answer.json['id']}")
    assert (job["state"], job["status_code"], job["error"]["type"]) == ("rejected", 403, "/problems/forbidden")
    assert await queued.rows("SELECT id FROM exports") == []
    assert await queued.rows("SELECT id FROM maintenance_runs WHERE job_id IS NOT NULL") == []


async def test_maintenance_that_was_ordered_is_not_carried_out_for_a_demoted_admin(make_service: MakeService) -> None:
    service = await make_service()
    answer = await service.admin.post("/admin/partitions", {"year": 2021})
    assert answer.status == 202
    await demote(service)
    await make_service(settings=service.settings, queues=("maintenance",))
    job = await ended(service, f"/jobs/{answer.json['id']}")
    assert (job["state"], job["status_code"], job["error"]["type"]) == ("rejected", 403, "/problems/forbidden")
    assert await service.rows("SELECT 1 FROM task_partitions WHERE name = 'tasks_2021'") == []


# -- stored outcomes


async def stored(service: Service, key: str) -> list[tuple[str, str, dict[str, Any], Answer]]:
    """Writes of an admin on alice's tasks, and what was answered."""
    first, second = await create_tasks(service.alice, [{"title": "hers"}, {"title": "hers, too"}])
    batch = [
        {"op": "update", "id": second["id"], "fields": {"priority": 2}},
        {"op": "create", "fields": {"title": "the admin's"}},
    ]
    writes: list[tuple[str, str, dict[str, Any]]] = [
        ("PATCH", f"/tasks/{first['id']}", {"priority": 1}),
        ("PUT", f"/tasks/{first['id']}/reminders", {"reminders": ["PT1H"]}),
        ("POST", "/tasks/batch", {"operations": batch}),
    ]
    return [
        (
            method,
            path,
            body,
            await service.admin.request(method, path, json=body, headers={"Idempotency-Key": key + path}),
        )
        for method, path, body in writes
    ]


async def test_a_repeat_tells_a_demoted_admin_nothing_of_others_tasks(service: Service) -> None:
    writes = await stored(service, "k")
    for method, path, body, first in writes:
        again = await service.admin.request(method, path, json=body, headers={"Idempotency-Key": "k" + path})
        assert (again.status, again.json) == (first.status, first.json), "an admin still"
    await demote(service)
    for preference in ({}, ASYNC):
        for method, path, body, first in writes:
            headers = {"Idempotency-Key": "k" + path, **preference}
            again = await service.admin.request(method, path, json=body, headers=headers)
            assert again.headers["Idempotent-Replayed"] == "true"
            if path != "/tasks/batch":
                assert_problem(again, 404, "not-found")
                continue
            hidden, own = again.json["results"]
            assert (hidden["status"], "task" in hidden, hidden["error"]["type"]) == (404, False, "/problems/not-found")
            assert own == first.json["results"][1]


async def test_jobs_tell_a_demoted_admin_nothing_of_others_tasks(service: Service) -> None:
    await stored(service, "k")
    jobs = {job["kind"]: job for job in (await service.admin.get("/jobs")).items}
    assert set(jobs) == {"task.update", "task.reminders", "task.batch"}
    assert jobs["task.update"]["result"]["user_id"] == service.alice.id
    await demote(service)
    for kind in ("task.update", "task.reminders"):
        assert_problem(await service.admin.get(f"/jobs/{jobs[kind]['id']}"), 404, "not-found")
    batch = (await service.admin.get(f"/jobs/{jobs['task.batch']['id']}")).json
    hidden, own = batch["result"]["results"]
    assert hidden["status"] == 404
    assert own == jobs["task.batch"]["result"]["results"][1]
    assert (await service.admin.get("/jobs")).items == [batch]


async def test_also_the_version_that_stood_in_the_way_is_told_to_admins_alone(service: Service) -> None:
    [hers] = await create_tasks(service.alice, [{"title": "hers"}])
    own = await create_task(service.admin)
    path, body = f"/tasks/{hers['id']}", {"priority": 1}
    condition = {"If-Match": '"99"', "Idempotency-Key": "one"}
    operations = [
        {"op": "update", "id": task["id"], "if_version": 77, "fields": {"priority": 1}} for task in (hers, own)
    ]
    batch, key = {"operations": operations}, {"Idempotency-Key": "many"}
    for _ in range(2):  # the first time, and a repeat by who is an admin still
        assert (await service.admin.patch(path, body, headers=condition)).json["current_version"] == 1
        items = (await service.admin.post("/tasks/batch", batch, headers=key)).json["results"]
        assert [item["error"]["current_version"] for item in items] == [1, 1]
    jobs = {job["kind"]: job["id"] for job in (await service.admin.get("/jobs")).items if job["kind"] != "task.create"}
    await demote(service)
    again = await service.admin.patch(path, body, headers=condition)
    assert_problem(again, 404, "not-found")
    assert "ETag" not in again.headers
    for results in (
        (await service.admin.post("/tasks/batch", batch, headers=key)).json["results"],
        (await service.admin.get(f"/jobs/{jobs['task.batch']}")).json["result"]["results"],
    ):
        assert [item["status"] for item in results] == [404, 412], "his own he may know of"
        assert "current_version" not in results[0]["error"]
    assert_problem(await service.admin.get(f"/jobs/{jobs['task.update']}"), 404, "not-found")


async def test_a_users_own_jobs_and_repeats_tell_all(service: Service) -> None:
    task = await create_task(service.alice, title='a text with "user_id":1, in it')
    headers = {"Idempotency-Key": "one"}
    first = await service.alice.put(f"/tasks/{task['id']}/reminders", {"reminders": ["PT1H"]}, headers=headers)
    again = await service.alice.put(f"/tasks/{task['id']}/reminders", {"reminders": ["PT1H"]}, headers=headers)
    assert (again.status, again.json) == (200, first.json)
    jobs = (await service.alice.get("/jobs")).items
    assert [job["kind"] for job in jobs] == ["task.reminders", "task.create"]
    assert jobs[1]["result"] == task
    for job in jobs:
        assert (await service.alice.get(f"/jobs/{job['id']}")).json == job

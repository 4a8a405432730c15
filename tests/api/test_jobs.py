"""Jobs: what became of each write, seen by its owner alone."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from api.tokens import Tokens
from core.commands.wire import ANONYMOUS
from core.ids import job_id_for_key
from tests.api.problems import assert_problem
from tests.conftest import MakeService
from tests.factories import create_task, create_tasks, task_fields
from tests.harness import Client, Service

ASYNC = {"Prefer": "respond-async"}
NO_JOB = "00000000-0000-4000-8000-000000000000"


async def every_job(client: Client, **params: Any) -> AsyncIterator[dict[str, Any]]:
    answer = await client.get("/jobs", params=params)
    while True:
        assert answer.status == 200, answer
        for job in answer.items:
            yield job
        if answer.json["next_cursor"] is None:
            assert "Link" not in answer.headers
            return
        assert 'rel="next"' in answer.headers["Link"]
        answer = await client.get("/jobs", params={**params, "cursor": answer.json["next_cursor"]})


async def test_every_write_leaves_a_job_with_its_outcome(service: Service) -> None:
    task = await create_task(service.alice)
    deleted = await service.alice.delete("/tasks/4711")
    refused, made = (await service.alice.get("/jobs")).items
    assert made | {"id": "", "created_at": "", "started_at": "", "finished_at": ""} == {
        "id": "", "kind": "task.create", "state": "succeeded", "created_at": "", "started_at": "", "finished_at": "",
        "progress": None, "status_code": 201, "result": task, "error": None,
    }  # fmt: skip
    created, started, finished = (
        datetime.fromisoformat(made[name]) for name in ("created_at", "started_at", "finished_at")
    )
    assert created <= started <= finished
    assert (refused["kind"], refused["state"], refused["status_code"]) == ("task.delete", "rejected", 404)
    assert refused["error"] == {
        "type": "/problems/not-found", "title": "Not found", "status": 404, "detail": "There is no such task.",
        "instance": f"/jobs/{refused['id']}", "request_id": deleted.headers["X-Request-Id"],
    }  # fmt: skip
    assert (await service.alice.get(f"/jobs/{made['id']}")).json == made


async def test_ids_are_uuids(service: Service) -> None:
    await create_task(service.alice)
    [job] = (await service.alice.get("/jobs")).items
    assert str(uuid.UUID(job["id"])) == job["id"]
    assert (await service.alice.get(f"/jobs/{job['id'].upper()}")).json == job


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("stranger", ["bob", "charlie", "admin"])
async def test_anothers_job_is_404_as_one_that_does_not_exist(service: Service, method: str, stranger: str) -> None:
    await create_task(service.alice)
    [job] = (await service.alice.get("/jobs")).items
    client: Client = getattr(service, stranger)
    theirs = assert_problem(await client.request(method, f"/jobs/{job['id']}"), 404, "not-found")
    missing = assert_problem(await client.request(method, f"/jobs/{NO_JOB}"), 404, "not-found")
    assert theirs["detail"] == missing["detail"]
    assert (await client.get("/jobs")).items == []


async def test_anothers_queued_job_is_404_too(make_service: MakeService) -> None:
    service = await make_service(with_worker=False)
    location = (await service.alice.post("/tasks", task_fields(), headers=ASYNC)).headers["Location"]
    assert (await service.alice.get(location)).json["state"] == "queued"
    for stranger in (service.bob, service.admin):
        assert_problem(await stranger.get(location), 404, "not-found")
        assert (await stranger.get("/jobs")).items == []
    assert_problem(await service.anonymous.get(location), 401, "authentication-required")


@pytest.mark.parametrize(
    "job_id",
    [
        "x", "1", "%00", NO_JOB[:-1], NO_JOB + "0", "{" + NO_JOB + "}", "urn:uuid:" + NO_JOB,
        NO_JOB.replace("-", ""), "' OR 1=1",
    ],
)  # fmt: skip
async def test_what_cannot_be_a_job_is_404(service: Service, job_id: str) -> None:
    assert_problem(await service.alice.get(f"/jobs/{job_id}"), 404, "not-found")


async def test_a_registrations_job_can_be_seen_without_a_token(make_service: MakeService) -> None:
    service = await make_service(with_worker=False)
    body = {"username": "ada", "email": "ada@example.com", "password": "an engine 4 analysis"}
    accepted = await service.anonymous.post("/auth/register", body, headers=ASYNC)
    assert accepted.status == 202
    queued = await service.anonymous.get(accepted.headers["Location"])
    assert (queued.json["kind"], queued.json["state"]) == ("user.register", "queued")
    await service.worker.start()
    done = await service.anonymous.get(accepted.headers["Location"], headers={"Prefer": "wait=5"})
    assert (done.json["state"], done.json["status_code"]) == ("succeeded", 201)
    assert done.json["result"] is None
    for told in ("ada", body["password"], "argon2"):
        assert told not in done.body.decode()
    again = await service.anonymous.post("/auth/register", body, headers=ASYNC)
    refused = await service.anonymous.get(again.headers["Location"], headers={"Prefer": "wait=5"})
    assert (refused.json["state"], refused.json["error"]["type"]) == ("rejected", "/problems/username-taken")
    assert "ada" not in refused.body.decode()
    assert_problem(await service.anonymous.get(f"/jobs/{NO_JOB}"), 401, "authentication-required")


async def test_the_id_of_a_registrations_job_cannot_be_reckoned_from_its_key(service: Service) -> None:
    body = {"username": "Ada", "email": "ada@example.com", "password": "an engine 4 analysis"}
    headers = {"Idempotency-Key": "guess-me"}
    first = await service.anonymous.post("/auth/register", body, headers=headers)
    assert first.status == 201
    guessed = job_id_for_key(ANONYMOUS, "register:ada:guess-me")
    assert_problem(await service.anonymous.get(f"/jobs/{guessed}"), 401, "authentication-required")
    [job] = await service.rows("SELECT id::text FROM jobs WHERE kind = 'user.register'")
    assert (await service.anonymous.get(f"/jobs/{job['id']}")).json["result"] is None
    again = await service.anonymous.post("/auth/register", body, headers=headers)
    assert (again.status, again.json) == (201, first.json)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert Tokens(service.settings).secret_job_id("register:ada:guess-me") == job["id"]
    other = replace(service.settings, jwt_secret_key=service.settings.jwt_secret_key[::-1])
    assert Tokens(other).secret_job_id("register:ada:guess-me") != job["id"]


async def test_the_ids_of_users_jobs_follow_from_user_and_key_as_ever(service: Service) -> None:
    await service.alice.post("/tasks", task_fields(), headers={"Idempotency-Key": "mine"})
    namespace = uuid.UUID("5d0f7b5e-9c7d-4c0a-8a35-0d8e4a1f6c10")
    assert (await service.alice.get(f"/jobs/{uuid.uuid5(namespace, f'{service.alice.id}:mine')}")).status == 200


# -- waiting --------------------------------------------------------------------------------------------------


async def test_a_long_poll_answers_when_the_job_ends(make_service: MakeService) -> None:
    service = await make_service(with_worker=False)
    location = (await service.alice.post("/tasks", task_fields(), headers=ASYNC)).headers["Location"]
    started = time.monotonic()
    poll = asyncio.create_task(service.alice.get(location, headers={"Prefer": "wait=5"}))
    await asyncio.sleep(0.3)
    assert not poll.done()
    await service.worker.start()
    answer = await poll
    assert answer.json["state"] == "succeeded"
    assert answer.headers["Preference-Applied"] == "wait=5"
    assert "Retry-After" not in answer.headers
    assert time.monotonic() - started < 4


async def test_a_long_poll_ends_with_its_time(make_service: MakeService) -> None:
    service = await make_service(with_worker=False, WRITE_WAIT_SECONDS="0.5")
    location = (await service.alice.post("/tasks", task_fields(), headers=ASYNC)).headers["Location"]
    for wait, applied in (("0", "wait=0"), ("60", "wait=0.5")):
        started = time.monotonic()
        answer = await service.alice.get(location, headers={"Prefer": f"wait={wait}"})
        assert (answer.status, answer.json["state"]) == (200, "queued")
        assert answer.headers["Preference-Applied"] == applied
        assert int(answer.headers["Retry-After"]) > 0
        assert (wait != "0") * 0.5 <= time.monotonic() - started < 2


async def test_without_a_preference_a_job_is_answered_at_once(make_service: MakeService) -> None:
    service = await make_service(with_worker=False)
    location = (await service.alice.post("/tasks", task_fields(), headers=ASYNC)).headers["Location"]
    started = time.monotonic()
    answer = await service.alice.get(location)
    assert answer.json["state"] == "queued"
    assert "Preference-Applied" not in answer.headers
    assert time.monotonic() - started < 1


# -- cancelling -----------------------------------------------------------------------------------------------


async def test_a_single_write_cannot_be_cancelled(make_service: MakeService) -> None:
    service = await make_service(with_worker=False)
    location = (await service.alice.post("/tasks", task_fields(), headers=ASYNC)).headers["Location"]
    assert_problem(await service.alice.delete(location), 409, "job-not-cancellable")
    await service.worker.start()
    assert (await service.alice.get(location, headers={"Prefer": "wait=5"})).json["state"] == "succeeded"
    ended = assert_problem(await service.alice.delete(location), 409, "job-not-cancellable")
    assert ended["detail"] == "The job has ended already: succeeded."
    assert_problem(await service.alice.delete(f"/jobs/{NO_JOB}"), 404, "not-found")


# -- lists ----------------------------------------------------------------------------------------------------


async def test_jobs_are_listed_newest_first_and_paged(service: Service) -> None:
    tasks = [await create_task(service.alice) for _ in range(7)]
    await create_task(service.bob)
    expected = [task["id"] for task in reversed(tasks)]
    for limit in (1, 2, 7, 100):
        found = [job["result"]["id"] async for job in every_job(service.alice, limit=limit)]
        assert found == expected


async def test_jobs_of_the_same_instant_are_paged_by_id(service: Service) -> None:
    for _ in range(5):
        await create_task(service.alice)
    await service.rows("UPDATE jobs SET created_at = '2026-01-02T03:04:05.000001Z'")
    found = [job["id"] async for job in every_job(service.alice, limit=2)]
    assert found == sorted(found, reverse=True)
    assert len(found) == 5


async def test_kind_and_state_narrow_the_list(service: Service) -> None:
    task = await create_task(service.alice)
    await service.alice.patch(f"/tasks/{task['id']}", {"priority": 1})
    await service.alice.patch("/tasks/4711", {"priority": 1})
    await service.alice.delete(f"/tasks/{task['id']}")

    async def found(**params: str) -> list[tuple[str, str]]:
        return [(job["kind"], job["state"]) async for job in every_job(service.alice, limit=1, **params)]

    deleted, refused, updated, created = (
        ("task.delete", "succeeded"), ("task.update", "rejected"), ("task.update", "succeeded"),
        ("task.create", "succeeded"),
    )  # fmt: skip
    assert await found() == [deleted, refused, updated, created]
    assert await found(kind="task.update") == [refused, updated]
    assert await found(kind="task.create,task.delete") == [deleted, created]
    assert await found(state="rejected") == [refused]
    assert await found(state="succeeded,rejected") == [deleted, refused, updated, created]
    assert await found(kind="task.update", state="succeeded") == [updated]
    assert await found(state="queued,processing,failed,cancelled") == []
    assert await found(kind="task.nothing") == []


async def test_queued_jobs_stand_in_the_list_with_the_finished_ones(make_service: MakeService) -> None:
    service = await make_service()
    await create_tasks(service.alice, [{}])
    await service.worker.stop()
    queued = [(await service.alice.post("/tasks", task_fields(), headers=ASYNC)).json["id"] for _ in range(5)]
    listed = [(job["kind"], job["state"]) async for job in every_job(service.alice, limit=2)]
    assert listed == [("task.create", "queued")] * 5 + [("task.batch", "succeeded")]
    assert [job["id"] async for job in every_job(service.alice, limit=2, state="queued")] == queued[::-1]
    assert len([job async for job in every_job(service.alice, kind="task.batch")]) == 1
    assert len([job async for job in every_job(service.alice, state="succeeded")]) == 1
    await service.worker.start()
    await service.alice.get(f"/jobs/{queued[-1]}", headers={"Prefer": "wait=5"})
    states = [job["state"] async for job in every_job(service.alice)]
    assert states == ["succeeded"] * 6


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("state=done", "state"),
        ("state=", "state"),
        ("state=queued,done", "state"),
        ("kind=", "kind"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("cursor=", "cursor"),
        ("page=2", "page"),
        ("limit=1&limit=1", "limit"),
    ],
)
async def test_a_bad_parameter_is_422_by_its_name(service: Service, query: str, field: str) -> None:
    answer = await service.alice.get(f"/jobs?{query}")
    assert list(assert_problem(answer, 422, "validation-error")["errors"]) == [field]


async def test_a_cursor_is_bound_to_the_filters(service: Service) -> None:
    for _ in range(3):
        await create_task(service.alice)
    cursor = (await service.alice.get("/jobs?limit=1")).json["next_cursor"]
    assert_problem(await service.alice.get(f"/jobs?state=succeeded&cursor={cursor}"), 400, "invalid-cursor")
    assert_problem(await service.alice.get(f"/tasks?cursor={cursor}"), 400, "invalid-cursor")


async def test_a_forged_place_in_the_list_is_400(make_service: MakeService) -> None:
    import base64
    import json

    service = await make_service(with_worker=False)
    for _ in range(3):
        await service.alice.post("/tasks", task_fields(), headers=ASYNC)
    cursor = (await service.alice.get("/jobs?limit=1")).json["next_cursor"]
    scope, created_at, job_id = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    for position in (
        ["infinity", job_id], ["-infinity", job_id], ["2031-01-01T00:00:00", job_id], ["2031-W05-6", job_id],
        ["2031-W05-6T00:00:00+00:00", job_id], ["x", job_id], [None, job_id], [created_at, "x"], [created_at, None],
        [created_at, "{" + job_id + "}x"], [created_at], [1, 2],
    ):  # fmt: skip
        forged = base64.urlsafe_b64encode(json.dumps([scope, *position]).encode()).decode().rstrip("=")
        assert_problem(await service.alice.get(f"/jobs?limit=1&cursor={forged}"), 400, "invalid-cursor")

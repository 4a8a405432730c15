"""Quotas over HTTP: how much one user may have, and that it is nobody else's business."""

import asyncio
from typing import Any

import aiohttp
import orjson

from tests.api.problems import assert_problem
from tests.conftest import MakeService
from tests.factories import create_task, task_fields
from tests.harness import Answer, Client, Service, eventually


def assert_exceeded(answer: Answer, quota: str, limit: int, used: int) -> None:
    problem = assert_problem(answer, 409, "quota-exceeded")
    assert (problem["quota"], problem["limit"], problem["used"]) == (quota, limit, used)


async def finished(client: Client, path: str) -> dict[str, Any]:
    async def ended() -> Any:
        answer = await client.get(path, headers={"Prefer": "wait=5"})
        return answer.json if answer.json["finished_at"] else None

    work: dict[str, Any] = await eventually(ended)
    return work


def lines(count: int, name: str = "task") -> bytes:
    return b"".join(orjson.dumps({"title": f"{name} {number}"}) + b"\n" for number in range(count))


async def send(client: Client, content: Any, **headers: str) -> Answer:
    return await client.request("POST", "/imports?format=tenfold-ndjson", data=content, headers=headers)


async def count(client: Client) -> int:
    return len((await client.get("/user/tasks")).items)


# -- tasks


async def test_the_task_that_would_pass_the_quota_is_refused_until_one_is_deleted(make_service: MakeService) -> None:
    service = await make_service(QUOTA_TASKS="5")
    tasks = [await create_task(service.alice) for _ in range(5)]
    for _ in range(2):
        assert_exceeded(await service.alice.post("/tasks", task_fields()), "tasks", 5, 5)
    await create_task(service.bob)
    assert (await service.alice.delete(f"/tasks/{tasks[0]['id']}")).status == 204
    await create_task(service.alice)
    assert_exceeded(await service.alice.post("/tasks", task_fields()), "tasks", 5, 5)
    assert await count(service.alice) == 5


async def test_of_what_is_created_together_as_much_is_made_as_there_is_room_for(make_service: MakeService) -> None:
    service = await make_service(QUOTA_TASKS="5")
    answers = await asyncio.gather(
        *(client.post("/tasks", task_fields()) for client in (service.alice, service.bob) for _ in range(9))
    )
    for own in (answers[:9], answers[9:]):
        assert sorted(answer.status for answer in own) == [201] * 5 + [409] * 4
    assert await count(service.alice) == await count(service.bob) == 5


async def test_in_a_batch_the_operations_that_would_pass_the_quota_are_refused_alone(make_service: MakeService) -> None:
    service = await make_service(QUOTA_TASKS="3")
    task = await create_task(service.alice)
    operations = [
        {"op": "create", "fields": {"title": "2"}},
        {"op": "update", "id": task["id"], "fields": {"title": "changed"}},
        {"op": "create", "fields": {"title": "3"}},
        {"op": "create", "fields": {"title": "4"}},
        {"op": "delete", "id": task["id"] + 1_000_000},
    ]
    answer = await service.alice.post("/tasks/batch", {"operations": operations})
    assert [result["status"] for result in answer.json["results"]] == [201, 200, 201, 409, 404]
    error = answer.json["results"][3]["error"]
    assert (error["type"], error["quota"], error["limit"]) == ("/problems/quota-exceeded", "tasks", 3)
    assert await count(service.alice) == 3


async def test_a_recurring_task_is_followed_by_the_next_one_at_the_quota_too(make_service: MakeService) -> None:
    service = await make_service(QUOTA_TASKS="1")
    task = await create_task(service.alice, due_date="2099-01-01T00:00:00Z", recurrence="FREQ=DAILY")
    assert (await service.alice.patch(f"/tasks/{task['id']}", {"status": "completed"})).status == 200
    assert await count(service.alice) == 2
    assert_exceeded(await service.alice.post("/tasks", task_fields()), "tasks", 1, 2)


async def test_an_import_ends_where_it_would_pass_the_quota(make_service: MakeService) -> None:
    service = await make_service(QUOTA_TASKS="5", queues=("writes", "bulk"))
    await create_task(service.alice)
    done = await finished(service.alice, (await send(service.alice, lines(4))).headers["Location"])
    assert (done["state"], done["created"]) == ("succeeded", 4)
    failed = await finished(service.alice, (await send(service.alice, lines(3, "more"))).headers["Location"])
    assert (failed["state"], failed["status_code"], failed["created"]) == ("failed", 409, 0)
    error = failed["error"]
    assert (error["type"], error["quota"], error["limit"], error["used"]) == (
        "/problems/quota-exceeded", "tasks", 5, 5,
    )  # fmt: skip
    assert await count(service.alice) == 5
    again = await finished(service.alice, (await send(service.alice, lines(4))).headers["Location"])
    assert (again["state"], again["skipped"]) == ("succeeded", 4), "what is there already needs no room"


async def test_without_a_quota_nothing_is_refused(make_service: MakeService) -> None:
    service = await make_service(QUOTA_TASKS="0", QUOTA_CHANNELS="0", QUOTA_EXPORTS_KEPT="0", QUOTA_STORED_BYTES="0",
                                 QUOTA_WAITING_JOBS="0")  # fmt: skip
    await create_task(service.alice)
    for _ in range(3):
        assert (await service.alice.post("/exports", {"format": "csv"})).status == 202
        assert (await send(service.alice, lines(3))).status == 202
    assert (await service.alice.post("/channels", {"url": "https://example.com/"})).status == 201


# -- channels


async def test_the_channel_that_would_pass_the_quota_is_refused_until_one_is_deleted(make_service: MakeService) -> None:
    service = await make_service(QUOTA_CHANNELS="2")
    body = {"url": "https://example.com/"}
    made = [await service.alice.post("/channels", body) for _ in range(3)]
    assert_exceeded(made[2], "channels", 2, 2)
    assert (await service.bob.post("/channels", body)).status == 201
    assert (await service.alice.delete(f"/channels/{made[0].json['id']}")).status == 204
    assert (await service.alice.post("/channels", body)).status == 201


# -- exports and uploads


async def test_the_export_that_would_pass_the_quota_is_refused_until_one_is_given_up(
    make_service: MakeService,
) -> None:
    service = await make_service(QUOTA_EXPORTS_KEPT="2", queues=("writes", "bulk"))
    paths = [(await service.alice.post("/exports", {"format": "csv"})).headers["Location"] for _ in range(2)]
    assert_exceeded(await service.alice.post("/exports", {"format": "csv"}), "exports_kept", 2, 2)
    assert (await service.bob.post("/exports", {"format": "csv"})).status == 202
    for path in paths:
        assert (await finished(service.alice, path))["state"] == "succeeded"
    assert_exceeded(await service.alice.post("/exports", {"format": "csv"}), "exports_kept", 2, 2)
    assert (await service.alice.delete(paths[0])).status == 204
    assert (await service.alice.post("/exports", {"format": "csv"})).status == 202


async def test_long_work_that_waits_has_a_quota(make_service: MakeService) -> None:
    service = await make_service(QUOTA_WAITING_JOBS="2")
    first = await send(service.alice, lines(1))
    assert (await service.alice.post("/exports", {"format": "csv"})).status == 202
    assert_exceeded(await service.alice.post("/exports", {"format": "csv"}), "waiting_jobs", 2, 2)
    assert_exceeded(await send(service.alice, lines(1)), "waiting_jobs", 2, 2)
    assert (await send(service.bob, lines(1))).status == 202
    assert (await service.alice.delete(first.headers["Location"])).status == 204
    assert (await service.alice.post("/exports", {"format": "csv"})).status == 202


async def test_promised_writes_that_wait_have_a_quota_and_go_on_when_some_are_done(make_service: MakeService) -> None:
    service = await make_service(with_worker=False, QUOTA_WAITING_JOBS="3")
    headers = {"Prefer": "respond-async"}
    for _ in range(3):
        assert (await service.alice.post("/tasks", task_fields(), headers=headers)).status == 202
    refused = await service.alice.post("/tasks", task_fields(), headers=headers)
    assert_exceeded(refused, "waiting_jobs", 3, 3)
    assert (await service.bob.post("/tasks", task_fields(), headers=headers)).status == 202, "it is nobody else's"
    await service.worker.start()

    async def accepted() -> bool:
        return (await service.alice.post("/tasks", task_fields(), headers=headers)).status == 202

    await eventually(accepted)


async def test_of_promises_that_are_wanted_together_no_more_are_given_than_there_is_room_for(
    make_service: MakeService,
) -> None:
    service = await make_service(with_worker=False, QUOTA_WAITING_JOBS="3")
    headers = {"Prefer": "respond-async"}
    answers = await asyncio.gather(*(service.alice.post("/tasks", task_fields(), headers=headers) for _ in range(16)))
    assert 1 <= sum(answer.status == 202 for answer in answers) <= 3
    assert {answer.status for answer in answers} == {202, 409}


async def stored_files(service: Service) -> list[str]:
    folder = service.settings.tenfold_home / "objects"
    return [path.name for path in folder.rglob("*") if path.is_file()]


async def test_an_upload_without_room_is_refused_before_it_is_sent(make_service: MakeService) -> None:
    service = await make_service(QUOTA_STORED_BYTES="1000")
    first = lines(20)
    assert (await send(service.alice, first)).status == 202
    files = await stored_files(service)
    assert_exceeded(await send(service.alice, lines(60)), "stored_bytes", 1000, len(first))
    assert await stored_files(service) == files
    assert (await send(service.bob, first)).status == 202
    assert (await send(service.alice, lines(5))).status == 202


async def test_an_upload_whose_size_is_not_told_is_refused_where_it_passes_the_quota(
    make_service: MakeService,
) -> None:
    service = await make_service(QUOTA_STORED_BYTES="100000")
    taken = 0

    async def endless() -> Any:
        nonlocal taken
        for _ in range(1000):
            taken += 10_000
            yield lines(1) * 500
            await asyncio.sleep(0.001)

    try:
        answer = await send(service.alice, endless())
    except aiohttp.ClientError:
        pass  # the answer came, and the connection was closed, while the client still sent
    else:
        assert_exceeded(answer, "stored_bytes", 100_000, answer.json["used"])
        assert answer.json["used"] <= 100_000
    assert await stored_files(service) == []
    assert await service.rows("SELECT id FROM imports") == []


async def test_uploads_under_way_count_together(make_service: MakeService) -> None:
    service = await make_service(QUOTA_STORED_BYTES="150000")
    half = lines(1) * (100_000 // len(lines(1)))
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def held() -> Any:
        yield half
        begun.set()
        await go_on.wait()

    first = asyncio.create_task(send(service.alice, held()))
    await begun.wait()
    await asyncio.sleep(1.0)  # until it has arrived: what is accepted before would take the room
    assert_exceeded(await send(service.alice, half), "stored_bytes", 150_000, len(half))
    assert (await send(service.bob, half)).status == 202
    go_on.set()
    assert (await first).status == 202


async def test_a_repeat_of_an_import_is_answered_as_the_first_though_there_is_no_room(
    make_service: MakeService,
) -> None:
    service = await make_service(QUOTA_STORED_BYTES="1000", QUOTA_WAITING_JOBS="1")
    content = lines(40)
    first = await send(service.alice, content, **{"Idempotency-Key": "one"})
    again = await send(service.alice, content, **{"Idempotency-Key": "one"})
    assert (first.status, again.status, again.json["id"]) == (202, 202, first.json["id"])
    assert again.headers["Idempotent-Replayed"] == "true"


async def test_an_export_is_not_begun_without_room(make_service: MakeService) -> None:
    service = await make_service(QUOTA_STORED_BYTES="1000")
    assert (await send(service.alice, b" " * (1000 - len(lines(1))) + lines(1))).status == 202
    assert_exceeded(await service.alice.post("/exports", {"format": "csv"}), "stored_bytes", 1000, 1000)
    assert (await service.bob.post("/exports", {"format": "csv"})).status == 202


async def test_an_export_ends_where_its_file_would_pass_the_quota(make_service: MakeService) -> None:
    service = await make_service(QUOTA_STORED_BYTES="20000", queues=("writes", "bulk"))
    await service.rows(
        "INSERT INTO tasks (user_id, title) SELECT $1, 'task ' || n FROM generate_series(1, 1000) AS n",
        service.alice.id,
    )
    export = await finished(
        service.alice, (await service.alice.post("/exports", {"format": "ndjson"})).headers["Location"]
    )
    assert (export["state"], export["status_code"]) == ("failed", 409)
    error = export["error"]
    assert (error["type"], error["quota"], error["limit"], error["used"]) == (
        "/problems/quota-exceeded", "stored_bytes", 20_000, 0,
    )  # fmt: skip
    assert await stored_files(service) == []
    small = (await service.alice.post("/exports", {"format": "csv", "q": "999"})).headers["Location"]
    assert (await finished(service.alice, small))["state"] == "succeeded"


async def test_what_older_workers_said_of_too_many_channels_is_still_answered(service: Service) -> None:
    error = {
        "type": "/problems/too-many-channels",
        "title": "There are too many channels",
        "status": 409,
        "detail": "x",
    }
    await service.rows(
        "INSERT INTO jobs (id, user_id, kind, state, status_code, error)"
        " VALUES ('00000000-0000-7000-8000-000000000001', $1, 'channel.create', 'rejected', 409, $2)",
        service.alice.id,
        orjson.dumps(error).decode(),
    )
    job = (await service.alice.get("/jobs/00000000-0000-7000-8000-000000000001")).json
    assert job["error"].items() >= error.items()

"""What one user asks for, however much it is, others hardly notice."""

import asyncio
from typing import Any

from core import lanes
from tests.conftest import MakeService
from tests.factories import create_task, task_fields
from tests.harness import PASSWORD, Answer, Service, User, eventually

ASYNC = {"Prefer": "respond-async"}
LARGEST = 1000


def creations(count: int = LARGEST) -> dict[str, Any]:
    return {"operations": [{"op": "create", "fields": task_fields(title=f"task {number}")} for number in range(count)]}


async def order_batches(user: User, count: int, body: dict[str, Any] | None = None) -> list[str]:
    """Asynchronous batches, all on their way; returns their jobs' paths."""
    answers = [await user.post("/tasks/batch", body or creations(), headers=ASYNC) for _ in range(count)]
    assert {answer.status for answer in answers} == {202}
    return [answer.headers["Location"] for answer in answers]


async def ended(service: Service) -> int:
    [row] = await service.rows("SELECT count(*) FROM jobs WHERE kind = 'task.batch'")
    return int(row["count"])


async def all_ended(user: User, jobs: list[str]) -> list[Answer]:
    async def done() -> list[Answer] | None:
        answers = [await user.get(path) for path in jobs]
        return answers if all(answer.json["state"] == "succeeded" for answer in answers) else None

    found: list[Answer] = await eventually(done, timeout=60)
    return found


async def test_anothers_writes_and_logins_pass_between_the_slices_of_many_batches(service: Service) -> None:
    jobs = await order_batches(service.alice, 8)
    before = await ended(service)
    for _ in range(5):
        await create_task(service.bob)
    login = await service.anonymous.post("/auth/login", {"username": "bob", "password": PASSWORD})
    registered = await service.anonymous.post(
        "/auth/register", {"username": "dora", "email": "dora@example.com", "password": PASSWORD}
    )
    assert (login.status, registered.status) == (200, 201)
    assert await ended(service) - before < 8, "nobody waited until all of them were done"
    await all_ended(service.alice, jobs)


async def test_anothers_batch_takes_its_turn_among_many(service: Service) -> None:
    jobs = await order_batches(service.alice, 8)
    mine = await service.bob.post("/tasks/batch", creations(20))
    assert mine.status == 207
    assert await ended(service) < 8
    await all_ended(service.alice, jobs)


async def test_a_batch_and_a_single_write_of_the_same_task_do_not_wait_for_each_other_long(service: Service) -> None:
    task = await create_task(service.alice)
    path = f"/tasks/{task['id']}"
    rename = [{"op": "update", "id": task["id"], "fields": {"title": f"title {n}"}} for n in range(LARGEST)]
    batch = asyncio.create_task(service.alice.post("/tasks/batch", {"operations": rename}))
    async with service.queue() as queue:
        await eventually(lambda: queue.xlen(lanes.stream("batches-0")))
    changed = await service.alice.patch(path, {"priority": 1})
    assert changed.status == 200
    answer = await batch
    assert {result["status"] for result in answer.json["results"]} == {200}
    assert (await service.alice.get(path)).json["version"] == 1 + LARGEST + 1


async def test_writes_go_on_when_batches_wait_for_nobody_drains_them(make_service: MakeService) -> None:
    """The kinds of work have lanes of their own: what stops one stops no other."""
    service = await make_service()
    async with service.queue() as queue:
        await queue.set(f"arq:in-progress:{lanes.drain_job_id('batches-0')}", "1")  # as if somebody held it
        stuck = (await order_batches(service.alice, 1))[0]
        await create_task(service.bob)
        login = await service.anonymous.post("/auth/login", {"username": "bob", "password": PASSWORD})
        assert login.status == 200
        assert (await service.alice.get(stuck)).json["state"] == "queued"
        await queue.delete(f"arq:in-progress:{lanes.drain_job_id('batches-0')}")
    await all_ended(service.alice, [stuck])

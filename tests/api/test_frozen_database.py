"""A PostgreSQL that hangs without closing its connections: reads give up in time, writes are promised."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from tests.conftest import MakeService
from tests.harness import PASSWORD, Answer, Servers, Service, User, eventually, frozen

READ_SECONDS = 0.6
# The token's role is looked up first, for a second at the most.
BOUND_SECONDS = 1.0 + READ_SECONDS + 0.8

Ask = Callable[[Service, User, str], Awaitable[Answer]]

READS: dict[str, Ask] = {
    "a page": lambda service, user, task: user.get("/user/tasks?sort=id"),
    "a task": lambda service, user, task: user.get(f"/tasks/{task}"),
    "jobs": lambda service, user, task: user.get("/jobs"),
    "a profile": lambda service, user, task: user.get("/user/me"),
    "all tasks": lambda service, user, task: service.admin.get("/tasks"),
    "a login": lambda service, user, task: service.anonymous.post(
        "/auth/login", json={"username": user.username, "password": PASSWORD}
    ),
    "readiness": lambda service, user, task: user.get("/health/ready"),
}


@pytest.fixture
async def service(make_service: MakeService, breakable_servers: Servers) -> Service:
    return await make_service(
        on=breakable_servers, READ_TIMEOUT_SECONDS=str(READ_SECONDS), CACHE_TTL_SECONDS="0", WRITE_WAIT_SECONDS="1"
    )


async def a_task(user: User) -> str:
    answer = await user.post("/tasks", json={"title": "before"})
    assert answer.status == 201
    return str(answer.json["id"])


@pytest.mark.parametrize("name", READS)
async def test_a_read_is_answered_503_in_time(service: Service, breakable_servers: Servers, name: str) -> None:
    task = await a_task(service.alice)
    ask = READS[name]
    assert (await ask(service, service.alice, task)).status in (200, 201)
    with frozen(breakable_servers.postgres):
        started = time.monotonic()
        answer = await ask(service, service.alice, task)
        seconds = time.monotonic() - started
        assert answer.status == 503, answer
        assert seconds < (2.6 if name == "readiness" else BOUND_SECONDS)
        if name != "readiness":
            assert answer.json["type"] == "/problems/database-unavailable"
            assert int(answer.headers["Retry-After"]) >= 1

    async def works() -> bool:
        return (await ask(service, service.alice, task)).status in (200, 201)

    await eventually(works, timeout=2)


async def test_when_it_is_known_to_hang_nobody_waits_and_when_it_is_back_all_works(
    service: Service, breakable_servers: Servers
) -> None:
    task = await a_task(service.alice)
    many = 60  # more than the pool has connections
    with frozen(breakable_servers.postgres):
        await asyncio.gather(*(service.alice.get(f"/tasks/{task}") for _ in range(many)))
        for _ in range(3):
            started = time.monotonic()
            answers = await asyncio.gather(*(service.alice.get(f"/tasks/{task}") for _ in range(many)))
            assert {answer.status for answer in answers} == {503}
            assert time.monotonic() - started < 0.8
    thawed = time.monotonic()

    async def works() -> bool:
        return (await service.alice.get(f"/tasks/{task}")).status == 200

    await eventually(works, timeout=2)
    assert time.monotonic() - thawed < 1
    answers = await asyncio.gather(*(service.alice.get(f"/tasks/{task}") for _ in range(many)))
    assert {answer.status for answer in answers} == {200}


async def test_writes_are_promised_in_time_and_carried_out_when_it_is_back(
    service: Service, breakable_servers: Servers
) -> None:
    await a_task(service.alice)
    with frozen(breakable_servers.postgres):
        started = time.monotonic()
        waited = await service.alice.post("/tasks", json={"title": "waited"})
        assert waited.status == 202
        assert time.monotonic() - started < 1 + 1 + 0.8, "the wait, and the look-up at its end"
        started = time.monotonic()
        at_once = await service.alice.post("/tasks", json={"title": "at once"}, headers={"Prefer": "respond-async"})
        assert at_once.status == 202
        assert time.monotonic() - started < 0.8
    thawed = time.monotonic()

    async def carried_out() -> bool:
        jobs = [await service.alice.get(answer.headers["Location"]) for answer in (waited, at_once)]
        return all(job.status == 200 and job.json["state"] == "succeeded" for job in jobs)

    await eventually(carried_out, timeout=6)
    assert time.monotonic() - thawed < 3

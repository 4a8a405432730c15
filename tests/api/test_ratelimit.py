"""Rate limits: told with every answer, counted by user or address, and kept without the cache server, too."""

import asyncio
import re
import time
from typing import Any

import pytest

from api.keys import REQUEST_LIMIT
from tests.api.problems import assert_problem
from tests.conftest import MakeService
from tests.factories import task_fields
from tests.harness import PASSWORD, Answer, Client, Servers, Service, away, flush

LIMIT = re.compile(r'"default";r=(?P<left>[0-9]+);t=(?P<seconds>[0-9]+)\Z')


async def early_in_the_minute(seconds: float = 15.0) -> None:
    """Windows are aligned to the clock: a test that counts must not cross into the next one."""
    left = 60 - time.time() % 60
    if left < seconds:
        await asyncio.sleep(left + 0.05)


def left_of(answer: Answer) -> int:
    """What the answer says is left; also checks the headers' form."""
    match = LIMIT.match(answer.headers["RateLimit"])
    assert match is not None
    assert 1 <= int(match["seconds"]) <= 60
    return int(match["left"])


async def test_every_answer_tells_the_limit_and_what_is_left(make_service: MakeService) -> None:
    service = await make_service(RATE_LIMIT_PER_MINUTE="50")
    await early_in_the_minute()
    answers = [
        await service.alice.get("/tasks"),
        await service.alice.post("/tasks", task_fields()),
        await service.alice.post("/tasks", task_fields(), headers={"Prefer": "respond-async"}),
        await service.alice.post("/tasks", {}),
        await service.alice.post("/tasks", data=b"{", headers={"Content-Type": "application/json"}),
        await service.alice.post("/tasks", data=b"x", headers={"Content-Type": "text/plain"}),
        await service.alice.get("/tasks/4711"),
        await service.alice.get("/tasks?limit=0"),
        await service.alice.get("/tasks?cursor=x"),
        await service.alice.delete("/jobs/00000000-0000-0000-0000-000000000000"),
    ]
    assert [answer.status for answer in answers] == [200, 201, 202, 422, 400, 415, 404, 422, 400, 404]
    assert [left_of(answer) for answer in answers] == list(range(49, 39, -1))
    assert {answer.headers["RateLimit-Policy"] for answer in answers} == {'"default";q=50;w=60'}


async def test_without_a_user_the_address_is_counted(make_service: MakeService) -> None:
    service = await make_service(RATE_LIMIT_PER_MINUTE="50")
    await early_in_the_minute()
    answers = [
        await service.anonymous.get("/tasks"),
        await service.with_token("nonsense").get("/tasks"),
        await service.anonymous.get("/nothing/here"),
        await service.anonymous.delete("/tasks/batch/x"),
        await service.anonymous.post("/auth/login", {"username": "alice", "password": "wrong"}),
        await service.anonymous.post("/auth/register", {}),
        await service.anonymous.request("PUT", "/tasks"),
    ]
    assert [answer.status for answer in answers] == [401, 401, 404, 404, 401, 422, 405]
    assert [left_of(answer) for answer in answers] == list(range(49, 42, -1))
    assert left_of(await service.alice.get("/tasks")) == 49


async def refused_after(client: Client, quota: int) -> Answer:
    """The first answer over the quota; every one up to it went through."""
    for number in range(quota):
        answer = await client.get("/tasks")
        assert answer.status == 200, (number, answer)
    answer = await client.get("/tasks")
    assert_problem(answer, 429, "too-many-requests")
    return answer


@pytest.mark.parametrize("quota", [1, 2, 7])
async def test_over_the_limit_is_429_until_the_window_ends(make_service: MakeService, quota: int) -> None:
    service = await make_service(RATE_LIMIT_PER_MINUTE=str(quota))
    await early_in_the_minute()
    answer = await refused_after(service.alice, quota)
    assert left_of(answer) == 0
    assert abs(int(answer.headers["Retry-After"]) - (60 - time.time() % 60)) <= 2
    assert (await service.alice.post("/tasks", task_fields())).status == 429
    assert await service.rows("SELECT id FROM tasks") == []


async def test_users_do_not_share_a_limit(make_service: MakeService) -> None:
    service = await make_service(RATE_LIMIT_PER_MINUTE="3")
    await early_in_the_minute()
    await refused_after(service.alice, 3)
    assert (await service.bob.get("/tasks")).status == 200


async def test_a_user_has_one_limit_over_all_tokens_and_processes(make_service: MakeService) -> None:
    service = await make_service(RATE_LIMIT_PER_MINUTE="6")
    other = await make_service(settings=service.settings, with_worker=False)
    await early_in_the_minute()
    here, there = service.alice, other.as_user(service.alice.id, "alice")
    answers = [await client.get("/tasks") for client in (here, there) * 5]
    assert [answer.status for answer in answers] == [200] * 6 + [429] * 4


async def test_the_next_window_begins_anew(make_service: MakeService) -> None:
    service = await make_service(RATE_LIMIT_PER_MINUTE="2")
    await early_in_the_minute()
    await refused_after(service.alice, 2)
    # Not a minute's sleep: the counters of this window are taken away, as the next window's are not there yet.
    service.app[REQUEST_LIMIT]._window -= 1
    await flush(service.settings.redis_url)
    assert (await service.alice.get("/tasks")).status == 200


async def test_0_switches_the_limit_off(service: Service) -> None:
    assert service.settings.rate_limit_per_minute == 0
    for _ in range(5):
        answer = await service.alice.get("/tasks")
        assert answer.status == 200
        assert "RateLimit" not in answer.headers
        assert "RateLimit-Policy" not in answer.headers


async def test_health_and_metrics_are_not_limited(make_service: MakeService) -> None:
    service = await make_service(RATE_LIMIT_PER_MINUTE="1")
    for _ in range(3):
        for path in ("/health/live", "/health/ready", "/metrics"):
            assert (await service.anonymous.get(path)).status == 200


# -- login ----------------------------------------------------------------------------------------------------


async def log_in(service: Service, name: str, password: str, path: str = "/auth/login", **options: Any) -> Answer:
    return await service.anonymous.post(path, {"username": name, "password": password}, **options)


async def test_logins_have_a_stricter_limit_of_their_own(make_service: MakeService) -> None:
    service = await make_service(LOGIN_RATE_LIMIT_PER_MINUTE="3", RATE_LIMIT_PER_MINUTE="100")
    await early_in_the_minute()
    answers = [await log_in(service, "alice", "wrong") for _ in range(3)]
    assert [answer.status for answer in answers] == [401] * 3
    refused = await log_in(service, "alice", PASSWORD)
    assert_problem(refused, 429, "too-many-requests")
    assert left_of(refused) == 96  # the general limit goes on counting
    by_form = await service.anonymous.post("/auth/token", data={"username": "ALICE", "password": PASSWORD})
    assert_problem(by_form, 429, "too-many-requests")
    assert (await log_in(service, "bob", PASSWORD)).status == 200
    assert (await service.alice.get("/tasks")).status == 200


async def test_the_login_limit_is_by_name_and_address(make_service: MakeService) -> None:
    service = await make_service(LOGIN_RATE_LIMIT_PER_MINUTE="1", TRUSTED_PROXIES="127.0.0.1")
    await early_in_the_minute()

    async def from_address(address: str) -> int:
        return (await log_in(service, "alice", "wrong", headers={"X-Forwarded-For": address})).status

    assert [await from_address(a) for a in ("192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.2")] == [401, 401, 429, 429]


async def test_unknown_names_are_limited_as_known_ones(make_service: MakeService) -> None:
    service = await make_service(LOGIN_RATE_LIMIT_PER_MINUTE="2")
    await early_in_the_minute()
    for name in ("nobody", "alice"):
        assert [(await log_in(service, name, "wrong")).status for _ in range(3)] == [401, 401, 429]


@pytest.mark.parametrize("forwarded", ["192.0.2.9", "10.0.0.1, 192.0.2.9", "nonsense", "", "192.0.2.9" * 500])
async def test_a_forwarded_address_counts_only_from_a_trusted_proxy(make_service: MakeService, forwarded: str) -> None:
    service = await make_service(RATE_LIMIT_PER_MINUTE="2")
    await early_in_the_minute()
    statuses = [
        (await service.anonymous.get("/tasks", headers={"X-Forwarded-For": f"{number}{forwarded}"})).status
        for number in range(3)
    ]
    assert statuses == [401, 401, 429]


# -- without the cache server ---------------------------------------------------------------------------------


async def test_without_the_cache_each_process_counts_by_itself(
    make_service: MakeService, breakable_servers: Servers
) -> None:
    service = await make_service(on=breakable_servers, RATE_LIMIT_PER_MINUTE="4")
    async with away(breakable_servers.cache):
        await early_in_the_minute()
        answer = await refused_after(service.alice, 4)
        assert int(answer.headers["Retry-After"]) > 0
        assert left_of(await service.bob.get("/tasks")) == 3
    await early_in_the_minute()
    assert (await service.charlie.get("/tasks")).status == 200

"""Rate limits: told with every answer, counted by user or address, and kept without the cache server, too."""

import asyncio
import dataclasses
import time
from typing import Any

import pytest

from api.keys import REQUEST_LIMIT
from tests.api.problems import assert_problem
from tests.api.windows import early_in_the_minute, left_of
from tests.conftest import MakeService
from tests.factories import task_fields
from tests.harness import Answer, Client, Servers, Service, away, flush


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


# -- what counts for more than one ----------------------------------------------------------------------------


def creates(number: int) -> dict[str, Any]:
    return {"operations": [{"op": "create", "fields": task_fields()} for _ in range(number)]}


@pytest.mark.parametrize(("operations", "hits"), [(1, 1), (20, 1), (21, 2), (40, 2), (61, 4)])
async def test_a_batch_counts_once_for_each_20_operations_or_part_of_them(
    make_service: MakeService, operations: int, hits: int
) -> None:
    service = await make_service(RATE_LIMIT_PER_MINUTE="50")
    await early_in_the_minute()
    answer = await service.alice.post("/tasks/batch", creates(operations))
    assert answer.status == 207
    assert left_of(answer) == 50 - hits
    assert left_of(await service.alice.get("/tasks")) == 49 - hits


async def test_a_batch_over_the_limit_is_429_with_nothing_done_and_smaller_ones_go_on(
    make_service: MakeService,
) -> None:
    service = await make_service(RATE_LIMIT_PER_MINUTE="10")
    other = await make_service(settings=service.settings, with_worker=False)
    await early_in_the_minute()
    refused = await service.alice.post("/tasks/batch", creates(201))
    problem = assert_problem(refused, 429, "too-many-requests")
    assert "counts as 11" in problem["detail"]
    assert left_of(refused) == 9  # it has come, and that is all
    assert (await service.alice.get("/tasks")).items == []
    await asyncio.sleep(0.1)  # until what was given back is told
    alice = other.as_user(service.alice.id, "alice")
    answer = await alice.post("/tasks/batch", creates(160))
    assert (answer.status, left_of(answer)) == (207, 0)
    assert_problem(await alice.post("/tasks/batch", creates(1)), 429, "too-many-requests")


async def test_a_batch_is_paid_for_before_its_operations_are_looked_at(make_service: MakeService) -> None:
    service = await make_service(RATE_LIMIT_PER_MINUTE="10")
    await early_in_the_minute()
    hostile = {"operations": [{"op": "create", "fields": {"title": "x", "recurrence": "FREQ=NONSENSE"}}] * 400}
    started = time.process_time()
    assert_problem(await service.alice.post("/tasks/batch", hostile), 429, "too-many-requests")
    refused_after_seconds = time.process_time() - started
    # The same, of somebody whose limit allows it.
    settings = dataclasses.replace(service.settings, rate_limit_per_minute=0)
    rich = await make_service(settings=settings, with_worker=False)
    started = time.process_time()
    assert (await rich.as_user(service.bob.id, "bob").post("/tasks/batch", hostile)).status == 207
    assert refused_after_seconds < (time.process_time() - started) / 2


async def test_a_batch_of_nonsense_is_refused_for_what_it_is(make_service: MakeService) -> None:
    service = await make_service(RATE_LIMIT_PER_MINUTE="100")
    await early_in_the_minute()
    for body in ([], {}, {"operations": {}}, {"operations": None}, {"operations": []}):
        assert_problem(await service.alice.post("/tasks/batch", body), 422, "validation-error")
    too_many = await service.alice.post("/tasks/batch", {"operations": [None] * 5000})
    assert_problem(too_many, 422, "validation-error")
    assert left_of(too_many) == 100 - 5 - 50


# -- whose limit it is ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("forwarded", ["192.0.2.9", "10.0.0.1, 192.0.2.9", "nonsense", "", "192.0.2.9" * 500])
async def test_a_forwarded_address_counts_only_from_a_trusted_proxy(make_service: MakeService, forwarded: str) -> None:
    service = await make_service(RATE_LIMIT_PER_MINUTE="2")
    await early_in_the_minute()
    statuses = [
        (await service.anonymous.get("/tasks", headers={"X-Forwarded-For": f"{number}{forwarded}"})).status
        for number in range(3)
    ]
    assert statuses == [401, 401, 429]


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "{}:4711"},
        {"X-Forwarded-For": "198.51.100.77, {}:4711"},
        {"X-Forwarded-For": "198.51.100.77,{}, 127.0.0.1"},
        {"Forwarded": "for={}"},
        {"Forwarded": 'for=198.51.100.77;proto=https, for="{}:4711";by=127.0.0.1'},
        {"X-Forwarded-For": "{}", "Forwarded": "for=198.51.100.77"},
    ],
)
async def test_clients_of_a_trusted_proxy_have_limits_of_their_own(
    make_service: MakeService, headers: dict[str, str]
) -> None:
    service = await make_service(RATE_LIMIT_PER_MINUTE="2", TRUSTED_PROXIES="127.0.0.1")
    await early_in_the_minute()
    statuses = []
    for client in ("203.0.113.7", "203.0.113.8", "203.0.113.7", "203.0.113.8", "203.0.113.7", "203.0.113.8"):
        sent = {name: value.format(client) for name, value in headers.items()}
        statuses.append((await service.anonymous.get("/tasks", headers=sent)).status)
    assert statuses == [401, 401, 401, 401, 429, 429]


async def test_one_ipv6_network_of_64_bits_is_one_client(make_service: MakeService) -> None:
    service = await make_service(RATE_LIMIT_PER_MINUTE="2", TRUSTED_PROXIES="127.0.0.1")
    await early_in_the_minute()
    statuses = [
        (await service.anonymous.get("/tasks", headers={"X-Forwarded-For": address})).status
        for address in ("2001:db8::1", "[2001:db8::2]:80", "2001:db8:0:0:ffff::3", "2001:db8:0:1::1")
    ]
    assert statuses == [401, 401, 429, 401]


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

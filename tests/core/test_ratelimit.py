"""Rate limits: exact over all processes at the limit, and of this process alone where the cache server is away."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from core.ratelimit import TELL_SECONDS, WINDOW_SECONDS, Allowance, RateLimiter
from core.redis.clients import cache_client
from core.redis.link import Link
from core.settings import Settings
from tests.harness import cache_link

TOLD_SECONDS = TELL_SECONDS + 0.1


@pytest.fixture
async def server(settings: Settings) -> AsyncIterator[Redis]:
    client = cache_client(settings.redis_url)
    yield client
    await client.aclose(close_connection_pool=True)


@pytest.fixture
async def link(settings: Settings) -> AsyncIterator[Link]:
    async with cache_link(settings.redis_url) as link:
        yield link
        await asyncio.sleep(2 * TELL_SECONDS)


@pytest.fixture(autouse=True)
async def early_in_a_window() -> None:
    """A window is a minute of the clock; a test must not begin in one and end in the next."""
    left = WINDOW_SECONDS - time.time() % WINDOW_SECONDS
    if left < 3:
        await asyncio.sleep(left + 0.05)


def limiter(link: Link, per_minute: int = 10, name: str = "test") -> RateLimiter:
    """As one process has it."""
    return RateLimiter(link, name=name, quota=per_minute)


async def hits(limiter: RateLimiter, count: int, who: str = "alice") -> list[Allowance]:
    allowances = [await limiter.hit(who) for _ in range(count)]
    assert None not in allowances
    return [allowance for allowance in allowances if allowance is not None]


async def test_as_many_as_the_quota_are_let_through_and_no_more(link: Link) -> None:
    allowances = await hits(limiter(link), 13)
    assert [allowance.exceeded for allowance in allowances] == [False] * 10 + [True] * 3
    assert [allowance.left for allowance in allowances] == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 0, 0]


async def test_what_is_told_is_the_quota_and_the_seconds_until_the_next_window(link: Link) -> None:
    [allowance] = await hits(limiter(link), 1)
    assert allowance.quota == 10
    assert allowance.reset_seconds == pytest.approx(WINDOW_SECONDS - time.time() % WINDOW_SECONDS, abs=1.5)
    assert 1 <= allowance.reset_seconds <= WINDOW_SECONDS


async def test_each_has_an_allowance_of_its_own(link: Link) -> None:
    mine = limiter(link)
    assert (await hits(mine, 11, "alice"))[-1].exceeded
    assert not (await hits(mine, 1, "bob"))[0].exceeded


async def test_limits_of_other_names_are_counted_apart(link: Link) -> None:
    await hits(limiter(link, name="request"), 11)
    assert not (await hits(limiter(link, name="login"), 1))[0].exceeded


async def test_a_limit_of_one_lets_one_through(link: Link) -> None:
    assert [allowance.exceeded for allowance in await hits(limiter(link, per_minute=1), 2)] == [False, True]


async def test_nought_switches_a_limit_off_and_asks_nobody(server: Redis, link: Link) -> None:
    off = limiter(link, per_minute=0)
    assert [await off.hit("alice") for _ in range(3)] == [None] * 3
    assert await server.dbsize() == 0


async def test_processes_that_take_turns_share_one_allowance(link: Link) -> None:
    processes = [limiter(link, per_minute=20) for _ in range(4)]
    exceeded = []
    for number in range(30):
        [allowance] = await hits(processes[number % 4], 1)
        exceeded.append(allowance.exceeded)
        await asyncio.sleep(TELL_SECONDS)
    # What another process has counted and not told yet may be let through, a few milliseconds' worth.
    assert 20 <= exceeded.count(False) <= 22
    assert exceeded[-6:] == [True] * 6


async def test_hits_that_come_at_once_are_all_counted(link: Link) -> None:
    mine = limiter(link, per_minute=100)
    allowances = await asyncio.gather(*(mine.hit("alice") for _ in range(150)))
    assert sum(not allowance.exceeded for allowance in allowances if allowance) == 100


async def test_a_counter_goes_away_by_itself(server: Redis, link: Link) -> None:
    await hits(limiter(link), 3)
    await asyncio.sleep(TOLD_SECONDS)
    [key] = await server.keys("*")
    assert 0 < await server.ttl(key) <= 2 * WINDOW_SECONDS


async def test_hits_that_were_counted_here_are_told_soon(server: Redis, link: Link) -> None:
    await hits(limiter(link, per_minute=100), 20)
    await asyncio.sleep(TOLD_SECONDS)
    [key] = await server.keys("*")
    assert int(await server.get(key)) == 20


async def test_what_the_server_was_not_there_for_is_counted_all_the_same(settings: Settings) -> None:
    async with cache_link(settings.redis_url) as link, cache_link("redis://127.0.0.1:1/0") as nowhere:
        for away_for in range(8):
            mine = limiter(link, per_minute=8, name=f"away for {away_for}")
            mine._link = nowhere
            allowances = await hits(mine, away_for)
            mine._link = link
            allowances += await hits(mine, 10 - away_for)
            assert [allowance.left for allowance in allowances] == [7, 6, 5, 4, 3, 2, 1, 0, 0, 0]
            assert [allowance.exceeded for allowance in allowances] == [False] * 8 + [True] * 2


async def test_a_server_that_goes_away_or_forgets_gives_no_allowance_anew(
    settings: Settings, server: Redis, link: Link
) -> None:
    mine = limiter(link, per_minute=8)
    assert [allowance.left for allowance in await hits(mine, 6)] == [7, 6, 5, 4, 3, 2]
    await server.flushall()
    assert [allowance.left for allowance in await hits(mine, 1)] == [1]
    assert [allowance.left for allowance in await hits(mine, 1)] == [0]
    [key] = await server.keys("*")
    assert 0 < await server.ttl(key) <= 2 * WINDOW_SECONDS
    async with cache_link("redis://127.0.0.1:1/0") as nowhere:
        mine._link = nowhere
        assert (await hits(mine, 1))[0].exceeded


async def test_where_the_server_is_away_this_process_counts_by_itself() -> None:
    async with cache_link("redis://127.0.0.1:1/0") as nowhere:
        allowances = await hits(limiter(nowhere), 13)
        await asyncio.sleep(TOLD_SECONDS)
        assert [allowance.exceeded for allowance in allowances].count(False) == 10
        assert allowances[-1].exceeded

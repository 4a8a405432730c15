"""Before anybody is told of a change the cache has forgotten what it held of it, or is under suspicion."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from core import lanes
from core.cache import SUSPECT_FLAG, CacheInvalidator, Miss, PageCache
from core.redis.clients import cache_client
from core.settings import Settings
from tests.harness import cache_link, eventually
from tests.worker.commands import create, new_user
from tests.worker.writes.lane import LANE, ORIGIN, append, listening, titles, waiting
from worker.runner import Services
from worker.writes.lanes import drain_lane


@pytest.fixture
async def cache(settings: Settings) -> AsyncIterator[PageCache]:
    async with cache_link(settings.redis_url) as link:
        cache = PageCache(link, ttl_seconds=60)
        cache.suspect = False
        yield cache


async def test_the_cache_forgets_before_anybody_is_told(services: Services, cache: PageCache, alice: int) -> None:
    found_at_outcome: list[Any] = []
    for number in range(10):
        miss = await cache.look_up(alice, "tasks")
        assert isinstance(miss, Miss)
        cache.store(alice, "tasks", miss, b"old")
        assert await cache.look_up(alice, "tasks") == b"old"
        await append(services, create(alice, f"title {number}"))
        async with services.queue.pubsub() as subscription:
            await subscription.subscribe(lanes.outcomes_channel(ORIGIN))
            await subscription.get_message(timeout=5)
            draining = asyncio.create_task(drain_lane(services, LANE))
            await eventually(lambda s=subscription: s.get_message(ignore_subscribe_messages=True, timeout=1))
            found_at_outcome.append(await cache.look_up(alice, "tasks"))
            await draining
    assert all(isinstance(found, Miss) for found in found_at_outcome)


async def test_others_pages_stay(services: Services, cache: PageCache, owner: asyncpg.Connection, alice: int) -> None:
    bob = await new_user(owner)
    miss = await cache.look_up(bob, "tasks")
    assert isinstance(miss, Miss)
    cache.store(bob, "tasks", miss, b"bob's")
    await append(services, create(alice))
    await drain_lane(services, LANE)
    assert await cache.look_up(bob, "tasks") == b"bob's"


async def test_a_cache_that_cannot_be_told_is_put_under_suspicion_before_anybody_is_told(
    services: Services, alice: int
) -> None:
    nowhere = cache_client("redis://127.0.0.1:1/0")
    crippled = replace(services, cache=nowhere, invalidator=CacheInvalidator(nowhere, services.queue))
    await append(services, create(alice))
    async with services.queue.pubsub() as subscription:
        await subscription.subscribe(lanes.outcomes_channel(ORIGIN))
        await subscription.get_message(timeout=5)
        draining = asyncio.create_task(drain_lane(crippled, LANE))
        await eventually(lambda: subscription.get_message(ignore_subscribe_messages=True, timeout=1))
        assert await services.queue.exists(SUSPECT_FLAG)
        await draining
    assert await waiting(services) == 0
    await nowhere.aclose(close_connection_pool=True)


async def test_nothing_is_told_where_neither_cache_nor_flag_can_be_reached(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    nowhere = cache_client("redis://127.0.0.1:1/0")
    crippled = replace(services, invalidator=CacheInvalidator(nowhere, nowhere))  # type: ignore[arg-type]
    await append(services, create(alice, "once"))
    async with listening(services) as heard:
        with pytest.raises(RedisConnectionError):
            await drain_lane(crippled, LANE)
        assert await waiting(services) == 1, "it is told by whoever drains the lane next"
    assert heard.outcomes == []
    await drain_lane(services, LANE)
    assert await titles(owner) == ["once"]
    await nowhere.aclose(close_connection_pool=True)

"""The page cache is never stale, whatever overtakes what; and under suspicion nobody reads it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from arq.connections import ArqRedis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from redis.asyncio import Redis
from redis.exceptions import RedisError

from core.cache import SUSPECT_CHANNEL, SUSPECT_FLAG, CacheInvalidator, Miss, PageCache
from core.redis.clients import cache_client, queue_client
from core.redis.link import Link
from core.settings import Settings
from tests.harness import cache_link, eventually

ALICE, BOB = 1, 2
NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture
async def server(settings: Settings) -> AsyncIterator[Redis]:
    client = cache_client(settings.redis_url)
    yield client
    await client.aclose(close_connection_pool=True)


@pytest.fixture
async def link(settings: Settings) -> AsyncIterator[Link]:
    async with cache_link(settings.redis_url) as link:
        yield link


@pytest.fixture
async def nowhere() -> AsyncIterator[Redis]:
    """A server that cannot be reached."""
    client = cache_client(NOWHERE)
    yield client
    await client.aclose(close_connection_pool=True)


@pytest.fixture
async def link_to_nowhere() -> AsyncIterator[Link]:
    async with cache_link(NOWHERE) as link:
        yield link


@pytest.fixture
def cache(link: Link) -> PageCache:
    return trusted(link)


@pytest.fixture
def invalidator(server: Redis, queue: ArqRedis) -> CacheInvalidator:
    return CacheInvalidator(server, queue)


def trusted(link: Link, ttl_seconds: int = 60) -> PageCache:
    cache = PageCache(link, ttl_seconds=ttl_seconds)
    cache.suspect = False
    return cache


def failed() -> float:
    """How many questions the cache has not answered."""
    return REGISTRY.get_sample_value("tenfold_cache_reads_total", {"result": "error"}) or 0.0


async def missed(cache: PageCache, user_id: int, query: str = "q") -> Miss:
    miss = await cache.look_up(user_id, query)
    assert isinstance(miss, Miss)
    return miss


# -- versions


async def test_a_stored_page_is_found_by_its_user_and_query_alone(cache: PageCache) -> None:
    cache.store(ALICE, "q", await missed(cache, ALICE), b"page")
    assert await cache.look_up(ALICE, "q") == b"page"
    await missed(cache, ALICE, "other")
    await missed(cache, BOB, "q")


async def test_bytes_come_back_as_they_were(cache: PageCache) -> None:
    for query, page in (("empty", b""), ("bytes", bytes(range(256))), ("large", b"x" * 300_000)):
        cache.store(ALICE, query, await missed(cache, ALICE, query), page)
        assert await cache.look_up(ALICE, query) == page


async def test_a_forgotten_user_has_no_pages_and_others_keep_theirs(
    cache: PageCache, invalidator: CacheInvalidator
) -> None:
    for user_id in (ALICE, BOB):
        for query in ("one", "two"):
            cache.store(user_id, query, await missed(cache, user_id, query), b"page")
            assert await cache.look_up(user_id, query) == b"page"
    await invalidator.forget_users([ALICE])
    await missed(cache, ALICE, "one")
    await missed(cache, ALICE, "two")
    assert await cache.look_up(BOB, "one") == b"page"


async def test_a_page_read_before_a_change_and_stored_after_it_is_dropped(
    cache: PageCache, invalidator: CacheInvalidator
) -> None:
    miss = await missed(cache, ALICE)
    await invalidator.forget_users([ALICE])
    cache.store(ALICE, "q", miss, b"old")
    await missed(cache, ALICE)


async def test_it_is_dropped_also_where_another_has_begun_to_read_since(
    cache: PageCache, invalidator: CacheInvalidator
) -> None:
    old = await missed(cache, ALICE)
    await invalidator.forget_users([ALICE])
    new = await missed(cache, ALICE)
    assert new.version != old.version
    cache.store(ALICE, "q", old, b"old")
    await missed(cache, ALICE)
    cache.store(ALICE, "q", new, b"new")
    cache.store(ALICE, "q", old, b"old")
    assert await cache.look_up(ALICE, "q") == b"new"


async def test_a_page_is_dropped_where_the_server_lost_everything_meanwhile(cache: PageCache, server: Redis) -> None:
    miss = await missed(cache, ALICE)
    await server.flushdb()
    cache.store(ALICE, "q", miss, b"old")
    await missed(cache, ALICE)


async def test_those_who_read_at_the_same_time_share_a_version(cache: PageCache) -> None:
    misses = await asyncio.gather(*(missed(cache, ALICE, f"q{number}") for number in range(20)))
    assert len({miss.version for miss in misses}) == 1


async def test_a_users_pages_live_for_the_time_to_live_at_most(server: Redis, link: Link) -> None:
    cache = trusted(link, ttl_seconds=7)
    miss = await missed(cache, ALICE)
    for number in range(3):
        cache.store(ALICE, f"q{number}", miss, b"page")
    assert await cache.look_up(ALICE, "q2") == b"page"
    [key] = [key async for key in server.scan_iter(match="tenfold:cache:*")]
    assert 0 < await server.ttl(key) <= 7, "storing does not make it longer"


async def test_switched_off_it_asks_nobody(link_to_nowhere: Link) -> None:
    assert await trusted(link_to_nowhere, ttl_seconds=0).look_up(ALICE, "q") is None


async def test_where_it_is_away_reads_and_stores_go_on_without_it(link_to_nowhere: Link) -> None:
    cache = trusted(link_to_nowhere)
    assert await cache.look_up(ALICE, "q") is None
    errors = failed()
    cache.store(ALICE, "q", Miss(b"v"), b"page")
    async with asyncio.timeout(5):
        while failed() == errors:
            await asyncio.sleep(0.01)


steps = st.lists(st.tuples(st.sampled_from(("read", "store", "write")), st.integers(0, 3)), min_size=1, max_size=25)


@hypothesis_settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
async def test_no_order_of_reads_stores_and_writes_shows_what_was_overwritten(
    server: Redis, link: Link, queue: ArqRedis, plan: list[tuple[str, int]]
) -> None:
    """The invariant: after a write was told, no reader gets a page from before it."""
    await server.flushdb()
    cache, invalidator = trusted(link), CacheInvalidator(server, queue)
    rows = 0
    held: dict[int, tuple[Miss, bytes]] = {}
    for step, reader in plan:
        if step == "read":
            found = await cache.look_up(ALICE, "q")
            if isinstance(found, Miss):
                held[reader] = (found, str(rows).encode())
            else:
                assert found == str(rows).encode()
        elif step == "store" and reader in held:
            cache.store(ALICE, "q", *held.pop(reader))
        elif step == "write":
            rows += 1
            await invalidator.forget_users([ALICE])


# -- suspicion


@contextlib.asynccontextmanager
async def watching(cache: PageCache, queue: ArqRedis) -> AsyncIterator[None]:
    watcher = asyncio.create_task(cache.watch_flag(queue))
    await becomes(cache, suspect=False)
    yield
    watcher.cancel()
    await asyncio.gather(watcher, return_exceptions=True)


async def becomes(cache: PageCache, *, suspect: bool) -> None:
    async def is_so() -> bool:
        return cache.suspect is suspect

    await eventually(is_so, timeout=5)


async def test_a_cache_is_passed_by_until_the_flag_was_seen_to_be_down(link: Link, queue: ArqRedis) -> None:
    cache = PageCache(link, ttl_seconds=60)
    assert await cache.look_up(ALICE, "q") is None
    async with watching(cache, queue):
        await missed(cache, ALICE)


async def test_a_flag_that_is_up_at_the_start_is_seen(link: Link, queue: ArqRedis) -> None:
    await queue.set(SUSPECT_FLAG, "x")
    cache = PageCache(link, ttl_seconds=60)
    watcher = asyncio.create_task(cache.watch_flag(queue))
    await asyncio.sleep(0.2)
    assert cache.suspect
    watcher.cancel()
    await asyncio.gather(watcher, return_exceptions=True)


async def test_a_raised_flag_is_known_everywhere_when_the_raising_returns(
    link: Link, queue: ArqRedis, invalidator: CacheInvalidator
) -> None:
    caches = [PageCache(link, ttl_seconds=60) for _ in range(3)]
    async with contextlib.AsyncExitStack() as stack:
        for cache in caches:
            await stack.enter_async_context(watching(cache, queue))
        await invalidator.distrust_everything()
        assert [cache.suspect for cache in caches] == [True, True, True]
        assert await invalidator.empty_if_suspect()
        for cache in caches:
            await becomes(cache, suspect=False)


async def test_an_invalidation_that_fails_raises_the_flag(queue: ArqRedis, nowhere: Redis) -> None:
    await CacheInvalidator(nowhere, queue).forget_users([ALICE])
    assert await queue.exists(SUSPECT_FLAG)


async def test_where_neither_can_be_reached_it_is_an_error(nowhere: Redis) -> None:
    with pytest.raises((RedisError, OSError)):
        await CacheInvalidator(nowhere, nowhere).forget_users([ALICE])  # type: ignore[arg-type]


async def test_forgetting_nobody_asks_nobody(nowhere: Redis) -> None:
    await CacheInvalidator(nowhere, nowhere).forget_users([])  # type: ignore[arg-type]


async def fill(server: Redis, users: int) -> None:
    pipeline = server.pipeline(transaction=False)
    for number in range(users):
        pipeline.hset(f"tenfold:cache:user:{number}", "q", "old")
    await pipeline.execute()


async def test_emptying_removes_every_users_pages_before_the_flag_goes_down(
    cache: PageCache, server: Redis, queue: ArqRedis, invalidator: CacheInvalidator
) -> None:
    await fill(server, 2500)
    await server.set("another:key", "stays")
    await queue.set(SUSPECT_FLAG, "x")
    assert await invalidator.empty_if_suspect()
    assert [key async for key in server.scan_iter()] == [b"another:key"]
    assert not await queue.exists(SUSPECT_FLAG)


async def test_without_suspicion_nothing_is_emptied(cache: PageCache, invalidator: CacheInvalidator) -> None:
    cache.store(ALICE, "q", await missed(cache, ALICE), b"page")
    assert await invalidator.empty_if_suspect()
    assert await cache.look_up(ALICE, "q") == b"page"


async def test_a_flag_stays_up_while_the_cache_cannot_be_emptied(queue: ArqRedis, nowhere: Redis) -> None:
    await queue.set(SUSPECT_FLAG, "x")
    assert not await CacheInvalidator(nowhere, queue).empty_if_suspect()
    assert await queue.exists(SUSPECT_FLAG)


async def test_a_flag_raised_again_while_the_cache_is_being_emptied_stays_up(
    server: Redis, queue: ArqRedis, invalidator: CacheInvalidator
) -> None:
    await fill(server, 5000)
    await queue.set(SUSPECT_FLAG, "first")
    emptying = asyncio.create_task(invalidator.empty_if_suspect())
    while await server.dbsize() > 4000:
        await asyncio.sleep(0)
    await queue.set(SUSPECT_FLAG, "second")
    assert not await emptying
    assert await queue.get(SUSPECT_FLAG) == b"second"


async def test_who_cannot_watch_the_flag_passes_the_cache_by(link: Link, queue: ArqRedis) -> None:
    cache = trusted(link)
    unreachable = queue_client(NOWHERE)
    watcher = asyncio.create_task(cache.watch_flag(unreachable))
    await becomes(cache, suspect=True)
    assert await cache.look_up(ALICE, "q") is None
    watcher.cancel()
    await asyncio.gather(watcher, return_exceptions=True)
    await unreachable.aclose(close_connection_pool=True)


async def test_a_lost_message_is_made_up_for_within_a_second_or_so(link: Link, queue: ArqRedis) -> None:
    cache = PageCache(link, ttl_seconds=60)
    async with watching(cache, queue):
        await queue.set(SUSPECT_FLAG, "x")  # and nobody publishes it
        await becomes(cache, suspect=True)
        await queue.delete(SUSPECT_FLAG)
        await becomes(cache, suspect=False)
        await queue.publish(SUSPECT_CHANNEL, "clear")

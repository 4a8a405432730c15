"""Commands of one turn of the event loop share a round trip, and nothing else."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from core.redis import cache_client
from core.redisbatch import Batcher
from core.settings import Settings


@pytest.fixture
async def server(settings: Settings) -> AsyncIterator[Redis]:
    client = cache_client(settings.redis_url)
    yield client
    await client.aclose(close_connection_pool=True)


@pytest.fixture
def batcher(server: Redis) -> Batcher:
    return Batcher(server)


async def test_each_caller_gets_the_reply_to_its_own_command(batcher: Batcher) -> None:
    replies = await asyncio.gather(*(batcher.execute("ECHO", f"{number}") for number in range(1000)))
    assert replies == [f"{number}".encode() for number in range(1000)]


async def test_a_lone_command_waits_for_nobody(batcher: Batcher) -> None:
    assert await batcher.execute("PING") in (b"PONG", True)


async def test_commands_of_one_caller_keep_their_order(batcher: Batcher) -> None:
    for number in range(50):
        assert await batcher.execute("INCR", "counter") == number + 1


async def test_commands_of_one_turn_go_over_one_connection(batcher: Batcher, server: Redis) -> None:
    ids = await asyncio.gather(*(batcher.execute("CLIENT", "ID") for _ in range(100)))
    assert len(set(ids)) == 1


async def test_an_error_reaches_its_own_caller_alone(batcher: Batcher, server: Redis) -> None:
    await server.set("text", "x")
    commands = [("INCR", "number"), ("INCR", "text"), ("NONSENSE",), ("GET", "text")]
    replies = await asyncio.gather(*(batcher.execute(*command) for command in commands), return_exceptions=True)
    assert replies[0] == 1
    assert isinstance(replies[1], ResponseError)
    assert isinstance(replies[2], ResponseError)
    assert replies[3] == b"x"


async def test_a_caller_that_was_cancelled_takes_nobody_with_it(batcher: Batcher) -> None:
    callers = [asyncio.create_task(batcher.execute("ECHO", f"{number}")) for number in range(10)]
    await asyncio.sleep(0)
    for caller in callers[::2]:
        caller.cancel()
    replies = await asyncio.gather(*callers, return_exceptions=True)
    assert replies[1::2] == [f"{number}".encode() for number in range(1, 10, 2)]
    assert all(isinstance(reply, asyncio.CancelledError) for reply in replies[::2])
    assert await batcher.execute("ECHO", "on") == b"on"


async def test_where_the_server_is_away_every_caller_hears_so_and_a_later_one_is_served_again(
    server: Redis,
) -> None:
    nowhere = cache_client("redis://127.0.0.1:1/0")
    batcher = Batcher(nowhere)
    replies = await asyncio.gather(*(batcher.execute("PING") for _ in range(5)), return_exceptions=True)
    assert all(isinstance(reply, RedisConnectionError) for reply in replies)
    batcher._client = server
    assert await batcher.execute("ECHO", "back") == b"back"
    await nowhere.aclose(close_connection_pool=True)

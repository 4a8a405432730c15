"""Clients of the queue and cache servers."""

import asyncio

import pytest
import redis.exceptions
import uvloop

from core.redis.clients import REDIS_FAULTS, queue_client
from core.settings import Settings
from tests.harness import Servers, answer_cut_off


async def test_a_connection_closed_under_its_sender_is_a_fault_of_the_server(servers: Servers) -> None:
    async def send_on_a_closed_connection() -> None:
        client = queue_client(servers.queue.url())
        connection = await client.connection_pool.get_connection()
        try:
            connection._writer.transport.abort()
            await asyncio.sleep(0)
            with pytest.raises(redis.exceptions.ConnectionError) as caught:
                await connection.send_packed_command(connection.pack_command("PING"), check_health=False)
            assert isinstance(caught.value, REDIS_FAULTS)
        finally:
            await client.connection_pool.release(connection)
            await client.aclose(close_connection_pool=True)

    # In a thread, because the loop that production runs on words it in a way of its own.
    await asyncio.to_thread(uvloop.run, send_on_a_closed_connection())


async def test_a_transaction_whose_connection_was_lost_does_not_count_as_one_that_came_too_late(
    settings: Settings,
) -> None:
    """arq says None of a job that is there already: whoever asked for it would think that it is taken care of."""
    async with answer_cut_off(settings.queue_redis_url, b"PSETEX") as (way, cut):
        client = queue_client(way)
        with pytest.raises(redis.exceptions.ConnectionError):
            await client.enqueue_job("job", _job_id="one")
        assert cut.is_set()
        assert await client.enqueue_job("job", _job_id="one") is None, "the server had carried it out"
        await client.aclose(close_connection_pool=True)


async def test_a_watched_key_that_changes_is_told_as_that(settings: Settings) -> None:
    client = queue_client(settings.queue_redis_url)
    async with client.pipeline(transaction=True) as transaction:
        await transaction.watch("key")
        await client.set("key", "changed")
        transaction.multi()
        transaction.set("key", "too late")
        with pytest.raises(redis.exceptions.WatchError):
            await transaction.execute()
    assert await client.get("key") == b"changed"
    await client.aclose(close_connection_pool=True)

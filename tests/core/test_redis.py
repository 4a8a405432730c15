"""Clients of the queue and cache servers."""

import asyncio

import pytest
import redis.exceptions
import uvloop

from core.redis import REDIS_FAULTS, queue_client
from tests.harness import Servers


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

"""A link connects when it is used, spares a server that is away, and fails what is open when it is closed."""

import asyncio
import gc
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from structlog.testing import capture_logs

from core.redis.link import LONGEST_REST_SECONDS, Link
from ops.dev.servers import ValkeyServer
from tests.core.redis.harness import (
    LONG,
    NOWHERE,
    Peer,
    Scripted,
    also_gathering,
    client_of,
    is_blocked,
    linked,
    on_both_loops,
    outcome_of,
    own_id,
)
from tests.harness import away, eventually

# -- connecting


@on_both_loops
async def test_it_connects_when_something_is_sent_and_not_before() -> None:
    async with Scripted(Peer.echo) as server, linked(server.url) as link:
        await asyncio.sleep(0.05)
        assert server.connections == 0
        await asyncio.gather(*(link.send(("ECHO", number)) for number in range(10)))
        assert server.connections == 1


@on_both_loops
async def test_password_and_database_are_those_of_the_address(own_server: ValkeyServer) -> None:
    async with linked(own_server.url(3)) as link, client_of(own_server.url(3)) as same:
        await link.send(("SET", "here", "x"))
        assert await same.get("here") == b"x"
        async with linked(own_server.url(4)) as other:
            assert await other.send(("EXISTS", "here")) == [0]
    async with linked(own_server.url().replace(own_server.password, "wrong")) as link:
        with pytest.raises(RedisError, match=r"(?i)password"):
            await link.send(("PING",))


@on_both_loops
async def test_where_the_server_is_away_everybody_hears_so() -> None:
    async with linked(NOWHERE) as link:
        outcomes = await asyncio.gather(*(link.send(("PING",)) for _ in range(5)), return_exceptions=True)
        assert all(isinstance(outcome, RedisConnectionError) for outcome in outcomes)
        assert len(outcomes) == 5


@on_both_loops
async def test_a_server_that_is_away_is_not_tried_for_each_who_asks_and_its_outage_is_told_once(
    own_server: ValkeyServer,
) -> None:
    async with client_of(own_server.url()) as client:
        usual = client.connection_pool.connection_class
        attempts = 0

        class Counted(usual):  # type: ignore[misc,valid-type]
            async def connect(self) -> None:
                nonlocal attempts
                attempts += 1
                await super().connect()

        client.connection_pool.connection_class = Counted
        link = Link(client, timeout=60.0, name="a server")
        try:
            with capture_logs() as lines:
                async with away(own_server):
                    until = asyncio.get_running_loop().time() + 1.0
                    asked = 0
                    while asyncio.get_running_loop().time() < until:
                        assert isinstance(await outcome_of(link.send(("PING",))), RedisConnectionError)
                        asked += 1
                        await asyncio.sleep(0.001)
                assert asked > 50
                assert attempts < 20
                async with asyncio.timeout(2 * LONGEST_REST_SECONDS):
                    while isinstance(await outcome_of(link.send(("PING",))), Exception):
                        await asyncio.sleep(0.01)
            assert [line["event"] for line in lines] == ["outage begins", "outage is over"]
        finally:
            await link.close()


@on_both_loops
async def test_whoever_asks_learns_of_an_attempt_to_connect_that_ends_in_whatever_it_may() -> None:
    unexpected: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unexpected.append(context))
    async with client_of(NOWHERE) as client:

        class Broken(client.connection_pool.connection_class):  # type: ignore[misc,name-defined]
            async def connect(self) -> None:
                raise RuntimeError("the handler is closed")

        client.connection_pool.connection_class = Broken
        link = Link(client, timeout=60.0)
        try:
            assert isinstance(await outcome_of(link.send(("PING",))), RedisConnectionError)
        finally:
            await link.close()
    gc.collect()
    assert unexpected == []


@on_both_loops
async def test_it_works_again_when_the_server_is_back(own_server: ValkeyServer) -> None:
    async with linked(own_server.url()) as link:
        await link.send(("PING",))
        async with away(own_server):
            for _ in range(2):
                with pytest.raises(RedisConnectionError):
                    await link.send(("PING",))
        assert await link.send(("ECHO", "back")) == [b"back"]


@on_both_loops
async def test_a_server_that_does_not_shake_hands_is_given_up_in_time() -> None:
    async def silent(peer: Peer) -> None:
        await asyncio.sleep(LONG)

    async with Scripted(silent, shakes_hands=False) as server, linked(server.url, timeout=0.1) as link:
        with pytest.raises(RedisTimeoutError, match="the server does not answer"):  # sooner than redis-py says so
            await link.send(("PING",))


# -- the end


@on_both_loops
@also_gathering
async def test_closing_fails_what_is_open_and_what_is_sent_after_it(url: str, gathers: bool) -> None:
    async with linked(url, gathers=gathers) as link, client_of(url) as other:
        connection_id = await own_id(link)
        asked = [link.send(("BLPOP", "list", 5)), link.send(("RPUSH", "behind", 1))]
        lost = asyncio.ensure_future(link.wait_until_lost())
        await eventually(lambda: is_blocked(other, connection_id))
        await link.close()
        for question in [*asked, link.send(("PING",))]:
            assert isinstance(await outcome_of(question), RedisConnectionError)
        await lost
        await link.close()

        async def is_gone() -> bool:
            return not await other.client_list(client_id=[str(connection_id)])

        await eventually(is_gone)
        assert not await other.exists("behind")


@on_both_loops
async def test_closing_fails_what_waits_for_the_connection_however_far_that_is(url: str) -> None:
    for turns in range(40):
        async with linked(url) as link:
            asked = link.send(("BLPOP", "list", 5))
            for _ in range(turns):
                await asyncio.sleep(0)
            await link.close()
            assert isinstance(await outcome_of(asked), RedisConnectionError)


@on_both_loops
async def test_what_was_never_opened_can_be_closed() -> None:
    async with linked(NOWHERE) as link:
        await link.close()
        assert isinstance(await outcome_of(link.send(("PING",))), RedisConnectionError)


@on_both_loops
async def test_a_connection_that_is_closed_in_the_moment_it_was_opened_fails_at_once() -> None:
    async with Scripted(Peer.echo) as server, client_of(server.url) as client:
        usual = client.connection_pool.connection_class

        class LostAtOnce(usual):  # type: ignore[misc,valid-type]
            async def connect(self) -> None:
                await super().connect()
                self._writer.transport.abort()

        client.connection_pool.connection_class = LostAtOnce
        link = Link(client, timeout=60.0)
        try:
            assert isinstance(await outcome_of(link.send(("ECHO", "on"))), RedisConnectionError)
            client.connection_pool.connection_class = usual
            assert await outcome_of(link.send(("ECHO", "on"))) == [b"on"]
        finally:
            await link.close()

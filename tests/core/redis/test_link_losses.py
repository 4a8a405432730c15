"""A connection that is lost: what was open on it is sent once more, where that may be, and then given up."""

import asyncio

import pytest
import redis
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.core.redis.harness import (
    Peer,
    Scripted,
    also_gathering,
    client_of,
    cut,
    is_blocked,
    linked,
    on_both_loops,
    outcome_of,
    own_id,
)
from tests.harness import eventually


@on_both_loops
@pytest.mark.parametrize("repeats", [True, False])
async def test_a_connection_that_was_lost_while_idle_is_opened_again(url: str, repeats: bool) -> None:
    async with linked(url, repeats=repeats) as link, client_of(url) as other:
        before = await own_id(link)
        await cut(other, before)
        await link.wait_until_lost()
        assert await own_id(link) != before


@on_both_loops
@also_gathering
async def test_it_is_opened_again_also_for_who_asks_before_the_loss_is_known(url: str, gathers: bool) -> None:
    async with linked(url, gathers=gathers) as link:
        for _ in range(5):
            before = await own_id(link)
            with redis.Redis.from_url(url) as other:  # the event loop has no turn
                other.client_kill_filter(_id=str(before))
            assert await link.send(("ECHO", "on")) == [b"on"]
            assert await own_id(link) != before


@on_both_loops
async def test_what_was_open_is_sent_once_more_on_a_new_connection(url: str) -> None:
    async with linked(url) as link, client_of(url) as other:
        before = await own_id(link)
        asked = link.send(("XREAD", "BLOCK", 5000, "STREAMS", "stream", "$"))
        behind = link.send(("ECHO", "behind"))
        await eventually(lambda: is_blocked(other, before))
        await cut(other, before)
        await link.wait_until_lost()

        async def is_answered() -> bool:
            await other.xadd("stream", {"a": "b"})
            return asked.done()

        await eventually(is_answered)
        [[[stream, [[_, fields], *_]]]] = await asked
        assert (stream, fields) == (b"stream", [b"a", b"b"])
        assert await behind == [b"behind"]
        assert await own_id(link) != before


@on_both_loops
async def test_where_nothing_may_be_repeated_what_was_open_fails(url: str) -> None:
    async with linked(url, repeats=False) as link, client_of(url) as other:
        before = await own_id(link)
        asked = [link.send(("BLPOP", "list", 5)), link.send(("RPUSH", "behind", 1))]
        await eventually(lambda: is_blocked(other, before))
        await cut(other, before)
        for question in asked:
            assert isinstance(await outcome_of(question), RedisConnectionError)
        assert await link.send(("EXISTS", "behind")) == [0]


@on_both_loops
async def test_what_was_lost_twice_fails() -> None:
    asked: list[list[bytes]] = []

    async def hang_up(peer: Peer) -> None:
        asked.append(await peer.command())
        if peer.number > 2:
            await peer.echo()

    async with Scripted(hang_up) as server, linked(server.url) as link:
        with pytest.raises(RedisConnectionError):
            await link.send(("ECHO", "lost"))
        assert asked == [[b"ECHO", b"lost"]] * 2
        assert server.connections == 2


@on_both_loops
@also_gathering
async def test_what_was_answered_is_not_asked_again_and_the_rest_keeps_its_order(gathers: bool) -> None:
    asked: list[list[bytes]] = []

    async def answer_one_and_a_half(peer: Peer) -> None:
        while True:
            asked.append(await peer.command())
            if peer.number == 1 and len(asked) == 5:
                return
            if peer.number == 2 or len(asked) < 3:
                peer.say(b"+%d %s\r\n" % (peer.number, asked[-1][-1]))

    async with Scripted(answer_one_and_a_half) as server, linked(server.url, gathers=gathers) as link:
        questions = [
            link.send(("ECHO", "a")),
            link.send(("ECHO", "b"), ("ECHO", "c")),
            link.send(("ECHO", "d")),
            link.send(("ECHO", "e")),
        ]
        assert await asyncio.gather(*questions) == [[b"1 a"], [b"2 b", b"2 c"], [b"2 d"], [b"2 e"]]
        assert [command[-1] for command in asked] == [b"a", b"b", b"c", b"d", b"e", b"b", b"c", b"d", b"e"]


@on_both_loops
async def test_what_nobody_waits_for_is_not_repeated() -> None:
    asked: list[list[bytes]] = []
    heard_two = asyncio.Event()
    may_hang_up = asyncio.Event()

    async def talk(peer: Peer) -> None:
        if peer.number == 1:
            asked.extend([await peer.command(), await peer.command()])
            heard_two.set()
            await may_hang_up.wait()
        else:
            asked.append(await peer.command())
            peer.say(b"+well\r\n")
            await peer.echo()

    async with Scripted(talk) as server, linked(server.url) as link:
        given_up, kept = link.send(("ECHO", "given up")), link.send(("ECHO", "kept"))
        await heard_two.wait()
        given_up.cancel()
        may_hang_up.set()
        assert await kept == [b"well"]
        assert [command[-1] for command in asked] == [b"given up", b"kept", b"kept"]


@on_both_loops
async def test_the_loss_of_a_connection_can_be_waited_for(url: str) -> None:
    async with linked(url) as link, client_of(url) as other:
        await link.wait_until_lost()  # there is none yet
        connection_id = await own_id(link)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(link.wait_until_lost(), 0.1)
        both = asyncio.gather(link.wait_until_lost(), link.wait_until_lost())
        await asyncio.sleep(0)
        await cut(other, connection_id)
        await both
        await link.wait_until_lost()

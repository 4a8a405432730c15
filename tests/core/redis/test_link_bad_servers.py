"""A server that hangs is given up in time, and one that talks nonsense at once."""

import asyncio
import os
import signal
import time

import pytest
from redis.exceptions import InvalidResponse
from redis.exceptions import TimeoutError as RedisTimeoutError

from ops.dev.servers import ValkeyServer
from tests.core.redis.harness import LONG, SHORT, Peer, Scripted, linked, on_both_loops, outcome_of

# -- a server that hangs


@on_both_loops
async def test_a_server_that_does_not_answer_is_given_up_in_time_and_asked_on_a_new_connection() -> None:
    async def first_is_silent(peer: Peer) -> None:
        if peer.number == 1:
            await asyncio.sleep(LONG)
        await peer.echo()

    async with Scripted(first_is_silent) as server, linked(server.url, timeout=SHORT) as link:
        started = time.monotonic()
        asked = [link.send(("ECHO", number)) for number in range(3)]
        for question in asked:
            assert isinstance(await outcome_of(question), RedisTimeoutError)
        assert SHORT - 0.05 < time.monotonic() - started < SHORT + 1
        assert server.connections == 1, "what took too long is not asked once more"
        assert await link.send(("ECHO", "on")) == [b"on"]
        assert server.connections == 2


@on_both_loops
async def test_an_answer_that_comes_too_late_is_nobodys() -> None:
    answers = asyncio.Event()

    async def talk(peer: Peer) -> None:
        if peer.number == 1:
            late = await peer.command()
            await answers.wait()
            peer.say(b"+%s\r\n" % late[-1])
            await asyncio.sleep(LONG)
        await peer.echo()

    async with Scripted(talk) as server, linked(server.url, timeout=0.1) as link:
        with pytest.raises(RedisTimeoutError):
            await link.send(("ECHO", "late"))
        asked = link.send(("ECHO", "next"))
        answers.set()
        assert await asked == [b"next"]


@on_both_loops
async def test_each_question_has_its_own_time() -> None:
    async def slow(peer: Peer) -> None:
        while True:
            command = await peer.command()
            await asyncio.sleep(SHORT * 0.6)
            peer.say(b"+%s\r\n" % command[-1])

    async with Scripted(slow) as server, linked(server.url, timeout=SHORT) as link:
        for number in range(4):
            assert await link.send(("ECHO", number)) == [b"%d" % number]
        assert server.connections == 1


@on_both_loops
async def test_the_second_question_is_timed_as_the_first_was() -> None:
    async def only_first(peer: Peer) -> None:
        peer.say(b"+%s\r\n" % (await peer.command())[-1])
        await asyncio.sleep(LONG)

    async with Scripted(only_first) as server, linked(server.url, timeout=SHORT) as link:
        await link.send(("ECHO", 1))
        await asyncio.sleep(SHORT * 0.6)
        started = time.monotonic()
        with pytest.raises(RedisTimeoutError):
            await link.send(("ECHO", 2))
        assert SHORT - 0.05 < time.monotonic() - started < SHORT + 1


@on_both_loops
async def test_a_paused_server_fails_whoever_asks_and_serves_them_when_it_goes_on(own_server: ValkeyServer) -> None:
    async with linked(own_server.url(), timeout=0.2) as link:
        await link.send(("PING",))
        os.kill(own_server.pid, signal.SIGSTOP)
        try:
            for _ in range(2):
                with pytest.raises(RedisTimeoutError):
                    await link.send(("SET", "large", b"x" * (8 << 20)))
        finally:
            os.kill(own_server.pid, signal.SIGCONT)
        assert await link.send(("ECHO", "on")) == [b"on"]


# -- a server that talks nonsense


@on_both_loops
async def test_nonsense_is_an_error_for_everybody_who_waits() -> None:
    async def nonsense(peer: Peer) -> None:
        await peer.command()
        peer.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await asyncio.sleep(LONG)

    async with Scripted(nonsense) as server, linked(server.url) as link:
        for question in [link.send(("ECHO", number)) for number in range(3)]:
            assert isinstance(await outcome_of(question), InvalidResponse)
        assert server.connections == 2, "all were asked once more"


@on_both_loops
async def test_who_was_answered_with_nonsense_asks_once_more_and_who_was_answered_well_does_not() -> None:
    async def nonsense_first(peer: Peer) -> None:
        if peer.number == 1:
            await peer.command()
            peer.say(b"+well\r\n?nonsense\r\n+not to be read\r\n")
            await asyncio.sleep(LONG)
        await peer.echo()

    async with Scripted(nonsense_first) as server, linked(server.url) as link:
        questions = [link.send(("ECHO", number)) for number in range(3)]
        assert await asyncio.gather(*questions) == [[b"well"], [b"1"], [b"2"]]


@on_both_loops
async def test_an_answer_to_nothing_ends_the_connection_before_anybody_takes_it_for_theirs() -> None:
    may_speak = asyncio.Event()

    async def talkative(peer: Peer) -> None:
        peer.say(b"+%s\r\n" % (await peer.command())[-1])
        if peer.number == 1:
            await may_speak.wait()
            peer.say(b"+for nobody\r\n")
        await peer.echo()

    async with Scripted(talkative) as server, linked(server.url) as link:
        assert await link.send(("ECHO", "one")) == [b"one"]
        may_speak.set()
        await link.wait_until_lost()
        assert await link.send(("ECHO", "two")) == [b"two"]
        assert server.connections == 2

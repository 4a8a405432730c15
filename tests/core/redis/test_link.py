"""One connection: what is sent on it is answered in order, sent once more where it was lost, or given up in time.

Every test runs on asyncio's event loop and on uvloop, which production runs on: they write, and hand over a connection,
in ways of their own.
"""

import asyncio
import contextlib
import functools
import gc
import inspect
import os
import signal
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import hiredis
import pytest
import redis
import uvloop
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from structlog.testing import capture_logs

from core.redis.clients import cache_client, end_tasks
from core.redis.link import LONGEST_REST_SECONDS, Link, OnMessage
from core.settings import Settings
from ops.dev.servers import ValkeyServer
from tests.harness import away, eventually

NOWHERE = "redis://127.0.0.1:1/0"
LONG = 10.0
"""Seconds: no test waits for this."""
SHORT = 0.3

Body = Callable[..., Coroutine[Any, Any, None]]


def on_both_loops(test: Body) -> Body:
    """Runs a test in a thread, on either event loop; it fails also where something was left open or went unheard."""

    def run(new_loop: Callable[[], asyncio.AbstractEventLoop], fixtures: dict[str, Any]) -> None:
        unheard: list[dict[str, Any]] = []
        gc.freeze()  # what other tests left is not looked at
        try:
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always", ResourceWarning)
                with asyncio.Runner(loop_factory=new_loop) as runner:
                    runner.get_loop().set_exception_handler(lambda _, context: unheard.append(context))
                    runner.run(asyncio.wait_for(test(**fixtures), 2 * LONG))  # nobody else ends a thread
                    gc.collect()
        finally:
            gc.unfreeze()
        assert [str(warning.message) for warning in warned] == []
        assert unheard == []

    @functools.wraps(test)
    async def on_loop(new_loop: Callable[[], asyncio.AbstractEventLoop], **fixtures: Any) -> None:
        await asyncio.to_thread(run, new_loop, fixtures)

    signature = inspect.signature(test)
    new_loop = inspect.Parameter("new_loop", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    on_loop.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[new_loop, *signature.parameters.values()]
    )
    loops = pytest.mark.parametrize(
        "new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
    )
    marked: Body = loops(on_loop)
    return marked


also_gathering = pytest.mark.parametrize("gathers", [False, True], ids=["at once", "gathers"])


@contextlib.asynccontextmanager
async def client_of(url: str) -> AsyncIterator[Redis]:
    client = cache_client(url)
    yield client
    await client.aclose(close_connection_pool=True)


@contextlib.asynccontextmanager
async def linked(
    url: str,
    *,
    timeout: float = LONG,
    on_message: OnMessage | None = None,
    repeats: bool = True,
    gathers: bool = False,
) -> AsyncIterator[Link]:
    async with client_of(url) as client:
        link = Link(client, timeout=timeout, on_message=on_message, repeats=repeats, gathers=gathers)
        try:
            async with asyncio.timeout(LONG):
                yield link
        finally:
            await link.close()


async def own_id(link: Link) -> int:
    """By which the server knows the connection."""
    [found] = await link.send(("CLIENT", "ID"))
    assert isinstance(found, int)
    return found


async def cut(client: Redis, connection_id: int) -> None:
    """The server hangs up on one connection."""
    assert await client.execute_command("CLIENT", "KILL", "ID", connection_id) == 1


async def is_blocked(client: Redis, connection_id: int) -> bool:
    """Whether what was asked on a connection is waiting in the server."""
    [listed] = await client.client_list(client_id=[str(connection_id)])
    return "b" in listed["flags"]


async def outcome_of(asked: Awaitable[Any]) -> Any:
    """The replies, or the error instead."""
    outcomes = await asyncio.gather(asked, return_exceptions=True)
    return outcomes[0]


@pytest.fixture
def url(settings: Settings) -> str:
    """Of the queue server that all tests share, in an empty database."""
    return settings.queue_redis_url


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[ValkeyServer]:
    """One that a test may stop and pause."""
    with ValkeyServer(tmp_path / "valkey", durable=False) as server:
        yield server


class Peer:
    """The server's end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.number = number
        """Counts from 1."""
        self._reader = reader
        self._writer = writer
        self._parser = hiredis.Reader()

    async def command(self) -> list[bytes]:
        """The next one.

        Raises:
            EOFError: there will be none.
        """
        while (command := self._parser.gets()) is False:
            received = await self._reader.read(65536)
            if not received:
                raise EOFError
            self._parser.feed(received)
        assert isinstance(command, list)
        return command

    def say(self, reply: bytes) -> None:
        self._writer.write(reply)

    async def echo(self) -> None:
        """Answers each command with its last argument."""
        while True:
            self.say(b"+%s\r\n" % (await self.command())[-1])


class Scripted:
    """A server that shakes hands and then does what its test says."""

    def __init__(self, talk: Callable[[Peer], Awaitable[None]], *, shakes_hands: bool = True) -> None:
        self._talk = talk
        self._shakes_hands = shakes_hands
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0

    async def __aenter__(self) -> "Scripted":
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await end_tasks(self._tasks)
        await self._server.wait_closed()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._tasks.add(asyncio.create_task(self._serve(Peer(reader, writer, self.connections), writer)))

    async def _serve(self, peer: Peer, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(EOFError, ConnectionError):
            if self._shakes_hands:
                for _ in ("CLIENT SETINFO LIB-NAME", "CLIENT SETINFO LIB-VER"):
                    await peer.command()
                    peer.say(b"+OK\r\n")
            await self._talk(peer)


# -- answers


@on_both_loops
async def test_the_commands_of_one_send_are_answered_in_their_order(url: str) -> None:
    async with linked(url) as link:
        replies = await link.send(("SET", "a", "x"), ("GET", "a"), ("INCR", "b"), ("INCR", "b"))
        assert replies == [b"OK", b"x", 1, 2]


@on_both_loops
async def test_nil_and_nothing_and_naught_are_replies(url: str) -> None:
    async with linked(url) as link:
        replies = await link.send(("GET", "no"), ("EXISTS", "no"), ("LRANGE", "no", 0, -1), ("ECHO", ""), ("PING",))
        assert replies == [None, 0, [], b"", b"PONG"]
        assert await link.send(("EXISTS", "no")) == [0]


@on_both_loops
async def test_texts_bytes_and_numbers_are_arguments(url: str) -> None:
    async with linked(url) as link:
        replies = await link.send(*(("ECHO", argument) for argument in ("ü", bytes(range(256)), -7, 1.5)))
        assert replies == ["ü".encode(), bytes(range(256)), b"-7", b"1.5"]


@on_both_loops
@also_gathering
async def test_an_error_reaches_its_own_question_alone(url: str, gathers: bool) -> None:
    async with linked(url, gathers=gathers) as link:
        before = await own_id(link)
        asked = [
            link.send(("SET", "text", "x")),
            link.send(("ECHO", "one"), ("INCR", "text"), ("NONSENSE",), ("ECHO", "two")),
            link.send(("GET", "text")),
        ]
        first, wrong, last = [await outcome_of(question) for question in asked]
        assert (first, last) == ([b"OK"], [b"x"])
        assert isinstance(wrong, ResponseError)
        assert "not an integer" in str(wrong), "the first error, and not the second"
        assert await own_id(link) == before


@on_both_loops
@also_gathering
async def test_many_sends_at_once_are_answered_in_their_order(url: str, gathers: bool) -> None:
    resolved: list[int] = []
    async with linked(url, gathers=gathers) as link:
        asked = []
        for number in range(1000):
            asked.append(link.send(("ECHO", number), ("ECHO", -number)))
            asked[-1].add_done_callback(lambda _, number=number: resolved.append(number))  # type: ignore[misc]
        replies = await asyncio.gather(*asked)
        assert replies == [[b"%d" % number, b"%d" % -number] for number in range(1000)]
        await asyncio.sleep(0)
        assert resolved == list(range(1000))


@on_both_loops
@also_gathering
async def test_what_is_sent_while_connecting_keeps_its_order(url: str, gathers: bool) -> None:
    async with linked(url, gathers=gathers) as link:
        asked = []
        for number in range(200):
            asked.append(link.send(("RPUSH", "list", number)))
            if number % 10 == 0:
                await asyncio.sleep(0)
        await asyncio.gather(*asked)
        assert await link.send(("LRANGE", "list", 0, -1)) == [[b"%d" % number for number in range(200)]]


@on_both_loops
async def test_a_command_is_on_its_way_when_send_returns(url: str) -> None:
    async with linked(url) as link:
        await link.send(("PING",))
        asked = [link.send(("INCR", "sent")) for _ in range(3)]
        with redis.Redis.from_url(url) as meanwhile:  # the event loop has no turn
            deadline = time.monotonic() + 2
            while meanwhile.get("sent") != b"3":
                assert time.monotonic() < deadline
        assert await asyncio.gather(*asked) == [[1], [2], [3]]


@on_both_loops
async def test_where_it_gathers_nothing_leaves_before_the_end_of_the_turn(url: str) -> None:
    async with linked(url, gathers=True) as link:
        for _ in range(2):
            await link.send(("DEL", "sent"))
            asked = [link.send(("INCR", "sent")) for _ in range(3)]
            with redis.Redis.from_url(url) as meanwhile:  # the event loop has no turn
                assert [meanwhile.get("sent") for _ in range(200)] == [None] * 200
            assert await asyncio.gather(*asked) == [[1], [2], [3]]


@on_both_loops
async def test_what_was_gathered_when_the_connection_was_lost_goes_over_the_next(url: str) -> None:
    async with linked(url, gathers=True) as link:
        before = await own_id(link)
        with redis.Redis.from_url(url) as meanwhile:
            meanwhile.client_kill_filter(_id=str(before))
            asked = [link.send(("INCR", "sent")) for _ in range(3)]
        assert await asyncio.gather(*asked) == [[1], [2], [3]]
        assert await own_id(link) != before


@on_both_loops
@also_gathering
async def test_who_does_not_wait_any_more_takes_no_answer_from_others(url: str, gathers: bool) -> None:
    async with linked(url, gathers=gathers) as link:
        for is_open in (False, True):
            asked = [link.send(("ECHO", number)) for number in range(20)]
            for question in asked[::2]:
                question.cancel()
            replies = await asyncio.gather(*asked, return_exceptions=True)
            assert replies[1::2] == [[b"%d" % number] for number in range(1, 20, 2)], is_open
            assert all(isinstance(reply, asyncio.CancelledError) for reply in replies[::2])


@on_both_loops
@also_gathering
async def test_large_values_go_and_come_whole_and_hold_nothing_out_of_order(url: str, gathers: bool) -> None:
    value = os.urandom(1 << 20) * 8
    async with linked(url, gathers=gathers) as link:
        asked = [
            link.send(("SET", "large", value)),
            link.send(("ECHO", "between")),
            link.send(("GET", "large"), ("DEL", "large")),
            link.send(("ECHO", "after")),
        ]
        stored, between, [got, deleted], after = await asyncio.gather(*asked)
        assert (stored, between, deleted, after) == ([b"OK"], [b"between"], 1, [b"after"])
        assert got == value


@on_both_loops
async def test_everything_goes_over_one_connection_that_idleness_does_not_end(url: str) -> None:
    async with linked(url, timeout=0.05) as link:
        first = await own_id(link)
        await asyncio.sleep(0.2)
        assert set(await asyncio.gather(*(own_id(link) for _ in range(10)))) == {first}


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


# -- a connection that is lost


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


# -- subscriptions


@on_both_loops
async def test_messages_come_in_order_while_pings_are_answered(url: str) -> None:
    heard: list[bytes] = []
    async with linked(url, on_message=heard.append, repeats=False) as link, client_of(url) as other:
        assert await link.send(("SUBSCRIBE", "channel")) == [[b"subscribe", b"channel", 1]]
        published = [other.publish("channel", f"{number}") for number in range(300)]
        pings = [link.send(("PING",)) for _ in range(20)]
        for number, publishing in enumerate(published):
            await publishing
            if number % 30 == 0:
                pings.append(link.send(("PING",)))
        assert await asyncio.gather(*pings) == [[[b"pong", b""]]] * 30

        async def has_heard_all() -> bool:
            return len(heard) >= 300

        await eventually(has_heard_all)
        assert heard == [b"%d" % number for number in range(300)]


@on_both_loops
async def test_a_subscription_ends_with_its_connection(url: str) -> None:
    heard: list[bytes] = []
    async with linked(url, on_message=heard.append, repeats=False) as link, client_of(url) as other:
        connection_id = await own_id(link)
        await link.send(("SUBSCRIBE", "channel"))
        await cut(other, connection_id)
        await link.wait_until_lost()
        assert await link.send(("PING",)) == [b"PONG"], "as of a connection without a subscription"
        assert await other.publish("channel", "nobody hears") == 0


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


@on_both_loops
async def test_an_empty_list_is_an_answer_also_where_messages_are_heard(url: str) -> None:
    async with linked(url, on_message=print) as link:
        assert await link.send(("LRANGE", "no such list", 0, -1)) == [[]]

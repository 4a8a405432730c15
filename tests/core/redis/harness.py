"""Links to real servers and to scripted ones, and each test on both event loops.

Every test of a link runs on asyncio's event loop and on uvloop, which production runs on: they write, and hand over a
connection, in ways of their own.
"""

import asyncio
import contextlib
import functools
import gc
import inspect
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import hiredis
import pytest
import uvloop
from redis.asyncio import Redis

from core.redis.clients import cache_client, end_tasks
from core.redis.link import Link, OnMessage

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

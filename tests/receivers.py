"""Small local servers that stand for outside services and record what they got."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from email.message import Message as Mail

import asyncpg
from aiohttp import web
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message as MailHandler

from ops.ports import free_port


@dataclass(frozen=True)
class Received:
    """A request as it arrived."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


@dataclass
class Receiver:
    """A receiver of webhooks.

    Attributes:
        url: where it is.
        received: what has come, in its order.
        answer: makes the answer to a request; 200 unless set.
    """

    url: str = ""
    received: list[Received] = field(default_factory=list)
    answer: Callable[[Received], Awaitable[web.StreamResponse]] | None = None
    most_at_once: int = 0
    _now: int = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        received = Received(request.path, headers, await request.read())
        self.received.append(received)
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        try:
            return web.Response() if self.answer is None else await self.answer(received)
        finally:
            self._now -= 1

    def answers_after(self, seconds: float) -> None:
        """From now on it takes so long to answer 200."""

        async def answer(_received: Received) -> web.StreamResponse:
            await asyncio.sleep(seconds)
            return web.Response()

        self.answer = answer

    def answers(self, status: int, **headers: str) -> None:
        """From now on."""

        async def answer(_received: Received) -> web.StreamResponse:
            return web.Response(status=status, headers=headers)

        self.answer = answer


async def message_ids(owner: asyncpg.Connection) -> set[str]:
    """The `webhook-id` of each delivery that is on record."""
    return {f"msg_{row['message_id'].hex}" for row in await owner.fetch("SELECT message_id FROM deliveries")}


@contextlib.asynccontextmanager
async def receiver(*, listens_on: str = "127.0.0.1") -> AsyncIterator[Receiver]:
    """One on a free port of this machine; on "0.0.0.0" each address of 127.0.0.0/8 leads to it."""
    found = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", found.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, listens_on, 0)
        await site.start()
        found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield found
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def raw_receiver(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], host: str = "127.0.0.1"
) -> AsyncIterator[str]:
    """One that says what `talk` writes, once it has read a request's head; each address of 127.0.0.0/8 is ours."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await reader.readuntil(b"\r\n\r\n")
            await talk(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, host, 0)
    try:
        yield f"http://{host}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Mailbox(MailHandler):
    """Keeps the mails that come in.

    Attributes:
        address: host and port of its SMTP server.
        mails: in the order in which they came.
    """

    def __init__(self, address: str) -> None:
        super().__init__()
        self.address = address
        self.mails: list[Mail] = []

    def handle_message(self, message: Mail) -> None:
        self.mails.append(message)


@contextlib.contextmanager
def mailbox() -> Iterator[Mailbox]:
    """One on a free port of this machine, in a thread of its own."""
    port = free_port()
    box = Mailbox(f"127.0.0.1:{port}")
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield box
    finally:
        controller.stop()

"""The body of a request while it arrives: `100 Continue` where the client waits for it; 408 where nothing comes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import TypeVar

from aiohttp import web

from api.errors import Problem
from api.keys import AWAITS_CONTINUE

STANDSTILL_SECONDS = 30.0

T = TypeVar("T")


async def arriving_pieces(request: web.Request) -> AsyncIterator[bytes]:
    """The body as it comes in.

    Raises:
        Problem: 408, nothing of it has come for `STANDSTILL_SECONDS`.
    """
    await send_continue(request)
    while piece := await in_time(request.content.readany()):
        yield piece


async def send_continue(request: web.Request) -> None:
    """Sends `100 Continue` where the client waits for it (RFC 9110, 10.1.1).

    To be called when nothing in the head rules the body out.
    """
    if request.get(AWAITS_CONTINUE):
        request[AWAITS_CONTINUE] = False
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer itself has not begun


async def in_time(reading: Awaitable[T]) -> T:
    """What `reading` reads of a body.

    Raises:
        Problem: 408, that took longer than `STANDSTILL_SECONDS`.
    """
    try:
        async with asyncio.timeout(STANDSTILL_SECONDS):
            return await reading
    except TimeoutError:
        raise Problem("request-timeout", f"Nothing of the body came for {STANDSTILL_SECONDS:g} seconds.") from None


def give_up_body(request: web.BaseRequest) -> None:
    """Closes the connection when the request is answered, without waiting for the rest of the body."""
    request.protocol.close()
    if not request.content.is_eof():
        request.content.feed_eof()

"""A receiver of webhooks that notes what came and when, in a process of its own: `python -m ops.bench.receiver PORT`.

It answers 204 to each POST. A GET is answered with all that has come: lines of a webhook's id and the time of its
arrival, in seconds since 1970. It must never be the bottleneck, so it reads only what it needs of a request.
"""

import asyncio
import signal
import sys
import time
from typing import cast

import uvloop

HOST = "127.0.0.1"
_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length: "
_ID = b"webhook-id: "
_TAKEN = b"HTTP/1.1 204 No Content\r\n\r\n"


class Connection(asyncio.Protocol):
    """Takes one request after the other."""

    def __init__(self, arrivals: list[tuple[bytes, float]]) -> None:
        self._arrivals = arrivals
        self._transport: asyncio.Transport | None = None
        self._partial = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not derive from asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._partial:
            data = self._partial + data
        while (end := data.find(_HEAD_END)) >= 0:
            head = data[:end].lower()
            length = int(_value(head, _LENGTH) or 0)
            if len(data) < end + len(_HEAD_END) + length:
                break
            data = data[end + len(_HEAD_END) + length :]
            self._answer(head)
        self._partial = data

    def _answer(self, head: bytes) -> None:
        assert self._transport is not None
        if head.startswith(b"post "):
            self._arrivals.append((_value(head, _ID), time.time()))
            self._transport.write(_TAKEN)
        else:
            body = b"".join(b"%b %.6f\n" % arrival for arrival in self._arrivals)
            self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)


def _value(head: bytes, name: bytes) -> bytes:
    start = head.find(name)
    if start < 0:
        return b""
    stop = head.find(b"\r\n", start)
    return head[start + len(name) : len(head) if stop < 0 else stop]


async def serve(port: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    arrivals: list[tuple[bytes, float]] = []
    server = await loop.create_server(lambda: Connection(arrivals), HOST, port, backlog=1024)
    await stop.wait()
    server.close()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))

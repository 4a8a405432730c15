"""Connections between a client and the server, which a test may cut."""

import asyncio
import subprocess
from pathlib import Path

from ops.client.server import Credentials, Server
from tests.harness import Service
from tests.ops.running import tenfold


async def run(
    service: Service, folder: Path, *arguments: str, stdin: str = "", **variables: str
) -> "subprocess.CompletedProcess[str]":
    """`tenfold …` as alice, unless `variables` say otherwise."""
    given = {"TENFOLD_URL": str(service.base), "TENFOLD_TOKEN": service.alice.token, **variables}
    return await asyncio.to_thread(tenfold, *arguments, cwd=folder, stdin=stdin, **given)


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


class Link:
    """A connection to a server that can be cut: after so many bytes either way, so many times."""

    def __init__(self, service: Service) -> None:
        self._target = service.base
        self.cut_after_sent: list[int] = []
        self.cut_after_received: list[int] = []
        self.connections = 0

    async def __aenter__(self) -> "Link":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        assert self._target.host is not None
        there, to_there = await asyncio.open_connection(self._target.host, self._target.port)
        try:
            ways = (
                self._pass_on(reader, to_there, self.cut_after_sent),
                self._pass_on(there, writer, self.cut_after_received),
            )
            tasks = [asyncio.create_task(way) for way in ways]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            for one in (writer, to_there):
                one.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cuts: list[int]) -> None:
        passed = 0
        while data := await reader.read(1 << 14):
            passed += len(data)
            if cuts and passed >= cuts[0]:
                cuts.pop(0)
                return
            writer.write(data)
            await writer.drain()


def connected(url: str, service: Service, said: list[str] | None = None) -> Server:
    return Server(url, Credentials(token=service.alice.token), say=(said if said is not None else []).append)

"""One API process that tells how much processor time its event loop has taken: `GET /cpu`.

Its own, because whatever else runs in the test's process would be counted as well.
"""

import asyncio
import contextlib
import gc
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import uvloop
from aiohttp import ClientSession, web
from yarl import URL

from api.__main__ import COLLECT_AFTER
from api.app import create_app
from api.errors import PROBLEM_JSON
from api.runner import Runner
from core import logs
from core.settings import Settings
from tests.harness import Client

ROOT = Path(__file__).parents[2]


async def _serve(settings: Settings) -> None:
    async def cpu(_: web.Request) -> web.Response:
        return web.Response(body=orjson.dumps(time.thread_time()))

    app = create_app(settings)
    app.router.add_get("/cpu", cpu)
    runner = Runner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)  # noqa: T201
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


@dataclass(frozen=True)
class Cost:
    """What a request came to.

    Attributes:
        seconds: of processor time that the event loop took.
        status: of the answer.
        bytes: of the answer, with its head.
        is_problem: whether the answer is one.
    """

    seconds: float
    status: int
    bytes: int
    is_problem: bool


@dataclass(frozen=True)
class Metered:
    """A running process.

    Attributes:
        http: a client's connections.
        base: where it listens.
    """

    http: ClientSession
    base: URL

    async def cpu(self) -> float:
        """Seconds of processor time that the event loop has taken so far."""
        async with self.http.get(self.base / "cpu") as answer:
            return float(await answer.read())

    async def cost(self, client: Client, method: str, path: str | URL, **options: Any) -> Cost:
        """Sends a request."""
        before = await self.cpu()
        async with asyncio.timeout(15):
            answer = await client.request(method, path, **options)
        taken = await self.cpu() - before
        head = sum(len(name) + len(value) + 4 for name, value in answer.headers.items())
        is_problem = answer.headers.get("Content-Type") == PROBLEM_JSON
        return Cost(taken, answer.status, head + len(answer.body), is_problem)


@contextlib.asynccontextmanager
async def metered(variables: dict[str, str], http: ClientSession) -> AsyncIterator[Metered]:
    """Runs one, with these settings."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.api.metered",
        cwd=ROOT,
        env=variables,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        port = int(await asyncio.wait_for(process.stdout.readline(), 30))
        yield Metered(http, URL(f"http://127.0.0.1:{port}"))
    finally:
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            process.kill()
            await process.wait()


if __name__ == "__main__":
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
    logs.configure(Settings.from_env(), tier="api")
    uvloop.run(_serve(Settings.from_env()))

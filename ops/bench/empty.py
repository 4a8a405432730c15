"""The limit of any service on aiohttp: a handler that does nothing. `python -m ops.bench.empty PORT`."""

import asyncio
import signal
import sys

import uvloop
from aiohttp import web

HOST = "127.0.0.1"


async def answer(_request: web.Request) -> web.Response:
    return web.Response(body=b"{}", content_type="application/json")


async def serve(port: int) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    await web.TCPSite(runner, HOST, port, backlog=1024).start()
    await stop.wait()
    await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))

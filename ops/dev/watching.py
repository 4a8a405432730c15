"""Servers under `tenfold dev`: one that dies is started again, with growing pauses, and given up in the end."""

import asyncio
import time
from collections.abc import Callable, Mapping

from ops.dev.server import Server, ServerError
from ops.processes import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, STEADY_SECONDS, describe

LOOK_SECONDS = 0.2
GIVEN_UP_AFTER = 5
"""How often in a row a server may end, each time soon after its start, or fail to start."""

Say = Callable[[str], None]


async def keep_running(servers: Mapping[str, Server], say: Say) -> str:
    """Starts again whichever ends. Tiers wait for their servers as for any outage.

    Returns:
        What to say of the one that is given up; it ends in no other way than that, or by being cancelled.
    """
    keepers = {asyncio.create_task(_keep(name, server, say)) for name, server in servers.items()}
    try:
        done, _ = await asyncio.wait(keepers, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()
    finally:
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)


async def _keep(name: str, server: Server, say: Say) -> str:
    pause, times, started = FIRST_PAUSE_SECONDS, 0, time.monotonic()
    while True:
        while (status := server.ended) is None:
            await asyncio.sleep(LOOK_SECONDS)
        if time.monotonic() - started > STEADY_SECONDS:
            pause, times = FIRST_PAUSE_SECONDS, 0
        what = f"ended {describe(status)}"
        while True:
            times += 1
            if times > GIVEN_UP_AFTER:
                return (
                    f"{name} {what}, the {times}th time in a row: it is given up, and everything stops. "
                    f"The end of {server.log_file}:\n{server.log_tail()}"
                )
            say(f"{name} {what}; next start in {pause:g} s; its log is {server.log_file}")
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            try:
                # In a thread: recovery takes a while, and the tiers' lines are to be seen meanwhile.
                await asyncio.to_thread(server.start)
            except ServerError as error:
                what = f"did not start ({str(error).splitlines()[0]})"
                continue
            break
        started = time.monotonic()
        say(f"{name} runs again")

"""Actors at work in the background, while servers and processes are killed."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Sequence

import aiohttp

from tests.faults.actor import Actor
from tests.faults.harness import LANES, Installation
from tests.faults.ledger import Ledger

ACTORS = 12
PAUSE_SECONDS = (0.005, 0.03)


class Load:
    """Actors at work in the background."""

    def __init__(self, actors: Sequence[Actor], ledger: Ledger) -> None:
        self.actors = actors
        self.ledger = ledger
        self._stop = asyncio.Event()
        self._running = [asyncio.create_task(self._act(actor)) for actor in actors]

    async def _act(self, actor: Actor) -> None:
        chance = random.Random(f"{actor.name} acts")
        while not self._stop.is_set():
            dice = chance.random()
            if dice < 0.6:
                await actor.write()
            elif dice < 0.7:
                await actor.look_at_a_job()
            else:
                await actor.read()
            await asyncio.sleep(chance.uniform(*PAUSE_SECONDS))

    async def run_for(self, seconds: float) -> None:
        """Lets the load go on; ends early, with its exception, where an actor has failed."""
        done, _ = await asyncio.wait(self._running, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()

    async def finish(self) -> None:
        """Lets each actor come to the answer that it waits for."""
        self._stop.set()
        await asyncio.gather(*self._running)

    async def cancel(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)


@contextlib.asynccontextmanager
async def load(system: Installation, *, actors: int = ACTORS) -> AsyncIterator[Load]:
    """Load from here on; `finish()` it before its ledger is checked."""
    ledger = Ledger()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        running = Load(
            [
                Actor(f"actor{number}", system.url, system.users[number % len(system.users)], ledger, session)
                for number in range(actors)
            ],
            ledger,
        )
        try:
            yield running
        finally:
            await running.cancel()


async def wait_for_all_lanes(running: Load, since: float, *, within: float) -> dict[str, float]:
    """Goes on with the load until each lane has told an outcome after `since`; lane → seconds that it took."""
    while True:
        found = running.ledger.seconds_until_written(since)
        if len(found) == LANES:
            return found
        last = "\n".join(map(str, [a for a in running.ledger.attempts if a.user.lane not in found][-10:]))
        assert time.monotonic() - since < within, (
            f"lanes that run again after {within:g} s: {found}; the others:\n{last}"
        )
        await running.run_for(0.1)

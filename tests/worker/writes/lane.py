"""A lane with entries, and processes that hear what comes of theirs."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import asyncpg

from core import lanes
from core.commands.effects import Outcome, decode_outcomes
from core.commands.wire import Command, encode_batch
from worker.runner import Services

LANE = "3"
STREAM = lanes.stream(LANE)
ORIGIN = "a-process"


async def append(services: Services, *commands: Command, origin: str = ORIGIN) -> bytes:
    entry_id: bytes = await services.queue.xadd(
        STREAM, {"origin": origin, "commands": encode_batch([one.encode() for one in commands])}
    )
    return entry_id


async def waiting(services: Services) -> int:
    return int(await services.queue.xlen(STREAM))


async def titles(owner: asyncpg.Connection) -> list[str]:
    return [row[0] for row in await owner.fetch("SELECT title FROM tasks ORDER BY id")]


class Heard:
    """The outcomes that one process heard."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.lanes: set[str] = set()
        self.messages = 0


@contextlib.asynccontextmanager
async def listening(services: Services, origin: str = ORIGIN) -> AsyncIterator[Heard]:
    heard = Heard()

    async def listen() -> None:
        async for message in subscription.listen():
            if message["type"] == "message":
                lane, outcomes = decode_outcomes(message["data"])
                heard.lanes.add(lane)
                heard.outcomes += outcomes
                heard.messages += 1

    async with services.queue.pubsub() as subscription:
        await subscription.subscribe(lanes.outcomes_channel(origin))
        await subscription.get_message(timeout=5)
        listener = asyncio.create_task(listen())
        yield heard
        await asyncio.sleep(0.05)
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)

"""What took too long beside others is tried alone, and refused where it takes too long even then.

A database that is slow makes everything slow, and nothing may be refused for that: it counts only where a transaction
that does next to nothing is prompt at the same time. A command that kills its worker cannot be caught while it does so:
how often that happened is noted beside the lane before it is tried.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import orjson

from core import lanes, metrics
from core.commands.effects import Effect
from core.commands.wire import Command
from core.lanes.writes import LaneLease, lane_transaction
from core.logs import get_logger
from core.redis.clients import reply
from worker.runner import Services
from worker.writes.operations import Work
from worker.writes.transactions import Overdue

ALONE_SECONDS = 2.0
"""The time that a command, or one operation of a batch, may take: the sum of what its transaction waits and works."""
TRIES = 2
DEATHS_BORNE = 2
"""So many workers may die on an entry before it is suspect."""
DEATHS_ALONE = 8
"""So many may die while they try one command alone before it is refused: far more than die for other reasons in the few
milliseconds that it takes."""
PROMPT_SECONDS = 0.5
LETTER_BYTES = 64 << 10

T = TypeVar("T")

log = get_logger()


class TooExpensive(Exception):
    """It cannot be done within the time that one may take."""


def as_too_expensive(work: Work) -> Work:
    """The work with all its operations refused, of which none is to be tried."""
    for operation in work.operations:
        operation.effect = Effect.rejected(
            "too-expensive", "Carrying this out would take longer than it may: ask for less at a time."
        )
    return work


async def alone(services: Services, lease: LaneLease, attempt: Callable[[float], Awaitable[T]]) -> T:
    """Tries something that was overdue beside others.

    Args:
        services: of the worker.
        lease: of the drain.
        attempt: takes the seconds that its transaction may last; raises Overdue.

    Raises:
        TooExpensive: it was overdue each time, though the database was well.
        TimeoutError: the database is slow; that is no fault of what was tried.
    """
    for _ in range(TRIES):
        try:
            return await attempt(ALONE_SECONDS)
        except Overdue:
            await require_prompt_database(services, lease)
    raise TooExpensive


async def require_prompt_database(services: Services, lease: LaneLease) -> None:
    """Raises TimeoutError, a fault that passes, unless a transaction that does next to nothing is over at once."""
    async with services.pool.acquire() as connection:
        started = time.monotonic()
        async with lane_transaction(connection, lease):
            await connection.execute("UPDATE lanes SET claimed_at = claimed_at WHERE name = $1", lease.lane)
        if time.monotonic() - started > PROMPT_SECONDS:
            raise TimeoutError("the database is slow")


class Tries:
    """How often drains began with the same entry, or tried the same command alone, and did not end in good order."""

    def __init__(self, services: Services, lane: str) -> None:
        self._queue = services.queue
        self._key = lanes.tries_key(lane)
        self.deaths = 0

    async def begin(self, head: bytes) -> None:
        """Notes that a drain begins with an entry; `deaths` then tells how many began there before."""
        before, tries = await reply(self._queue.hmget(self._key, ["head", "tries"]))
        self.deaths = int(tries) if before == head else 0
        pipeline = self._queue.pipeline(transaction=True)
        if before != head:
            pipeline.delete(self._key)
        pipeline.hset(self._key, mapping={"head": head, "tries": self.deaths + 1})
        await pipeline.execute()

    @property
    def is_suspect(self) -> bool:
        return self.deaths >= DEATHS_BORNE

    async def end(self) -> None:
        """The drain has ended in good order, or by a fault that is nobody's in the lane."""
        await self._queue.delete(self._key)

    async def begin_alone(self, name: str) -> bool:
        """Notes that something is about to be tried alone; False where too many workers died when they did so."""
        return await reply(self._queue.hincrby(self._key, name, 1)) <= DEATHS_ALONE

    async def end_alone(self, name: str) -> None:
        await reply(self._queue.hdel(self._key, name))


async def set_aside(services: Services, lane: str, command: Command, operation: dict[str, Any] | None = None) -> None:
    """Keeps what was refused as too expensive with the dead letters, counts it and tells of it.

    Args:
        services: of the worker.
        lane: where it came from.
        command: the whole command, which is kept unless one `operation` of it is to blame.
        operation: of a batch.
    """
    log.error("too expensive, and refused", kind=command.kind, command=command.id, user=command.user_id)
    metrics.TOO_EXPENSIVE.labels(command.kind).inc()
    kept = orjson.dumps(operation) if operation is not None else b"[" + command.encode() + b"]"
    letter: dict[str, Any] = {
        "lane": lane,
        "error": "too expensive",
        "user": command.user_id,
        "job": command.id,
        "operation" if operation is not None else "commands": kept[:LETTER_BYTES],
    }
    await lanes.keep_dead_letter(services.queue, letter)

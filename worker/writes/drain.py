"""A drain's hold on its lane: the claim, the entries as they are read, and their removal when they were carried out.

The first read begins at the head. What follows is read from behind the last entry that was read, so that removing
entries, which waits for the queue server's disk as appending does, can be done for many at once, beside the next batch.
What a worker that dies has not removed is read again, and found to be done.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from core import lanes, metrics
from core.commands.wire import Command, Entry, UnreadableEntry, decode_entry
from core.lanes.writes import LaneLease, LaneLost, claim_lane
from core.logs import get_logger
from core.redis.clients import QUEUE_REPLY_SECONDS, REDIS_FAULTS
from core.redis.link import Link
from worker.runner import Services
from worker.writes.alone import Tries

LINGER_MILLISECONDS = 100
READ_ENTRIES = 16
REMOVE_SECONDS = 0.1
BATCH_MAXIMUM_OPERATIONS = 1000

RawEntry = tuple[bytes, dict[bytes, bytes]]

log = get_logger()


@dataclass(frozen=True, slots=True)
class DrainState:
    """What the drains of one process share.

    Attributes:
        readers: lane → the connection on which its drain waits for entries. Nothing else can be asked on it meanwhile.
        busy_at: lane of single writes → when something of it was last begun, by `time.monotonic()`.
    """

    readers: dict[str, Link] = field(default_factory=dict)
    busy_at: dict[str, float] = field(default_factory=dict)

    def reader(self, services: Services, lane: str) -> Link:
        """A lane's reader, which stays open until the process ends."""
        if lane not in self.readers:
            link = self.readers[lane] = Link(services.queue, timeout=QUEUE_REPLY_SECONDS)
            services.closing.push_async_callback(link.close)
        return self.readers[lane]


class Drain:
    """One drain of one lane."""

    def __init__(self, services: Services, lane: str) -> None:
        self.services = services
        self.lane = lane
        self.state = services.state_of(DrainState)
        self.lease = LaneLease(lane, 0)
        self.tries = Tries(services, lane)
        self._stream = lanes.stream(lane)
        self._last_id = b"0"
        self._began = False
        self._consumed: list[bytes] = []
        self._remove_at = time.monotonic() + REMOVE_SECONDS
        self._removal: asyncio.Task[None] | None = None

    @property
    def suspects(self) -> Tries | None:
        """Set where workers died on the entry that the drain began with."""
        return self.tries if self.tries.is_suspect else None

    async def read(self, *, count: int = READ_ENTRIES, linger: bool = True) -> list[RawEntry]:
        """The entries behind the last one that was passed; waits a little while where there are none.

        Claims the lane when it has found the first ones.
        """
        waiting = ("BLOCK", LINGER_MILLISECONDS) if linger else ()
        [found] = await self.state.reader(self.services, self.lane).send(
            ("XREAD", "COUNT", count, *waiting, "STREAMS", self._stream, self._last_id)
        )
        if found is None:
            return []
        [[_, entries]] = found
        read = [(entry_id, dict(zip(fields[::2], fields[1::2], strict=True))) for entry_id, fields in entries]
        if not self._began:
            await self.tries.begin(read[0][0])
            self.lease = await claim_lane(self.services.pool, self.lane)
            self._began = True
        return read

    async def decode(
        self, raw_entries: Sequence[RawEntry], *, operations_maximum: int = BATCH_MAXIMUM_OPERATIONS
    ) -> list[Entry]:
        """Reads entries up to a batch's size, and passes them.

        What cannot be read goes to the dead letters and never stops its lane.
        """
        entries: list[Entry] = []
        operations = 0
        for entry_id, fields in raw_entries:
            try:
                entry = decode_entry(entry_id, fields)
            except UnreadableEntry as error:
                await self._set_aside(entry_id, fields, error)
                self.consumed(entry_id)
                self._last_id = entry_id
                continue
            size = sum(_count_operations(command) for command in entry.commands)
            if entries and operations + size > operations_maximum:
                break
            operations += size
            entries.append(entry)
            self._last_id = entry_id
        return entries

    def consumed(self, *entry_ids: bytes) -> None:
        """These may be removed."""
        self._consumed += entry_ids

    async def remove_now_and_then(self) -> None:
        """Removes what was consumed, if it is time to."""
        if self._consumed and time.monotonic() >= self._remove_at:
            if self._removal is not None:
                await self._removal
            self._removal = asyncio.create_task(self._remove(self._consumed))
            self._consumed = []
            self._remove_at = time.monotonic() + REMOVE_SECONDS

    async def finish(self) -> None:
        """Removes all that was consumed."""
        if self._removal is not None:
            await self._removal
        if self._consumed:
            await self._remove(self._consumed)

    async def end_in_good_order(self) -> None:
        """No worker died on what the drain began with."""
        if self._began:
            with contextlib.suppress(*REDIS_FAULTS):
                await self.tries.end()

    async def _remove(self, entry_ids: Sequence[bytes]) -> None:
        await self.services.queue.xdel(self._stream, *entry_ids)

    async def _set_aside(self, entry_id: bytes, fields: dict[bytes, bytes], error: Exception) -> None:
        log.error("unreadable lane entry set aside", lane=self.lane, entry=entry_id.decode(), error=str(error))
        metrics.DEAD_LETTERS.inc()
        about = {b"lane": self.lane.encode(), b"entry": entry_id, b"error": str(error).encode()}
        await lanes.keep_dead_letter(self.services.queue, {**about, **fields})


@contextlib.asynccontextmanager
async def draining(services: Services, lane: str) -> AsyncIterator[Drain]:
    """A drain, from its first look at the lane to the removal of what it has carried out.

    A lane that another drain has claimed meanwhile is left to it without a word to whoever waits.
    """
    drain = Drain(services, lane)
    try:
        try:
            yield drain
        finally:
            await drain.finish()
    except LaneLost:
        metrics.LANE_TAKEOVERS.labels(lane).inc()
        log.warning("a drain found its lane claimed by another, and ended", lane=lane)
        return
    except Exception:
        await drain.end_in_good_order()
        raise
    await drain.end_in_good_order()


def _count_operations(command: Command) -> int:
    operations = command.payload.get("operations")
    return len(operations) or 1 if isinstance(operations, list) else 1

"""This process's side of one lane: gathers submissions and appends them to the stream as entries.

A lone command is appended at once. While the last entry is unanswered, what comes in is gathered for up to
25 ms and goes as one entry, so batches grow with load by themselves. When an entry of several is answered, its
clients ask again within a moment, but not in the same one: the next entry waits until nearly as many have asked, on
whichever lane, and a few milliseconds at the longest. Else every other entry would be a command or two.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from arq.connections import ArqRedis
from redis.asyncio.client import Pipeline

from core import lanes, metrics
from core.commands import Command, Outcome, encode_batch
from core.errors import QueueUnavailable
from core.jobs import LONG_WORK
from core.logs import get_logger
from core.redis import REDIS_FAULTS
from core.settings import Settings

GATHER_SECONDS = 0.025
COMPANY_SECONDS = 0.004
COMPANY_SHARE = 15 / 16
UNHEARD_SECONDS = 0.05
ENTRY_MAXIMUM_COMMANDS = 500
ENTRY_MAXIMUM_BYTES = 1 << 20
WAITAOF_MILLISECONDS = 1000
# When an entry goes unanswered the drain is called again, after these waits; it costs little if it still runs.
NUDGE_SECONDS = (0.03, 0.1, 0.3, 1.0)
FULL_LANE_LOOK_SECONDS = 0.5

log = get_logger()


@dataclass(eq=False, slots=True)
class Submission:
    """A command on its way.

    Attributes:
        command: with its token.
        encoded: its wire form.
        respond_async: whether its submitter waits for the queue's disk only.
        answered: resolves to the outcome; to None where there is none (yet) to tell; or to `QueueUnavailable`.
        deadline: when its submitter has waited long enough (`time.monotonic()`).
        give_up_at: when it must have been appended.
        appended: whether it is in the stream.
    """

    command: Command
    encoded: bytes
    respond_async: bool
    answered: asyncio.Future[Outcome | None]
    deadline: float
    give_up_at: float
    appended: bool = False

    def resolve(self, outcome: Outcome | None) -> None:
        if not self.answered.done():
            self.answered.set_result(outcome)

    def refuse(self, reason: str) -> None:
        if not self.answered.done():
            self.answered.set_exception(QueueUnavailable(reason))


class Company:
    """Tells a lane when most of those have asked again whom its last entry answered.

    Whoever was answered may ask on another lane the next time, so arrivals are counted over all lanes.
    """

    def __init__(self) -> None:
        self._arrived = 0
        self._expecting: dict[LaneWriter, int] = {}

    def arrived(self) -> None:
        """Counts one submission."""
        self._arrived += 1
        for lane in [lane for lane, target in self._expecting.items() if target <= self._arrived]:
            lane.go()
            self.forget(lane)

    def expect(self, lane: "LaneWriter", count: int) -> None:
        """Calls the lane's `go` when `count` more submissions have come."""
        self._expecting[lane] = self._arrived + count

    def forget(self, lane: "LaneWriter") -> None:
        """The lane does not wait any more."""
        self._expecting.pop(lane, None)


@dataclass(eq=False, slots=True)
class _Unanswered:
    """An entry whose outcomes have not all come."""

    size: int
    left: int


class LaneWriter:
    """Appends to one lane; `run()` is its task."""

    def __init__(self, number: int, queue: ArqRedis, settings: Settings, origin: str, company: Company) -> None:
        self.number = number
        self._queue = queue
        self._settings = settings
        self._origin = origin
        self._company = company
        self._waiting: deque[Submission] = deque()
        self._filled = asyncio.Event()
        self._ready = asyncio.Event()
        self._ready.set()
        self._timer: asyncio.TimerHandle | None = None
        self._unanswered: dict[int, _Unanswered] = {}
        self._appended_at = 0.0
        self._heard_at = 0.0
        self._nudged_at = 0.0
        self._called_at = 0.0
        self._nudges = 0
        self._entries = 0
        self._looked_at = 0.0
        self.looking: asyncio.Task[None] | None = None
        """What `look_after` has begun, to be ended with the process."""

    def __len__(self) -> int:
        """How many submissions have not been appended yet."""
        return len(self._waiting)

    def add(self, submission: Submission) -> None:
        """Takes a submission for the next entry.

        Raises:
            QueueUnavailable: the buffer or the lane is full.
        """
        if len(self._waiting) >= self._settings.write_buffer_max_commands:
            raise QueueUnavailable("too many writes are waiting to be queued")
        if self._entries >= self._settings.write_lane_max_entries:
            raise QueueUnavailable("the queue is full: the workers are behind")
        self._waiting.append(submission)
        self._filled.set()
        self._company.arrived()

    def withdraw(self, submission: Submission) -> None:
        """Takes back what has not been appended: it was refused, so it must not happen."""
        with contextlib.suppress(ValueError):
            self._waiting.remove(submission)

    def heard(self) -> None:
        """A worker has spoken on this lane: somebody drains it."""
        self._heard_at = time.monotonic()
        self._nudges = 0

    def settled(self, token: int) -> None:
        """Nobody waits for this command any more, or its outcome is known."""
        entry = self._unanswered.pop(token, None)
        if entry is None:
            return
        entry.left -= 1
        if not entry.left:
            if entry.size == 1:  # a lone client has nobody to wait for
                self.go()
            else:
                self._company.expect(self, int(entry.size * COMPANY_SHARE))
                self._go_after(COMPANY_SECONDS)

    def go(self) -> None:
        """What waits shall be appended, or the next that comes."""
        self._ready.set()

    def _go_after(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self.go)

    async def run(self) -> None:
        while True:
            await self._filled.wait()
            await self._ready.wait()
            batch = self._take()
            if not self._waiting:
                self._filled.clear()
            if batch:
                await self._append(batch)

    def look_after(self) -> None:
        """Calls the drain again where an entry goes unanswered, and looks whether a full lane has room again.

        Does not wait for the queue server: it may hang, and whoever calls this is the clock of all that wait.
        """
        if self.looking is not None and not self.looking.done():
            return
        now = time.monotonic()
        if self._unanswered:
            due = NUDGE_SECONDS[min(self._nudges, len(NUDGE_SECONDS) - 1)]
            if now - max(self._appended_at, self._heard_at, self._nudged_at) >= due:
                self._nudges += 1
                self._nudged_at = now
                self.looking = asyncio.create_task(self._call_drain())
                return
        if self._entries >= self._settings.write_lane_max_entries and now - self._looked_at >= FULL_LANE_LOOK_SECONDS:
            # Writes are refused before anything is appended, so nothing else tells the length.
            self._looked_at = now
            self.looking = asyncio.create_task(self._ask_length())

    async def _ask_length(self) -> None:
        with contextlib.suppress(*REDIS_FAULTS):
            self._entries = await self._queue.xlen(lanes.stream(self.number))

    def _take(self) -> list[Submission]:
        batch: list[Submission] = []
        size = 0
        while self._waiting and len(batch) < ENTRY_MAXIMUM_COMMANDS:
            size += len(self._waiting[0].encoded) + 1
            if batch and size > ENTRY_MAXIMUM_BYTES:
                break
            batch.append(self._waiting.popleft())
        return batch

    async def _append(self, batch: Sequence[Submission]) -> None:
        entry = _Unanswered(len(batch), len(batch))
        self._unanswered.update((submission.command.token, entry) for submission in batch)
        self._company.forget(self)
        self._ready.clear()
        self._go_after(GATHER_SECONDS)
        self._appended_at = time.monotonic()
        self._nudges = 0
        try:
            await self._write_entry(batch)
        except Exception as error:
            if not isinstance(error, (*REDIS_FAULTS, QueueUnavailable)):
                log.exception("appending to a lane failed", lane=self.number)
            for submission in batch:
                self._unanswered.pop(submission.command.token, None)
                submission.refuse("the queue cannot take the write")
            self.go()
            return
        metrics.GATEWAY_BATCH.observe(len(batch))
        for submission in batch:
            submission.appended = True
            if submission.respond_async:
                submission.resolve(None)
        if time.monotonic() - max(self._heard_at, self._called_at) > UNHEARD_SECONDS:
            await self._call_drain()

    async def _write_entry(self, batch: Sequence[Submission]) -> None:
        body = encode_batch([submission.encoded for submission in batch])
        promised = [submission.command for submission in batch if submission.respond_async]
        stream = lanes.stream(self.number)
        pipeline = self._queue.pipeline(transaction=False)
        pipeline.xadd(stream, {"origin": self._origin, "commands": body})
        pipeline.xlen(stream)
        if promised:
            list_as_queued(pipeline, promised)
        replies = await pipeline.execute()
        self._entries = replies[1]
        if promised:
            require_fsynced(replies[-1])

    async def _call_drain(self) -> None:
        self._called_at = time.monotonic()
        # If the call fails, the entry is on disk all the same: the next nudge or the workers' sweeper finds it.
        with contextlib.suppress(*REDIS_FAULTS):
            await lanes.call_drain(self._queue, self.number)


def list_as_queued(pipeline: Pipeline, commands: Sequence[Command]) -> None:
    """Adds commands to the list that `GET /jobs/{id}` answers from until they are done, then waits for the disk."""
    listed = {command.id: orjson.dumps(_listing(command)) for command in commands}
    pipeline.hset(lanes.PENDING_JOBS, mapping=listed)
    for command in commands:
        pipeline.sadd(lanes.pending_jobs_of(command.user_id), command.id)
    pipeline.waitaof(1, 0, WAITAOF_MILLISECONDS)


def _listing(command: Command) -> dict[str, Any]:
    listing = {
        "user_id": command.user_id,
        "kind": command.kind,
        "created_at": command.created_at,
        "fingerprint": command.fingerprint,
    }
    return {**listing, "payload": command.payload} if command.kind in LONG_WORK else listing


def require_fsynced(reply: Sequence[int]) -> None:
    """Raises `QueueUnavailable` unless the server confirmed that its own disk has everything (WAITAOF)."""
    if reply[0] < 1:
        raise QueueUnavailable("the queue server did not confirm that the write is on its disk")

"""This process's side of one lane: gathers submissions and appends them to the stream as entries.

A lone command is appended at once. Under load two entries are under way: while the workers carry out one half of the
commands, this process answers the other half and takes in what its clients ask next. So an entry goes when nearly half
of all who are asking have gathered for it, or 128 of them. What waits when no answer comes goes after 25 ms.
"""

import asyncio
import contextlib
import functools
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from arq.connections import ArqRedis

from core import lanes, metrics
from core.commands import Command, Outcome, encode_batch
from core.errors import QueueUnavailable
from core.jobs.queues import LONG_WORK
from core.logs import get_logger
from core.redis.clients import REDIS_FAULTS
from core.redis.link import Link
from core.settings import Settings

GATHER_SECONDS = 0.025
COMPANY_SECONDS = 0.008
ENTRIES_UNDER_WAY = 2
# Of all who are asking, a little less than half: one who does not come again must not hold up the others.
WORTHWHILE_SHARE = 15 / 32
UNHEARD_SECONDS = 0.05
# Of a large crowd: whoever waits for half of it has let the workers rest, and larger entries save nothing more.
WORTHWHILE_COMMANDS = 128
ENTRY_MAXIMUM_COMMANDS = 256
ENTRY_MAXIMUM_BYTES = 1 << 20
WAITAOF_MILLISECONDS = 1000
# When an entry goes unanswered the drain is called again, after these waits; it costs little if it still runs.
NUDGE_SECONDS = (0.03, 0.1, 0.3, 1.0)
FULL_LANE_LOOK_SECONDS = 0.5

_NOT_APPENDED: tuple[type[Exception], ...] = (*REDIS_FAULTS, QueueUnavailable)

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
        appended_at: when it was found to be in the stream; 0 before.
        listed: whether any process finds its job, so that it may be promised.
    """

    command: Command
    encoded: bytes
    respond_async: bool
    answered: asyncio.Future[Outcome | None]
    deadline: float
    give_up_at: float
    appended_at: float = 0.0
    listed: bool = False

    @property
    def appended(self) -> bool:
        return self.appended_at > 0

    def resolve(self, outcome: Outcome | None) -> None:
        if not self.answered.done():
            self.answered.set_result(outcome)

    def refuse(self, reason: str) -> None:
        if not self.answered.done():
            self.answered.set_exception(QueueUnavailable(reason))


class Company:
    """How many clients of this process are about to ask again: they were answered, with others, a moment ago.

    Whoever was answered may ask on another lane of its kind the next time, so they are counted over all of these.
    """

    def __init__(self) -> None:
        self.lanes: list[LaneWriter] = []
        self._away = 0
        self._timer: asyncio.TimerHandle | None = None

    def share(self) -> float:
        """How many of them a lane may expect."""
        return self._away / len(self.lanes)

    def answered(self, count: int) -> None:
        """Counts clients who were answered together; whoever has not asked again in time is not waited for."""
        self._away += count
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(COMPANY_SECONDS, self._forget)

    def arrived(self) -> None:
        """Counts one submission."""
        if self._away:
            self._away -= 1
        self._tell_lanes()

    def _forget(self) -> None:
        self._away = 0
        self._tell_lanes()

    def _tell_lanes(self) -> None:
        for lane in self.lanes:
            lane.append_if_worthwhile()


@dataclass(eq=False, slots=True)
class _Unanswered:
    """An entry whose outcomes have not all come."""

    size: int
    left: int


class LaneWriter:
    """Appends to one lane.

    An entry is on its way to the queue server in the moment in which it may be: in a busy process every turn of the
    event loop until then would be a millisecond in which the workers have nothing to do.
    """

    def __init__(
        self, lane: str, queue: ArqRedis, link: Link, settings: Settings, origin: str, company: Company
    ) -> None:
        self.lane = lane
        self._queue = queue
        self._link = link
        self._settings = settings
        self._origin = origin
        self._company = company
        company.lanes.append(self)
        self._waiting: deque[Submission] = deque()
        self._is_overdue = False
        self._is_appending = False
        self._under_way = 0
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
        if self._under_way or self._company.share():
            self._company.arrived()
        elif len(self._waiting) == 1:  # others may ask in the same turn of the event loop
            asyncio.get_running_loop().call_soon(self.append_if_worthwhile)

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
            self._under_way -= 1
            self._wait_anew()
            if entry.size > 1:  # a lone client has nobody to wait for
                self._company.answered(entry.size)
            self.append_if_worthwhile()

    def append_if_worthwhile(self) -> None:
        """Appends what waits, unless more are about to join it, or enough is under way."""
        waiting = len(self._waiting)
        if not waiting or self._is_appending:
            return
        asking = waiting + len(self._unanswered) + self._company.share()
        worthwhile = min(asking * WORTHWHILE_SHARE, WORTHWHILE_COMMANDS)
        is_worthwhile = self._under_way < ENTRIES_UNDER_WAY and waiting >= worthwhile
        if is_worthwhile or self._is_overdue:
            self._append(self._take())

    def _wait_anew(self) -> None:
        """Something has moved, so what waits may wait for answers again; not for ever, the others may not come."""
        self._is_overdue = False
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(GATHER_SECONDS, self._append_overdue)

    def _append_overdue(self) -> None:
        self._is_overdue = True
        self.append_if_worthwhile()

    def look_after(self) -> None:
        """Calls the drain again where an entry goes unanswered, and looks whether a full lane has room again.

        Does not wait for the queue server: it may hang, and whoever calls this is the clock of all that wait.
        """
        if self._is_looking():
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
            self._entries = await self._queue.xlen(lanes.stream(self.lane))

    def _take(self) -> list[Submission]:
        batch: list[Submission] = []
        size = 0
        while self._waiting and len(batch) < ENTRY_MAXIMUM_COMMANDS:
            size += len(self._waiting[0].encoded) + 1
            if batch and size > ENTRY_MAXIMUM_BYTES:
                break
            batch.append(self._waiting.popleft())
        return batch

    def _append(self, batch: Sequence[Submission]) -> None:
        entry = _Unanswered(len(batch), len(batch))
        self._unanswered.update((submission.command.token, entry) for submission in batch)
        self._under_way += 1
        self._is_appending = True
        self._wait_anew()
        self._appended_at = time.monotonic()
        self._nudges = 0
        stream = lanes.stream(self.lane)
        body = encode_batch([submission.encoded for submission in batch])
        promised = [submission.command for submission in batch if submission.respond_async]
        appending = self._link.send(
            ("XADD", stream, "*", "origin", self._origin, "commands", body),
            ("XLEN", stream),
            *(listing_as_queued(promised) if promised else ()),
        )
        appending.add_done_callback(functools.partial(self._on_appended, batch, entry, bool(promised)))

    def _on_appended(
        self,
        batch: Sequence[Submission],
        entry: _Unanswered,
        is_promised: bool,
        appending: asyncio.Future[list[Any]],
    ) -> None:
        self._is_appending = False
        try:
            replies = appending.result()
            if is_promised:
                require_fsynced(replies[-1])
        except _NOT_APPENDED:
            for submission in batch:
                self._unanswered.pop(submission.command.token, None)
                submission.refuse("the queue cannot take the write")
            if entry.left:  # else everybody had gone away already
                self._under_way -= 1
            self.append_if_worthwhile()
            return
        self._entries = replies[1]
        metrics.GATEWAY_BATCH.observe(len(batch))
        now = time.monotonic()
        for submission in batch:
            submission.appended_at = now
            if submission.respond_async:
                submission.listed = True
                submission.resolve(None)
        if now - max(self._heard_at, self._called_at) > UNHEARD_SECONDS and not self._is_looking():
            self.looking = asyncio.create_task(self._call_drain())
        self.append_if_worthwhile()

    def _is_looking(self) -> bool:
        return self.looking is not None and not self.looking.done()

    async def _call_drain(self) -> None:
        self._called_at = time.monotonic()
        # If the call fails, the entry is on disk all the same: the next nudge or the workers' sweeper finds it.
        with contextlib.suppress(*REDIS_FAULTS):
            await lanes.call_drain(self._queue, self.lane)


def listing_as_queued(commands: Sequence[Command]) -> list[tuple[str | bytes | int, ...]]:
    """What adds commands to the list that `GET /jobs/{id}` answers from until they are done, then waits for the disk.

    The last reply is for `require_fsynced`.
    """
    listed = [part for command in commands for part in (command.id, orjson.dumps(_listing(command)))]
    return [
        ("HSET", lanes.PENDING_JOBS, *listed),
        *(("SADD", lanes.pending_jobs_of(command.user_id), command.id) for command in commands),
        ("WAITAOF", 1, 0, WAITAOF_MILLISECONDS),
    ]


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

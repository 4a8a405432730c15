"""Appends to one lane, and calls its drain where nobody seems to work on it."""

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from arq.connections import ArqRedis

from core import lanes, metrics
from core.commands.effects import Outcome
from core.commands.wire import Command, encode_batch
from core.errors import QueueUnavailable
from core.jobs.pending import PendingJobs
from core.redis.clients import REDIS_FAULTS
from core.redis.link import Link

UNHEARD_SECONDS = 0.05
# When an entry goes unanswered the drain is called again, after these waits; it costs little if it still runs.
NUDGE_SECONDS = (0.03, 0.1, 0.3, 1.0)
FULL_LANE_LOOK_SECONDS = 0.5

_NOT_APPENDED: tuple[type[Exception], ...] = (*REDIS_FAULTS, QueueUnavailable)


@dataclass(eq=False, slots=True)
class Submission:
    """A command on its way.

    Attributes:
        command: with its token.
        token: the command's.
        encoded: the command's wire form.
        lane: that it goes to.
        respond_async: whether its submitter waits for the queue's disk only.
        answered: resolves to the outcome; to None where there is none (yet) to tell; or to `QueueUnavailable`.
        deadline: when its submitter has waited long enough (`time.monotonic()`).
        give_up_at: when it must have been appended.
        appended_at: when it was found to be in the stream; 0 before.
        listed: whether any process finds its job, so that it may be promised.
        is_settled: whether its outcome was heard, of which its lane knows.
    """

    command: Command
    token: int
    encoded: bytes
    lane: str
    respond_async: bool
    answered: asyncio.Future[Outcome | None]
    deadline: float
    give_up_at: float
    appended_at: float = 0.0
    listed: bool = False
    is_settled: bool = False

    @property
    def appended(self) -> bool:
        return self.appended_at > 0

    def resolve(self, outcome: Outcome | None) -> None:
        if not self.answered.done():
            self.answered.set_result(outcome)

    def refuse(self, reason: str) -> None:
        if not self.answered.done():
            self.answered.set_exception(QueueUnavailable(reason))


class LaneWriter:
    """One lane, as this process writes to it.

    Attributes:
        is_full: whether the workers are so far behind that nothing more should be appended.
    """

    def __init__(self, lane: str, queue: ArqRedis, link: Link, origin: str, *, maximum_entries: int) -> None:
        """
        Args:
            lane: its name.
            queue: the queue server, to call the lane's drain.
            link: to the queue server, for what requests wait for.
            origin: where the outcomes are to be heard.
            maximum_entries: with so many in it, the lane is full.
        """
        self.lane = lane
        self._stream = lanes.stream(lane)
        self._queue = queue
        self._link = link
        self._origin = origin
        self._maximum_entries = maximum_entries
        self.is_full = maximum_entries <= 0
        self._appended_at = 0.0
        self._heard_at = 0.0
        self._nudged_at = 0.0
        self._called_at = 0.0
        self._nudges = 0
        self._looked_at = 0.0
        self._looking: asyncio.Task[None] | None = None

    @property
    def looking(self) -> asyncio.Task[None] | None:
        """What was begun and may still be under way, to be ended with the process."""
        return self._looking

    def append(self, submissions: Sequence[Submission], now: float, then: Callable[[bool, float], None]) -> None:
        """Sends an entry, which is on its way to the queue server when this returns.

        In a busy process every turn of the event loop until then would be a millisecond in which the workers have
        nothing to do.

        Args:
            submissions: whose commands are the entry; those who did not want to wait are answered when it is on disk,
                all of them where it cannot be appended.
            now: `time.monotonic()`.
            then: is told whether it was, and the time.
        """
        self._appended_at = now
        self._nudges = 0
        body = encode_batch([submission.encoded for submission in submissions])
        promised = [submission.command for submission in submissions if submission.respond_async]
        appending = self._link.send(
            ("XADD", self._stream, "*", "origin", self._origin, "commands", body),
            ("XLEN", self._stream),
            *(PendingJobs.listing(promised) if promised else ()),
        )
        appending.add_done_callback(functools.partial(self._on_appended, submissions, bool(promised), then))

    def _on_appended(
        self,
        submissions: Sequence[Submission],
        is_promised: bool,
        then: Callable[[bool, float], None],
        appending: asyncio.Future[list[Any]],
    ) -> None:
        now = time.monotonic()
        try:
            replies = appending.result()
            if is_promised:
                PendingJobs.require_on_disk(replies[-1])
        except _NOT_APPENDED:
            for submission in submissions:
                submission.refuse("the queue cannot take the write")
            then(False, now)
            return
        self._note_length(replies[1])
        metrics.GATEWAY_BATCH.observe(len(submissions))
        for submission in submissions:
            submission.appended_at = now
            if submission.respond_async:
                submission.listed = True
                submission.resolve(None)
        if now - max(self._heard_at, self._called_at) > UNHEARD_SECONDS and not self._is_looking():
            self._looking = asyncio.create_task(self._call_drain())
        then(True, now)

    def heard(self, now: float) -> None:
        """A worker has spoken on this lane: somebody drains it."""
        self._heard_at = now
        self._nudges = 0

    def look_after(self, *, is_under_way: bool) -> None:
        """Calls the drain again where an entry goes unanswered, and looks whether a full lane has room again.

        Does not wait for the queue server: it may hang, and whoever calls this is the clock of all that wait.

        Args:
            is_under_way: whether an answer is missing.
        """
        if self._is_looking():
            return
        now = time.monotonic()
        if is_under_way:
            due = NUDGE_SECONDS[min(self._nudges, len(NUDGE_SECONDS) - 1)]
            if now - max(self._appended_at, self._heard_at, self._nudged_at) >= due:
                self._nudges += 1
                self._nudged_at = now
                self._looking = asyncio.create_task(self._call_drain())
                return
        if self.is_full and now - self._looked_at >= FULL_LANE_LOOK_SECONDS:
            # Writes are refused before anything is appended, so nothing else tells the length.
            self._looked_at = now
            self._looking = asyncio.create_task(self._ask_length())

    def _is_looking(self) -> bool:
        return self._looking is not None and not self._looking.done()

    async def _ask_length(self) -> None:
        with contextlib.suppress(*REDIS_FAULTS):
            self._note_length(await self._queue.xlen(self._stream))

    def _note_length(self, entries: int) -> None:
        self.is_full = entries >= self._maximum_entries

    async def _call_drain(self) -> None:
        self._called_at = time.monotonic()
        # If the call fails, the entry is on disk all the same: the next nudge or the workers' sweeper finds it.
        with contextlib.suppress(*REDIS_FAULTS):
            await lanes.call_drain(self._queue, self.lane)

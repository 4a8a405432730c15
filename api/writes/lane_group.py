"""The lanes of one kind: does what their gathering says, and is its clock."""

import asyncio
import functools
import time
from collections.abc import Iterable, Sequence

from api.writes.gathering import AT_ONCE, BOUNDS, NEVER, Bounds, Entry, Gathering
from api.writes.lane_writer import LaneWriter, Submission
from core.errors import QueueUnavailable

CLOCK_SECONDS = 0.0005
"""uvloop's timers count whole milliseconds, and may come so much too early."""


class LaneGroup:
    """Takes submissions for some lanes, and has them appended when that is worthwhile."""

    def __init__(self, writers: Sequence[LaneWriter], *, maximum_waiting: int, bounds: Bounds = BOUNDS) -> None:
        """
        Args:
            writers: of lanes of one kind.
            maximum_waiting: how many submissions to a lane may wait to be appended.
            bounds: of the policy.
        """
        self._writers = {writer.lane: writer for writer in writers}
        self._gathering: Gathering[Submission] = Gathering(self._writers, time.monotonic(), bounds)
        self._maximum_waiting = maximum_waiting
        self.lanes = tuple(self._writers)
        """Their names."""
        self._looks_after_turn = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = NEVER

    def __len__(self) -> int:
        """How many submissions have not been appended yet."""
        return sum(map(len, self._gathering.waiting.values()))

    def add(self, submission: Submission, now: float) -> None:
        """Takes a submission for the next entry of its lane.

        Raises:
            QueueUnavailable: too many wait already, or the lane is full.
        """
        if len(self._gathering.waiting[submission.lane]) >= self._maximum_waiting:
            raise QueueUnavailable("too many writes are waiting to be queued")
        if self._writers[submission.lane].is_full:
            raise QueueUnavailable("the queue is full: the workers are behind")
        self._send(self._gathering.came(submission.lane, submission, now), now)

    def withdraw(self, submission: Submission) -> None:
        """Takes back what has not been appended: it was refused, so it must not happen."""
        self._gathering.withdrawn(submission.lane, submission)

    def heard(self, lane: str, now: float) -> None:
        """A worker has spoken on this lane: somebody drains it."""
        self._writers[lane].heard(now)

    def settled(self, lane: str, tokens: Iterable[int], now: float) -> None:
        """Nobody waits for these commands any more, or their outcomes are known."""
        self._send(self._gathering.answered(lane, tokens, now), now)

    def look_after(self) -> None:
        """Calls drains again where entries go unanswered; to be called some fifty times a second."""
        for lane, writer in self._writers.items():
            writer.look_after(is_under_way=self._gathering.is_under_way(lane))

    def tasks(self) -> list[asyncio.Task[None]]:
        """What is under way beside, to be ended with the process."""
        return [writer.looking for writer in self._writers.values() if writer.looking is not None]

    def _send(self, entries: Sequence[Entry[Submission]], now: float) -> None:
        for entry in entries:
            self._writers[entry.lane].append(entry.commands, now, functools.partial(self._on_appended, entry))
        look_at = self._gathering.look_at
        if look_at == AT_ONCE:
            if not self._looks_after_turn:
                self._looks_after_turn = True
                asyncio.get_running_loop().call_soon(self._look_after_turn)
        elif look_at < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = look_at
            self._timer = asyncio.get_running_loop().call_later(look_at - now, self._look_in_time)

    def _on_appended(self, entry: Entry[Submission], is_appended: bool, now: float) -> None:
        tell = self._gathering.appended if is_appended else self._gathering.refused
        self._send(tell(entry, now), now)

    def _look_after_turn(self) -> None:
        self._looks_after_turn = False
        now = time.monotonic()
        self._send(self._gathering.look(now), now)

    def _look_in_time(self) -> None:
        self._timer, self._timer_at = None, NEVER
        now = time.monotonic() + CLOCK_SECONDS
        self._send(self._gathering.look(now), now)

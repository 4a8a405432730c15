"""Whose turn it is to read a file, among the threads of a process.

Reading is work of Python's, and only one thread at a time can do it. So one thread has the turn, first come, first
served. After a while it lets those who wait go first: between rows, and whenever it reads more of its file. So neither
costly rows nor a gigabyte without a row keeps others waiting.
"""

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

TURN_SECONDS = 0.1
"""How long a turn is while others wait. By the clock, since a store may be slow, too."""


class ReadingTurns:
    """The turns of one process."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._is_taken = False
        self._waiting: deque[threading.Lock] = deque()

    @property
    def are_wanted(self) -> bool:
        """Whether anybody waits for one."""
        return bool(self._waiting)

    @contextmanager
    def one(self) -> Iterator["Turn"]:
        """A turn; blocks the thread until it comes."""
        self._take()
        try:
            yield Turn(self)
        finally:
            self._give_up()

    def pass_on(self) -> None:
        """Lets all who wait now go first."""
        self._give_up()
        self._take()

    def _take(self) -> None:
        with self._guard:
            if not self._is_taken:
                self._is_taken = True
                return
            called = threading.Lock()
            called.acquire()
            self._waiting.append(called)
        called.acquire()

    def _give_up(self) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()  # it goes over to the first of them, and nobody comes between
            else:
                self._is_taken = False


class Turn:
    """One thread's turn."""

    __slots__ = ("_before", "_since", "_turns")

    def __init__(self, turns: ReadingTurns) -> None:
        self._turns = turns
        self._before = 0.0
        self._since = time.monotonic()

    def give_way(self) -> None:
        """Lets others go first, if any waits and the turn has been long; what was under way goes on afterwards."""
        if self._turns.are_wanted and (used := time.monotonic() - self._since) > TURN_SECONDS:
            self._before += used
            self._turns.pass_on()
            self._since = time.monotonic()

    def used(self) -> float:
        """Seconds that it lasted so far, without those in which others had theirs."""
        return self._before + time.monotonic() - self._since

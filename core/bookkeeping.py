"""What is recorded of each request and write: done for many at once, some milliseconds later.

In a busy process whoever comes back to a piece of code after a millisecond finds the processor's caches full of other
things: counting and logging one request at a time costs several times as much as doing it for some in a row.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from core.logs import get_logger

GATHER_SECONDS = 0.01
"""What a process that is killed takes with it."""

log = get_logger()


class Bookkeeping:
    """Facts that wait to be recorded, in their order, and levels, of which the last alone is."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Callable[[Any], None], Any]] = []
        self._levels: list[Callable[[], None]] = []
        self._timer: asyncio.TimerHandle | None = None

    def note(self, record: Callable[[Any], None], fact: Any) -> None:
        """Calls `record(fact)` a little later, or when `settle` is called."""
        self._waiting.append((record, fact))
        self.stir()

    def keep(self, record_level: Callable[[], None]) -> None:
        """Calls `record_level()` each time that the books are settled; it must not raise."""
        self._levels.append(record_level)

    def stir(self) -> None:
        """Something has changed, be it a level: settles a little later."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER_SECONDS, self.settle)

    def settle(self) -> None:
        """Records all that waits, before it is looked at or the process ends."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for record_level in self._levels:
            record_level()
        waiting, self._waiting = self._waiting, []
        for record, fact in waiting:
            try:
                record(fact)
            except Exception:
                log.exception("a fact could not be recorded")

"""What is recorded of each request and write: for many at once, some milliseconds later.

In a busy process the processor's caches are full of other things whenever a piece of code is run again after a
millisecond. Counting and logging one request at a time costs several times as much as doing it for some in a row.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from core.logs import get_logger

GATHER_SECONDS = 0.01
"""What a process that is killed takes with it."""

log = get_logger()


class Deferred:
    """Facts that wait to be recorded, in their order; and levels, such as gauges, of which only the last is."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Callable[[Any], None], Any]] = []
        self._levels: list[Callable[[], None]] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, record: Callable[[Any], None], fact: Any) -> None:
        """Calls `record(fact)` a little later, or when `flush` is called."""
        self._waiting.append((record, fact))
        self.schedule()

    def add_level(self, record_level: Callable[[], None]) -> None:
        """Calls `record_level()` at each flush; it must not raise."""
        self._levels.append(record_level)

    def schedule(self) -> None:
        """Something has changed, be it a level: flushes a little later."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER_SECONDS, self.flush)

    def flush(self) -> None:
        """Records all that waits: now, because somebody looks or the process ends."""
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

"""Rate limits over all API processes, counted in the cache server; while that is away, by what this process knows.

Windows are aligned to the clock, so one increment gives everything that a client is told.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from core.redis.clients import REDIS_FAULTS, end_tasks
from core.redis.link import Link

WINDOW_SECONDS = 60
HOUR_SECONDS = 3600
TELL_SECONDS = 0.02
TELL_AT_LATEST_SECONDS = 1.0
# Thousands of callers at once would stop the event loop for some ten milliseconds.
TOLD_AT_ONCE = 64
# Otherwise made-up names would fill this process within the hour. What is forgotten here, the server still knows.
REMEMBERED_MAXIMUM = 20_000


class Allowance(NamedTuple):
    """What is left of a limit.

    Attributes:
        quota: hits a window.
        left: hits that may still come in this window.
        reset_seconds: until the next window.
        exceeded: whether this was one too many.
        window_seconds: how long a window is.
    """

    quota: int
    left: int
    reset_seconds: int
    exceeded: bool
    window_seconds: int = WINDOW_SECONDS


@dataclass(slots=True)
class _Count:
    """What one process knows of one counter.

    Attributes:
        total: of all processes, as far as this one knows. Never too high, and with all of its own.
        untold: how much of it the server has not been told.
        expires: whether the server knows how long to keep it.
    """

    total: int = 0
    untold: int = 0
    expires: bool = False


class RateLimiter:
    """One named limit in each window of time.

    While less than half of a quota is used, hits are counted here and told to the server together: some milliseconds
    later where they are a hundredth of the quota, else after a second. Under load a round trip for each request would
    cost more than the request. Above half of the quota every hit asks the server, so the limit is exact over all
    processes. What the server does not answer in time, or forgets, this process has still counted.
    """

    def __init__(self, link: Link, *, name: str, quota: int, window_seconds: int = WINDOW_SECONDS) -> None:
        """
        Args:
            link: to the cache server.
            name: tells this limit's counters from those of others.
            quota: hits a window; 0 switches the limit off.
            window_seconds: the length of a window: `WINDOW_SECONDS` or `HOUR_SECONDS`.
        """
        self.quota = quota
        self._window_seconds = window_seconds
        self._link = link
        self._prefix = f"tenfold:limit:{name}"
        self._window = 0
        self._counts: dict[str, _Count] = {}
        self._untold: dict[str, _Count] = {}
        self._telling: asyncio.Task[None] | None = None
        self._is_urgent = False

    async def hit(self, who: str, *, cost: int = 1) -> Allowance | None:
        """Counts what `who` does as `cost` hits; None where the limit is switched off."""
        if not self.quota:
            return None
        window, elapsed = divmod(time.time(), self._window_seconds)
        if window != self._window:
            self._window = int(window)
            self._counts = {}
            self._untold = {}
        count = self._counts.get(who)
        asks = count is None or count.total + cost > self.quota // 2
        if count is None:
            if len(self._counts) >= REMEMBERED_MAXIMUM:
                self._counts.pop(next(iter(self._counts)))
            count = self._counts[who] = _Count()
        count.total += cost
        count.untold += cost
        total = count.total
        if asks:
            [at_server] = await self._tell_server(self._window, [(who, count)])
            total = max(total, at_server)
        else:
            self._tell_later(who, count)
        quota, seconds = self.quota, self._window_seconds
        return Allowance(quota, max(0, quota - total), max(1, round(seconds - elapsed)), total > quota, seconds)

    def give_back(self, who: str, *, cost: int = 1) -> None:
        """Takes back hits that were counted for `who` in this window; hits of earlier windows no longer count
        anyway."""
        count = self._counts.get(who)
        if count is None or int(time.time() // self._window_seconds) != self._window:
            return
        cost = min(cost, count.total)
        count.total -= cost
        count.untold -= cost
        self._tell_later(who, count)

    def _tell_later(self, who: str, count: _Count) -> None:
        self._untold[who] = count
        if abs(count.untold) * 100 >= self.quota:
            self._is_urgent = True
        if self._telling is None:
            self._telling = asyncio.create_task(self._tell())

    async def close(self) -> None:
        """Leaves untold what is untold: less than a hundredth of anybody's quota."""
        if self._telling is not None:
            await end_tasks([self._telling])

    async def _tell(self) -> None:
        window, untold = self._window, self._untold
        tell_at = time.monotonic() + TELL_AT_LATEST_SECONDS
        while True:
            await asyncio.sleep(TELL_SECONDS)
            if self._is_urgent or time.monotonic() >= tell_at:
                break
        self._is_urgent = False
        self._telling = None
        if self._untold is untold:
            self._untold = {}
        counts = list(untold.items())
        for first in range(0, len(counts), TOLD_AT_ONCE):
            await self._tell_server(window, counts[first : first + TOLD_AT_ONCE])

    async def _tell_server(self, window: int, counts: Sequence[tuple[str, _Count]]) -> list[int]:
        """Adds what is untold of each; returns the server's totals, 0 where it does not answer."""
        commands: list[tuple[str, str, int]] = []
        told = []
        for who, count in counts:
            key = f"{self._prefix}:{window}:{who}"
            # The server may have forgotten the hits that are taken back here.
            expires = count.expires and count.untold > 0
            told.append((count, count.untold, expires))
            commands.append(("INCRBY", key, count.untold))
            if not expires:
                commands.append(("EXPIRE", key, 2 * self._window_seconds))
            count.untold = 0
        try:
            replies = iter(await self._link.send(*commands))
        except REDIS_FAULTS:
            return [0] * len(told)
        totals = []
        for count, amount, had_expiry in told:
            total = next(replies)
            if not had_expiry:
                next(replies)
            count.expires = not had_expiry or total != amount  # else the server has forgotten, and begins anew
            count.total = max(count.total, total + count.untold)
            totals.append(total)
        return totals

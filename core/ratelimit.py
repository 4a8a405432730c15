"""Rate limits over all API processes, counted in the cache server; where that is away, from what this process knows.

Windows are aligned to the clock, so one increment tells all that a client is told.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from limits import RateLimitItem, RateLimitItemPerMinute

from core.redis import REDIS_FAULTS, end_tasks
from core.redislink import Link

WINDOW_SECONDS = 60
TELL_SECONDS = 0.02
TELL_AT_LATEST_SECONDS = 1.0
# Thousands of callers at once would stop the event loop for some ten milliseconds.
TOLD_AT_ONCE = 64


class Allowance(NamedTuple):
    """What is left of a limit.

    Attributes:
        quota: requests a window.
        left: requests that may still come in this window.
        reset_seconds: until the next window.
        exceeded: whether this request was one too many.
    """

    quota: int
    left: int
    reset_seconds: int
    exceeded: bool


@dataclass(slots=True)
class _Count:
    """What one process knows of one counter.

    Attributes:
        total: of all processes, as far as this one knows: never more than there were, and all of its own.
        untold: how much of it the server has not been told.
        expires: whether the server knows how long to keep it.
    """

    total: int = 0
    untold: int = 0
    expires: bool = False


class RateLimiter:
    """One named limit per minute.

    While less than half of a quota is used, hits are counted here and told to the server together, some milliseconds
    later where they are a hundredth of the quota, else after a second: under load a round trip for each request
    would cost more than the request. From there on every hit asks the server, so the limit itself is exact over all
    processes. What the server does not answer in time, or forgets, this process has still counted.
    """

    def __init__(self, link: Link, *, name: str, per_minute: int) -> None:
        """
        Args:
            link: to the cache server.
            name: tells this limit's counters from those of others.
            per_minute: 0 switches the limit off.
        """
        self.per_minute = per_minute
        self._link = link
        self._item: RateLimitItem = RateLimitItemPerMinute(max(per_minute, 1), namespace=f"tenfold:limit:{name}")
        self._window = 0
        self._counts: dict[str, _Count] = {}
        self._untold: dict[str, _Count] = {}
        self._telling: asyncio.Task[None] | None = None
        self._is_urgent = False

    async def hit(self, who: str) -> Allowance | None:
        """Counts one request of `who`; None where the limit is switched off."""
        if not self.per_minute:
            return None
        window, elapsed = divmod(time.time(), WINDOW_SECONDS)
        if window != self._window:
            self._window = int(window)
            self._counts = {}
            self._untold = {}
        count = self._counts.get(who)
        asks = count is None or count.total >= self.per_minute // 2
        if count is None:
            count = self._counts[who] = _Count()
        count.total += 1
        count.untold += 1
        total = count.total
        if asks:
            [at_server] = await self._tell_server(self._window, [(who, count)])
            total = max(total, at_server)
        else:
            self._untold[who] = count
            if count.untold * 100 >= self.per_minute:
                self._is_urgent = True
            if self._telling is None:
                self._telling = asyncio.create_task(self._tell())
        return Allowance(
            quota=self.per_minute,
            left=max(0, self.per_minute - total),
            reset_seconds=max(1, round(WINDOW_SECONDS - elapsed)),
            exceeded=total > self.per_minute,
        )

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
            key = self._item.key_for(who, str(window))
            told.append((count, count.untold, count.expires))
            commands.append(("INCRBY", key, count.untold))
            if not count.expires:
                commands.append(("EXPIRE", key, 2 * WINDOW_SECONDS))
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

"""Rate limits over all API processes, counted in the cache server; in this process where that is away.

Windows are aligned to the clock, so one increment tells all that a client is told.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage

from core.redis import REDIS_FAULTS, end_tasks
from core.redislink import Link

WINDOW_SECONDS = 60
TELL_SECONDS = 0.02
TELL_AT_LATEST_SECONDS = 1.0
# Thousands of callers at once would stop the event loop for some ten milliseconds.
TOLD_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Allowance:
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
        total: as far as it knows.
        untold: how much of it the server has not been told.
        expires: whether this process has told the server how long to keep it.
    """

    total: int
    untold: int = 0
    expires: bool = False


class RateLimiter:
    """One named limit per minute.

    While less than half of a quota is used, hits are counted here and told to the server together, some milliseconds
    later where they are a hundredth of the quota, else after a second: under load a round trip for each request
    would cost more than the request. From there on every hit asks the server, so the limit itself is exact over all
    processes.
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
        self._local = MemoryStorage()
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
        if count is not None and count.total < self.per_minute // 2:
            count.total += 1
            count.untold += 1
            total = count.total
            self._untold[who] = count
            if count.untold * 100 >= self.per_minute:
                self._is_urgent = True
            if self._telling is None:
                self._telling = asyncio.create_task(self._tell())
        else:
            count = self._counts.setdefault(who, _Count(0))
            [total] = await self._count_at_server(self._window, [(who, count)], 1)
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
            await self._count_at_server(window, counts[first : first + TOLD_AT_ONCE], 0)

    async def _count_at_server(self, window: int, counts: Sequence[tuple[str, _Count]], hits: int) -> list[int]:
        """Adds `hits` and what is untold of each; returns the totals: the server's, or this process's memory's."""
        asked = []
        told: list[tuple[str, int]] = []
        for who, count in counts:
            key, amount = self._item.key_for(who, str(window)), count.untold + hits
            count.untold = 0
            told.append((key, amount))
            expiry = () if count.expires else (("EXPIRE", key, 2 * WINDOW_SECONDS),)
            asked.append(self._link.send(("INCRBY", key, amount), *expiry))
        replies = await asyncio.gather(*asked, return_exceptions=True)
        totals = []
        for (_, count), (key, amount), reply in zip(counts, told, replies, strict=True):
            if isinstance(reply, BaseException):
                if not isinstance(reply, REDIS_FAULTS):
                    raise reply
                total = await self._local.incr(key, WINDOW_SECONDS, amount)
            else:
                total = reply[0]
                count.expires = True
            count.total = max(count.total, total + count.untold)
            totals.append(total)
        return totals

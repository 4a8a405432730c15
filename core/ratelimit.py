"""Rate limits over all API processes, counted in the cache server; in this process where that is away.

Windows are aligned to the clock, so one increment tells all that a client is told.
"""

import time
from dataclasses import dataclass

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage

from core.redis import REDIS_FAULTS
from core.redisbatch import Batcher

WINDOW_SECONDS = 60


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


class RateLimiter:
    """One named limit per minute."""

    def __init__(self, batcher: Batcher, *, name: str, per_minute: int) -> None:
        """
        Args:
            batcher: of the cache server.
            name: tells this limit's counters from those of others.
            per_minute: 0 switches the limit off.
        """
        self.per_minute = per_minute
        self._batcher = batcher
        self._item: RateLimitItem = RateLimitItemPerMinute(max(per_minute, 1), namespace=f"tenfold:limit:{name}")
        self._local = MemoryStorage()

    async def hit(self, who: str) -> Allowance | None:
        """Counts one request of `who`; None where the limit is switched off."""
        if not self.per_minute:
            return None
        now = time.time()
        window, elapsed = divmod(now, WINDOW_SECONDS)
        key = self._item.key_for(who, str(int(window)))
        try:
            count = int(await self._batcher.execute("INCR", key))
            if count == 1:
                await self._batcher.execute("EXPIRE", key, 2 * WINDOW_SECONDS)
        except REDIS_FAULTS:
            count = await self._local.incr(key, WINDOW_SECONDS)
        return Allowance(
            quota=self.per_minute,
            left=max(0, self.per_minute - count),
            reset_seconds=max(1, round(WINDOW_SECONDS - elapsed)),
            exceeded=count > self.per_minute,
        )

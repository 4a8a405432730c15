"""Turns between pieces of work that keep one event loop busy."""

import asyncio
import time

TURN_SECONDS = 0.01
"""Whoever waits for the loop waits for about one turn of each who work in this way."""


class Turns:
    """Lets others have the event loop whenever a piece of work has had it for a turn."""

    __slots__ = ("_since",)

    def __init__(self) -> None:
        self._since = time.perf_counter()

    async def give(self) -> None:
        """Goes on at once where little time was used, else when the others have had their turn."""
        if time.perf_counter() - self._since > TURN_SECONDS:
            await asyncio.sleep(0)
            self._since = time.perf_counter()

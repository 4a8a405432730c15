"""Long work in an event loop, in turns, so that requests are answered in between."""

import asyncio
import time

TURN_SECONDS = 0.01
"""How long one turn is. Others wait for about one turn of each piece of long work."""


class Turns:
    """Gives the event loop to others whenever one piece of work has had it for a turn."""

    __slots__ = ("_since",)

    def __init__(self) -> None:
        self._since = time.perf_counter()

    async def give(self) -> None:
        """Returns at once if the turn is not over, else when the others have had theirs."""
        if time.perf_counter() - self._since > TURN_SECONDS:
            await asyncio.sleep(0)
            self._since = time.perf_counter()

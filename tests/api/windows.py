"""Limits are counted in windows that are aligned to the clock."""

import asyncio
import re
import time

from tests.harness import Answer

LIMIT = re.compile(r'"default";r=(?P<left>[0-9]+);t=(?P<seconds>[0-9]+)\Z')


async def early_in_the_minute(seconds: float = 15.0) -> None:
    """A test that counts must not cross into the next window."""
    left = 60 - time.time() % 60
    if left < seconds:
        await asyncio.sleep(left + 0.05)


def left_of(answer: Answer) -> int:
    """What the answer says is left; also checks the headers' form."""
    match = LIMIT.match(answer.headers["RateLimit"])
    assert match is not None
    assert 1 <= int(match["seconds"]) <= 60
    return int(match["left"])

"""A worker that kills or freezes itself at a named point of its work: `python -m tests.faults.dying_worker POINT`.

A SIGKILL from outside hits such a point once in a thousand times; here it is hit each time.
"""

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from core.settings import Settings
from worker import writes
from worker.__main__ import main

BATCHES_BEFORE = 3
POINTS = ("before-commit", "after-commit", "after-forgetting", "after-telling")
FREEZE = "freeze-before-commit"


def _dying(
    function: Callable[..., Awaitable[Any]], *, first: bool = False, by: signal.Signals = signal.SIGKILL
) -> Callable[..., Awaitable[Any]]:
    """Sends itself the signal before (`first`) or after the function's work, once, after some calls."""
    calls = 0

    def die() -> None:
        os.kill(os.getpid(), by)

    async def call(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if first and calls == BATCHES_BEFORE:
            die()
        result = await function(*arguments)
        if calls == BATCHES_BEFORE:
            die()
        return result

    return call


def arrange(point: str) -> None:
    """Puts the death into place.

    Raises:
        ValueError: there is no such point.
    """
    if point == "before-commit":
        writes.record_jobs = _dying(writes.record_jobs)  # type: ignore[assignment]
    elif point == FREEZE:
        writes.record_jobs = _dying(writes.record_jobs, by=signal.SIGSTOP)  # type: ignore[assignment]
    elif point == "after-commit":
        writes._tell = _dying(writes._tell, first=True)  # type: ignore[assignment]
    elif point == "after-forgetting":
        writes._forget_owners = _dying(writes._forget_owners)  # type: ignore[assignment]
    elif point == "after-telling":
        writes._tell = _dying(writes._tell)  # type: ignore[assignment]
    else:
        raise ValueError(f"unknown point {point}: choose from {', '.join([*POINTS, FREEZE])}")


if __name__ == "__main__":
    arrange(sys.argv[1])
    main(Settings.from_env(), [])

"""`python -m tests.faults.dying_worker POINT BATCH`: a worker that kills or freezes itself at a point of its work.

A SIGKILL from outside hits such a point once in a thousand times; here it is hit each time.
"""

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from core.reminders.writes import sending
from core.settings import Settings
from worker.__main__ import main
from worker.deliveries import sender
from worker.writes import applying, lanes, publishing

POINTS = ("before-commit", "after-commit", "after-forgetting", "after-telling")
FREEZE = "freeze-before-commit"
BEFORE_REMINDERS_COMMIT = "before-reminders-commit"
BEFORE_DELIVERIES_RECORD = "before-deliveries-record"
AFTER_DELIVERIES_RECORD = "after-deliveries-record"
ALL_POINTS = (*POINTS, FREEZE, BEFORE_REMINDERS_COMMIT, BEFORE_DELIVERIES_RECORD, AFTER_DELIVERIES_RECORD)


def _dying(
    function: Callable[..., Awaitable[Any]], batch: int, *, first: bool = False, by: signal.Signals = signal.SIGKILL
) -> Callable[..., Awaitable[Any]]:
    """Sends itself the signal before (`first`) or after the function's work, in its call number `batch`."""
    calls = 0

    def die() -> None:
        os.kill(os.getpid(), by)

    async def call(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        number = calls  # lanes are drained beside each other
        if first and number == batch:
            die()
        result = await function(*arguments)
        if not first and number == batch:
            die()
        return result

    return call


def arrange(point: str, batch: int) -> None:
    """Puts the death into place.

    Raises:
        ValueError: there is no such point.
    """
    if point == "before-commit":
        applying.record_jobs = _dying(applying.record_jobs, batch)  # type: ignore[assignment,attr-defined]
    elif point == FREEZE:
        applying.record_jobs = _dying(applying.record_jobs, batch, by=signal.SIGSTOP)  # type: ignore[assignment,attr-defined]
    elif point == "after-commit":
        lanes.publish = _dying(lanes.publish, batch, first=True)  # type: ignore[assignment]
    elif point == "after-forgetting":
        publishing._forget_owners = _dying(publishing._forget_owners, batch)  # type: ignore[assignment]
    elif point == "after-telling":
        lanes.publish = _dying(lanes.publish, batch)  # type: ignore[assignment]
    elif point == BEFORE_REMINDERS_COMMIT:
        sending._write = _dying(sending._write, batch)  # type: ignore[assignment]
    elif point == BEFORE_DELIVERIES_RECORD:
        sender.record_results = _dying(sender.record_results, batch, first=True)  # type: ignore[assignment,attr-defined]
    elif point == AFTER_DELIVERIES_RECORD:
        sender.record_results = _dying(sender.record_results, batch)  # type: ignore[assignment,attr-defined]
    else:
        raise ValueError(f"unknown point {point}: choose from {', '.join(ALL_POINTS)}")


if __name__ == "__main__":
    arrange(sys.argv[1], int(sys.argv[2]))
    main(Settings.from_env(), [])

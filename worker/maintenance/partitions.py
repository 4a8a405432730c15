"""What admins order of partitions: to make one, to take one out, to put one back."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import date
from functools import partial

from core.database.faults import is_transient
from core.partitions.writes import Fate, attach_partition, create_partition, detach_partition
from worker.maintenance.scheduled import Arguments, Run
from worker.runner import Services, retry_delay

# For how long a partition's locks are asked for, a tenth of a second at a time.
LOCK_PATIENCE_SECONDS = 60.0


class OrderRefused(Exception):
    """An order that cannot be carried out as things are; `name` is one of the kinds in `REJECTIONS`."""

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(detail)
        self.name = name
        self.detail = detail


async def make_partition(services: Services, arguments: Arguments) -> int:
    """Makes the partition for a range of days."""
    lower, upper = date.fromisoformat(arguments["from"]), date.fromisoformat(arguments["to"])
    _require(await _patiently(partial(create_partition, services.pool, lower, upper)))
    return 1


async def take_partition_out(services: Services, arguments: Arguments) -> int:
    """Detaches a partition; then nobody finds its tasks on a cached page."""
    _require(await _patiently(partial(detach_partition, services.pool, arguments["name"])))
    await services.invalidator.distrust_everything()
    return 1


async def put_partition_back(services: Services, arguments: Arguments) -> int:
    """Attaches a detached partition; then nobody misses its tasks on a cached page."""
    _require(await _patiently(partial(attach_partition, services.pool, arguments["name"])))
    await services.invalidator.distrust_everything()
    return 1


_REFUSALS: dict[Fate, tuple[str, str]] = {
    "unknown": ("not-found", "There is no such partition."),
    "in use": ("partition-conflict", "New tasks go into this partition, or will: it stays attached."),
    "overlaps": ("partition-conflict", "Another partition is for a part of that time already."),
    "does not fit": ("partition-conflict", "The detached table is not like the tasks any more, or its users are gone."),
}


def _require(fate: Fate) -> None:
    """What was done already, by an attempt that did not live to say so, counts as done.

    Raises:
        OrderRefused: it was not done.
    """
    if fate in _REFUSALS:
        raise OrderRefused(*_REFUSALS[fate])


async def _patiently(act: Callable[[], Awaitable[Fate]]) -> Fate:
    """Tries for the locks of partitions again and again: each time those who wait behind us go first."""
    deadline = time.monotonic() + LOCK_PATIENCE_SECONDS
    attempt = 0
    while True:
        try:
            return await act()
        except Exception as error:
            if not is_transient(error) or time.monotonic() > deadline:
                raise
            attempt += 1
            await asyncio.sleep(retry_delay(attempt))


ORDERED: dict[str, Run] = {
    "create_partition": make_partition,
    "detach_partition": take_partition_out,
    "attach_partition": put_partition_back,
}

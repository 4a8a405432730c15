"""Drains the lanes of single writes: reads entries, applies them together, tells what came of them."""

import time
from collections.abc import Sequence

from core import lanes, metrics
from core.commands.wire import Entry
from worker.runner import Services
from worker.writes.applying import apply_batch
from worker.writes.drain import Drain, draining
from worker.writes.publishing import publish
from worker.writes.round_robin import take_turns

LONGEST_DRAIN_SECONDS = 3.0


async def drain_lane(services: Services, lane: str) -> None:
    """Applies what waits in a lane, and lingers for more; arq runs one drain of a lane at a time."""
    name = str(lane)  # a call that an older version left in the queue names a number
    deadline = time.monotonic() + LONGEST_DRAIN_SECONDS
    async with draining(services, name) as drain:
        if lanes.is_for_batches(name):
            await take_turns(drain, deadline)
        else:
            await _apply_what_waits(drain, deadline)


async def _apply_what_waits(drain: Drain, deadline: float) -> None:
    while time.monotonic() < deadline:
        raw_entries = await drain.read()
        if not raw_entries:
            return
        entries = await drain.decode(raw_entries)
        if entries:
            await _apply_entries(drain, entries)
        await drain.remove_now_and_then()


async def _apply_entries(drain: Drain, entries: Sequence[Entry]) -> None:
    started = time.perf_counter()
    commands = [command for entry in entries for command in entry.commands]
    if commands:
        drain.state.busy_at[drain.lane] = time.monotonic()
        applied = await apply_batch(drain.services, drain.lease, commands, drain.suspects)
        origins = {id(command): entry.origin for entry in entries for command in entry.commands}
        await publish(drain.services, drain.lane, origins, applied)
        metrics.BATCH_COMMANDS.observe(len(commands))
        metrics.BATCH_DURATION.observe(time.perf_counter() - started)
    drain.consumed(*(entry.id for entry in entries))


async def look_again(services: Services, job_id: str) -> None:
    """Enqueues a lane's drain again if something came in while the last one ended.

    arq refuses to enqueue an id that still runs, so a command that arrived in a drain's last moment called nobody.
    """
    lane = lanes.lane_of_drain(job_id)
    if await services.queue.xlen(lanes.stream(lane)):
        await lanes.call_drain(services.queue, lane)

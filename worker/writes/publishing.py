"""Lets everybody know what came of commands: first the caches, then those who wait, then whoever has more to do."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from core import clock, lanes
from core.commands.effects import encode_outcomes
from core.jobs.pending import PendingJobs
from core.jobs.queues import call_worker
from worker.runner import Services
from worker.writes.operations import Applied
from worker.writes.table import WRITES


async def publish(services: Services, lane: str, origins: Mapping[int, str], applied: Sequence[Applied]) -> None:
    """Makes the caches forget, and only then lets anybody know; writes a line for each command.

    Args:
        services: of the worker.
        lane: that was drained.
        origins: `id()` of a command → the API process that it came from.
        applied: what came of them.
    """
    await _forget_owners(services, applied)
    messages: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for done in applied:
        messages[origins[id(done.command)]].append(done.outcome)
    *_, promised = await services.queue_link.send(
        *(
            ("PUBLISH", lanes.outcomes_channel(origin), encode_outcomes(lane, message))
            for origin, message in messages.items()
        ),
        PendingJobs.striking(done.command.id for done in applied),
    )
    if promised:  # few are, else a user's own list would not be worth a round trip
        await PendingJobs(services.queue).strike_off((done.command.user_id, done.command.id) for done in applied)
    await _call_those_who_go_on(services, applied)
    _log_writes(services, applied)


async def _forget_owners(services: Services, applied: Sequence[Applied]) -> None:
    if any(done.owners is None for done in applied):
        await services.invalidator.distrust_everything()
    await services.invalidator.forget_users({owner for done in applied for owner in done.owners or ()})


async def _call_those_who_go_on(services: Services, applied: Sequence[Applied]) -> None:
    writes = [WRITES[done.command.kind] for done in applied if done.command.kind in WRITES]
    for call in {write.wakes for write in writes if write.wakes is not None}:
        await call_worker(services.queue, call)


def _log_writes(services: Services, applied: Sequence[Applied]) -> None:
    """A line for each: by the request id of the API's line, and the job that clients know."""
    now = clock.now()
    for done in applied:
        command = done.command
        services.log_write(
            {
                "timestamp": now,
                "request_id": command.request_id,
                "job": command.id,
                "kind": command.kind,
                "user": command.user_id or None,
                "status": done.outcome["status_code"],
                "replayed": done.outcome["replayed"],
            }
        )

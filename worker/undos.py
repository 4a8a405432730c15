"""Takes imports back: claims an order, and deletes what nobody has changed since, some tasks a transaction.

The rows are the truth: a job on the queue only means that there may be something to do.
"""

import asyncio
import contextlib
import time
from dataclasses import dataclass, field

from core.database.faults import is_transient
from core.imports.writes.undos import (
    ClaimedUndo,
    claim_undo,
    fail_undo,
    finish_undo,
    release_undo,
    take_back,
    undos_wait,
)
from core.leases import LeaseLost, new_lease_owner
from core.logs import get_logger
from core.redis.clients import REDIS_FAULTS
from worker.runner import Services

UNDOS_AT_ONCE = 2
"""In one process."""
TURN_SECONDS = 10.0
"""How long an order keeps its place while others wait for one."""
ATTEMPTS_MAXIMUM = 12
"""How often in a row an order may be left in the middle: each time its worker may have died of it."""
RELEASE_SECONDS = 2.0

log = get_logger()


@dataclass(frozen=True, slots=True)
class UndoState:
    """What the orders of one process share: `running` is held by each that is carried on."""

    running: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(UNDOS_AT_ONCE))


async def run_undos(services: Services) -> None:
    """Takes imports back, one after the other, as long as there are any that nobody else takes back."""
    running = services.state_of(UndoState).running
    if running.locked():
        return  # whoever has the places looks for more when one gets free
    async with running:
        while not services.stopping.is_set():
            claim = await claim_undo(services.pool, new_lease_owner())
            if claim is None:
                return
            await _carry_on(services, claim)


async def _carry_on(services: Services, claim: ClaimedUndo) -> None:
    """Works on an order until it has ended, is lost, or gives its place up."""
    if claim.attempts > ATTEMPTS_MAXIMUM:
        log.error("taking an import back broke off again and again", import_id=claim.import_id)
        await _fail(services, claim)
        return
    try:
        await _take_back(services, claim)
    except LeaseLost:
        log.info("taking an import back goes on elsewhere", import_id=claim.import_id)
    except asyncio.CancelledError:
        await _release(services, claim)
        raise
    except Exception as error:
        if is_transient(error) or isinstance(error, REDIS_FAULTS):
            await _release(services, claim)
            raise
        log.exception("an import could not be taken back", import_id=claim.import_id)
        await _fail(services, claim)


async def _take_back(services: Services, claim: ClaimedUndo) -> None:
    # The worker before may have died between a commit and this.
    await services.invalidator.forget_users([claim.user_id])
    turn_ends = time.monotonic() + TURN_SECONDS
    while await take_back(services.pool, claim):
        await services.invalidator.forget_users([claim.user_id])
        is_over = time.monotonic() > turn_ends and await undos_wait(services.pool)
        if is_over or services.stopping.is_set():
            await release_undo(services.pool, claim)
            return
    await finish_undo(services.pool, claim)


async def _fail(services: Services, claim: ClaimedUndo) -> None:
    detail = "The import could not be taken back; it was recorded for the operators. What is left can be tried again."
    await fail_undo(services.pool, claim, "internal-error", detail)


async def _release(services: Services, claim: ClaimedUndo) -> None:
    """Lets others take it up at once; where that cannot be said, they wait for the lease to lapse."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(RELEASE_SECONDS):
            await release_undo(services.pool, claim)

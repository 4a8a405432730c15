"""Runs of maintenance, which the clock or an admin wants.

What is due is a row, put there by whichever worker notices it first and claimed by any: each tick is run once by
however many workers, also when all were away while it passed.
"""

import asyncio
import contextlib
import time
from functools import partial
from typing import Any

import structlog
from arq import cron
from arq.cron import CronJob

from core import clock, metrics
from core.leases import LeaseLost, kept_lease, new_lease_owner
from core.logs import get_logger
from core.maintenance.writes.orders import note_ticks
from core.maintenance.writes.runs import (
    ATTEMPTS_MAXIMUM,
    ClaimedRun,
    claim_run,
    fail_run,
    finish_run,
    release_run,
    renew_run,
)
from worker.maintenance import sweeps
from worker.maintenance.faults import will_pass
from worker.maintenance.partitions import ORDERED, OrderRefused
from worker.maintenance.scheduled import SCHEDULED, Run
from worker.runner import Services, with_policy

EVERY_FIVE_SECONDS = frozenset(range(0, 60, 5))
# A job's id is its tick. Another worker's clock, or its sleep between two looks, may be behind: it must find that the
# tick was run already, and arq remembers that no longer than it keeps the result.
ONCE_A_TICK: dict[str, Any] = {"unique": True, "keep_result": 60}
RENEW_SECONDS = 5.0
RELEASE_SECONDS = 2.0
REST_SECONDS = 5.0

RUNS: dict[str, Run] = {**SCHEDULED, **ORDERED}

log = get_logger()


async def run_due_maintenance(services: Services) -> None:
    """Notes which jobs are due, and carries out what nobody else does.

    What cannot be done now is left to the next look, in five seconds: repeated, each look would be one more in the
    queue for as long as PostgreSQL is away.
    """
    outage = services.outages["what maintenance needs"]
    try:
        await note_ticks(services.pool, clock.now())
        await run_maintenance(services)
        outage.over()
    except Exception as error:
        if not will_pass(error):
            raise
        outage.noticed(error)


async def run_maintenance(services: Services) -> None:
    """Carries runs out, one after the other, as long as there are any that nobody else carries out."""
    while not services.stopping.is_set():
        claim = await claim_run(services.pool, new_lease_owner())
        if claim is None:
            return
        with structlog.contextvars.bound_contextvars(maintenance=claim.name, run=claim.id):
            await _carry_out(services, claim)


async def _carry_out(services: Services, claim: ClaimedRun) -> None:
    started = time.perf_counter()
    outcome = "failed"
    try:
        if not claim.is_allowed:
            outcome = "refused"
            await fail_run(services.pool, claim, "forbidden", "Whoever ordered it is no admin any more.")
            return
        if claim.attempts > ATTEMPTS_MAXIMUM:
            log.error("a run of maintenance was left in the middle again and again", attempts=claim.attempts)
            await fail_run(services.pool, claim, "internal-error", "It broke off again and again.")
            return
        async with kept_lease(partial(renew_run, services.pool, claim), every_seconds=RENEW_SECONDS):
            rows = await _run(services, claim)
        await finish_run(services.pool, claim, rows=rows)
        outcome = "succeeded"
        _count(claim.name, rows)
    except LeaseLost:
        outcome = "lost"
    except OrderRefused as refusal:
        outcome = "refused"
        await fail_run(services.pool, claim, refusal.name, refusal.detail)
    except asyncio.CancelledError:
        outcome = "interrupted"
        await _release(services, claim, pause_seconds=0.0)
        raise
    except Exception as error:
        if will_pass(error):
            outcome = "postponed"
            log.warning("a run of maintenance will be repeated", error=repr(error))
            await _release(services, claim, pause_seconds=REST_SECONDS)
        else:
            log.exception("maintenance failed")
            await fail_run(
                services.pool, claim, "internal-error", f"It failed ({type(error).__name__}): see the worker's log."
            )
    finally:
        metrics.MAINTENANCE_DURATION.labels(claim.name, outcome).observe(time.perf_counter() - started)


async def _run(services: Services, claim: ClaimedRun) -> int:
    """What the run is about; a sweep that an admin has ordered is run like any other."""
    if claim.name in sweeps.SWEEPS:
        return await sweeps.SWEEPS[claim.name](services)
    return await RUNS[claim.name](services, {**claim.arguments, "ordered": claim.job_id is not None})


async def _release(services: Services, claim: ClaimedRun, *, pause_seconds: float) -> None:
    """Lets others take the run up; where that cannot be said, they wait for the lease to lapse."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(RELEASE_SECONDS):
            await release_run(services.pool, claim, pause_seconds=pause_seconds)


def _count(name: str, rows: int) -> None:
    if rows:
        metrics.MAINTENANCE_ROWS.labels(name).inc(rows)
        log.info("maintenance done", name=name, rows=rows)


def schedule() -> list[CronJob]:
    """This worker's own copy of the schedule: arq keeps the next run of each entry in it."""
    jobs = [run_due_maintenance, *sweeps.as_jobs()]
    return [
        cron(
            with_policy(job, is_repeated=False).coroutine,
            name=job.__name__,
            second=set(EVERY_FIVE_SECONDS),
            **ONCE_A_TICK,
        )
        for job in jobs
    ]

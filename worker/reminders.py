"""Sends reminders that are due, and follows users who have changed when they want to be reminded."""

import asyncio

from core import clock, metrics
from core.jobs.queues import DELIVER, call_worker
from core.logs import get_logger
from core.reminders.writes.planning import plan_for_changed_user
from core.reminders.writes.sending import USERS_AT_ONCE, send_due
from worker.runner import Services

# Where one reminder after the other comes due, they are sent together: each transaction costs as much as hundreds.
# Less than a full batch is at the least, that of as many users with one reminder each.
FEW = USERS_AT_ONCE // 2
GATHERING_SECONDS = 0.2

log = get_logger()


async def send_due_reminders(services: Services) -> None:
    """Sends reminders as long as there are any that are due and that nobody else is sending."""
    while not services.stopping.is_set():
        sent = await send_due(services.pool, clock.now(), digest_over=services.settings.reminder_digest_over)
        if not sent.reminders:
            return
        metrics.REMINDERS.labels("sent").inc(len(sent.lateness))
        metrics.REMINDERS.labels("cancelled").inc(sent.cancelled)
        metrics.REMINDER_DIGESTS.inc(sent.digests)
        for seconds in sent.lateness:
            metrics.REMINDER_LATENESS.observe(seconds)
        log.info("reminders sent", sent=len(sent.lateness), digests=sent.digests, cancelled=sent.cancelled)
        if sent.calls_for_delivery:
            await call_worker(services.queue, DELIVER)
        if sent.reminders < FEW:
            await asyncio.sleep(GATHERING_SECONDS)


async def plan_reminders(services: Services) -> None:
    """Brings the reminders of users in line who have changed their offsets or their time zone."""
    tasks = 0
    while not services.stopping.is_set():
        planned = await plan_for_changed_user(services.pool)
        if planned is None:
            break
        tasks += planned
    if tasks:
        log.info("reminders planned again", tasks=tasks)

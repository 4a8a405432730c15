"""What is recorded of a delivery: that it is not to be sent, what an attempt came to, or that it was given back."""

from datetime import datetime

from core import clock, metrics
from core.channels.schemas import TEST_EVENT
from core.channels.targets import WEBHOOK
from core.deliveries.attempts import Attempt
from core.deliveries.messages import wanted_at
from core.deliveries.schedule import next_delay, quiet_until
from core.deliveries.writes.claims import ClaimedDelivery
from core.deliveries.writes.results import Result

GIVEN_BACK_SECONDS = 1.0


def refusal(delivery: ClaimedDelivery, moment: datetime) -> Result | None:
    """Why a delivery is not to be sent, or not yet; None: it is."""
    if delivery.is_disabled:
        return _untried(delivery, "dead", "The channel is disabled.")
    if delivery.is_void:
        return _untried(delivery, "dead", "The task was completed, cancelled or deleted before.")
    if delivery.event == TEST_EVENT:
        return None
    quiet = quiet_until(delivery.quiet_hours, delivery.time_zone, moment)
    if quiet is not None:
        delay = (quiet - moment).total_seconds()
        return Result(delivery.id, delivery.channel_id, None, attempts=0, delay_seconds=delay)
    return None


def result_of(delivery: ClaimedDelivery, attempt: Attempt) -> Result:
    """What an attempt that has just ended makes of a delivery."""
    if attempt.error is None:
        metrics.DELIVERY_LATENESS.observe(max(0.0, (clock.now() - _wanted_at(delivery)).total_seconds()))
        return Result(delivery.id, delivery.channel_id, "delivered")
    delay = None if attempt.is_gone else next_delay(delivery.attempts + 1, attempt.retry_after)
    return Result(
        delivery.id,
        delivery.channel_id,
        "dead" if delay is None else "failed",
        delay_seconds=delay,
        error=attempt.error,
        hold_seconds=attempt.retry_after,
        is_gone=attempt.is_gone,
    )


def given_back(delivery: ClaimedDelivery, *, seconds: float = GIVEN_BACK_SECONDS) -> Result:
    """Nothing was tried: it is due again after some seconds."""
    return Result(delivery.id, delivery.channel_id, None, attempts=0, delay_seconds=seconds)


def kind_label(delivery: ClaimedDelivery) -> str:
    """For the metrics: there are more than a hundred services."""
    return "webhook" if delivery.kind == WEBHOOK else "apprise"


def _wanted_at(delivery: ClaimedDelivery) -> datetime:
    """From when on it is late."""
    if delivery.attempts:
        return delivery.due_at
    if delivery.redelivered_at is not None:
        return delivery.redelivered_at
    moment = wanted_at(delivery.event, delivery.created_at, delivery.data)
    return quiet_until(delivery.quiet_hours, delivery.time_zone, moment) or moment


def _untried(delivery: ClaimedDelivery, state: str, error: str) -> Result:
    return Result(delivery.id, delivery.channel_id, state, attempts=0, error=error)

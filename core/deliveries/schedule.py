"""When a delivery is tried again, and when it must wait: the schedule of retries, and quiet hours."""

import random
from datetime import UTC, datetime, time, timedelta
from typing import Any

from core.clock import read_http_date
from core.tasks.recurrence import zone_named

RETRY_SECONDS = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""The pauses after the first attempt, the second …; after the last one it is given up."""

JITTER = 0.1
RETRY_AFTER_MAXIMUM = 86_400.0


def next_delay(attempts: int, retry_after: float | None = None) -> float | None:
    """Seconds until the next attempt, jittered so that deliveries that failed together are not tried together again.

    Args:
        attempts: how many were made, the failed one included.
        retry_after: seconds that the receiver has asked for.

    Returns:
        None: it is given up.
    """
    if attempts > len(RETRY_SECONDS):
        return None
    planned = RETRY_SECONDS[attempts - 1] * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311
    return max(planned, min(retry_after or 0.0, RETRY_AFTER_MAXIMUM))


def read_retry_after(value: str | None, moment: datetime) -> float | None:
    """The seconds that a `Retry-After` means (RFC 9110, 10.2.3: seconds or a date); None where it is neither."""
    text = (value or "").strip()
    if text.isascii() and text.isdecimal():
        return min(float(text[:9]), RETRY_AFTER_MAXIMUM)
    wanted = read_http_date(text)
    if wanted is None:
        return None
    return min(max(0.0, (wanted - moment).total_seconds()), RETRY_AFTER_MAXIMUM)


def quiet_until(quiet_hours: dict[str, Any] | None, zone: str, moment: datetime) -> datetime | None:
    """When the quiet hours end that a moment lies in; None: it lies in none.

    Args:
        quiet_hours: `start` and `end` as times of day; where the end is not after the start it is the next day's.
        zone: the IANA name of the user's time zone; UTC stands in for one that does not exist (any more).
        moment: aware.
    """
    if quiet_hours is None:
        return None
    start, end = time.fromisoformat(quiet_hours["start"]), time.fromisoformat(quiet_hours["end"])
    user_zone = zone_named(zone)
    today = moment.astimezone(user_zone).date()
    for day in (today - timedelta(days=1), today):
        begins = datetime.combine(day, start, user_zone).astimezone(UTC)
        last_day = day if end > start else day + timedelta(days=1)
        # Where the clocks go back, the end may come twice: the second time counts.
        ends = datetime.combine(last_day, end, user_zone).replace(fold=1).astimezone(UTC)
        if begins <= moment < ends:
            return ends
    return None

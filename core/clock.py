"""The time, in one place, so that tests can set it."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import orjson


def now() -> datetime:
    """The current time, aware, in UTC."""
    return datetime.now(UTC)


def timestamp() -> str:
    """The current time as RFC 3339 has it, in UTC and always with microseconds: such texts can be compared."""
    moment = now()
    if moment.microsecond:  # else orjson, which takes a quarter of the time, leaves them out
        return orjson.dumps(moment)[1:-1].decode()
    return moment.isoformat(timespec="microseconds")


def read_http_date(text: str) -> datetime | None:
    """The moment that a date in an HTTP header means (RFC 9110, 5.6.7), aware; None for what is no date.

    aiohttp's reading of dates fails, as Python's does, on a year of twenty digits.
    """
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)

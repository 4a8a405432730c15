"""In-app notifications in words."""

from collections.abc import Sequence
from datetime import date, datetime
from zoneinfo import ZoneInfo

DIGEST_TITLES = 5


def reminder_text(
    title: str, due_date: datetime | None, due_day: date | None, zone: ZoneInfo, *, is_late: bool = False
) -> str:
    """A reminder of one task: its title and when it is due, a day or a moment in the user's time zone."""
    due = "" if due_date is None else f", due {due_day or moment_text(due_date, zone)}"
    return f"{title}{due}{' (this reminder is late)' if is_late else ''}"


def digest_text(titles: Sequence[str]) -> str:
    """Many late reminders as one: some titles, and how many more there are."""
    shown = "; ".join(titles[:DIGEST_TITLES])
    more = len(titles) - DIGEST_TITLES
    tasks = "1 task" if len(titles) == 1 else f"{len(titles)} tasks"
    return f"{tasks} whose reminders are late: {shown}{f' and {more} more' if more > 0 else ''}"


def moment_text(moment: datetime, zone: ZoneInfo) -> str:
    """A moment by the clocks of a zone, to the minute."""
    try:
        return f"{moment.astimezone(zone):%Y-%m-%d %H:%M %Z}"
    except OverflowError:  # the first or last day of all years
        return f"{moment:%Y-%m-%d %H:%M %Z}"

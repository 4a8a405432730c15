"""Dates as people type and read them on a terminal; the zone is this machine's."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from core import clock
from core.tasks.values import is_day
from ops.faults import Fault


def due_of(text: str) -> str:
    """What the API takes for it: a day of the calendar stays one, a time without an offset is of this machine's zone.

    Raises:
        Fault: it is no date.
    """
    words = {"today": 0, "tomorrow": 1}
    if text.lower() in words:
        return (_here() + timedelta(days=words[text.lower()])).date().isoformat()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Fault(
            f"{text!r} is no date: give today, tomorrow, a day such as 2030-01-31, or a time such as '2030-01-31 17:00'"
        ) from None
    if is_day(text):
        return text
    return (moment if moment.tzinfo else moment.astimezone()).isoformat()


def shown_due(task: Mapping[str, Any]) -> str:
    """When a task is due: a day, a time of this machine's zone, or nothing."""
    if task.get("due_day"):
        return str(task["due_day"])
    return shown_moment(task["due_date"]) if task["due_date"] else ""


def shown_moment(text: str) -> str:
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M")


def _here() -> datetime:
    return clock.now().astimezone()

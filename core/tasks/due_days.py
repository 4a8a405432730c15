"""All-day due dates: tasks that are due on a day of the calendar, which ends when it does in their user's time zone.

Which moment that is PostgreSQL alone works out (`day_end`), in the statement that writes it: one list of time zones.
"""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from core.commands.effects import Effect

DISAGREEMENT = "22T01"
"""The SQLSTATE of a due date that is not the end of the day that came with it."""


def disagreement(task_id: int | None = None) -> Effect:
    """The refusal of a due date and a day that do not belong together."""
    return Effect.rejected(
        "validation-error",
        "Mend these fields and send the request again: due_day.",
        task_id=task_id,
        errors={"due_day": ["Contradicts due_date, which is not the last second of this day in your time zone."]},
    )


def due_after(before: Mapping[str, Any], fields: Mapping[str, Any]) -> tuple[datetime | None, date | None]:
    """When a task is due after an update: the moment and the day, of which only the day counts where there is one.

    Args:
        before: the task until then: `due_date` (aware) and `due_day`.
        fields: of the update.
    """
    due_date, due_day = before["due_date"], _day(before["due_day"])
    if "due_date" in fields:
        given = None if fields["due_date"] is None else datetime.fromisoformat(fields["due_date"])
        if given != due_date:
            due_date, due_day = given, None
    if "due_day" in fields:
        due_day = _day(fields["due_day"])
        if due_day is None and "due_date" not in fields:
            due_date = None
    return due_date, due_day


def _day(value: Any) -> date | None:
    return date.fromisoformat(value) if isinstance(value, str) else value

"""Recurring tasks: which rules are refused, and what follows a task that is completed."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from core.commands.effects import Effect
from core.loop_turns import Turns
from core.tasks.due_days import due_after
from core.tasks.recurrence import Following, following, require_next_date, zone_named
from core.tasks.rules import RecurrenceInvalid, RecurrenceTooExpensive


def refused_rule(task_id: int, recurrence: str, due_date: datetime, time_zone: str) -> Effect | None:
    """The refusal of a rule that ends before the due date (aware) of its task, in the time zone of the user."""
    try:
        require_next_date(recurrence, due_date, zone=zone_named(time_zone))
    except RecurrenceInvalid as error:
        return Effect.rejected(
            "validation-error",
            "Mend these fields and send the request again: recurrence.",
            task_id=task_id,
            errors={"recurrence": [str(error)]},
        )
    return None


async def plan_following(
    completing: dict[tuple[int, int], Mapping[str, Any]], updates: Sequence[dict[str, Any]]
) -> tuple[dict[tuple[int, int], Following], dict[tuple[int, int], Effect]]:
    """(User, task) → what follows the tasks that are completed, and → the refusal where that takes too long to find.

    It gives other work of the process its turns.
    """
    found: dict[tuple[int, int], Following] = {}
    refused = {}
    turns = Turns()
    for update in updates:
        task = (update["user_id"], update["id"])
        before, versions = completing.get(task), update.get("if_versions")
        if before is None or (versions is not None and before["version"] not in versions):
            continue  # what conflicts is told so, and by the statement that updates
        try:
            following_task = next_task(before, update["fields"])
        except RecurrenceTooExpensive:
            refused[task] = too_expensive(update["id"])
        else:
            if following_task is not None:
                found[task] = following_task
        await turns.give()
    return found, refused


def too_expensive(task_id: int) -> Effect:
    """The refusal to complete a task whose next date would take too long to find: it did not when it was set."""
    return Effect.rejected(
        "too-expensive",
        "The task's next date would take too long to find: too much time has gone by. Complete it together with "
        "another recurrence (null: none), or with a due date nearer to today.",
        task_id=task_id,
    )


def next_task(before: Mapping[str, Any], fields: Mapping[str, Any]) -> Following | None:
    """What follows a task that an update completes; None: nothing does.

    Args:
        before: the task until then: `recurrence`, `recurrence_from`, `due_date`, `due_day`, `recurrence_local`, the
            `time_zone` of its user, and what time it is `now`.
        fields: of the update.

    Raises:
        RecurrenceTooExpensive: it would take too long to find.
    """
    recurrence = fields.get("recurrence", before["recurrence"])
    if recurrence is None:
        return None
    due_date, due_day = due_after(before, fields)
    try:
        return following(
            recurrence,
            counted_from=fields.get("recurrence_from", before["recurrence_from"]),
            due_date=due_date,
            due_day=due_day,
            nominal=before["recurrence_local"],
            completed_at=before["now"],
            zone=zone_named(before["time_zone"]),
        )
    except RecurrenceTooExpensive:
        raise
    except RecurrenceInvalid:
        return None  # of another version of this service; completing it must not fail for that

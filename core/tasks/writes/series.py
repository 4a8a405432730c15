"""Recurring tasks in the database: what an update of tasks has to look at before, and what it makes after.

A rule goes over from a completed task to the next one, so that completing a task again, after it was reopened, makes no
second one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from core.commands.effects import Effect
from core.database.pools import Connection
from core.loop_turns import Turns
from core.tasks.columns import names
from core.tasks.fields import FIELDS
from core.tasks.recurrence import Following
from core.tasks.series import refused_rule
from core.tasks.writes.statements import end_of

# What is about to be completed, as it is; a lock keeps it so, since an admin's command may come from another lane.
_TO_BE_COMPLETED = """
SELECT t.user_id, t.id, t.version, t.recurrence, t.recurrence_from, t.due_date, t.due_day, t.recurrence_local,
       u.time_zone, now() AS now
FROM   unnest($1::bigint[], $2::bigint[]) AS c (user_id, id)
       JOIN tasks AS t ON t.user_id = c.user_id AND t.id = c.id
       JOIN users AS u ON u.id = t.user_id
WHERE  t.status <> 'completed'
FOR    NO KEY UPDATE OF t
"""

# The locks keep the dates until the rules that go on from them are written.
_DUE_DATES = """
SELECT t.user_id, t.id, t.due_date, u.time_zone
FROM   unnest($1::bigint[], $2::bigint[]) AS c (user_id, id)
       JOIN tasks AS t ON t.user_id = c.user_id AND t.id = c.id
       JOIN users AS u ON u.id = t.user_id
WHERE  t.due_date IS NOT NULL
FOR    NO KEY UPDATE OF t
"""

_KEPT = [field for field in FIELDS if field.is_kept]

# Reminders at a certain time belong to the completed task alone.
_NEXT = f"""
INSERT INTO tasks (user_id, {names(_KEPT)}, reminder_rules, due_date, due_day, recurrence, recurrence_local)
SELECT t.user_id, {names(_KEPT, "t.")},
       CASE WHEN t.reminder_rules IS NOT NULL THEN
           ARRAY(SELECT rule FROM unnest(t.reminder_rules) AS r (rule) WHERE rule LIKE 'P%') END,
       CASE WHEN c.due_day IS NULL THEN c.due_date ELSE {end_of("c.due_day", user_id="t.user_id")} END,
       c.due_day, c.recurrence, c.recurrence_local
"""  # noqa: S608

_FOLLOW = f"""
{_NEXT}
FROM   unnest($1::bigint[], $2::bigint[], $3::timestamptz[], $4::date[], $5::text[], $6::timestamp[])
       AS c (user_id, id, due_date, due_day, recurrence, recurrence_local)
       JOIN tasks AS t ON t.user_id = c.user_id AND t.id = c.id
"""

_FOLLOW_STATES = f"""
{_NEXT}
FROM   unnest($1::jsonb[], $2::timestamptz[], $3::date[], $4::text[], $5::timestamp[]) WITH ORDINALITY
       AS c (state, due_date, due_day, recurrence, recurrence_local, place),
       LATERAL jsonb_populate_record(NULL::tasks, c.state) AS t
ORDER  BY c.place
"""


async def refuse_rules(connection: Connection, updates: Sequence[dict[str, Any]]) -> dict[tuple[int, int], Effect]:
    """(User, task) → the refusal, for rules that end before the due date that the task has and keeps.

    Nobody but the database knows it; all else of a rule the API has looked at.
    """
    ruled = {
        (update["user_id"], update["id"]): update["fields"]["recurrence"]
        for update in updates
        if update["fields"].get("recurrence") and not update["fields"].keys() & {"due_date", "due_day"}
    }
    if not ruled:
        return {}
    rows = await connection.fetch(_DUE_DATES, *map(list, zip(*ruled, strict=True)))
    tasks = {(row["user_id"], row["id"]): (row["due_date"], row["time_zone"]) for row in rows}
    refused, turns = {}, Turns()
    for task, (due_date, time_zone) in tasks.items():
        if (refusal := refused_rule(task[1], ruled[task], due_date, time_zone)) is not None:
            refused[task] = refusal
        await turns.give()
    return refused


async def to_be_completed(
    connection: Connection, updates: Sequence[dict[str, Any]]
) -> dict[tuple[int, int], Mapping[str, Any]]:
    """(User, task) → the task before it is completed, for those that are and were not."""
    completing = [update for update in updates if update["fields"].get("status") == "completed"]
    if not completing:
        return {}
    rows = await connection.fetch(
        _TO_BE_COMPLETED, [update["user_id"] for update in completing], [update["id"] for update in completing]
    )
    return {(row["user_id"], row["id"]): dict(row) for row in rows}


async def follow_completed(
    connection: Connection, found: dict[tuple[int, int], Following], done: Sequence[dict[str, Any]]
) -> None:
    """Makes the next tasks of those among `done` that something follows."""
    tasks = [(update["user_id"], update["id"]) for update in done]
    made = [(*task, found[task]) for task in tasks if task in found]
    if made:
        await connection.execute(
            _FOLLOW,
            [user_id for user_id, _, _ in made],
            [task_id for _, task_id, _ in made],
            [found.due_date for _, _, found in made],
            [found.due_day for _, _, found in made],
            [found.recurrence for _, _, found in made],
            [found.nominal for _, _, found in made],
        )


async def follow_states(connection: Connection, completed: Sequence[tuple[str, Following]]) -> None:
    """Makes the next tasks of some that were completed and may have been changed since: each a row as JSON."""
    await connection.execute(
        _FOLLOW_STATES,
        [state for state, _ in completed],
        [found.due_date for _, found in completed],
        [found.due_day for _, found in completed],
        [found.recurrence for _, found in completed],
        [found.nominal for _, found in completed],
    )

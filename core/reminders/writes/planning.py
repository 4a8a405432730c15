"""Writes of reminders: a task's own, and what follows when a user changes the general ones.

Everything else happens in the database, whose triggers keep reminders in step with every change of a task.
"""

from collections.abc import Sequence

from core.commands.effects import Effect
from core.commands.kinds import Operation, SetTaskReminders
from core.database.locks import Lock, number_of, statement
from core.database.pools import Connection, Pool
from core.database.transactions import bounded_transaction
from core.reminders.queries import REMINDERS_JSON

PLANNED_AT_ONCE = 500

_SET = """
UPDATE tasks AS t
SET    reminder_rules = string_to_array(c.rules, ' ')
FROM   unnest($1::bigint[], $2::bigint[], $3::text[]) AS c (user_id, id, rules)
WHERE  t.user_id = c.user_id
AND    t.id = c.id
"""

_AS_SET = f"""
SELECT found.reminders
FROM   unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS c (user_id, id, place)
       LEFT JOIN LATERAL (SELECT {REMINDERS_JSON} AS reminders
                          FROM   tasks AS t WHERE t.user_id = c.user_id AND t.id = c.id LIMIT 1) AS found ON true
ORDER  BY c.place
"""  # noqa: S608

_NEXT_USER = """
SELECT id, reminders_planned_to
FROM   users
WHERE  reminders_planned_to IS NOT NULL
ORDER  BY id
LIMIT  1
FOR    NO KEY UPDATE SKIP LOCKED
"""

# The lock keeps due dates as they are, so that newer reminders are not replaced by older ones. The condition on the
# status is negated: as a plain one it would have PostgreSQL use the index by due date, and go through all of it.
_PLAN = """
WITH next AS MATERIALIZED (
    SELECT user_id, id, due_date, due_day, array_to_string(reminder_rules, ' ') AS rules
    FROM   tasks
    WHERE  user_id = $1
    AND    id > $2
    AND    status NOT IN ('completed', 'cancelled')
    AND    due_date IS NOT NULL
    AND    ((SELECT reminder_offsets <> '{}' FROM users WHERE users.id = $1)
            OR reminder_rules IS NOT NULL
            OR EXISTS (SELECT FROM reminders AS r WHERE r.user_id = tasks.user_id AND r.task_id = tasks.id))
    ORDER  BY id
    LIMIT  $3
    FOR    NO KEY UPDATE
), gathered AS MATERIALIZED (
    SELECT array_agg(user_id) AS user_ids, array_agg(id) AS ids, array_agg(due_date) AS due_dates,
           array_agg(due_day) AS due_days, array_agg(rules) AS rules, array_agg(true) AS are_open, max(id) AS last_id,
           count(*) AS tasks
    FROM   next
)
SELECT drop_reminders(user_ids, ids, due_dates, rules, are_open)::text AS dropped,
       plan_reminders(user_ids, ids, due_dates, due_days, rules, are_open)::text AS planned, last_id, tasks
FROM   gathered
"""

_PLANNED = "UPDATE users SET reminders_planned_to = $2 WHERE id = $1"


async def set_reminders(connection: Connection, changes: Sequence[Operation[SetTaskReminders]]) -> list[Effect]:
    """Gives tasks reminders of their own, by rules that were validated; `connection` is in a transaction."""
    user_ids = [change.user_id for change in changes]
    task_ids = [change.payload["id"] for change in changes]
    reminders = [change.payload["reminders"] for change in changes]
    rules = [None if one is None else " ".join(one) for one in reminders]
    await connection.execute(_SET, user_ids, task_ids, rules)
    rows = await connection.fetch(_AS_SET, user_ids, task_ids)
    return [
        Effect(200, row["reminders"], task_id=task_id)
        if row["reminders"] is not None
        else Effect.rejected("not-found", "There is no such task.", task_id=task_id)
        for task_id, row in zip(task_ids, rows, strict=True)
    ]


async def plan_for_changed_user(pool: Pool) -> int | None:
    """Brings some reminders in line with a user's new offsets or time zone.

    Returns:
        How many tasks were looked at; None: there is no such user, or others do this for all of them.
    """
    async with bounded_transaction(pool) as connection:
        user = await connection.fetchrow(_NEXT_USER)
        if user is None:
            return None
        if user["reminders_planned_to"] == 0:
            # An import's chunk that was begun before the change was has read what the user wanted until then.
            await connection.execute(statement(Lock.import_chunks, number_of(user["id"])))
        row = await connection.fetchrow(_PLAN, user["id"], user["reminders_planned_to"], PLANNED_AT_ONCE)
        assert row is not None, "an aggregate always gives a row"
        is_done = row["tasks"] < PLANNED_AT_ONCE
        await connection.execute(_PLANNED, user["id"], None if is_done else row["last_id"])
        return int(row["tasks"])

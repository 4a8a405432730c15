"""Reads of reminders."""

from core.database.read_pool import ReadPool
from core.database.reads import fetch_row, fetch_rows
from core.identity import ME, MY_ID
from core.tasks.queries import Caller

REMINDERS_JSON = """
    concat('{"is_own":', to_json(t.reminder_rules IS NOT NULL), ',"reminders":[', (
        SELECT string_agg(row_to_json(shown)::text, ',' ORDER BY r.due_at, r.rule)
        FROM   reminders AS r,
               LATERAL (SELECT replace(r.rule, '+00:00', 'Z') AS rule, json_moment(r.due_at)::json AS due_at, r.state,
                               json_moment(r.sent_at)::json AS sent_at) AS shown
        WHERE  r.user_id = t.user_id AND r.task_id = t.id), ']}')
"""

_OF_OWN = f"""
SELECT {REMINDERS_JSON} AS reminders
FROM   {ME},
       LATERAL (SELECT * FROM tasks WHERE user_id = {MY_ID} AND id = $2 LIMIT 1) AS t
"""  # noqa: S608

_OF_ALL = f"""
SELECT {REMINDERS_JSON} AS reminders
FROM   {ME},
       LATERAL (SELECT * FROM tasks WHERE user_id > 0 AND id = $2 AND me IS NOT NULL LIMIT 1) AS t
"""  # noqa: S608


async def read_reminders(pool: ReadPool, caller: Caller, task_id: int) -> str | None:
    """A task's reminders as JSON; None where the task does not exist for the caller.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    row = await fetch_row(pool, _OF_ALL if caller.is_admin else _OF_OWN, caller.identity(pool), task_id)
    return None if row is None else row["reminders"]


_NOT_OF_OWN = f"""
SELECT j.id::text
FROM   {ME},
       LATERAL (SELECT id FROM jobs
                WHERE  user_id = {MY_ID}
                AND    id = ANY ($2::text[]::uuid[])
                AND    NOT EXISTS (SELECT FROM tasks AS t WHERE t.user_id = {MY_ID} AND t.id = jobs.task_id)
                LIMIT  $3) AS j
"""  # noqa: S608


async def jobs_of_others_tasks(pool: ReadPool, user_id: int, job_ids: list[str]) -> set[str]:
    """Those of the user's `task.reminders` jobs whose task is not (any more) the user's own.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    rows = await fetch_rows(pool, _NOT_OF_OWN, pool.identities.user(user_id), job_ids, len(job_ids))
    return {row["id"] for row in rows}

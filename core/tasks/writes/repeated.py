"""Changes of tasks one after the other, in a number of statements that does not grow with the number of changes.

The tasks are read and locked, `folding` works out what each change comes to, and what was worked out is written: the
last state of each task, and an event for each state on the way there.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg
import orjson
import sqlalchemy as sa

from core.commands.effects import Effect
from core.database.pools import Connection
from core.loop_turns import Turns
from core.tasks.fields import WRITABLE
from core.tasks.folding import AnswerBudget, Folding, Found, State, Step
from core.tasks.tables import tasks as tasks_table
from core.tasks.writes.series import follow_states

Key = tuple[int, int]

# Always locked in one order: an admin's command may come from another lane.
_FIND = """
SELECT t.user_id, t.id, row_to_json(t)::text AS state, u.time_zone, now() AS now,
       greatest(now(), t.updated_at) AS touched_at
FROM   unnest($1::bigint[], $2::bigint[]) AS c (user_id, id)
       JOIN tasks AS t ON t.user_id = c.user_id AND t.id = c.id
       JOIN users AS u ON u.id = t.user_id
ORDER  BY t.user_id, t.id
FOR    NO KEY UPDATE OF t
"""

_DAY_ENDS = """
SELECT c.user_id, c.day, day_end(c.day::date, held_time_zone(c.user_id)) AS ends
FROM   unnest($1::bigint[], $2::text[]) AS c (user_id, day)
"""

# What the table asks of each row, of states that are in no table.
_IS_SOUND = " AND ".join(
    [f"t.{column.name} IS NOT NULL" for column in tasks_table.columns if not column.nullable]
    + [
        f"({constraint.sqltext}) IS NOT FALSE"
        for constraint in sorted(tasks_table.constraints, key=lambda constraint: str(constraint.name))
        if isinstance(constraint, sa.CheckConstraint)
    ]
)

# Events under the conditions of the triggers on `tasks`.
_TELL = f"""
WITH told AS MATERIALIZED (
    SELECT c.place, c.event, t.id, t.user_id, t.version, task_json(t) AS task, {_IS_SOUND} AS is_sound
    FROM   unnest($1::jsonb[], $2::text[]) WITH ORDINALITY AS c (state, event, place),
           LATERAL jsonb_populate_record(NULL::tasks, c.state) AS t
), noted AS (
    INSERT INTO events (user_id, type, task_id, data)
    SELECT told.user_id, told.event, told.id, concat('{{"task":', told.task, '}}')::json
    FROM   told,
           LATERAL (SELECT FROM channels AS c
                    WHERE  c.user_id = told.user_id AND c.state = 'active' AND told.event = ANY (c.events)
                    LIMIT  1) AS wanted
    WHERE  told.event IS NOT NULL AND told.is_sound
    AND    current_setting('app.quiet_events', true) IS DISTINCT FROM 'on'
    ORDER  BY told.place
)
SELECT task, version, is_sound FROM told ORDER BY place
"""  # noqa: S608

# What the triggers would tell of it was told already.
_QUIET = """
SELECT coalesce(current_setting('app.quiet_events', true), '') AS before,
       set_config('app.quiet_events', 'on', true) AS now
"""
_AS_BEFORE = "SELECT set_config('app.quiet_events', $1, true)"

_CHANGED = (*(field.name for field in WRITABLE), "completed_at", "updated_at", "version")

_WRITE = f"""
UPDATE tasks AS t
SET    {", ".join(f"{column} = s.{column}" for column in _CHANGED)}
FROM   unnest($1::jsonb[]) AS c (state),
       LATERAL jsonb_populate_record(NULL::tasks, c.state) AS s
WHERE  t.user_id = s.user_id
AND    t.id = s.id
"""  # noqa: S608

_DELETE = """
DELETE FROM tasks AS t
USING  unnest($1::bigint[], $2::bigint[]) AS c (user_id, id)
WHERE  t.user_id = c.user_id
AND    t.id = c.id
"""


async def change_in_turn(
    connection: Connection, changes: Sequence[dict[str, Any]], budget: AnswerBudget | None
) -> list[Effect]:
    """Carries out changes of tasks, in order.

    Args:
        connection: in a transaction.
        changes: as `change_tasks` takes them; each may name any task.
        budget: as there; it is taken from.

    Raises:
        asyncpg.PostgresError: as a statement for one of them would have raised it.
    """
    foldings = await _find(connection, list({_key(change) for change in changes}), await _day_ends(connection, changes))
    steps, turns = [], Turns()
    for change in changes:
        steps.append(foldings[_key(change)].apply(change, budget))
        await turns.give()
    told = await _tell(connection, [step for step in steps if step.state is not None])
    await _write(connection, foldings)
    completed = [(_json(step.state), step.following) for step in steps if step.state is not None and step.following]
    if completed:
        await follow_states(connection, completed)
    return [
        step.effect
        if step.effect is not None
        else Effect(200, told[id(step)]["task"], task_id=change["id"], version=told[id(step)]["version"])
        for change, step in zip(changes, steps, strict=True)
    ]


async def _day_ends(connection: Connection, changes: Sequence[dict[str, Any]]) -> dict[int, dict[str, str]]:
    """User → day → its end, of those that the changes name."""
    days = {(change["user_id"], day) for change in changes if (day := change.get("fields", {}).get("due_day"))}
    found: dict[int, dict[str, str]] = defaultdict(dict)
    if days:
        for row in await connection.fetch(_DAY_ENDS, *map(list, zip(*sorted(days), strict=True))):
            found[row["user_id"]][row["day"]] = row["ends"].isoformat()
    return found


async def _find(
    connection: Connection, keys: Sequence[Key], day_ends: Mapping[int, Mapping[str, str]]
) -> dict[Key, Folding]:
    rows = await connection.fetch(_FIND, [user_id for user_id, _ in keys], [task_id for _, task_id in keys])
    found = {
        (row["user_id"], row["id"]): Found(
            orjson.loads(row["state"]),
            row["time_zone"],
            row["now"],
            row["touched_at"],
            day_ends.get(row["user_id"], {}),
        )
        for row in rows
    }
    return {key: Folding(found.get(key)) for key in keys}


async def _tell(connection: Connection, steps: Sequence[Step]) -> dict[int, asyncpg.Record]:
    """Writes the events, and has PostgreSQL make each state's JSON."""
    if not steps:
        return {}
    rows = await connection.fetch(_TELL, [_json(step.state) for step in steps], [step.event for step in steps])
    if not all(row["is_sound"] for row in rows):
        raise asyncpg.CheckViolationError("a task would not have been one that the table takes")
    return dict(zip(map(id, steps), rows, strict=True))


async def _write(connection: Connection, foldings: dict[Key, Folding]) -> None:
    changed = {key: folding for key, folding in foldings.items() if folding.is_changed}
    if not changed:
        return
    detours = [folding.detour for folding in changed.values() if folding.detour is not None]
    states = [folding.state for folding in changed.values() if folding.state is not None]
    deleted = [key for key, folding in changed.items() if folding.state is None]
    before = await connection.fetchval(_QUIET)
    for some in (detours, states):
        if some:
            await connection.execute(_WRITE, [_json(state) for state in some])
    if deleted:
        await connection.execute(_DELETE, [user_id for user_id, _ in deleted], [task_id for _, task_id in deleted])
    await connection.execute(_AS_BEFORE, before)


def _key(change: dict[str, Any]) -> Key:
    return change["user_id"], change["id"]


def _json(state: State | None) -> str:
    return orjson.dumps(state).decode()

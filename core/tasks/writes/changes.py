"""Set-based writes of tasks: each function carries out many operations in few statements.

Results come back in the order of the operations.
"""

import collections
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson

from core.commands.effects import Effect
from core.commands.kinds import DELETE_TASK, CreateTask, DeleteTask, Operation, UpdateTask
from core.commands.wire import Command
from core.database.pools import Connection
from core.tasks.columns import names, parameter_arrays, task_arrays
from core.tasks.fields import WRITABLE
from core.tasks.folding import AnswerBudget, too_much, untouched
from core.tasks.recurrence import Following
from core.tasks.series import plan_following
from core.tasks.writes.repeated import change_in_turn
from core.tasks.writes.series import follow_completed, refuse_rules, to_be_completed
from core.tasks.writes.statements import changed_due, insert_tasks, patched

# The ids are made before the insert, in the order of the input, so that each result finds its operation.
_CREATED = f"""
created AS (
    {insert_tasks(WRITABLE, user_id="r.user_id")}
    FROM   input AS r
    RETURNING t.id, t.version, task_json(t) AS task
)
"""

_RESULTS = """
SELECT created.id, created.version, created.task
FROM   input JOIN created USING (id)
ORDER  BY input.place
"""

_CREATE = f"""
WITH input AS MATERIALIZED (
    SELECT c.*, next_task_id() AS id
    FROM   unnest($1::bigint[], {parameter_arrays(WRITABLE, first=2)})
           WITH ORDINALITY AS c (user_id, {names(WRITABLE)}, place)
), {_CREATED} {_RESULTS}
"""  # noqa: S608

_CREATE_AND_RECORD = f"""
WITH input AS MATERIALIZED (
    SELECT c.*, next_task_id() AS id
    FROM   unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[],
                  {parameter_arrays(WRITABLE, first=6)})
           WITH ORDINALITY AS c (user_id, job_id, fingerprint, request_id, taken_at, {names(WRITABLE)}, place)
), {_CREATED}, recorded AS (
    INSERT INTO jobs (id, user_id, kind, state, status_code, task_id, result, fingerprint, request_id,
                      created_at, started_at, finished_at)
    SELECT job_id::uuid, user_id, 'task.create', 'succeeded', 201, id, task::json, fingerprint, request_id,
           taken_at::timestamptz, now(), clock_timestamp()
    FROM   input JOIN created USING (id)
) {_RESULTS}
"""  # noqa: S608

_NEW_VALUES = {field.name: patched(field) for field in WRITABLE} | changed_due(
    date_is_given="fields ? 'due_date'",
    date="(fields ->> 'due_date')::timestamptz",
    day_is_given="fields ? 'due_day'",
    day="(fields ->> 'due_day')::date",
    user_id="t.user_id",
)
# A rule leaves the task that is completed.
_NEW_VALUES["recurrence"] = (
    "CASE WHEN fields ->> 'status' = 'completed' AND t.status <> 'completed' THEN NULL "
    f"ELSE {_NEW_VALUES['recurrence']} END"
)
# What changes nothing raises no version, and is told to nobody.
_IS_CHANGED = f"({', '.join(f't.{name}' for name in _NEW_VALUES)}) IS DISTINCT FROM ({', '.join(_NEW_VALUES.values())})"

_UPDATE = f"""
WITH input AS MATERIALIZED (
    SELECT c.*
    FROM   unnest($1::bigint[], $2::bigint[], $3::jsonb[], $4::jsonb[])
           WITH ORDINALITY AS c (user_id, id, fields, if_versions, place)
), updated AS (
    UPDATE tasks AS t
    SET    {", ".join(f"{name} = {value}" for name, value in _NEW_VALUES.items())},
           completed_at = CASE WHEN NOT fields ? 'status'              THEN t.completed_at
                               WHEN fields ->> 'status' <> 'completed' THEN NULL
                               ELSE coalesce(t.completed_at, now()) END,
           updated_at   = CASE WHEN {_IS_CHANGED} THEN greatest(now(), t.updated_at) ELSE t.updated_at END,
           version      = t.version + ({_IS_CHANGED})::int
    FROM   input
    WHERE  t.user_id = input.user_id
    AND    t.id = input.id
    AND    (if_versions IS NULL OR if_versions @> to_jsonb(t.version))
    RETURNING t.id, t.user_id, t.version, task_json(t) AS task
)
SELECT updated.task, coalesce(updated.version, before.version) AS version
FROM   input
       LEFT JOIN updated         ON updated.user_id = input.user_id AND updated.id = input.id
       LEFT JOIN tasks AS before ON before.user_id = input.user_id AND before.id = input.id AND updated.id IS NULL
ORDER  BY input.place
"""  # noqa: S608

_DELETE = """
WITH input AS MATERIALIZED (
    SELECT c.*
    FROM   unnest($1::bigint[], $2::bigint[], $3::jsonb[])
           WITH ORDINALITY AS c (user_id, id, if_versions, place)
), deleted AS (
    DELETE FROM tasks AS t
    USING  input
    WHERE  t.user_id = input.user_id
    AND    t.id = input.id
    AND    (if_versions IS NULL OR if_versions @> to_jsonb(t.version))
    RETURNING t.id, t.user_id
)
SELECT deleted.id IS NOT NULL AS deleted, before.version
FROM   input
       LEFT JOIN deleted         ON deleted.user_id = input.user_id AND deleted.id = input.id
       LEFT JOIN tasks AS before ON before.user_id = input.user_id AND before.id = input.id
ORDER  BY input.place
"""

CHANGES_AT_ONCE = 64
LARGEST_TASK_BYTES = 128 << 10
"""No task's JSON is larger, though all its characters be of the kind that takes six bytes."""


async def create_tasks(connection: Connection, creations: Sequence[Operation[CreateTask]]) -> list[Effect]:
    """Creates one task for each of `creations`; `connection` is in a transaction."""
    arrays = task_arrays([one.payload["fields"] for one in creations], WRITABLE)
    rows = await connection.fetch(_CREATE, [one.user_id for one in creations], *arrays)
    return [Effect(201, row["task"], task_id=row["id"], version=row["version"]) for row in rows]


async def create_and_record_tasks(
    connection: Connection, commands: Sequence[Command], *, longest_seconds: float | None = None
) -> list[Effect]:
    """Carries out `task.create` commands and writes their job rows, all in one statement: one round trip, no lock.

    None is needed: a job id can be recorded once, so whoever comes second, were it a worker that was presumed dead,
    changes nothing.

    Args:
        connection: not in a transaction.
        commands: of the kind `CREATE_TASK`.
        longest_seconds: when the server is told to give up.

    Raises:
        TimeoutError: it took longer; nothing was changed.
        asyncpg.UniqueViolationError: one of the commands was carried out before; nothing was changed.
    """
    rows = await connection.fetch(
        _CREATE_AND_RECORD,
        [command.user_id for command in commands],
        [command.id for command in commands],
        [command.fingerprint for command in commands],
        [command.request_id for command in commands],
        [command.created_at for command in commands],
        *task_arrays([command.payload["fields"] for command in commands], WRITABLE),
        timeout=longest_seconds,
    )
    return [Effect(201, row["task"], task_id=row["id"], version=row["version"]) for row in rows]


async def change_tasks(
    connection: Connection,
    operations: Sequence[Operation[UpdateTask] | Operation[DeleteTask]],
    budget: AnswerBudget | None = None,
) -> list[Effect]:
    """Updates and deletes tasks, as if one change after the other had been carried out alone.

    An update applies a merge patch (RFC 7396). A task that recurs is followed by the next when it is completed; the
    rule goes over to that one, so that completing a task again, after it was reopened, makes no second one.

    However often tasks are named, the number of statements is the same. Changes of tasks that are named once, as most
    are, are made in a set; the others are worked out here.

    Args:
        connection: in a transaction.
        operations: each on a task of its `user_id`.
        budget: which the results take from; what does not go into it is refused, with all behind it.
    """
    changes = [_change_of(operation) for operation in operations]
    if budget is None:
        return await _change(connection, changes, None)
    left = replace(budget)  # where this fails, nothing of it was taken
    effects: list[Effect] = []
    for start in range(0, len(changes), CHANGES_AT_ONCE):
        some = changes[start : start + CHANGES_AT_ONCE]
        if left.is_spent:
            effects += [too_much(change["id"]) for change in some]
        else:
            effects += await _change(connection, some, left)
    budget.left = left.left
    return effects


def _change_of(operation: Operation[UpdateTask] | Operation[DeleteTask]) -> dict[str, Any]:
    """One flat object, whose `user_id` is the task's owner."""
    return {
        **operation.payload,
        "op": "delete" if operation.kind is DELETE_TASK else "update",
        "user_id": operation.user_id,
        "any_owner": operation.any_owner,
    }


async def _change(
    connection: Connection, changes: Sequence[dict[str, Any]], budget: AnswerBudget | None
) -> list[Effect]:
    times = collections.Counter((change["user_id"], change["id"]) for change in changes)
    # Where there may be too little room for all, only whoever takes one after the other can tell for which there is.
    is_tight = budget is not None and len(changes) * LARGEST_TASK_BYTES > budget.left
    once = [change for change in changes if not is_tight and times[change["user_id"], change["id"]] == 1]
    alone = {id(change) for change in once}
    in_turn = [change for change in changes if id(change) not in alone]
    updates = [change for change in once if change["op"] == "update"]
    deletions = [change for change in once if change["op"] == "delete"]
    effects: dict[int, Effect] = {}
    if updates:
        effects |= zip(map(id, updates), await _update_tasks(connection, updates), strict=True)
    if deletions:
        effects |= zip(map(id, deletions), await _delete_tasks(connection, deletions), strict=True)
    if budget is not None:
        budget.take(sum(len(effect.result or "") for effect in effects.values()))
    if in_turn:
        effects |= zip(map(id, in_turn), await change_in_turn(connection, in_turn, budget), strict=True)
    return [effects[id(change)] for change in changes]


async def _update_tasks(connection: Connection, updates: Sequence[dict[str, Any]]) -> list[Effect]:
    """Each task is named once."""
    refused = await refuse_rules(connection, updates)
    following: dict[tuple[int, int], Following] = {}
    if not refused:
        following, refused = await plan_following(await to_be_completed(connection, updates), updates)
    if refused:
        accepted = [update for update in updates if (update["user_id"], update["id"]) not in refused]
        effects = iter(await _update_tasks(connection, accepted) if accepted else [])
        return [refused.get((update["user_id"], update["id"])) or next(effects) for update in updates]
    rows = await connection.fetch(
        _UPDATE,
        [update["user_id"] for update in updates],
        [update["id"] for update in updates],
        [orjson.dumps(update["fields"]).decode() for update in updates],
        [_versions(update) for update in updates],
    )
    if following:
        done = [update for update, row in zip(updates, rows, strict=True) if row["task"] is not None]
        await follow_completed(connection, following, done)
    return [
        Effect(200, row["task"], task_id=update["id"], version=row["version"])
        if row["task"] is not None
        else untouched(update, row["version"])
        for update, row in zip(updates, rows, strict=True)
    ]


async def _delete_tasks(connection: Connection, deletions: Sequence[dict[str, Any]]) -> list[Effect]:
    """Each task is named once."""
    rows = await connection.fetch(
        _DELETE,
        [deletion["user_id"] for deletion in deletions],
        [deletion["id"] for deletion in deletions],
        [_versions(deletion) for deletion in deletions],
    )
    return [
        Effect(204, task_id=deletion["id"]) if row["deleted"] else untouched(deletion, row["version"])
        for deletion, row in zip(deletions, rows, strict=True)
    ]


def _versions(operation: dict[str, Any]) -> str | None:
    versions = operation.get("if_versions")
    return None if versions is None else orjson.dumps(versions).decode()

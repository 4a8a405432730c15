"""Commands as the API makes them."""

import itertools
import uuid
from typing import Any

import asyncpg
import orjson

from core.commands.wire import Command
from core.ids import new_job_id
from core.lanes.writes import LaneLease, claim_lane
from tests.harness import insert_user
from worker.runner import Services
from worker.writes.applying import apply_batch

TAKEN_AT = "2026-01-31T12:00:00.000000+00:00"
TAKEN_LATER = "2026-01-31T12:00:01.000000+00:00"
LANE = "0"
TASK_FIELDS = ("description", "priority", "status", "due_date", "labels")

_numbers = itertools.count(1)


def command(kind: str, user_id: int, payload: dict[str, Any], **more: Any) -> Command:
    return Command(
        more.pop("id", None) or new_job_id(), kind, user_id, payload, more.pop("created_at", TAKEN_AT), **more
    )


def create(user_id: int, title: Any = "a task", **more: Any) -> Command:
    fields = {name: more.pop(name) for name in TASK_FIELDS if name in more}
    return command("task.create", user_id, {"fields": {"title": title, **fields}}, **more)


def update(user_id: int, task_id: Any, fields: dict[str, Any], **more: Any) -> Command:
    payload = {"id": task_id, "fields": fields, "if_versions": more.pop("if_versions", None)}
    if more.pop("any_owner", False):
        payload["any_owner"] = True
    return command("task.update", user_id, payload, **more)


def delete(user_id: int, task_id: Any, **more: Any) -> Command:
    payload = {"id": task_id, "if_versions": more.pop("if_versions", None)}
    if more.pop("any_owner", False):
        payload["any_owner"] = True
    return command("task.delete", user_id, payload, **more)


def batch(user_id: int, *operations: dict[str, Any], **more: Any) -> Command:
    return command("task.batch", user_id, {"operations": list(operations)}, **more)


async def apply(
    services: Services, *commands: Command, lane: str = LANE, lease: LaneLease | None = None
) -> list[dict[str, Any]]:
    """The outcomes in the order of the commands, results and errors as objects; claims the lane unless it is ours."""
    applied = await apply_batch(services, lease or await claim_lane(services.pool, lane), commands)
    outcomes = {id(one.command): one.outcome for one in applied}
    assert len(outcomes) == len(commands)
    return [as_heard(outcomes[id(one)]) for one in commands]


def as_heard(outcome: dict[str, Any]) -> dict[str, Any]:
    """An outcome after it went over the wire, its result as an object."""
    heard: dict[str, Any] = orjson.loads(orjson.dumps(outcome))
    return {**heard, "result": None if heard["result"] is None else orjson.loads(heard["result"])}


async def insert_task(owner: asyncpg.Connection, user_id: int, **fields: Any) -> int:
    values = {"title": f"task {next(_numbers)}", **fields}
    places = ", ".join(f"${number}" for number in range(2, len(values) + 2))
    task_id: int = await owner.fetchval(
        f"INSERT INTO tasks (user_id, {', '.join(values)}) VALUES ($1, {places}) RETURNING id",
        user_id,
        *values.values(),
    )
    return task_id


async def new_user(owner: asyncpg.Connection, *, role: str = "user") -> int:
    return await insert_user(owner, f"user-{uuid.uuid4().hex[:12]}", role=role)

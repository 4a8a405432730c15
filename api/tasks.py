"""Tasks over HTTP: reads go to PostgreSQL (or the cache), writes become commands."""

import re
from collections.abc import Callable
from typing import Any, cast

from aiohttp import web
from marshmallow import Schema, ValidationError, fields

from api.bodies import read_body, read_raw_json
from api.cached import Page, cached, not_modified
from api.conditions import is_unchanged, read_entity_tags, version_etag
from api.endpoints import Endpoint, RejectionSchema
from api.errors import Problem
from api.field_errors import FIELDS_MAXIMUM, Room
from api.http import invalid, json_response, not_found, path_id, validate
from api.keys import IDENTITY, POOL
from api.limits import charge
from api.writes.submission import build_command, perform
from core.commands.effects import problem
from core.commands.kinds import (
    CREATE_TASK,
    DELETE_TASK,
    UPDATE_TASK,
    WRITE_BATCH,
    BatchedOperation,
    BatchedRefusal,
    DeleteTask,
    UpdateTask,
    WriteBatch,
)
from core.loop_turns import Turns
from core.tasks.queries import Caller, read_task
from core.tasks.schemas import BATCH_MAXIMUM, Batch, Task, TaskCreate, TaskUpdate
from core.tasks.validation import faults_of_operation, load_create, load_operation, load_update

OPERATIONS_A_HIT = 20

_BATCH = Batch()
_VERSION_TAG = re.compile(r'(?:W/)?"([1-9][0-9]{0,8})"\Z')


class BatchResult(Schema):
    """What became of one operation."""

    status = fields.Integer(required=True, metadata={"description": "as it would be for this operation alone"})
    task = fields.Nested(Task)
    error = fields.Nested(RejectionSchema)


class BatchResults(Schema):
    """One result an operation, in the order of the request. All together they name up to 50 fields that are wrong."""

    results = fields.List(fields.Nested(BatchResult), required=True)


# -- reading ----------------------------------------------------------------------------------------------


async def get_task(request: web.Request) -> web.Response:
    """`GET /tasks/{id}`."""
    task_id = path_id(request)
    identity = request[IDENTITY]
    # What admins see is not cached: others' changes do not drop an admin's pages.
    name = None if identity.is_admin else f"task {task_id}"

    async def read() -> Page:
        task = await read_task(request.app[POOL], Caller(identity.user_id, identity.is_admin), task_id)
        if task is None:
            raise not_found("There is no such task.")
        body, version = task
        return Page(str(version), body.encode())

    return await cached(request, name, read, lambda page: _task_response(request, page))


def _task_response(request: web.Request, page: Page) -> web.Response:
    etag = version_etag(int(page.note))
    if is_unchanged(request, etag):
        return not_modified(request, etag, page.body)
    return json_response(page.body, headers={"ETag": etag})


# -- writing ----------------------------------------------------------------------------------------------


def read_conditions(request: web.Request) -> list[int] | None:
    """The versions that `If-Match` and `If-None-Match` allow; None for any. Tags that are not ours match nothing.

    A proxy that compresses may have made the tag a weak one: it still is the number of a version.

    Raises:
        Problem: 400, a header is no list of entity tags, or names versions that the task must not have.
    """
    tags = read_entity_tags(request, "If-Match")
    nothing_there = read_entity_tags(request, "If-None-Match")
    if nothing_there == ["*"]:
        return []  # a task that is there has a version, and none is allowed
    if nothing_there is not None:
        raise Problem("invalid-header", 'If-None-Match of a write must be "*".')
    if tags is None or tags == ["*"]:
        return None
    return [int(found[1]) for tag in tags if (found := _VERSION_TAG.match(tag))]


async def create_task(request: web.Request) -> web.Response:
    """`POST /tasks`."""
    wanted = await _read_fields(request, load_create)
    return await perform(request, build_command(request, CREATE_TASK.of({"fields": wanted})))


async def update_task(request: web.Request) -> web.Response:
    """`PUT` and `PATCH /tasks/{id}`: a merge patch."""
    task_id = path_id(request)
    changes = await _read_fields(request, load_update)
    payload: UpdateTask = {"id": task_id, "fields": changes, "if_versions": read_conditions(request)}
    if request[IDENTITY].is_admin:
        payload["any_owner"] = True
    return await perform(request, build_command(request, UPDATE_TASK.of(payload)))


async def delete_task(request: web.Request) -> web.Response:
    """`DELETE /tasks/{id}`."""
    payload: DeleteTask = {"id": path_id(request), "if_versions": read_conditions(request)}
    if request[IDENTITY].is_admin:
        payload["any_owner"] = True
    await read_body(request)
    return await perform(request, build_command(request, DELETE_TASK.of(payload)))


async def write_batch(request: web.Request) -> web.Response:
    """`POST /tasks/batch`: each operation has its own fate, also one that is not valid."""
    content = await read_raw_json(request)
    asked = content.get("operations") if isinstance(content, dict) else None
    if isinstance(asked, list):  # counted before any of them is looked at
        await charge(request, -(-min(len(asked), BATCH_MAXIMUM) // OPERATIONS_A_HIT))
    batch = validate(_BATCH, content)
    room = Room()
    operations: list[BatchedOperation] = []
    turns = Turns()
    for item in batch["operations"]:
        operations.append(_operation(item, room))
        await turns.give()  # an invalid or recurring one takes a hundred times as long as others
    payload: WriteBatch = {"operations": operations}
    if request[IDENTITY].is_admin:
        payload["any_owner"] = True
    return await perform(request, build_command(request, WRITE_BATCH.of(payload)))


def _operation(item: Any, room: Room) -> BatchedOperation:
    """The operation for the worker; or a problem, which tells as much of what is wrong as there is room for."""
    faults = None if room.fields else faults_of_operation(item)
    if faults:
        return _refused({"errors_omitted": faults})
    try:
        operation = load_operation(item)
    except ValidationError as error:
        return _refused(room.tell(error.messages))
    if "id" in operation:
        version = operation.pop("if_version", None)
        operation["if_versions"] = None if version is None else [version]
    return cast("BatchedOperation", operation)


def _refused(told: dict[str, Any]) -> BatchedRefusal:
    return {"error": problem("validation-error", "This operation is not valid.", **told)}


async def _read_fields(request: web.Request, load: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    content = await read_raw_json(request)
    try:
        return load(content)
    except ValidationError as error:
        raise invalid(error.messages) from None


routes = [
    Endpoint(
        "POST",
        "/tasks",
        create_task,
        "Create a task",
        {201: Task},
        body=TaskCreate,
        is_write=True,
        problems=(409,),
        description="Answered 201 with the task once it is committed; 202 with a job, whose `state` tells the rest, "
        "where the client does not wait, or not long enough.",
    ),
    Endpoint(
        "POST",
        "/tasks/batch",
        write_batch,
        "Create, update and delete up to 1000 tasks",
        {207: BatchResults},
        body=Batch,
        is_write=True,
        description="The operations are carried out in order, each with its own fate: one that is refused, or that "
        "is not valid, stops no other. The results stand in the order of the request. All together they name up to "
        f"{FIELDS_MAXIMUM} fields that are wrong; `errors_omitted` counts those of an operation that are not named. "
        f"Counts against the rate limit once for each {OPERATIONS_A_HIT} operations or part of them.",
    ),
    Endpoint(
        "GET",
        "/tasks/{id}",
        get_task,
        "Read a task",
        {200: Task, 304: None},
        conditional=True,
        problems=(404,),
        description="With its version as `ETag`, for `If-Match` and `If-None-Match`. Of the tasks of others "
        "only an admin sees any.",
    ),
    Endpoint(
        "PUT",
        "/tasks/{id}",
        update_task,
        "Change what the body names",
        {200: Task},
        body=TaskUpdate,
        is_write=True,
        conditional=True,
        problems=(403, 404),
        operation_id="put_task",
        description="The same as PATCH: what the body does not name stays as it is.",
    ),
    Endpoint(
        "PATCH",
        "/tasks/{id}",
        update_task,
        "Change what the body names",
        {200: Task},
        body=TaskUpdate,
        is_write=True,
        conditional=True,
        problems=(403, 404),
        description="A JSON merge patch (RFC 7396): `null` clears `description`, `due_date` and `labels`; what the "
        "body does not name stays as it is.",
    ),
    Endpoint(
        "DELETE",
        "/tasks/{id}",
        delete_task,
        "Delete a task",
        {204: None},
        is_write=True,
        conditional=True,
        problems=(403, 404, 413),
        description="With its reminders. There is no way back.",
    ),
]

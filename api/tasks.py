"""Tasks over HTTP: reads go to PostgreSQL (or the cache), writes become commands."""

import re
from typing import Any

from aiohttp import web
from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from api.errors import Problem
from api.filters import TaskFilters, sort_name, task_filter, user_id_filter
from api.http import (
    ETAG,
    Endpoint,
    RejectionSchema,
    WholeNumber,
    flatten_messages,
    invalid,
    is_unchanged,
    json_response,
    not_found,
    page_response,
    path_id,
    read_body,
    read_json,
    read_query,
    version_etag,
)
from api.keys import CACHE, IDENTITY, LIST_QUERIES, POOL, SETTINGS
from api.submission import build_command, perform
from core.cache import Miss
from core.commands import problem
from core.ids import MAXIMUM_ID
from core.settings import Settings
from core.tasks.queries import Caller, TaskQuery, list_tasks, read_task
from core.tasks.schemas import (
    BATCH_OPERATIONS,
    Batch,
    Task,
    TaskCreate,
    TaskUpdate,
)

_CREATE = TaskCreate()
_UPDATE = TaskUpdate()
_BATCH = Batch()
_OPERATIONS = {name: schema() for name, schema in BATCH_OPERATIONS.items()}

QUERIES_REMEMBERED = 4096
_VERSION_TAG = re.compile(r'"[1-9][0-9]{0,8}"\Z')


class TaskListQuery(TaskFilters):
    """How a list of tasks is narrowed, ordered and paged."""

    limit = WholeNumber(
        validate=validate.Range(min=1),
        metadata={"description": "DEFAULT_PAGE_SIZE unless given, MAX_PAGE_SIZE at the most"},
    )
    cursor = fields.String(
        validate=validate.Length(1, 512),
        metadata={"description": "`next_cursor` of the page before, with the same filters and sort"},
    )
    last_id = WholeNumber(
        validate=validate.Range(1, MAXIMUM_ID),
        metadata={"description": "start after this task, in the same sort", "format": "int64"},
    )

    @validates_schema
    def _no_contradiction_of_places(self, data: dict[str, Any], **_: Any) -> None:
        if "cursor" in data and "last_id" in data:
            raise ValidationError("Give either the cursor or last_id.", "last_id")


class AllTasksQuery(TaskListQuery):
    """The same, and whose: for admins, who see everybody's."""

    user_id = user_id_filter()


class TaskPage(Schema):
    """A page of tasks; `next_cursor` is null on the last one, and only there."""

    items = fields.List(fields.Nested(Task), required=True)
    next_cursor = fields.String(required=True, allow_none=True)


class BatchResult(Schema):
    """What became of one operation."""

    status = fields.Integer(required=True, metadata={"description": "as it would be for this operation alone"})
    task = fields.Nested(Task)
    error = fields.Nested(RejectionSchema)


class BatchResults(Schema):
    """One result an operation, in the order of the request."""

    results = fields.List(fields.Nested(BatchResult), required=True)


_ALL_TASKS_QUERY = AllTasksQuery()
_OWN_TASKS_QUERY = TaskListQuery()


# -- reading ----------------------------------------------------------------------------------------------


async def list_visible_tasks(request: web.Request) -> web.Response:
    """`GET /tasks`: a user's own; an admin's list spans everybody's."""
    identity = request[IDENTITY]
    query = _read_list_query(request, _ALL_TASKS_QUERY)
    if not identity.is_admin:
        return await _cached_page(request, query)
    page = await list_tasks(request.app[POOL], Caller(identity.user_id, is_admin=True), query)
    return page_response(request, page.items, page.next_cursor)


async def list_own_tasks(request: web.Request) -> web.Response:
    """`GET /user/tasks`: the caller's own, also for admins."""
    return await _cached_page(request, _read_list_query(request, _OWN_TASKS_QUERY))


def _read_list_query(request: web.Request, schema: TaskListQuery) -> TaskQuery:
    """The query, remembered by its text: clients ask for the same lists again and again."""
    memory = request.app[LIST_QUERIES]
    key = (schema, request.rel_url.raw_query_string)
    query = memory.get(key)
    if query is None:
        query = _task_query(read_query(request, schema), request.app[SETTINGS])
        if len(memory) >= QUERIES_REMEMBERED:
            memory.clear()
        memory[key] = query
    return query


def _task_query(given: dict[str, Any], settings: Settings) -> TaskQuery:
    limit = given.get("limit", settings.default_page_size)
    if limit > settings.max_page_size:
        raise invalid({"limit": [f"Must be at most {settings.max_page_size}."]})
    return TaskQuery(
        filter=task_filter(given),
        sort=sort_name(given),
        limit=limit,
        cursor=given.get("cursor"),
        last_id=given.get("last_id"),
    )


async def _cached_page(request: web.Request, query: TaskQuery) -> web.Response:
    """A page of the caller's own tasks. What depends on the clock (`overdue`) is not cached."""
    user_id = request[IDENTITY].user_id
    cache = request.app[CACHE]
    name = f"list {query.limit} {request.rel_url.raw_query_string}"
    found = None if query.filter.overdue else await cache.look_up(user_id, name)
    if isinstance(found, bytes):
        cursor, _, items = found.decode().partition("\n")
        return page_response(request, items, cursor or None)
    page = await list_tasks(request.app[POOL], Caller(user_id), query)
    if isinstance(found, Miss):
        await cache.store(user_id, name, found, f"{page.next_cursor or ''}\n{page.items}".encode())
    return page_response(request, page.items, page.next_cursor)


async def get_task(request: web.Request) -> web.Response:
    """`GET /tasks/{id}`."""
    task_id = path_id(request)
    identity = request[IDENTITY]
    cache = request.app[CACHE]
    name = f"task {task_id}"
    # An admin's view of others' tasks is cached under no version of the admin's own.
    found = None if identity.is_admin else await cache.look_up(identity.user_id, name)
    if isinstance(found, bytes):
        version, _, body = found.decode().partition("\n")
        return _task_response(request, body, int(version))
    task = await read_task(request.app[POOL], Caller(identity.user_id, identity.is_admin), task_id)
    if task is None:
        raise not_found("There is no such task.")
    body, number = task
    if isinstance(found, Miss):
        await cache.store(identity.user_id, name, found, f"{number}\n{body}".encode())
    return _task_response(request, body, number)


def _task_response(request: web.Request, body: str, version: int) -> web.Response:
    etag = version_etag(version)
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if is_unchanged(request, etag):
        return web.Response(status=304, headers=headers)
    return json_response(body, headers=headers)


# -- writing ----------------------------------------------------------------------------------------------


def read_if_match(request: web.Request) -> list[int] | None:
    """The versions that `If-Match` allows; None for any. Tags that are not ours match nothing.

    Raises:
        Problem: 400, the header is no list of entity tags.
    """
    values = request.headers.getall("If-Match", [])
    if not values:
        return None
    condition = ",".join(values).strip()
    if condition == "*":
        return None
    tags = ETAG.findall(condition)
    if not tags or ETAG.sub("", condition).strip(" ,\t"):
        raise Problem("invalid-header", 'If-Match must be "*" or entity tags such as "3".')
    # The comparison is strong: a weak tag never matches (RFC 9110, 13.1.1).
    return [int(tag[1:-1]) for tag in tags if _VERSION_TAG.match(tag)]


async def create_task(request: web.Request) -> web.Response:
    """`POST /tasks`."""
    wanted = await read_json(request, _CREATE)
    return await perform(request, build_command(request, "task.create", {"fields": wanted}))


async def update_task(request: web.Request) -> web.Response:
    """`PUT` and `PATCH /tasks/{id}`: a merge patch."""
    task_id = path_id(request)
    changes = await read_json(request, _UPDATE)
    payload = {"id": task_id, "fields": changes, "if_versions": read_if_match(request)}
    return await perform(request, build_command(request, "task.update", _for_admin(request, payload)))


async def delete_task(request: web.Request) -> web.Response:
    """`DELETE /tasks/{id}`."""
    payload = {"id": path_id(request), "if_versions": read_if_match(request)}
    await read_body(request)
    return await perform(request, build_command(request, "task.delete", _for_admin(request, payload)))


async def write_batch(request: web.Request) -> web.Response:
    """`POST /tasks/batch`: each operation has its own fate, also one that is not valid."""
    batch = await read_json(request, _BATCH)
    payload = {"operations": [_operation(item) for item in batch["operations"]]}
    return await perform(request, build_command(request, "task.batch", _for_admin(request, payload)))


def _for_admin(request: web.Request, payload: dict[str, Any]) -> dict[str, Any]:
    return {**payload, "any_owner": True} if request[IDENTITY].is_admin else payload


def _operation(item: Any) -> dict[str, Any]:
    """An operation for the worker, or the problem that it is."""
    try:
        given = _operation_schema(item).load(item)
    except ValidationError as error:
        errors = flatten_messages(error.messages)
        return {"error": problem("validation-error", "This operation is not valid.", errors=errors)}
    operation = {"op": given["op"]}
    if "id" in given:
        operation["id"] = given["id"]
        operation["if_versions"] = [given["if_version"]] if "if_version" in given else None
    if "fields_" in given:
        operation["fields"] = given["fields_"]
    return operation


def _operation_schema(item: Any) -> Schema:
    if not isinstance(item, dict):
        raise ValidationError("Not an object.")
    name = item.get("op")
    if not isinstance(name, str) or name not in _OPERATIONS:
        raise ValidationError({"op": [f"Must be one of: {', '.join(_OPERATIONS)}."]})
    return _OPERATIONS[name]


routes = [
    Endpoint(
        "GET",
        "/tasks",
        list_visible_tasks,
        "List the tasks that the caller may see",
        {200: TaskPage},
        query=AllTasksQuery,
        problems=(400,),
        description="A user's own tasks; an admin sees everybody's, narrowed by `user_id`. Every sort is made total "
        "by the id, so that pages neither repeat nor skip a task that stays in its place.",
    ),
    Endpoint(
        "GET",
        "/user/tasks",
        list_own_tasks,
        "List the caller's own tasks",
        {200: TaskPage},
        query=TaskListQuery,
        problems=(400,),
        description="The same as `GET /tasks`, but the caller's own only, also for an admin.",
    ),
    Endpoint("POST", "/tasks", create_task, "Create a task", {201: Task}, body=TaskCreate, is_write=True),
    Endpoint(
        "POST",
        "/tasks/batch",
        write_batch,
        "Create, update and delete up to 1000 tasks",
        {207: BatchResults},
        body=Batch,
        is_write=True,
        description="The operations are carried out in order, each with its own fate: one that is refused, or that "
        "is not valid, stops no other. The results stand in the order of the request.",
    ),
    Endpoint(
        "GET",
        "/tasks/{id}",
        get_task,
        "Read a task",
        {200: Task, 304: None},
        conditional=True,
        problems=(404,),
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
        problems=(404,),
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
        problems=(404,),
        description="A JSON merge patch (RFC 7396): `null` clears `description` and `due_date`; what the body does "
        "not name stays as it is.",
    ),
    Endpoint(
        "DELETE",
        "/tasks/{id}",
        delete_task,
        "Delete a task",
        {204: None},
        is_write=True,
        conditional=True,
        problems=(404, 413),
    ),
]

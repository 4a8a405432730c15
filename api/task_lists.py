"""Lists of tasks over HTTP: pages from PostgreSQL, or from the cache."""

from typing import Any

import orjson
from aiohttp import web
from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from api.cached import Page, cached
from api.endpoints import Endpoint
from api.filters import OrderedTaskFilters, TaskFilters, sort_name, task_filter, user_id_filter
from api.http import WholeNumber, json_response, read_query
from api.keys import IDENTITY, LIST_QUERIES, POOL, SETTINGS
from api.pages import cursor_field, finished_page, limit_field, page_body, page_limit, page_response
from core.ids import MAXIMUM_ID
from core.settings import Settings
from core.tasks.counts import EXACT_UP_TO, count_tasks
from core.tasks.queries import Caller, TaskQuery, list_tasks
from core.tasks.schemas import Task

QUERIES_REMEMBERED = 4096


class TaskListQuery(OrderedTaskFilters):
    """How a list of tasks is narrowed, ordered and paged."""

    limit = limit_field("DEFAULT_PAGE_SIZE unless given, MAX_PAGE_SIZE at the most")
    cursor = cursor_field(of_the_same="filters and sort")
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


class TaskCountQuery(TaskFilters):
    """Which tasks are counted."""

    user_id = user_id_filter()


class TaskCount(Schema):
    """How many tasks there are."""

    count = fields.Integer(required=True, metadata={"minimum": 0})
    estimated = fields.Boolean(required=True, metadata={"description": "whether `count` is what statistics expect"})


class TaskPage(Schema):
    """A page of tasks; `next_cursor` is null on the last one, and only there."""

    items = fields.List(fields.Nested(Task), required=True)
    next_cursor = fields.String(required=True, allow_none=True)


_ALL_TASKS_QUERY = AllTasksQuery()
_OWN_TASKS_QUERY = TaskListQuery()
_COUNT_QUERY = TaskCountQuery()


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


async def count_visible_tasks(request: web.Request) -> web.Response:
    """`GET /tasks/count`: of those that `GET /tasks` lists."""
    identity = request[IDENTITY]
    wanted = task_filter(read_query(request, _COUNT_QUERY))
    caller = Caller(identity.user_id, identity.is_admin)
    # Others' changes do not drop an admin's pages; nor does the clock those of a user.
    name = None if identity.is_admin or wanted.overdue else f"count {request.rel_url.raw_query_string}"

    async def read() -> Page:
        counted = await count_tasks(request.app[POOL], caller, wanted)
        return Page("", orjson.dumps({"count": counted.count, "estimated": counted.estimated}))

    return await cached(request, name, read, lambda page: json_response(page.body))


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
    return TaskQuery(
        filter=task_filter(given),
        sort=sort_name(given),
        limit=page_limit(given, settings),
        cursor=given.get("cursor"),
        last_id=given.get("last_id"),
    )


async def _cached_page(request: web.Request, query: TaskQuery) -> web.Response:
    """A page of the caller's own tasks. What depends on the clock (`overdue`) is not cached."""
    name = None if query.filter.overdue else f"page {query.limit} {request.rel_url.raw_query_string}"

    async def read() -> Page:
        found = await list_tasks(request.app[POOL], Caller(request[IDENTITY].user_id), query)
        return Page(found.next_cursor or "", page_body(found.items, found.next_cursor))

    return await cached(request, name, read, lambda page: finished_page(request, page.body, page.note or None))


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
        "/tasks/count",
        count_visible_tasks,
        "Count the tasks that the caller may see",
        {200: TaskCount},
        query=TaskCountQuery,
        description=f"With the filters of `GET /tasks`. Exact up to {EXACT_UP_TO:,}; above that an estimate, which "
        "says so and costs little.",
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
]

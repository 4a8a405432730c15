"""Notifications inside the service, over HTTP."""

from aiohttp import web
from marshmallow import Schema, fields

from api.bodies import read_body, read_json
from api.endpoints import Endpoint
from api.http import json_response, path_id, read_query
from api.keys import IDENTITY, POOL, SETTINGS
from api.pages import cursor_field, limit_field, page_by_id
from api.writes.submission import build_command, perform
from core.bounds import RequestSchema
from core.commands.kinds import MARK_ALL_NOTIFICATIONS, MARK_NOTIFICATION
from core.notifications.queries import ListedNotification, count_unread, list_notifications
from core.notifications.schemas import Notification, NotificationUpdate, UnreadCount
from core.pagination import scope_digest


class NotificationPage(Schema):
    """A page of notifications, newest first; `next_cursor` is null on the last one, and only there."""

    items = fields.List(fields.Nested(Notification), required=True)
    next_cursor = fields.String(required=True, allow_none=True)


class NotificationListQuery(RequestSchema):
    """Which notifications, and how the list is paged."""

    unread = fields.Boolean(
        truthy={"true"}, falsy={"false"}, metadata={"description": "`true`: only those that were not read yet"}
    )
    limit = limit_field()
    cursor = cursor_field()


_LIST_QUERY = NotificationListQuery()
_UPDATE = NotificationUpdate()


async def list_own_notifications(request: web.Request) -> web.Response:
    """`GET /notifications`: the caller's own, newest first."""
    given = read_query(request, _LIST_QUERY)
    unread = given.get("unread", False)
    scope = scope_digest("notifications", unread)
    pool, user_id = request.app[POOL], request[IDENTITY].user_id

    async def read(before: int | None, limit: int) -> list[ListedNotification]:
        return await list_notifications(pool, user_id, before=before, unread=unread, limit=limit)

    return await page_by_id(request, given, request.app[SETTINGS], scope, read)


async def count_unread_notifications(request: web.Request) -> web.Response:
    """`GET /notifications/count`."""
    return json_response(f'{{"unread":{await count_unread(request.app[POOL], request[IDENTITY].user_id)}}}')


async def mark_all_notifications(request: web.Request) -> web.Response:
    """`POST /notifications/read`."""
    await read_body(request)
    return await perform(request, build_command(request, MARK_ALL_NOTIFICATIONS.of({})))


async def mark_notification(request: web.Request) -> web.Response:
    """`PATCH /notifications/{id}`."""
    notification_id = path_id(request, noun="notification")
    given = await read_json(request, _UPDATE)
    asked = MARK_NOTIFICATION.of({"id": notification_id, "read": given["read"]})
    return await perform(request, build_command(request, asked))


routes = [
    Endpoint(
        "GET",
        "/notifications",
        list_own_notifications,
        "List the caller's notifications, newest first",
        {200: NotificationPage},
        query=NotificationListQuery,
        problems=(400,),
        description="Reminders and ends of imports, also where no channel is set up. "
        "They are kept for `EVENT_RETENTION_DAYS` (30 unless set).",
    ),
    Endpoint(
        "GET",
        "/notifications/count",
        count_unread_notifications,
        "Count the caller's notifications that were not read yet",
        {200: UnreadCount},
        description="For a badge; costs less than a list.",
    ),
    Endpoint(
        "POST",
        "/notifications/read",
        mark_all_notifications,
        "Mark all of the caller's notifications as read",
        {200: UnreadCount},
        is_write=True,
        problems=(413,),
        description="Those that are there when it is carried out; a later one is unread.",
    ),
    Endpoint(
        "PATCH",
        "/notifications/{id}",
        mark_notification,
        "Mark a notification as read, or as not read",
        {200: Notification},
        body=NotificationUpdate,
        is_write=True,
        problems=(404,),
        description="A notification that is read stays in the list until it is too old.",
    ),
]

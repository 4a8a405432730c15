"""The caller's labels over HTTP."""

import orjson
from aiohttp import web
from marshmallow import Schema, fields

from api.endpoints import Endpoint
from api.http import read_query
from api.keys import CACHE, IDENTITY, LABEL_COUNTS, POOL, SETTINGS
from api.pages import PageQuery, page_limit, page_response
from core.cache import Miss
from core.pagination import decode_cursor, encode_cursor, scope_digest
from core.tasks.labels import DEAR_OVER_USES


class Label(Schema):
    """A label, and how much it is used."""

    name = fields.String(required=True, metadata={"example": "garden"})
    open = fields.Integer(required=True, metadata={"description": "how many open tasks have it", "minimum": 0})


class LabelPage(Schema):
    """A page of labels, most used first; `next_cursor` is null on the last one, and only there."""

    items = fields.List(fields.Nested(Label), required=True)
    next_cursor = fields.String(required=True, allow_none=True)


_QUERY = PageQuery()
_SCOPE = scope_digest("labels")


async def list_labels(request: web.Request) -> web.Response:
    """`GET /labels`: those of the caller's own tasks."""
    given = read_query(request, _QUERY)
    limit = page_limit(given, request.app[SETTINGS])
    after: tuple[int, str] | None = None
    if "cursor" in given:
        count, name = decode_cursor(given["cursor"], _SCOPE, int, str)
        after = (count, name)
    user_id = request[IDENTITY].user_id
    cache = request.app[CACHE]
    key = f"labels {limit} {after}"
    found = await cache.look_up(user_id, key)
    if isinstance(found, bytes):
        cursor, _, items = found.decode().partition("\n")
        return page_response(request, items, cursor or None)
    counted = await request.app[LABEL_COUNTS].page(request.app[POOL], user_id, after=after, limit=limit + 1)
    page = counted.labels[:limit]
    next_cursor = encode_cursor(_SCOPE, page[-1]["open"], page[-1]["name"]) if len(counted.labels) > limit else None
    items = orjson.dumps(page).decode()
    if isinstance(found, Miss) and counted.is_new:
        cache.store(user_id, key, found, f"{next_cursor or ''}\n{items}".encode())
    return page_response(request, items, next_cursor)


routes = [
    Endpoint(
        "GET",
        "/labels",
        list_labels,
        "List the caller's labels, most used first",
        {200: LabelPage},
        query=PageQuery,
        problems=(400,),
        description="In the order of how many open tasks have a label, then of its name; labels of completed and "
        "cancelled tasks alone come last, with 0. Of the caller's own tasks, also for an admin. Where tasks "
        f"have more than {DEAR_OVER_USES:,} labels together, the counts may be some seconds old.",
    ),
]

"""The caller's labels over HTTP."""

import orjson
from aiohttp import web
from marshmallow import Schema, fields

from api.cached import Page, cached
from api.endpoints import Endpoint
from api.http import read_query
from api.keys import IDENTITY, LABEL_COUNTS, POOL, SETTINGS
from api.pages import PageQuery, finished_page, page_body, page_limit
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

    async def read() -> Page:
        user_id = request[IDENTITY].user_id
        counted = await request.app[LABEL_COUNTS].page(request.app[POOL], user_id, after=after, limit=limit + 1)
        page = counted.labels[:limit]
        cursor = encode_cursor(_SCOPE, page[-1]["open"], page[-1]["name"]) if len(counted.labels) > limit else None
        return Page(cursor or "", page_body(orjson.dumps(page).decode(), cursor), lasts=counted.is_new)

    name = f"labels {limit} {after}"
    return await cached(request, name, read, lambda page: finished_page(request, page.body, page.note or None))


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

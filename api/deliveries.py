"""Deliveries over HTTP: what became of each event in each channel."""

from aiohttp import web
from marshmallow import Schema, fields, validate

from api.bodies import read_body
from api.endpoints import Endpoint
from api.http import CommaSeparated, WholeNumber, json_response, not_found, path_id, read_query
from api.keys import IDENTITY, POOL, SETTINGS
from api.pages import cursor_field, limit_field, page_by_id
from api.writes.submission import build_command, perform
from core.bounds import RequestSchema, String
from core.commands.kinds import REDELIVER
from core.deliveries.queries import ListedDelivery, list_deliveries, read_delivery
from core.deliveries.schemas import DELIVERY_STATES, Delivery
from core.ids import MAXIMUM_ID
from core.pagination import scope_digest


class DeliveryPage(Schema):
    """A page of deliveries, newest first; `next_cursor` is null on the last one, and only there."""

    items = fields.List(fields.Nested(Delivery), required=True)
    next_cursor = fields.String(required=True, allow_none=True)


class DeliveryListQuery(RequestSchema):
    """Which deliveries, and how the list is paged."""

    state = CommaSeparated(
        String(validate=validate.OneOf(DELIVERY_STATES)),
        validate=validate.Length(1, len(DELIVERY_STATES)),
        metadata={"description": "one, or several separated by commas"},
    )
    channel_id = WholeNumber(validate=validate.Range(min=1, max=MAXIMUM_ID))
    limit = limit_field()
    cursor = cursor_field()


_LIST_QUERY = DeliveryListQuery()


async def list_own_deliveries(request: web.Request) -> web.Response:
    """`GET /deliveries`: the caller's own, newest first."""
    given = read_query(request, _LIST_QUERY)
    states, channel_id = given.get("state"), given.get("channel_id")
    scope = scope_digest("deliveries", states, channel_id)
    pool, user_id = request.app[POOL], request[IDENTITY].user_id

    async def read(before: int | None, limit: int) -> list[ListedDelivery]:
        return await list_deliveries(pool, user_id, states=states, channel_id=channel_id, before=before, limit=limit)

    return await page_by_id(request, given, request.app[SETTINGS], scope, read)


async def get_delivery(request: web.Request) -> web.Response:
    """`GET /deliveries/{id}`."""
    delivery_id = path_id(request, noun="delivery")
    delivery = await read_delivery(request.app[POOL], request[IDENTITY].user_id, delivery_id)
    if delivery is None:
        raise not_found("There is no such delivery.")
    return json_response(delivery)


async def redeliver(request: web.Request) -> web.Response:
    """`POST /deliveries/{id}/redeliver`: it begins anew, whatever became of it."""
    delivery_id = path_id(request, noun="delivery")
    await read_body(request)
    return await perform(request, build_command(request, REDELIVER.of({"id": delivery_id})))


routes = [
    Endpoint(
        "GET",
        "/deliveries",
        list_own_deliveries,
        "List the caller's deliveries, newest first",
        {200: DeliveryPage},
        query=DeliveryListQuery,
        problems=(400,),
        description="Narrowed by channel and state.",
    ),
    Endpoint(
        "GET",
        "/deliveries/{id}",
        get_delivery,
        "Read a delivery",
        {200: Delivery},
        problems=(404,),
        description="With what the receiver said last.",
    ),
    Endpoint(
        "POST",
        "/deliveries/{id}/redeliver",
        redeliver,
        "Deliver once more",
        {200: Delivery},
        is_write=True,
        problems=(404, 409, 413),
        description="It is sent as if for the first time, with the same `webhook-id`. 409: the channel is disabled.",
    ),
]

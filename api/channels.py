"""Channels over HTTP: where a user is told of events. Addresses and secrets are sealed before a command is made."""

import asyncio
import base64

import orjson
from aiohttp import web
from marshmallow import Schema, fields

from api.bodies import read_body, read_json
from api.endpoints import Endpoint
from api.errors import Problem
from api.http import NO_STORE, invalid, json_response, not_found, path_id, read_query
from api.keys import IDENTITY, POOL, SECRETS, SETTINGS
from api.pages import PageQuery, page_by_id
from api.writes.submission import build_command, perform
from core import clock
from core.channels.queries import ChannelView, ListedChannel, list_channels, read_channel
from core.channels.schemas import Channel, ChannelCreate, ChannelUpdate, ChannelWithSecret
from core.channels.signatures import Secret
from core.channels.targets import WEBHOOK, Target, read_target, require_public, service_of_url
from core.commands.kinds import (
    CREATE_CHANNEL,
    DELETE_CHANNEL,
    ROTATE_SECRET,
    TEST_CHANNEL,
    UPDATE_CHANNEL,
    CreateChannel,
    RotateSecret,
    UpdateChannel,
)
from core.commands.wire import Command
from core.deliveries.schemas import Delivery
from core.errors import TargetRefused
from core.pagination import scope_digest


class ChannelPage(Schema):
    """A page of channels, oldest first; `next_cursor` is null on the last one, and only there."""

    items = fields.List(fields.Nested(Channel), required=True)
    next_cursor = fields.String(required=True, allow_none=True)


_CREATE = ChannelCreate()
_UPDATE = ChannelUpdate()
_LIST_QUERY = PageQuery()


async def create_channel(request: web.Request) -> web.Response:
    """`POST /channels`."""
    given = await read_json(request, _CREATE)
    target = await _target(request, given["url"], given.get("kind"))
    payload: CreateChannel = {
        "name": given["name"],
        "kind": target.kind,
        "url": _sealed(request, target.url, "url"),
        "masked": target.masked,
        "secret": None,
        "events": given["events"],
        "quiet_hours": given["quiet_hours"],
    }
    command = build_command(request, CREATE_CHANNEL.of(payload))
    secret = _new_secret(request, command) if target.kind == WEBHOOK else None
    if secret is not None:
        payload["secret"] = _sealed(request, secret.dump(), "secret")
    return await _perform(request, command, secret)


async def list_own_channels(request: web.Request) -> web.Response:
    """`GET /channels`: the caller's own, oldest first."""
    given = read_query(request, _LIST_QUERY)
    pool, user_id = request.app[POOL], request[IDENTITY].user_id

    async def read(after: int | None, limit: int) -> list[ListedChannel]:
        return await list_channels(pool, user_id, after=after or 0, limit=limit)

    return await page_by_id(request, given, request.app[SETTINGS], scope_digest("channels"), read)


async def get_channel(request: web.Request) -> web.Response:
    """`GET /channels/{id}`."""
    channel = await read_channel(request.app[POOL], request[IDENTITY].user_id, _path_id(request))
    if channel is None:
        raise _no_such_channel()
    return json_response(channel.body)


async def update_channel(request: web.Request) -> web.Response:
    """`PATCH /channels/{id}`."""
    channel_id = _path_id(request)
    given = await read_json(request, _UPDATE)
    payload: UpdateChannel = {"id": channel_id}
    if "name" in given:
        payload["name"] = given["name"]
    if "events" in given:
        payload["events"] = given["events"]
    if "quiet_hours" in given:
        payload["quiet_hours"] = given["quiet_hours"]
    if "state" in given:
        payload["state"] = given["state"]
    if "url" in given:
        channel = await read_channel(request.app[POOL], request[IDENTITY].user_id, channel_id)
        if channel is None:
            raise _no_such_channel()
        _refuse_other_kind(channel, given["url"])
        target = await _target(request, given["url"], channel.kind)
        payload["url"] = _sealed(request, target.url, "url")
        payload["masked"] = target.masked
    return await perform(request, build_command(request, UPDATE_CHANNEL.of(payload)))


async def delete_channel(request: web.Request) -> web.Response:
    """`DELETE /channels/{id}`: with all its deliveries."""
    channel_id = _path_id(request)
    await read_body(request)
    return await perform(request, build_command(request, DELETE_CHANNEL.of({"id": channel_id})))


async def test_channel(request: web.Request) -> web.Response:
    """`POST /channels/{id}/test`: answers with the delivery, which is on its way."""
    channel_id = _path_id(request)
    await read_body(request)
    return await perform(request, build_command(request, TEST_CHANNEL.of({"id": channel_id})))


async def rotate_secret(request: web.Request) -> web.Response:
    """`POST /channels/{id}/secret`: a new one, beside which the old one signs for a day."""
    channel_id = _path_id(request)
    await read_body(request)
    channel = await read_channel(request.app[POOL], request[IDENTITY].user_id, channel_id)
    if channel is None:
        raise _no_such_channel()
    if channel.kind != WEBHOOK:
        raise Problem("no-secret", "Only webhooks are signed, and have a secret.")
    _require_key(request)
    payload: RotateSecret = {"id": channel_id, "secret": ""}
    command = build_command(request, ROTATE_SECRET.of(payload))
    secret = _new_secret(request, command)
    payload["secret"] = _sealed(request, secret.dump(), "secret")
    return await _perform(request, command, secret)


# -- addresses and secrets ------------------------------------------------------------------------------------


async def _target(request: web.Request, url: str, kind: str | None) -> Target:
    _require_key(request)
    try:
        target = await asyncio.to_thread(read_target, url, kind)  # which may have to load a service's module
        if not request.app[SETTINGS].allow_private_targets:
            await require_public(target.host)
    except TargetRefused as error:
        raise invalid({"url": [str(error)]}) from None
    return target


def _refuse_other_kind(channel: ChannelView, url: str) -> None:
    """Refuses the address of a service for a webhook that was none of that service: it would mean nothing there."""
    if channel.kind != WEBHOOK:
        return
    try:
        kind = service_of_url(url)
        if kind is not None and service_of_url(orjson.loads(channel.body)["url"]) != kind:
            raise TargetRefused(f"That is an address of {kind}, and the kind of a channel stays: make a new channel.")
    except TargetRefused as error:
        raise invalid({"url": [str(error)]}) from None


def _require_key(request: web.Request) -> None:
    if request.app[SECRETS].is_locked:
        raise Problem(
            "channels-unavailable", "This service has no SECRETS_KEY, so that it cannot keep addresses and secrets."
        )


def _sealed(request: web.Request, text: str, purpose: str) -> str:
    sealed = request.app[SECRETS].seal(text, user_id=request[IDENTITY].user_id, purpose=purpose)
    return base64.b64encode(sealed).decode()


def _new_secret(request: web.Request, command: Command) -> Secret:
    """It follows from the command's id, and comes into the payload when that is known. A request that is repeated with
    its key gets the same, which is stored nowhere but in the channel."""
    return Secret.of(request.app[SECRETS].derive("webhook secret", f"{command.user_id}:{command.id}"), clock.now())


async def _perform(request: web.Request, command: Command, secret: Secret | None) -> web.Response:
    """The outcome, with the secret, which no job row holds."""
    response = await perform(request, command)
    if secret is not None and response.status in (200, 201):
        assert isinstance(response.body, bytes)
        response.body = orjson.dumps({**orjson.loads(response.body), "secret": secret.text})
        response.headers.update(NO_STORE)
    return response


def _path_id(request: web.Request) -> int:
    return path_id(request, noun="channel")


def _no_such_channel() -> Problem:
    return not_found("There is no such channel.")


_TOLD_ONCE = (
    "The `secret` of a webhook is told in this answer alone: where the answer is 202, repeat the request with its "
    "`Idempotency-Key` to learn it."
)

routes = [
    Endpoint(
        "POST",
        "/channels",
        create_channel,
        "Make a channel",
        {201: ChannelWithSecret},
        body=ChannelCreate,
        is_write=True,
        problems=(409, 503),
        description="A webhook of yours, signed as [Standard Webhooks](https://www.standardwebhooks.com) say, or a "
        "service, by the address that it gives out or by its [Apprise](https://github.com/caronc/apprise) address: "
        "Slack, Microsoft Teams, e-mail, Discord, Telegram, ntfy and others. "
        f"{_TOLD_ONCE} Addresses in private networks are refused.",
    ),
    Endpoint(
        "GET",
        "/channels",
        list_own_channels,
        "List the caller's channels, oldest first",
        {200: ChannelPage},
        query=PageQuery,
        problems=(400,),
        description="Their addresses are masked: what is secret in them is shown to nobody.",
    ),
    Endpoint(
        "GET",
        "/channels/{id}",
        get_channel,
        "Read a channel",
        {200: Channel},
        problems=(404,),
        description="Its address is masked: what is secret in it is shown to nobody.",
    ),
    Endpoint(
        "PATCH",
        "/channels/{id}",
        update_channel,
        "Change a channel",
        {200: Channel},
        body=ChannelUpdate,
        is_write=True,
        problems=(404, 503),
        description="Its `kind` stays. What a channel was disabled for is forgotten when it becomes `active` again.",
    ),
    Endpoint(
        "DELETE",
        "/channels/{id}",
        delete_channel,
        "Delete a channel and its deliveries",
        {204: None},
        is_write=True,
        problems=(404, 413),
        description="What was not delivered yet is not delivered any more.",
    ),
    Endpoint(
        "POST",
        "/channels/{id}/test",
        test_channel,
        "Send a test through a channel",
        {201: Delivery},
        is_write=True,
        problems=(404, 409, 413),
        description="The answer is the delivery, which is sent at once, also in quiet hours: read it again to see how "
        "it went.",
    ),
    Endpoint(
        "POST",
        "/channels/{id}/secret",
        rotate_secret,
        "Give a webhook a new secret",
        {200: ChannelWithSecret},
        is_write=True,
        problems=(404, 409, 413, 503),
        description="For 24 hours everything is signed with the old secret, too, so that the receiver can change over. "
        + _TOLD_ONCE,
    ),
]

"""What stands at the root: what this service is, for programs and for people, and its icon."""

import asyncio
import re
from functools import cache
from pathlib import Path

import orjson
from aiohttp import web
from marshmallow import Schema, fields

from api.endpoints import Endpoint
from api.http import json_response, prefers
from api.keys import SETTINGS
from api.link_page import LINKS, link_page
from api.published import FOREVER, Published
from core.version import VERSION

HTML = "text/html"
STATIC = Path(__file__).parent / "static"
ICONS = {"favicon.ico": "image/x-icon", "favicon.svg": "image/svg+xml"}
# What messages link to, and has the same address for programs, without `/app`.
_RESOURCE = re.compile(r"(tasks(/[0-9]{1,16})?|imports/[0-9a-f-]{36})/?\Z")
_VARY = {"Vary": "Accept", "Cache-Control": "no-cache"}


class HomeLinks(Schema):
    """Where to go on from here."""

    documentation = fields.String(required=True, metadata={"format": "uri-reference", "example": "/docs"})
    openapi = fields.String(required=True, metadata={"format": "uri-reference", "example": "/openapi.json"})
    health = fields.String(required=True, metadata={"format": "uri-reference", "example": "/health/ready"})


class Home(Schema):
    """What answers here."""

    name = fields.String(required=True, metadata={"example": "Tenfold"})
    version = fields.String(required=True, metadata={"description": "of the service", "example": "1.0.0"})
    links = fields.Nested(HomeLinks, required=True)


async def get_home(request: web.Request) -> web.Response:
    """`GET /`: JSON for programs, a page of links for browsers."""
    settings = request.app[SETTINGS]
    if prefers(request, HTML):
        return link_page(settings, "A task service. Programs talk to it; this page leads to how.", _VARY)
    links = {name: f"{settings.public_url}{path}" for name, path, _ in LINKS}
    return json_response(orjson.dumps({"name": "Tenfold", "version": VERSION, "links": links}), headers=_VARY)


async def get_app_page(request: web.Request) -> web.Response:
    """`GET /app/…`: people's addresses, which messages link to. Nobody is logged in, so nothing of a task is shown."""
    found = _RESOURCE.match(request.match_info.get("rest", ""))
    more = None if found is None else (f"/{found[0].rstrip('/')}", "the same for programs (JSON), with a token")
    return link_page(
        request.app[SETTINGS], "There is no page for people at this address yet, only for programs.", more=more
    )


async def get_icon(request: web.Request) -> web.Response:
    """`GET /favicon.ico`, `/favicon.svg`."""
    published = await asyncio.to_thread(_icon, request.path.removeprefix("/"))
    return await published.answer(request, {"Cache-Control": FOREVER})


@cache
def _icon(name: str) -> Published:
    return Published.of((STATIC / name).read_bytes(), ICONS[name])


routes = [
    Endpoint(
        "GET",
        "/",
        get_home,
        "Read what this is",
        {200: Home},
        auth="none",
        limited=False,
        is_public=True,
        other_media_types=(HTML,),
        description="With `Accept: text/html`, as browsers send it, a small page of links.",
    ),
    *(
        Endpoint(
            "GET",
            path,
            get_app_page,
            "See a page for people",
            {200: None},
            auth="none",
            limited=False,
            is_public=True,
            documented=False,
        )
        for path in ("/app", "/app/{rest}")
    ),
    *(
        Endpoint(
            "GET",
            f"/{name}",
            get_icon,
            "Get the icon",
            {200: None},
            auth="none",
            limited=False,
            is_public=True,
            documented=False,
        )
        for name in ICONS
    ),
]

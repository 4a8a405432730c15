"""The OpenAPI document and Swagger UI, from files of our own: works with no internet."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
from aiohttp import web
from marshmallow import Schema, fields

from api.http import Endpoint, is_unchanged, json_response, not_found
from api.openapi import document
from core.settings import Settings

STATIC = Path(__file__).parent / "static"
# Name in the address → file: nothing else can be asked for.
ASSETS = {
    "docs.js": STATIC / "docs.js",
    **{
        name: STATIC / "swagger-ui" / name
        for name in (
            "swagger-ui-bundle.js",
            "swagger-ui-bundle.js.LICENSE.txt",
            "swagger-ui.css",
            "favicon-32x32.png",
            "oauth2-redirect.html",
            "oauth2-redirect.js",
            "LICENSE",
            "NOTICE",
        )
    },
}


@dataclass(frozen=True, slots=True)
class Published:
    """The document as it is served."""

    body: bytes
    etag: str


class OpenApi(Schema):
    """An OpenAPI 3.1 document."""

    openapi = fields.String(required=True)
    info = fields.Dict(required=True)
    paths = fields.Dict(required=True)


DOCUMENT: web.AppKey[Published] = web.AppKey("document", Published)

NO_SNIFFING = {"X-Content-Type-Options": "nosniff"}
PAGE_HEADERS = {
    **NO_SNIFFING,
    # Scripts, styles and requests of this origin, the icons inside Swagger UI's style sheet, and nothing else.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
FOREVER = "public, max-age=31536000, immutable"


def _revision() -> str:
    """Stands in the address of every asset, so that a browser may keep what it has for ever."""
    digest = hashlib.blake2b(digest_size=6)
    for path in ASSETS.values():
        digest.update(path.read_bytes())
    return digest.hexdigest()


_ADDRESS = f"/docs/{_revision()}"
_PAGE = (STATIC / "docs.html").read_text().replace("{assets}", _ADDRESS.removeprefix("/"))


def publish(app: web.Application, endpoints: Sequence[Endpoint], settings: Settings) -> None:
    """Makes the document, once, for the handlers below to serve."""
    body = orjson.dumps(document(endpoints, settings=settings))
    app[DOCUMENT] = Published(body, f'"{hashlib.blake2b(body, digest_size=8).hexdigest()}"')


async def get_openapi(request: web.Request) -> web.Response:
    """`GET /openapi.json`."""
    published = request.app[DOCUMENT]
    headers = {"ETag": published.etag, "Cache-Control": "no-cache", **NO_SNIFFING}
    if is_unchanged(request, published.etag):
        return web.Response(status=304, headers=headers)
    return json_response(published.body, headers=headers)


async def get_page(request: web.Request) -> web.Response:
    """`GET /docs`."""
    return web.Response(text=_PAGE, content_type="text/html", charset="utf-8", headers=PAGE_HEADERS)


async def get_asset(request: web.Request) -> web.FileResponse:
    """`GET /docs/{revision}/{name}`: what the page needs, for browsers to keep."""
    path = ASSETS.get(request.match_info["name"])
    if path is None:
        raise not_found("There is nothing at this address.")
    return web.FileResponse(path, headers={**NO_SNIFFING, "Cache-Control": FOREVER})


routes = [
    Endpoint(
        "GET",
        "/openapi.json",
        get_openapi,
        "Read this document",
        {200: OpenApi, 304: None},
        auth="none",
        limited=False,
        conditional=True,
        answer_headers=("ETag",),
    ),
    Endpoint(
        "GET",
        "/docs",
        get_page,
        "Try this API in a browser",
        {200: None},
        auth="none",
        limited=False,
        media_type="text/html",
        operation_id="get_docs",
    ),
    Endpoint(
        "GET",
        f"{_ADDRESS}/{{name}}",
        get_asset,
        "Read a file of the page",
        {200: None},
        auth="none",
        limited=False,
        documented=False,
    ),
]

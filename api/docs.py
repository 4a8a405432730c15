"""The OpenAPI document and Swagger UI, from files on this machine: works with no internet."""

import asyncio
import hashlib
import mimetypes
from collections.abc import Sequence
from functools import cache
from importlib.metadata import files
from pathlib import Path

import orjson
from aiohttp import web
from marshmallow import Schema, fields
from swagger_ui_bundle import swagger_ui_path

from api.endpoints import Endpoint
from api.http import not_found
from api.openapi import document
from api.published import FOREVER, Published
from core.settings import Settings

STATIC = Path(__file__).parent / "static"
SWAGGER_UI = "swagger-ui-bundle-v2"
"""The distribution that carries Swagger UI's files, unchanged."""


def _licence() -> Path:
    [path] = (file for file in files(SWAGGER_UI) or () if file.name == "LICENSE")
    return Path(str(path.locate()))


# Name in the address → file: nothing else can be asked for.
ASSETS = {
    "docs.js": STATIC / "docs.js",
    **{
        name: swagger_ui_path / name
        for name in (
            "swagger-ui-bundle.js",
            "swagger-ui.css",
            "favicon-32x32.png",
            "oauth2-redirect.html",
            "oauth2-redirect.js",
        )
    },
    "LICENSE": _licence(),  # of Swagger UI: whoever gets its files gets it, too
}


class OpenApi(Schema):
    """An OpenAPI 3.1 document."""

    openapi = fields.String(required=True)
    info = fields.Dict(required=True)
    paths = fields.Dict(required=True)


DOCUMENT: web.AppKey[Published] = web.AppKey("document", Published)

PAGE_HEADERS = {
    # Allowed are scripts, styles and requests of this origin, and the icons inside Swagger UI's style sheet.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def _revision() -> str:
    """Part of every asset's address, so that a browser may keep an asset for ever."""
    digest = hashlib.blake2b(digest_size=6)
    for path in ASSETS.values():
        digest.update(path.read_bytes())
    return digest.hexdigest()


_ADDRESS = f"/docs/{_revision()}"
_PAGE = (STATIC / "docs.html").read_text().replace("{assets}", _ADDRESS.removeprefix("/"))


def publish(app: web.Application, endpoints: Sequence[Endpoint], settings: Settings) -> None:
    """Makes the document, once, for the handlers below to serve."""
    body = orjson.dumps(document(endpoints, settings=settings))
    app[DOCUMENT] = Published.of(body, "application/json; charset=utf-8")


async def get_openapi(request: web.Request) -> web.Response:
    """`GET /openapi.json`."""
    return await request.app[DOCUMENT].answer(request, {"Cache-Control": "no-cache"})


async def get_page(request: web.Request) -> web.Response:
    """`GET /docs`."""
    return web.Response(text=_PAGE, content_type="text/html", charset="utf-8", headers=PAGE_HEADERS)


async def get_asset(request: web.Request) -> web.Response:
    """`GET /docs/{revision}/{name}`: what the page needs, for browsers to keep."""
    name = request.match_info["name"]
    if name not in ASSETS:
        raise not_found("There is nothing at this address.")
    published = await asyncio.to_thread(_published_asset, name)
    return await published.answer(request, {"Cache-Control": FOREVER})


@cache
def _published_asset(name: str) -> Published:
    media_type, _ = mimetypes.guess_type(name)
    is_text = media_type is None or media_type.startswith("text/")
    return Published.of(
        ASSETS[name].read_bytes(), f"{media_type or 'text/plain'}{'; charset=utf-8' if is_text else ''}"
    )


routes = [
    Endpoint(
        "GET",
        "/openapi.json",
        get_openapi,
        "Read this document",
        {200: OpenApi, 304: None},
        auth="none",
        limited=False,
        is_public=True,
        conditional=True,
        answer_headers=("ETag",),
        description="OpenAPI 3.1, made from the same schemas that validate requests.",
    ),
    Endpoint(
        "GET",
        "/docs",
        get_page,
        "Try this API in a browser",
        {200: None},
        auth="none",
        limited=False,
        is_public=True,
        media_type="text/html",
        operation_id="get_docs",
        description="Swagger UI, from local files: works with no internet.",
    ),
    Endpoint(
        "GET",
        f"{_ADDRESS}/{{name}}",
        get_asset,
        "Read a file of the page",
        {200: None},
        auth="none",
        limited=False,
        is_public=True,
        documented=False,
    ),
]

"""Answers from the page cache: finished bodies of a user's reads, plain for those who take them so, else compressed."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from aiohttp import hdrs, web

from api.compression import COMPRESSED_OVER_BYTES, encoded_etag, mark_compressed, packed, takes_gzip
from api.keys import CACHE, IDENTITY
from core.cache import Miss

_PACKED = " gzip"
_GZIP_MAGIC = b"\x1f\x8b"
"""What every body that is compressed begins with, and no JSON."""


class Page(NamedTuple):
    """A finished body, and what its headers are made of.

    Attributes:
        note: a word without line ends.
        body: JSON; may be compressed where it comes from the cache.
        lasts: whether it may be cached.
    """

    note: str
    body: bytes
    lasts: bool = True


async def cached(
    request: web.Request,
    name: str | None,
    read: Callable[[], Awaitable[Page]],
    respond: Callable[[Page], web.Response],
) -> web.Response:
    """Answers with a page of the caller's, from the cache or read anew.

    Args:
        request: of the caller.
        name: what is asked for; None where that cannot be cached.
        read: reads it from the database.
        respond: makes the answer.
    """
    if name is None:
        return respond(await read())
    cache, user_id = request.app[CACHE], request[IDENTITY].user_id
    packs = hdrs.ACCEPT_ENCODING in request.headers and takes_gzip(request)
    wanted, plain = (name + _PACKED, name) if packs else (name, None)
    found = await cache.look_up(user_id, wanted, plain)
    if isinstance(found, bytes):
        return _answer(found, respond)
    if not isinstance(found, Miss):
        return respond(await read())  # which is compressed on its way out
    page = await read() if found.other is None else _page(found.other)
    body = await packed(page.body) if packs and len(page.body) > COMPRESSED_OVER_BYTES else page.body
    kept = page.note.encode() + b"\n" + body
    if page.lasts:
        cache.store(user_id, wanted, found, kept)
    return _answer(kept, respond)


def not_modified(request: web.Request, etag: str, body: bytes) -> web.Response:
    """A 304 with the headers of the 200 that it stands for (RFC 9110, 15.4.5).

    Args:
        request: of a client that has the body already.
        etag: of the plain body.
        body: that would be sent; may be compressed.
    """
    if not body.startswith(_GZIP_MAGIC) and len(body) <= COMPRESSED_OVER_BYTES:
        return web.Response(status=304, headers={hdrs.ETAG: etag})
    shown = encoded_etag(etag) if takes_gzip(request) else etag
    return web.Response(status=304, headers={hdrs.ETAG: shown, hdrs.VARY: hdrs.ACCEPT_ENCODING})


def _page(kept: bytes) -> Page:
    note, _, body = kept.partition(b"\n")
    return Page(note.decode(), body)


def _answer(kept: bytes, respond: Callable[[Page], web.Response]) -> web.Response:
    page = _page(kept)
    response = respond(page)
    if page.body.startswith(_GZIP_MAGIC) and response.status == 200:
        mark_compressed(response)
    return response

"""Answers that travel compressed (RFC 9110, 8.4 and 12.5.3), where the client understands that."""

import asyncio
import re
import zlib
from functools import lru_cache

from aiohttp import hdrs, web

COMPRESSED_OVER_BYTES = 1024
IN_LOOP_BYTES = 32 << 10
"""What is longer is compressed in a thread, so that nobody waits for it."""

# The lowest level costs a third of the usual one, and makes JSON hardly longer.
_LEVEL = 1
_GZIP_BITS = 16 + zlib.MAX_WBITS
_VERSION_TAG = re.compile(r'"[0-9]+"\Z')


def may_be_compressed(response: web.StreamResponse) -> bool:
    """Whether the body is long, whole and in memory, and holds no secret, whose length would tell of it.

    https://www.breachattack.com: what is compressed together with a guess is shorter where the guess is right.
    """
    if not isinstance(response, web.Response):
        return False
    body = response.body
    return (
        isinstance(body, bytes)
        and len(body) > COMPRESSED_OVER_BYTES
        and response.status != 206
        and response.headers.get(hdrs.CACHE_CONTROL) != "no-store"
        and hdrs.VARY not in response.headers  # else its handler has seen to it
    )


async def compress(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Compresses an answer that may be, where the client takes gzip; its entity tag then says so."""
    if not takes_gzip(request):
        return
    assert isinstance(response, web.Response)
    assert isinstance(response.body, bytes)
    body = response.body
    response.body = gzipped(body) if len(body) <= IN_LOOP_BYTES else await asyncio.to_thread(gzipped, body)
    response.headers[hdrs.CONTENT_ENCODING] = "gzip"
    etag = response.headers.get(hdrs.ETAG)
    if etag is not None:
        response.headers[hdrs.ETAG] = encoded_etag(etag)


def gzipped(body: bytes) -> bytes:
    return zlib.compress(body, _LEVEL, _GZIP_BITS)


def encoded_etag(etag: str) -> str:
    """The tag of what is encoded: of a version the same number, as a weak tag; of a file a tag of its own."""
    return f"W/{etag}" if _VERSION_TAG.match(etag) else f'{etag[:-1]}-gzip"'


def takes_gzip(request: web.BaseRequest) -> bool:
    """Whether the client understands gzip, and does not like no encoding better."""
    return _names_gzip(",".join(request.headers.getall(hdrs.ACCEPT_ENCODING, [])))


@lru_cache(256)
def _names_gzip(accept_encoding: str) -> bool:
    """Whether gzip is named, or all is, and not given less weight than no encoding."""
    weights: dict[str, float] = {}
    for part in accept_encoding.lower().split(","):
        coding, _, parameters = part.partition(";")
        weights[coding.strip()] = _weight(parameters)
    of_gzip = weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0)))
    return of_gzip > 0 and of_gzip >= weights.get("identity", 0.0)


def _weight(parameters: str) -> float:
    name, _, value = parameters.partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0

"""Compressed answers, for clients that take gzip (RFC 9110, 8.4 and 12.5.3)."""

import asyncio
import re
import zlib
from functools import lru_cache

from aiohttp import hdrs, web

COMPRESSED_OVER_BYTES = 1024
IN_LOOP_BYTES = 32 << 10
"""Longer bodies are compressed in a thread: in the event loop, all other requests would wait."""

# The lowest level takes a third of the time of the usual one, and JSON becomes hardly longer.
_LEVEL = 1
_GZIP_BITS = 16 + zlib.MAX_WBITS
_VERSION_TAG = re.compile(r'"[0-9]+"\Z')


def may_be_compressed(response: web.StreamResponse) -> bool:
    """Whether the body is long, whole, in memory, and holds no secret.

    The length of a compressed secret gives it away: beside a right guess it is shorter (https://www.breachattack.com).
    """
    if not isinstance(response, web.Response):
        return False
    body = response.body
    return (
        isinstance(body, bytes)
        and (len(body) > COMPRESSED_OVER_BYTES or hdrs.CONTENT_ENCODING in response.headers)
        and response.status != 206
        and response.headers.get(hdrs.CACHE_CONTROL) != "no-store"
        and hdrs.VARY not in response.headers  # its handler has decided already
    )


async def compress(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Compresses the answer if the client takes gzip and it is not compressed yet."""
    if hdrs.CONTENT_ENCODING in response.headers or not takes_gzip(request):
        return
    assert isinstance(response, web.Response)
    assert isinstance(response.body, bytes)
    response.body = await packed(response.body)
    mark_compressed(response)


def mark_compressed(response: web.Response) -> None:
    """Says that the body is compressed, also in its entity tag."""
    response.headers[hdrs.CONTENT_ENCODING] = "gzip"
    etag = response.headers.get(hdrs.ETAG)
    if etag is not None:
        response.headers[hdrs.ETAG] = encoded_etag(etag)


async def packed(body: bytes) -> bytes:
    """The body compressed, without holding up others."""
    return gzipped(body) if len(body) <= IN_LOOP_BYTES else await asyncio.to_thread(gzipped, body)


def gzipped(body: bytes) -> bytes:
    return zlib.compress(body, _LEVEL, _GZIP_BITS)


def encoded_etag(etag: str) -> str:
    """The tag of a compressed body: of a version its number as a weak tag; of a file a tag of its own."""
    return f"W/{etag}" if _VERSION_TAG.match(etag) else f'{etag[:-1]}-gzip"'


def takes_gzip(request: web.BaseRequest) -> bool:
    """Whether the client takes gzip, and does not prefer a body that is not encoded."""
    return _names_gzip(",".join(request.headers.getall(hdrs.ACCEPT_ENCODING, [])))


@lru_cache(256)
def _names_gzip(accept_encoding: str) -> bool:
    """Whether the header names gzip or `*`, with no less weight than `identity`."""
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

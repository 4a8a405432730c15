"""How a handler reads the body of a request: JSON, or a form."""

import re
from typing import Any
from urllib.parse import parse_qsl

import orjson
from aiohttp import hdrs, web
from marshmallow import Schema

from api.encodings import BodyBroken, decoded_pieces
from api.errors import Problem
from api.http import FORM, JSON, MERGE_PATCH, invalid, repeated_names, validate
from api.keys import BODY

JSON_TYPES = frozenset({JSON, MERGE_PATCH, "application/octet-stream", ""})
FORM_FIELDS_MAXIMUM = 20
FORM_MAXIMUM_BYTES = 64 << 10
"""A form holds names and passwords only, and its escapes take much longer to read than JSON does."""

CONTAINERS_MAXIMUM = 20_000
"""Lists and objects in one body. The largest valid one, a batch, has 3,001."""
QUOTES_MAXIMUM = 100_000
"""With more quotes and escapes than that, brackets in texts are counted, too: to find the texts takes too long."""

MEDIA_TYPE_MAXIMUM = 255

_JSON_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)


async def read_json(request: web.Request, schema: Schema) -> Any:
    """The validated body.

    Raises:
        Problem: 400 not JSON, 413 too large, 415 another media type, 422 not valid.
    """
    return validate(schema, await read_raw_json(request))


async def read_body(request: web.Request) -> bytes:
    """The whole body, which is also kept as `request[BODY]`. To be called once.

    A body that is too large, or will be, is refused without waiting for its rest.

    Raises:
        Problem: 400 it breaks off or cannot be decompressed, 413 too large.
    """
    largest = request.client_max_size
    try:
        if request.content.is_eof() and hdrs.CONTENT_ENCODING not in request.headers:
            body = request.content.read_nowait()  # it came with the head, as most do: this takes a third of the time
        elif (request.content_length or 0) <= largest:
            body = await _gather_body(request, largest)
        else:
            raise _too_large(largest)
    except (web.RequestPayloadError, ConnectionError, BodyBroken):
        raise broken_body() from None
    if len(body) > largest:
        raise _too_large(largest)
    request[BODY] = body
    return body


async def _gather_body(request: web.Request, largest: int) -> bytes:
    """The body, or the beginning of one that is too large."""
    body = bytearray()
    async for piece in decoded_pieces(request):
        body += piece
        if len(body) > largest:
            break
    return bytes(body)


def broken_body() -> Problem:
    return Problem("bad-request", "The body breaks off, or is not encoded as its headers say.")


def _too_large(largest: int) -> Problem:
    return Problem("payload-too-large", f"The body is larger than {largest} bytes.")


async def read_form(request: web.Request, schema: Schema) -> Any:
    """The validated fields of a form.

    Raises:
        Problem: 400 not UTF-8, 413 too large, 415 another media type, 422 not valid.
    """
    if media_type(request) != FORM:
        raise Problem("unsupported-media-type", f"Send the form as {FORM}, not as {media_type(request)}.")
    if (request.content_length or 0) > FORM_MAXIMUM_BYTES:
        raise _too_large(FORM_MAXIMUM_BYTES)
    body = await read_body(request)
    if len(body) > FORM_MAXIMUM_BYTES:
        raise _too_large(FORM_MAXIMUM_BYTES)
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=FORM_FIELDS_MAXIMUM)
    except ValueError:
        raise Problem("bad-request", f"The body is not a UTF-8 form of up to {FORM_FIELDS_MAXIMUM} fields.") from None
    repeated = repeated_names(name for name, _ in pairs)
    if repeated:
        raise invalid({name: ["Give it once."] for name in repeated})
    # Here alone unknown names are ignored: RFC 6749, 3.2 demands that of a form of OAuth 2.0.
    return validate(schema, {name: value for name, value in pairs if name in schema.fields})


async def read_raw_json(request: web.Request) -> Any:
    """The body as JSON, not yet validated; the same problems but 422."""
    if request.headers.get(hdrs.CONTENT_TYPE) != JSON and media_type(request) not in JSON_TYPES:
        raise Problem("unsupported-media-type", f"Send the body as {JSON}, not as {media_type(request)}.")
    body = await read_body(request)
    if len(body) > CONTAINERS_MAXIMUM:
        _refuse_masses(body)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        detail = f"{error.msg} (line {error.lineno}, column {error.colno})" if body else "The body is empty."
        raise Problem("invalid-json", f"The body is not JSON: {detail}") from None


def _refuse_masses(body: bytes) -> None:
    """Refuses hundreds of thousands of lists: they take the longest to read by far, and are valid nowhere.

    Raises:
        Problem: 400, there are more than `CONTAINERS_MAXIMUM` lists and objects in it.
    """
    if body.count(b"[") + body.count(b"{") <= CONTAINERS_MAXIMUM:
        return  # nearly always; brackets in texts do not count, but to find those takes longer
    structure = body
    if body.count(b'"') + body.count(b"\\") <= QUOTES_MAXIMUM:
        structure = _JSON_STRING.sub(b"", body)
    if structure.count(b"[") + structure.count(b"{") > CONTAINERS_MAXIMUM:
        raise Problem("invalid-json", f"The body has more than {CONTAINERS_MAXIMUM} lists and objects in it.")


def media_type(request: web.Request) -> str:
    """The media type in lower case, without parameters; `application/octet-stream` where there is none.

    aiohttp's own parser can be made to take seconds.
    """
    given = request.headers.get(hdrs.CONTENT_TYPE)
    if given is None:
        return "application/octet-stream"
    return given[:MEDIA_TYPE_MAXIMUM].partition(";")[0].strip().lower()

"""The largest bodies, queries and headers that somebody who means harm would send, made from the OpenAPI document."""

import gzip
import itertools
import zlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import orjson

LIMIT = 1 << 20
TARGET = 8000
HEADER = 16_000
# Repeated, each hits another kind of careless code: searches that begin anew at every character, checks of every
# character, texts that grow when they are normalised, what is special to dates, e-mail and other addresses.
SPECKS = ("x", " ", "T", "@a.", "[", "P", "\x00", "\ufdfa", "a\u0315\u0300")
HUGE_INTEGER = b"9" * 100_000
RAW = b'"to be replaced"'


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without references at its top; of several kinds the first that says most."""
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    for several in ("anyOf", "oneOf"):
        kinds = [resolved(document, kind) for kind in schema.get(several, [])]
        described = [kind for kind in kinds if "type" in kind or "properties" in kind]
        if described and "properties" not in schema:
            return {**schema, **described[0]}
    return schema


def kinds_of(schema: dict[str, Any]) -> set[str]:
    """The JSON types that a schema allows."""
    types = schema.get("type", [])
    return {types} if isinstance(types, str) else set(types) or ({"object"} if "properties" in schema else set())


def filled(make: Any, item_bytes: int) -> list[Any]:
    return [make(number) for number in range((LIMIT - 2000) // item_bytes)]


def bodies(document: dict[str, Any], schema: dict[str, Any], honest: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """Name → JSON of up to `LIMIT` bytes.

    Args:
        document: the OpenAPI document.
        schema: of the body.
        honest: a valid body, whose fields stand beside the hostile ones.
    """
    unknown = {f"{number:x}": 1 for number in range((LIMIT - 2000) // 10)}
    yield "unknown fields", orjson.dumps({**honest, **unknown})
    yield "unknown fields alone", orjson.dumps(unknown)
    yield "long unknown fields", orjson.dumps({**honest, **{f"{n}" + "\x01" * 2000: 1 for n in range(80)}})
    yield "no object", orjson.dumps(filled(str, 9))
    yield "empty lists", b"[" + b"[]," * (LIMIT // 3 - 9) + b"[]]"
    yield "deep lists", b"[" + (b"[" * 900 + b"]" * 900 + b",") * (LIMIT // 1801 - 9) + b"1]"
    yield "deep objects", b'{"a":' * 900 + b"[" + b"[]," * (LIMIT // 3 - 5000) + b"1]" + b"}" * 900
    yield "one name again and again", b"{" + b'"title":1,' * (LIMIT // 10 - 9) + b'"title":1}'
    yield "an escaped surrogate", orjson.dumps(honest)[:-1] + b', "x": "' + b"\\ud83d\\ude00" * 80_000 + b'\\ud800"}'
    yield from _bodies_of_fields(document, schema, honest)


def _bodies_of_fields(
    document: dict[str, Any], schema: dict[str, Any], honest: dict[str, Any]
) -> Iterator[tuple[str, bytes]]:
    properties = {name: resolved(document, found) for name, found in resolved(document, schema)["properties"].items()}
    for name, found in properties.items():
        rest = {key: value for key, value in honest.items() if key != name}

        def body(value: Any, name: str = name, rest: dict[str, Any] = rest) -> bytes:
            return orjson.dumps({**rest, name: value})

        yield f"{name}: a huge list", body(filled(lambda _: "x", 4))
        yield (
            f"{name}: deep",
            orjson.dumps({**rest, name: RAW.decode()[1:-1]}).replace(
                RAW, b"[" * 900 + b"{}," * (LIMIT // 3 - 2000) + b"{}" + b"]" * 900
            ),
        )
        yield f"{name}: a huge integer", orjson.dumps({**rest, name: RAW.decode()[1:-1]}).replace(RAW, HUGE_INTEGER)
        yield f"{name}: an object", body({f"{number:x}": 1 for number in range((LIMIT - 2000) // 10)})
        for speck in SPECKS if "string" in kinds_of(found) else SPECKS[:1]:
            size = len(orjson.dumps(speck)) - 2
            yield f"{name}: {speck!r} times a lot", body(speck * ((LIMIT - 2000) // size))
        if "array" in kinds_of(found):
            yield from (
                (f"{name}: a list of {told}", body(filled(lambda _, item=item: item, len(orjson.dumps(item)) + 1)))
                for told, item in (("integers", 1), ("nothing", None), ("objects", {}), ("empty texts", ""))
            )
            yield from _bodies_of_items(document, found, body)


def _bodies_of_items(document: dict[str, Any], found: dict[str, Any], body: Any) -> Iterator[tuple[str, bytes]]:
    most = found.get("maxItems", 1000)
    size = (LIMIT - 4000) // most - 40
    yield "as many as may be, long", body(["x" * size] * most)
    choices = found["items"].get("oneOf", [])
    for choice in choices:
        operation = resolved(document, choice)
        inner = {name: resolved(document, kind) for name, kind in operation["properties"].items()}
        base: dict[str, Any] = {"op": document_op(operation)}
        if "id" in inner:
            base["id"] = 4711
        many = {f"{number:x}": 1 for number in range(max(1, (size - 60) // 9))}
        yield f"{base['op']}: unknown fields", body([{**base, **many}] * most)
        if "fields" not in inner:
            continue
        yield f"{base['op']}: unknown fields inside", body([{**base, "fields": many}] * most)
        wrong = {name: [] for name in inner["fields"]["properties"]}
        yield f"{base['op']}: every field wrong", body([{**base, "fields": wrong}] * most)
        yield f"{base['op']}: long", body([{**base, "fields": {"title": "x" * (size - 80)}}] * most)
        yield (
            f"{base['op']}: labels",
            body([{**base, "fields": {"title": "x", "labels": ["\x00"] * ((size - 80) // 9)}}] * most),
        )


def document_op(operation: dict[str, Any]) -> str:
    found = operation["properties"]["op"]
    value: str = found["const"] if "const" in found else found["enum"][0]
    return value


# -- what a body travels in ---------------------------------------------------------------------------------------


def encoded_bodies(honest: bytes) -> Iterator[tuple[str, str, bytes]]:
    """Name, `Content-Encoding`, and a body of up to `LIMIT` bytes."""
    empty = gzip.compress(b"")
    yield "empty gzip members", "gzip", empty * (LIMIT // len(empty))
    tiny = gzip.compress(b" ")
    yield "gzip members of one byte", "gzip", tiny * (LIMIT // len(tiny) - 100) + gzip.compress(honest)
    yield "a bomb of spaces", "gzip", gzip.compress(b" " * (64 * LIMIT), 1)
    yield "a bomb of nothing", "deflate", zlib.compress(bytes(64 * LIMIT), 1)
    yield "empty blocks", "deflate", b"\x78\x9c" + b"\x00\x00\x00\xff\xff" * (LIMIT // 5 - 9)
    yield "noise", "gzip", b"\x1f\x8b\x08\x00" + bytes(6) + b"\xaa" * (LIMIT - 100)


def chunked(body: bytes, size: int) -> Iterator[bytes]:
    """The body in chunks of so many bytes, thousands of them in each packet."""
    step = size * 4096
    for place in range(0, len(body), step):
        packet = body[place : place + step]
        chunks = (packet[first : first + size] for first in range(0, len(packet), size))
        yield b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    yield b"0\r\n\r\n"


def forms() -> Iterator[tuple[str, bytes]]:
    """Name → a form of up to `LIMIT` bytes."""
    yield "many fields", b"&".join(b"f%d=1" % number for number in range(LIMIT // 10))
    yield "one field again and again", b"username=x&" * (LIMIT // 11)
    yield "separators", b"&" * LIMIT
    for size in (LIMIT - 100, 60_000):
        for speck in (b"%41", b"%", b"+", b"%C3%A9", b"x", b"=", b";"):
            yield f"{speck!r} times a lot, {size} bytes", b"username=a&password=" + speck * (size // len(speck))


# -- addresses and headers ------------------------------------------------------------------------------------------


def queries(name: str) -> Iterator[tuple[str, str]]:
    """Name → a query string of nearly as much as is taken, about one parameter."""
    for speck in (*SPECKS, ",", "1,", "a,", "T ", "P1D,"):
        encoded = quote(speck)
        yield f"{name}: {speck!r} times a lot", f"{name}={encoded * ((TARGET - len(name)) // len(encoded))}"
    numbers = ",".join(map(str, range(1500)))
    yield f"{name}: numbers", f"{name}={numbers}"
    yield f"{name}: again and again", "&".join([f"{name}=1"] * (TARGET // (len(name) + 3)))


def unknown_query() -> str:
    return urlencode({f"{number:x}": "" for number in range(TARGET // 5)})[:TARGET]


HEADERS = (
    "If-Match", "If-None-Match", "If-Modified-Since", "If-Range", "Range", "Prefer", "Idempotency-Key", "Accept",
    "Accept-Encoding", "Authorization", "Cookie", "X-Forwarded-For", "Forwarded", "X-Request-Id", "Origin",
    "Content-Disposition", "Content-Type", "Content-Encoding", "Accept-Language",
)  # fmt: skip
HEADER_SPECKS = (",", '"1",', "a=b;", '"', "x", "W/", "1.1.1.1, ", 'a="b;', "(", "T ")


def headers() -> Iterator[tuple[str, tuple[str, str]]]:
    """Name → a header, as long as a line may be."""
    for name, speck in itertools.product(HEADERS, HEADER_SPECKS):
        yield f"{name}: {speck!r} times a lot", (name, (speck * (HEADER // len(speck))).strip())

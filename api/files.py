"""Stored files over HTTP: whole, in parts, or 304 for clients that have them (RFC 9110, 13 and 14)."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime

from aiohttp import Payload, web
from aiohttp.abc import AbstractStreamWriter

from api.conditions import is_unchanged
from api.errors import Problem
from core.clock import read_http_date
from core.storage import Storage

_RANGE = re.compile(r"bytes=(?:([0-9]{1,18})-([0-9]{1,18})?|-([0-9]{1,18}))\Z")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that never changes.

    Attributes:
        object: its name in the store.
        size: bytes.
        etag: a strong entity tag, with its quotes.
        made_at: when; told to the second.
        media_type: as `Content-Type` says it.
        name: what a client that saves it calls it; ASCII without quotes.
    """

    object: str
    size: int
    etag: str
    made_at: datetime
    media_type: str
    name: str

    @property
    def last_modified(self) -> datetime:
        return self.made_at.astimezone(UTC).replace(microsecond=0)


class _Part(Payload):
    """A part of an object as the body of an answer, read from the store as the client takes it."""

    def __init__(self, first: bytes, rest: AsyncIterator[bytes], size: int, media_type: str) -> None:
        super().__init__(rest, content_type=media_type)
        self._first = first
        self._size = size

    async def write(self, writer: AbstractStreamWriter) -> None:
        await writer.write(self._first)
        async for piece in self._value:
            await writer.write(piece)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        raise TypeError("a file is not held in memory")


async def file_response(request: web.Request, storage: Storage, file: StoredFile) -> web.Response:
    """Answers GET and HEAD for a file.

    Raises:
        Problem: 416, the file has no such part.
        ObjectGone: the file is not there any more.
        StorageUnavailable: the store cannot be used.
    """
    headers = {
        "ETag": file.etag,
        "Last-Modified": format_datetime(file.last_modified, usegmt=True),
        "Accept-Ranges": "bytes",
        "Content-Disposition": f'attachment; filename="{file.name}"',
    }
    if _is_known(request, file):
        return web.Response(status=304, headers=headers)
    part = _wanted_part(request, file)
    start, end = part or (0, file.size)
    if part is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
    pieces = storage.stream(file.object, start, end)
    # The first piece is read before the answer begins: a 200 cannot be taken back.
    first = b"" if request.method == "HEAD" else await anext(pieces, b"")
    body = _Part(first, pieces, end - start, file.media_type)
    return web.Response(status=200 if part is None else 206, headers=headers, body=body)


def _is_known(request: web.Request, file: StoredFile) -> bool:
    """Whether the client has this very file."""
    if "If-None-Match" in request.headers:
        return is_unchanged(request, file.etag)
    since = read_http_date(request.headers.get("If-Modified-Since", ""))
    return since is not None and file.last_modified <= since


def _wanted_part(request: web.Request, file: StoredFile) -> tuple[int, int] | None:
    """Where the part that `Range` wants begins and ends; None for the whole file.

    A `Range` that is no single range of bytes is ignored (RFC 9110, 14.2), and so is one whose `If-Range` names another
    file.

    Raises:
        Problem: 416, the file has no such part.
    """
    found = _RANGE.match(request.headers.get("Range", "").replace(" ", ""))
    if found is None or not _is_range_of(request.headers.get("If-Range"), file):
        return None
    first, last, suffix = found.groups()
    if suffix is not None:
        start, end = max(0, file.size - int(suffix)), file.size
    else:
        start, end = int(first), file.size if last is None else min(int(last) + 1, file.size)
        if last is not None and int(last) < start:
            return None
    if start >= end:
        raise Problem(
            "range-not-satisfiable",
            f"The file has {file.size} bytes.",
            headers={"Content-Range": f"bytes */{file.size}"},
        )
    return start, end


def _is_range_of(condition: str | None, file: StoredFile) -> bool:
    if condition is None:
        return True
    condition = condition.strip()
    if condition.startswith(('"', "W/")):
        return condition == file.etag
    return read_http_date(condition) == file.last_modified

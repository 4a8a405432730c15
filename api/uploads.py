"""Stores a file as it arrives, piece by piece: it is never in memory as a whole."""

import asyncio
import contextlib
import hashlib
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

from aiohttp import BodyPartReader, ContentTypeError, MultipartReader, StreamReader, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.multipart import (
    BadContentDispositionHeader,
    BadContentDispositionParam,
    content_disposition_filename,
    parse_content_disposition,
)

from api.arrivals import in_time, send_continue
from api.bodies import broken_body, media_type
from api.encodings import PIECE_BYTES, decoded_pieces, refuse_encoding
from api.errors import Problem
from api.http import invalid
from core.commands.effects import Effect
from core.formats.registry import head_of
from core.formats.rows import Head, ImportRefused
from core.formats.streams.decompress import HEAD_BYTES, decompressed_head
from core.quotas.refusals import quota_exceeded, quota_members
from core.storage import ObjectWriter

FILE_FIELD = "file"
FILENAME_MAXIMUM = 255
FORM_EXTRA_BYTES = 64 << 10
"""What may stand around the file in a form."""

FORM_LINES_MAXIMUM = 400
"""Lines around the file in a form; each is read by itself."""

GIVE_WAY_BYTES = 1 << 20
"""After so many bytes, which take some milliseconds to decode, others have their turn of the event loop."""

# What is raised for a body that breaks off, or does not match its headers. aiohttp raises the last two for a part of a
# form whose headers cannot be read, and for one whose encoding is not known.
_BROKEN = (
    web.RequestPayloadError,
    ConnectionError,
    ContentTypeError,
    ValueError,
    AssertionError,
    EOFError,
    HttpProcessingError,
    RuntimeError,
)

# Python would warn of each malformed header, and keep the text of each warning for ever.
for _kind in (BadContentDispositionHeader, BadContentDispositionParam):
    warnings.simplefilter("ignore", _kind)


@dataclass(frozen=True, slots=True)
class Upload:
    """A stored file, and what was found out about it.

    Attributes:
        filename: as the client calls it; without folders.
        bytes: as they were stored.
        digest: SHA-256 of them.
        format: what `inspect` made of its beginning.
    """

    filename: str | None
    bytes: int
    digest: str
    format: str


class UploadsUnderWay:
    """How many bytes this process is storing for each user, which no import counts yet."""

    def __init__(self) -> None:
        self._bytes: dict[int, int] = {}

    @contextlib.contextmanager
    def room(self, user_id: int, *, stored: int, limit: int) -> Iterator[Callable[[int], None]]:
        """Room for one upload, which counts as under way until this is left.

        Args:
            user_id: whose.
            stored: what the user has stored already.
            limit: bytes that one may have stored; 0: no limit.

        Yields:
            A function that takes so many bytes; it raises `Problem`, 409, where there are not so many left.
        """
        taken = 0

        def take(size: int) -> None:
            nonlocal taken
            used = stored + self._bytes.get(user_id, 0)
            if limit and used + size > limit:
                raise quota_problem(quota_exceeded("stored_bytes", limit=limit, used=used))
            taken += size
            self._bytes[user_id] = self._bytes.get(user_id, 0) + size

        try:
            yield take
        finally:
            left = self._bytes.get(user_id, 0) - taken
            if left:
                self._bytes[user_id] = left
            else:
                self._bytes.pop(user_id, None)


def quota_problem(refusal: Effect) -> Problem:
    """The problem that a worker would answer with."""
    assert refusal.error is not None
    return Problem("quota-exceeded", refusal.error["detail"], **quota_members(refusal))


async def receive(
    request: web.Request,
    writer: ObjectWriter,
    inspect: Callable[[Head], str],
    *,
    maximum_bytes: int,
    take: Callable[[int], None],
) -> Upload:
    """Stores the body, or the field `file` of a multipart body, and commits it when it is whole.

    Args:
        request: its body has not been read.
        writer: gets the bytes.
        inspect: tells the format from how the file begins, decompressed, as soon as that is there; called in a
            thread. May raise `Problem`.
        maximum_bytes: of the file.
        take: is asked for room for each piece; may raise `Problem`.

    Raises:
        Problem: 400 it breaks off, 413 it is too large (told as soon as that shows), 422 there is no file in it, or it
            is compressed in a way that is not known.
        StorageUnavailable: it cannot be stored.
    """
    if (request.content_length or 0) > _maximum_body(request, maximum_bytes):
        raise _too_large(maximum_bytes)
    digest = hashlib.sha256()
    give_way_at = GIVE_WAY_BYTES
    beginning = bytearray()
    filename: str | None = None
    name: str | None = None
    async for filename, piece in _pieces(request, maximum_bytes):
        if writer.bytes + len(piece) > maximum_bytes:
            raise _too_large(maximum_bytes)
        take(len(piece))
        if len(beginning) < HEAD_BYTES:
            beginning += piece[: HEAD_BYTES - len(beginning)]
            if len(beginning) == HEAD_BYTES:
                name = await asyncio.to_thread(_inspect, bytes(beginning), filename, False, inspect)
        digest.update(piece)
        await writer.write(piece)
        if writer.bytes >= give_way_at:
            give_way_at = writer.bytes + GIVE_WAY_BYTES
            await asyncio.sleep(0)
    if not writer.bytes:
        raise refused("import-empty", "The file is empty.")
    if name is None:
        name = await asyncio.to_thread(_inspect, bytes(beginning), filename, True, inspect)
    await writer.commit()
    return Upload(filename, writer.bytes, digest.hexdigest(), name)


def _inspect(beginning: bytes, filename: str | None, is_whole: bool, inspect: Callable[[Head], str]) -> str:
    try:
        contents = decompressed_head(beginning)
    except ImportRefused as refusal:
        raise refused(refusal.name, refusal.detail) from None
    return inspect(head_of(contents, filename or "", is_whole and contents == beginning))


def refused(name: str, detail: str) -> Problem:
    """A problem with the file."""
    return Problem(name, detail, errors={FILE_FIELD: [detail]})


def _too_large(maximum_bytes: int) -> Problem:
    return Problem("payload-too-large", f"The file is larger than {maximum_bytes} bytes: split it.")


def _is_form(request: web.Request) -> bool:
    return media_type(request).startswith("multipart/")


def _maximum_body(request: web.Request, maximum_bytes: int) -> int:
    """Bytes that the whole body may have: a form has a little more than its file."""
    return maximum_bytes + FORM_EXTRA_BYTES if _is_form(request) else maximum_bytes


async def _pieces(request: web.Request, maximum_bytes: int) -> AsyncIterator[tuple[str | None, bytes]]:
    """The file's name with each piece of it.

    Raises:
        Problem: as `receive`.
    """
    filename = _filename(request.headers.get(hdrs.CONTENT_DISPOSITION))
    try:
        if _is_form(request):
            async for found in _pieces_of_field(request, maximum_bytes):
                yield found
        else:
            async for piece in decoded_pieces(request):
                yield filename, piece
    except _BROKEN:
        raise broken_body() from None


class _BoundedContent:
    """The content of a form; no more than a limit is read, whether before the file or after it."""

    def __init__(self, content: StreamReader, maximum_bytes: int) -> None:
        self._content = content
        self._maximum_bytes = maximum_bytes
        self._lines = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    async def readline(self, **options: Any) -> bytes:
        self._lines += 1
        if self._lines > FORM_LINES_MAXIMUM:
            raise Problem("bad-request", f"The form has more than {FORM_LINES_MAXIMUM} lines around its file.")
        return self._counted(await in_time(self._content.readline(**options)))

    async def read(self, size: int = -1) -> bytes:
        return self._counted(await in_time(self._content.read(size)))

    def _counted(self, data: bytes) -> bytes:
        if self._content.total_bytes > self._maximum_bytes + FORM_EXTRA_BYTES:
            raise _too_large(self._maximum_bytes)
        return data


async def _pieces_of_field(request: web.Request, maximum_bytes: int) -> AsyncIterator[tuple[str | None, bytes]]:
    if hdrs.CONTENT_ENCODING in request.headers:
        raise refuse_encoding()
    await send_continue(request)
    reader = MultipartReader(request.headers, cast(StreamReader, _BoundedContent(request.content, maximum_bytes)))
    has_file = False
    while (part := await reader.next()) is not None:
        if isinstance(part, MultipartReader) or part.name != FILE_FIELD or has_file:
            name = "body" if isinstance(part, MultipartReader) or not part.name else part.name
            told = "Give one file." if name == FILE_FIELD else f"Unknown field: the file is in the field {FILE_FIELD}."
            raise invalid({name: [told]})
        has_file = True
        async for piece in _pieces_of_part(part):
            yield _filename(part.headers.get(hdrs.CONTENT_DISPOSITION)), piece
    if not has_file:
        raise invalid({FILE_FIELD: ["Missing data for required field."]})


async def _pieces_of_part(part: BodyPartReader) -> AsyncIterator[bytes]:
    while piece := await part.read_chunk(PIECE_BYTES):
        async for decoded in part.decode_iter(piece):
            yield decoded


def _filename(disposition: str | None) -> str | None:
    """The last part of the name in `Content-Disposition`, as far as it can be shown."""
    _, parameters = parse_content_disposition(disposition)
    name = content_disposition_filename(parameters) or ""
    name = name.replace("\\", "/").rpartition("/")[2]
    name = "".join(character for character in name if character.isprintable())
    return name.encode(errors="replace").decode()[:FILENAME_MAXIMUM] or None

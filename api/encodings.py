"""Compressed bodies of requests (RFC 9110, 8.4): decoded piece by piece; one that breaks off is refused.

aiohttp could decode them, but takes a gzip body that breaks off for a whole one.
"""

import zlib
from collections.abc import AsyncIterator, Iterator

from aiohttp import hdrs, web

from api.arrivals import arriving_pieces
from api.errors import Problem
from api.keys import AWAITS_CONTINUE

PIECE_BYTES = 64 << 10
"""The most that is decoded at once: a few kilobytes can unpack to gigabytes."""

INPUT_BYTES = 16 << 10
"""The most that a decoder gets at once: for each member of a gzip body it copies all that is left."""

MEMBERS_FREE = 16
MEMBER_BYTES = 1 << 10
"""What members of a gzip body must hold on average, beyond the first few: one takes as long to decode as these."""

_GZIP_BITS = 16 + zlib.MAX_WBITS
_ENCODINGS = ("gzip", "deflate")
_KNOWN = frozenset({*_ENCODINGS, "x-gzip", "identity", ""})


class BodyBroken(ValueError):
    """The body is not encoded as its headers say, or breaks off."""


async def decoded_pieces(request: web.Request) -> AsyncIterator[bytes]:
    """The body as it comes in, without its `Content-Encoding`.

    Raises:
        Problem: 415, the encoding is not known; 400, it has too many members; 408, the body stands still.
        BodyBroken: it is not encoded so, or breaks off.
    """
    encoding = ",".join(request.headers.getall(hdrs.CONTENT_ENCODING, [])).strip().lower()
    decoder: _Decoder | None = None
    if request.get(AWAITS_CONTINUE) and encoding not in _KNOWN:
        raise refuse_encoding()
    async for piece in arriving_pieces(request):
        if encoding in ("", "identity"):
            yield piece
            continue
        decoder = decoder or _Decoder(encoding)  # made late: an empty body is fine, whatever its header says
        for decoded in decoder.decode(piece):
            yield decoded
    if decoder is not None:
        decoder.finish()


def refuse_encoding() -> Problem:
    """415, and what would have been understood (RFC 9110, 12.5.3)."""
    known = ", ".join(_ENCODINGS)
    return Problem(
        "unsupported-media-type", f"Of encodings only {known} are understood here.", headers={"Accept-Encoding": known}
    )


class _Decoder:
    """Decodes one body: gzip, of one member or more, or deflate, with zlib's header or, as some send it, without."""

    def __init__(self, encoding: str) -> None:
        """
        Raises:
            Problem: 415, the encoding is not known.
        """
        if encoding not in _KNOWN:
            raise refuse_encoding()
        self._is_gzip = encoding != "deflate"
        self._stream: zlib._Decompress | None = None
        self._members = 0
        self.decoded_bytes = 0

    def decode(self, data: bytes) -> Iterator[bytes]:
        """What a piece of the body decodes to, in pieces.

        Raises:
            Problem: 400, there are more members than so many bytes are sent in.
            BodyBroken: it is not encoded so.
        """
        for place in range(0, len(data), INPUT_BYTES):
            yield from self._decode_little(data[place : place + INPUT_BYTES])

    def _decode_little(self, data: bytes) -> Iterator[bytes]:
        has_more = bool(data)
        while has_more:
            if self._stream is None:
                self._stream = self._next_stream(data)
            try:
                decoded = self._stream.decompress(data, PIECE_BYTES)
            except zlib.error as error:
                raise BodyBroken(str(error)) from None
            if decoded:
                self.decoded_bytes += len(decoded)
                yield decoded
            if self._stream.eof:
                data = self._stream.unused_data
                has_more = bool(data)
                self._stream = None
            else:
                data = self._stream.unconsumed_tail
                # After a full piece zlib may hold some output back, though no input is left.
                has_more = bool(data) or len(decoded) == PIECE_BYTES

    def finish(self) -> None:
        """
        Raises:
            BodyBroken: the body ends before its end.
        """
        if self._stream is not None:
            raise BodyBroken("the body breaks off")

    def _next_stream(self, data: bytes) -> "zlib._Decompress":
        if self._members and not self._is_gzip:
            raise BodyBroken("there is something behind the end")
        self._members += 1
        if self._members > MEMBERS_FREE + self.decoded_bytes // MEMBER_BYTES:
            raise Problem("bad-request", "The body is compressed in too many pieces: compress it as a whole.")
        if self._is_gzip:
            return zlib.decompressobj(_GZIP_BITS)
        has_header = data[0] & 0x0F == 8  # RFC 1950, 2.2: the method, which is always deflate
        return zlib.decompressobj(zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS)

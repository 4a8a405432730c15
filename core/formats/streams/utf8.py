"""A stream of text as UTF-8, whatever it was written in."""

import codecs
import io
from typing import TYPE_CHECKING, BinaryIO

from core.formats.rows import ImportRefused

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# UTF-32 first: its little-endian mark begins as that of UTF-16 does.
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_BLOCK = 64 * 1024
_MARK_BYTES = 4


def encoding_of(beginning: bytes) -> tuple[str | None, int]:
    """The encoding that a byte order mark tells, and the mark's length; (None, 0) where there is none."""
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if beginning.startswith(mark):
            return encoding, len(mark)
    return None, 0


def as_utf8(stream: BinaryIO, encoding: str | None) -> BinaryIO:
    """The same text in UTF-8 and without a byte order mark.

    Without a mark and an `encoding` the bytes pass as they are. PowerShell writes what a program prints as UTF-16,
    which is how a good many exports come to be.

    Args:
        stream: read from where it stands, which should be the beginning.
        encoding: a name that Python's codecs know; a mark goes before it.

    Raises:
        ImportRefused: `import-unreadable`: here where the encoding is unknown, when reading where bytes are none of it.
    """
    beginning = b""
    while len(beginning) < _MARK_BYTES and (more := stream.read(_MARK_BYTES - len(beginning))):
        beginning += more
    marked, mark_bytes = encoding_of(beginning)
    name = marked or encoding or "utf-8"
    try:
        codec = codecs.lookup(name)
        decoder = codec.incrementaldecoder()
        is_text = isinstance(decoder.decode(b""), str)
    except (LookupError, TypeError, ValueError):
        is_text = False
    if not is_text:
        raise ImportRefused("import-unreadable", f"The encoding {name!r} is unknown.")
    if codec.name == "utf-8":
        return io.BufferedReader(_Rest(beginning[mark_bytes:], stream), _BLOCK)
    return io.BufferedReader(_Recoded(beginning[mark_bytes:], stream, decoder, codec.name), _BLOCK)


def looked_into(stream: BinaryIO, size: int) -> tuple[bytes, BinaryIO]:
    """The first bytes of a stream, and the stream as if they had not been read."""
    beginning = b""
    while len(beginning) < size and (more := stream.read(size - len(beginning))):
        beginning += more
    return beginning, io.BufferedReader(_Rest(beginning, stream), _BLOCK)


class _Rest(io.RawIOBase):
    """What was read ahead, and then the stream."""

    def __init__(self, ahead: bytes, stream: BinaryIO) -> None:
        self._ahead = ahead
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        target = memoryview(buffer)
        block = self._take(len(target))
        target[: len(block)] = block
        return len(block)

    def _take(self, size: int) -> bytes:
        if self._ahead:
            block, self._ahead = self._ahead[:size], self._ahead[size:]
            return block
        return self._stream.read(size) or b""


class _Recoded(_Rest):
    """The same, from another encoding into UTF-8."""

    def __init__(self, ahead: bytes, stream: BinaryIO, decoder: codecs.IncrementalDecoder, encoding: str) -> None:
        super().__init__(ahead, stream)
        self._decoder = decoder
        self._encoding = encoding
        self._position = 0
        self._done = b""
        self._is_over = False

    def _take(self, size: int) -> bytes:
        while not self._done and not self._is_over:
            block = super()._take(_BLOCK)
            self._is_over = not block
            try:
                # A lone surrogate has no UTF-8; as three bytes that are none it is told where it is read.
                self._done = self._decoder.decode(block, self._is_over).encode(errors="surrogatepass")
            except ValueError as error:
                raise ImportRefused(
                    "import-unreadable",
                    f"The file is not {self._encoding} throughout, near byte {self._position:,}: {error}.",
                ) from None
            self._position += len(block)
        block, self._done = self._done[:size], self._done[size:]
        return block

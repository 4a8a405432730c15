"""Unpacks what a client compressed: gzip and zstd, told by their first bytes; anything else passes as it is.

A few megabytes can unpack to terabytes. So nothing here ever holds more than a block of some hundred kilobytes,
and what comes out is counted as it comes out.
"""

import io
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

import zstandard

from core.formats.rows import ImportRefused

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

HEAD_BYTES = 256 * 1024
"""How much of a file's beginning `decompressed_head` wants: a whole zstd block, of which the largest has 128 KiB."""
HEAD_MAXIMUM = 64 * 1024
"""How much of a file's beginning formats look at, decompressed."""

_BLOCK = 256 * 1024
# What zlib does not use of its input, it copies; small pieces keep a file of a million empty members from being slow.
_GZIP_PIECE = 16 * 1024
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_ZSTD_WINDOW_MAXIMUM = 32 * 1024 * 1024  # of `zstd -20`; a decompressor holds one window
_ZSTD_CONTENT_SIZE_BYTES = (0, 2, 4, 8)
_ZSTD_DICTIONARY_BYTES = (0, 1, 2, 4)
_ZSTD_RLE = 1
_ARCHIVES = {
    b"PK\x03\x04": "a zip archive (or a spreadsheet or document, which are zip archives inside)",
    b"PK\x05\x06": "an empty zip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a rar archive",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ\x00": "compressed with xz",
}
_MAGIC_BYTES = max(map(len, _ARCHIVES))


class _Truncated(ImportRefused):
    """The compressed data end before their end."""


def open_decompressed(stream: BinaryIO, *, maximum_bytes: int) -> BinaryIO:
    """The contents of a file that may be compressed, in constant memory.

    What was compressed twice is unpacked once.

    Args:
        stream: read from where it stands; needs neither to be seekable nor to give all that is asked for.
        maximum_bytes: of what comes out; for plain files, too.

    Raises:
        ImportRefused: here, `import-unreadable` for archives and compressions that are not understood; when reading,
            `import-unreadable` where the data are broken or truncated, and `import-too-large` at the first byte
            over the maximum.
    """
    source = _Source(stream)
    return io.BufferedReader(_Unpacked(_chunks(source), source, maximum_bytes), _BLOCK)


def decompressed_head(data: bytes) -> bytes:
    """The first bytes of a file's contents, at most `HEAD_MAXIMUM` of them.

    Args:
        data: the first bytes of the file, best `HEAD_BYTES` of them; may break off anywhere.

    Raises:
        ImportRefused: `import-unreadable`, as `open_decompressed`.
    """
    head = bytearray()
    try:
        for chunk in _chunks(_Source(io.BytesIO(data))):
            head += chunk
            if len(head) >= HEAD_MAXIMUM:
                break
    except _Truncated:
        pass
    return bytes(head[:HEAD_MAXIMUM])


def is_compressed(beginning: bytes) -> bool:
    """Whether a file that begins so is unpacked by `open_decompressed`."""
    return beginning.startswith((_GZIP, _ZSTD)) or _is_skippable_frame(beginning)


class _Source:
    """The compressed bytes, counted.

    Attributes:
        position: how many bytes were taken.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._ahead = b""
        self.position = 0

    def peek(self, size: int) -> bytes:
        """The next bytes, at most `size`, which stay to be read."""
        while len(self._ahead) < size:
            block = self._stream.read(size - len(self._ahead))
            if not block:
                break
            self._ahead += block
        return self._ahead[:size]

    def read_some(self, size: int) -> bytes:
        """1 to `size` bytes; none at the end."""
        if self._ahead:
            block, self._ahead = self._ahead[:size], self._ahead[size:]
        else:
            block = self._stream.read(size) or b""
        self.position += len(block)
        return block

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes; fewer at the end."""
        block = self.read_some(size)
        while size - len(block) > 0:
            more = self.read_some(size - len(block))
            if not more:
                break
            block += more
        return block

    def unread(self, data: bytes) -> None:
        """Puts the last bytes back."""
        self._ahead = data + self._ahead
        self.position -= len(data)


class _Unpacked(io.RawIOBase):
    """Chunks as a stream, up to a maximum."""

    def __init__(self, chunks: Iterator[bytes], source: _Source, maximum_bytes: int) -> None:
        self._chunks = chunks
        self._source = source
        self._maximum = maximum_bytes
        self._total = 0
        self._chunk = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        while not self._chunk:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._total += len(chunk)
            if self._total > self._maximum:
                raise ImportRefused(
                    "import-too-large",
                    f"The file's contents are larger than {self._maximum:,} bytes"
                    f" (at byte {self._source.position:,} of the file). Split it.",
                )
            self._chunk = memoryview(chunk)
        target = memoryview(buffer)
        size = min(len(target), len(self._chunk))
        target[:size] = self._chunk[:size]
        self._chunk = self._chunk[size:]
        return size


def _chunks(source: _Source) -> Iterator[bytes]:
    magic = source.peek(_MAGIC_BYTES)
    for beginning, kind in _ARCHIVES.items():
        if magic.startswith(beginning):
            raise ImportRefused(
                "import-unreadable", f"The file is {kind}. Unpack it and send the file inside; gzip and zstd are read."
            )
    if magic.startswith(_GZIP):
        return _gzip_chunks(source)
    if is_compressed(magic):
        return _zstd_chunks(source)
    return iter(lambda: source.read_some(_BLOCK), b"")


def _gzip_chunks(source: _Source) -> Iterator[bytes]:
    """Every member of a gzip file (RFC 1952, 2.2), one after the other."""
    while True:
        member = zlib.decompressobj(wbits=31)
        while not member.eof:
            piece = member.unconsumed_tail or source.read_some(_GZIP_PIECE)
            if not piece:
                raise _truncated("gzip", source)
            try:
                chunk = member.decompress(piece, _BLOCK)
            except zlib.error as error:
                raise _broken("gzip", source, error) from None
            if chunk:
                yield chunk
        source.unread(member.unused_data)
        following = source.peek(len(_GZIP))
        if following != _GZIP:
            _refuse_rest(source)
            return


def _refuse_rest(source: _Source) -> None:
    """What follows the last member may be zeros, as tapes and some tools pad; anything else is damage."""
    while block := source.read_some(_GZIP_PIECE):
        if block.strip(b"\0"):
            raise _broken("gzip", source, "data after the end that are not gzip")


def _zstd_chunks(source: _Source) -> Iterator[bytes]:
    """Every frame of a zstd file, block by block, so that a chunk has at most 128 KiB (RFC 8878, 3.1.1)."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_MAXIMUM)
    while magic := source.read(len(_ZSTD)):
        if _is_skippable_frame(magic):
            _skip(source, int.from_bytes(_exactly(source, 4), "little"))
            continue
        if magic != _ZSTD:
            raise _broken("zstd", source, "no frame where one should begin")
        descriptor = _exactly(source, 1)[0]
        is_single_segment = descriptor >> 5 & 1
        size_bytes = _ZSTD_CONTENT_SIZE_BYTES[descriptor >> 6] or is_single_segment
        header_bytes = (1 - is_single_segment) + _ZSTD_DICTIONARY_BYTES[descriptor & 3] + size_bytes
        header = magic + bytes([descriptor]) + _exactly(source, header_bytes)
        frame = decompressor.decompressobj()
        try:
            frame.decompress(header)
            is_last = False
            while not is_last:
                block_header = _exactly(source, 3)
                about = int.from_bytes(block_header, "little")
                is_last = bool(about & 1)
                size = 1 if about >> 1 & 3 == _ZSTD_RLE else about >> 3
                chunk = frame.decompress(block_header + _exactly(source, size))
                if chunk:
                    yield chunk
            if descriptor >> 2 & 1:
                frame.decompress(_exactly(source, 4))  # the checksum
        except zstandard.ZstdError as error:
            raise _broken("zstd", source, error) from None


def _is_skippable_frame(magic: bytes) -> bool:
    return magic[1:4] == b"\x2a\x4d\x18" and magic[0] & 0xF0 == 0x50


def _exactly(source: _Source, size: int) -> bytes:
    data = source.read(size)
    if len(data) < size:
        raise _truncated("zstd", source)
    return data


def _skip(source: _Source, size: int) -> None:
    while size > 0:
        block = source.read_some(min(size, _BLOCK))
        if not block:
            raise _truncated("zstd", source)
        size -= len(block)


def _truncated(kind: str, source: _Source) -> _Truncated:
    return _Truncated(
        "import-unreadable",
        f"The {kind} data break off at byte {source.position:,}: the file is not whole. Send it again.",
    )


def _broken(kind: str, source: _Source, problem: object) -> ImportRefused:
    return ImportRefused(
        "import-unreadable",
        f"The {kind} data cannot be unpacked, near byte {source.position:,}: {problem}. Compress and send it again.",
    )

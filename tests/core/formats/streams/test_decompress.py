"""Compressed files are unpacked in constant memory, and broken ones are told."""

import gzip
import io
import os
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
import zstandard

from core.formats.rows import ImportRefused
from core.formats.streams.decompress import HEAD_BYTES, HEAD_MAXIMUM, decompressed_head, open_decompressed

MAXIMUM = 100_000_000
# Noise that does not compress, and something that compresses very well: raw, compressed and run-length blocks.
CONTENT = os.urandom(300_000) + b"Renew the certificates\n" * 10_000 + bytes(500_000)


class Trickle(io.RawIOBase):
    """A stream that gives a few bytes at a time, as a network does."""

    def __init__(self, data: bytes, size: int) -> None:
        self._stream = io.BytesIO(data)
        self._size = size

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._stream.read(min(self._size, size))


def unpack(data: bytes, maximum_bytes: int = MAXIMUM) -> bytes:
    return open_decompressed(io.BytesIO(data), maximum_bytes=maximum_bytes).read()


def zstd_with_checksum(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=19, write_checksum=True).compress(data)


def zstd_of_unknown_size(data: bytes) -> bytes:
    frame = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    return frame.compress(data) + frame.flush()


COMPRESSIONS = [gzip.compress, zstandard.compress, zstd_with_checksum, zstd_of_unknown_size]


@pytest.mark.parametrize("compress", [bytes, *COMPRESSIONS])
def test_what_was_compressed_comes_out_again(compress: Callable[[bytes], bytes]) -> None:
    assert unpack(compress(CONTENT)) == CONTENT


@pytest.mark.parametrize("compress", [bytes, *COMPRESSIONS])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_stream_that_gives_little_at_a_time_is_read_all_the_same(
    compress: Callable[[bytes], bytes], size: int
) -> None:
    content = CONTENT[290_000:310_000]
    stream = Trickle(compress(content), size)
    assert open_decompressed(stream, maximum_bytes=MAXIMUM).read() == content  # type: ignore[arg-type]


@pytest.mark.parametrize("compress", COMPRESSIONS)
def test_members_and_frames_that_follow_each_other_are_one_file(compress: Callable[[bytes], bytes]) -> None:
    assert unpack(compress(b"one\n") + compress(b"") + compress(b"two\n")) == b"one\ntwo\n"


def test_zeros_after_a_gzip_file_are_padding_and_anything_else_is_damage() -> None:
    assert unpack(gzip.compress(b"tasks") + bytes(1000)) == b"tasks"
    with pytest.raises(ImportRefused) as caught:
        unpack(gzip.compress(b"tasks") + b"rubbish")
    assert caught.value.name == "import-unreadable"


def test_a_skippable_zstd_frame_is_skipped() -> None:
    skippable = b"\x5a\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"other"
    assert unpack(skippable + zstandard.compress(b"tasks") + skippable) == b"tasks"


@pytest.mark.parametrize("compress", COMPRESSIONS)
def test_what_was_compressed_twice_is_unpacked_once(compress: Callable[[bytes], bytes]) -> None:
    assert unpack(compress(gzip.compress(b"tasks"))) == gzip.compress(b"tasks")


@pytest.mark.parametrize("compress", COMPRESSIONS)
@pytest.mark.parametrize("missing", [1, 5, 1000])
def test_a_truncated_file_gives_what_is_there_and_then_tells_the_byte(
    compress: Callable[[bytes], bytes], missing: int
) -> None:
    compressed = compress(CONTENT)[:-missing]
    stream = open_decompressed(io.BytesIO(compressed), maximum_bytes=MAXIMUM)
    assert stream.read(1000) == CONTENT[:1000]
    with pytest.raises(ImportRefused) as caught:
        stream.read()
    assert caught.value.name == "import-unreadable"
    assert f"{len(compressed):,}" in caught.value.detail


@pytest.mark.parametrize("compress", [gzip.compress, zstd_with_checksum])
def test_damage_in_the_middle_is_told(compress: Callable[[bytes], bytes]) -> None:
    compressed = bytearray(compress(b"Renew the certificates, and tell everybody about it.\n" * 1000))
    compressed[len(compressed) // 2] ^= 0xFF
    with pytest.raises(ImportRefused) as caught:
        unpack(bytes(compressed))
    assert caught.value.name == "import-unreadable"


def test_a_wrong_checksum_is_told() -> None:
    compressed = bytearray(zstd_with_checksum(b"tasks"))
    compressed[-1] ^= 1
    with pytest.raises(ImportRefused):
        unpack(bytes(compressed))


def test_a_window_that_would_take_much_memory_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=27)
    frame = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    compressed = frame.compress(b"tasks") + frame.flush()
    with pytest.raises(ImportRefused) as caught:
        unpack(compressed)
    assert caught.value.name == "import-unreadable"


@pytest.mark.parametrize("compress", [bytes, *COMPRESSIONS])
def test_the_maximum_is_kept_to_the_byte(compress: Callable[[bytes], bytes]) -> None:
    compressed = compress(CONTENT)
    assert unpack(compressed, len(CONTENT)) == CONTENT
    with pytest.raises(ImportRefused) as caught:
        unpack(compressed, len(CONTENT) - 1)
    assert caught.value.name == "import-too-large"


def gzip_bomb(gigabytes: int) -> bytes:
    member = zlib.compressobj(9, wbits=31)
    return b"".join(member.compress(bytes(1 << 20)) for _ in range(gigabytes << 10)) + member.flush()


def zstd_bomb(gigabytes: int) -> bytes:
    """Frames of run-length blocks: four bytes for 128 KiB."""
    block = (128 * 1024 << 3 | 1 << 1).to_bytes(3, "little") + b"\0"
    last = (128 * 1024 << 3 | 1 << 1 | 1).to_bytes(3, "little") + b"\0"
    header = b"\x28\xb5\x2f\xfd\x00\x58"
    return header + block * ((gigabytes << 13) - 1) + last


@pytest.mark.parametrize("bomb", [gzip_bomb(1), zstd_bomb(10)], ids=["gzip", "zstd"])
def test_a_bomb_is_refused_in_constant_memory(bomb: bytes) -> None:
    stream = open_decompressed(io.BytesIO(bomb), maximum_bytes=MAXIMUM)
    tracemalloc.start()
    try:
        with pytest.raises(ImportRefused) as caught:
            sum(map(len, iter(lambda: stream.read(65536), b"")))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.name == "import-too-large"
    assert peak < 4_000_000


@pytest.mark.parametrize(
    "beginning", [b"PK\x03\x04", b"PK\x05\x06", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07\x01", b"BZh9", b"\xfd7zXZ\x00"]
)
def test_archives_are_refused_at_once_with_what_to_do(beginning: bytes) -> None:
    with pytest.raises(ImportRefused) as caught:
        open_decompressed(io.BytesIO(beginning + bytes(100)), maximum_bytes=MAXIMUM)
    assert caught.value.name == "import-unreadable"
    assert "Unpack it" in caught.value.detail
    with pytest.raises(ImportRefused):
        decompressed_head(beginning + bytes(100))


@pytest.mark.parametrize("compress", [bytes, *COMPRESSIONS])
def test_a_head_is_the_beginning_of_the_contents(compress: Callable[[bytes], bytes]) -> None:
    compressed = compress(CONTENT)
    assert decompressed_head(compressed[:HEAD_BYTES]) == CONTENT[:HEAD_MAXIMUM]
    assert decompressed_head(compress(b"tasks")) == b"tasks"


@pytest.mark.parametrize("data", [b"", b"\x1f\x8b", gzip.compress(b"tasks")[:5], zstandard.compress(b"tasks")[:5]])
def test_a_head_of_too_few_bytes_is_empty_or_short_but_no_error(data: bytes) -> None:
    assert len(decompressed_head(data)) <= 2


def test_an_empty_file_is_empty() -> None:
    assert unpack(b"") == b""

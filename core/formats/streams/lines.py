"""Lines of a stream, read in blocks, with a limit to the length of one."""

from collections.abc import Iterator
from typing import BinaryIO

LINE_MAXIMUM = 1024 * 1024
_BLOCK = 256 * 1024


class TooLong:
    """Stands for a line of more than `LINE_MAXIMUM` bytes.

    Attributes:
        beginning: its first bytes.
        size: in bytes.
    """

    __slots__ = ("beginning", "size")

    def __init__(self, beginning: bytes, size: int) -> None:
        self.beginning = beginning
        self.size = size


def read_lines(stream: BinaryIO) -> Iterator[list[bytes] | TooLong]:
    """The lines in order, without their newlines: in lists as they come, a line that is too long by itself.

    Lists, because a step of a generator for every line would cost as much as what is done with the line. A line that
    is too long is not held in memory. What follows the last newline is a line if there is anything.
    """
    rest = b""
    while block := stream.read(_BLOCK):
        lines = block.split(b"\n")
        lines[0] = rest + lines[0]
        rest = lines.pop()
        if lines:
            if len(lines[0]) > LINE_MAXIMUM:
                yield TooLong(lines[0][:200], len(lines[0]))
                del lines[0]
            yield lines
        if len(rest) > LINE_MAXIMUM:
            size = len(rest)
            beginning = rest[:200]
            rest = b""
            while block := stream.read(_BLOCK):
                end, newline, rest = block.partition(b"\n")
                size += len(end)
                if newline:
                    break
            yield TooLong(beginning, size)
            if b"\n" in rest:
                lines = rest.split(b"\n")
                rest = lines.pop()
                yield lines
    if rest:
        yield [rest]

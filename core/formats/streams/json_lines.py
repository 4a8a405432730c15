"""JSON in lines: an object each, of which one that is broken or too long costs no other."""

from collections.abc import Iterator
from typing import Any, BinaryIO

import orjson

from core.formats.rows import BadRow
from core.formats.streams.lines import LINE_MAXIMUM, TooLong, read_lines

_NOT_AN_OBJECT = 'Not a task: an object such as {"title": "…"} is expected.'
_SHOWN = 200


def json_lines(stream: BinaryIO) -> Iterator[tuple[int, dict[str, Any]] | BadRow]:
    """The objects, each with its line's number from 1; empty lines count in the numbers, and are passed over.

    Args:
        stream: UTF-8, or nearly so.
    """
    number = 0
    loads = orjson.loads
    for lines in read_lines(stream):
        if isinstance(lines, TooLong):
            number += 1
            message = f"The line has {lines.size:,} bytes; {LINE_MAXIMUM:,} are the most."
            yield BadRow(number, None, message, {"line": _as_text(lines.beginning)}, source="")
            continue
        for line in lines:
            number += 1
            try:
                content = loads(line)
            except orjson.JSONDecodeError as error:
                if line.strip():
                    yield _bad(number, f"Not valid JSON: {error}", line)
                continue
            if type(content) is dict:
                yield number, content
            else:
                yield _bad(number, _NOT_AN_OBJECT, line)


def _bad(number: int, message: str, line: bytes) -> BadRow:
    return BadRow(number, None, message, {"line": _as_text(line[:_SHOWN])}, source=_as_text(line))


def _as_text(line: bytes) -> str:
    return line.decode(errors="replace").replace("\0", "�")

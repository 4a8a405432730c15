"""JSON in lines: an object each, of which one that is broken or too long costs no other."""

from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, TypeVar

import orjson

from core.formats.rows import BadRow, ImportRefused
from core.formats.streams.lines import LINE_MAXIMUM, TooLong, read_lines

_NOT_AN_OBJECT = 'Not a task: an object such as {"title": "…"} is expected.'
_SHOWN = 200

T = TypeVar("T")


def json_lines(stream: BinaryIO, make: Callable[[int, dict[str, Any]], T]) -> Iterator[T | BadRow]:
    """What is made of the objects; empty lines count in the numbers, and are passed over.

    Args:
        stream: UTF-8, or nearly so.
        make: of a line's number, from 1, and its object. Called here, since one more generator between would cost a
            tenth of the reading.

    Raises:
        ImportRefused: `import-empty`.
    """
    number = 0
    is_empty = True
    loads = orjson.loads
    for lines in read_lines(stream):
        if isinstance(lines, TooLong):
            number += 1
            is_empty = False
            message = f"The line has {lines.size:,} bytes; {LINE_MAXIMUM:,} are the most."
            yield BadRow(number, None, message, {"line": _as_text(lines.beginning)}, source="")
            continue
        for line in lines:
            number += 1
            try:
                content = loads(line)
            except orjson.JSONDecodeError as error:
                if line.strip():
                    is_empty = False
                    yield _bad(number, f"Not valid JSON: {error}", line)
                continue
            is_empty = False
            if type(content) is dict:
                yield make(number, content)
            else:
                yield _bad(number, _NOT_AN_OBJECT, line)
    if is_empty:
        raise ImportRefused("import-empty", "The file holds no lines with tasks.")


def _bad(number: int, message: str, line: bytes) -> BadRow:
    return BadRow(number, None, message, {"line": _as_text(line[:_SHOWN])}, source=_as_text(line))


def _as_text(line: bytes) -> str:
    return line.decode(errors="replace").replace("\0", "�")

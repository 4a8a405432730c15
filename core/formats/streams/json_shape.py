"""What a JSON text looks like by its beginning: the names of its members, and where they stand.

A file's first 64 KiB seldom are a whole document, so no parser can be asked.
"""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import orjson

_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+("?)|[{}\[\],:]', re.DOTALL)
_DEPTH_MAXIMUM = 32


@dataclass(slots=True)
class Shape:
    """The beginning of a JSON text.

    Attributes:
        top: `lines`: objects, each in a line of its own, or all in one line; None: not JSON.
        members: path → names. A path is made of member names and `[]` for the items of an array:
            the objects in the innermost array of `{"items": [{"items": [{"title": …}]}]}` are at `items[].items[]`,
            those in a topmost array at `[]`, a topmost object at the empty path.
    """

    top: Literal["object", "array", "lines"] | None = None
    members: dict[str, set[str]] = field(default_factory=dict)

    def keys(self, path: str) -> set[str]:
        """The names that objects at a path have."""
        return self.members.get(path, set())


@lru_cache(maxsize=2)  # every JSON format asks about the same head
def shape_of(text: str) -> Shape:
    """What the beginning of a text tells; never raises."""
    beginning = text.lstrip()[:1]
    if beginning not in ("{", "["):
        return Shape()
    shape = Shape("array" if beginning == "[" else "object")
    path = _Path()
    name = ""  # the last string, which a colon makes a member's name
    for token in _TOKEN.finditer(text):
        mark = token.group()[0]
        if mark == '"':
            if not token.group(1):
                break
            name = token.group()[1:-1]
        elif mark == ":":
            if path.is_in_object:
                shape.members.setdefault(path.text, set()).add(name)
        elif mark in "{[":
            if path.depth == _DEPTH_MAXIMUM:
                break
            path.enter(mark, name)
        elif mark in "}]":
            path.leave()
    if shape.top == "object" and _is_lines(text):
        shape.top = "lines"
    return shape


class _Path:
    """Where in a JSON text we are, as the paths of a `Shape` tell it."""

    def __init__(self) -> None:
        self._brackets: list[str] = []
        self._paths = [""]

    @property
    def text(self) -> str:
        return self._paths[-1]

    @property
    def depth(self) -> int:
        return len(self._brackets)

    @property
    def is_in_object(self) -> bool:
        return self._brackets[-1:] == ["{"]

    def enter(self, bracket: str, name: str) -> None:
        """Goes into an object or an array, which is the member of that name, if it is one."""
        if not self._brackets:
            self._paths = [""]
        elif self.is_in_object:
            self._paths.append(f"{self.text}.{name}" if self.text else name)
        else:
            self._paths.append(self.text + "[]")
        self._brackets.append(bracket)

    def leave(self) -> None:
        """Goes out of it; one bracket too many does no harm."""
        if self._brackets:
            self._brackets.pop()
            if self._brackets:
                self._paths.pop()


def _is_lines(text: str) -> bool:
    """Whether the first line is an object by itself; one whose end is not there yet counts."""
    first, newline, _ = text.strip().partition("\n")
    if not newline:
        return True
    try:
        orjson.loads(first)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        return False
    return True

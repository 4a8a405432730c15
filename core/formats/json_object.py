"""Objects of a JSON document, read member by member, and the rows that they become."""

from collections.abc import Callable, Iterator, Mapping
from datetime import tzinfo
from typing import Any

import orjson

from core.formats.dates import parse_due
from core.formats.parsed_task import ParsedTask, row_of
from core.formats.rows import FRAME_MAXIMUM, BadRow, Row, Source, excerpt
from core.formats.values import WrongValue, moment, one_line


class JsonObject:
    """An object of a JSON document, read member by member, each of the type that it should have.

    An absent member and `null` are the same: nothing. A wrong type raises `WrongValue` with the member's name.

    Attributes:
        content: the object.
    """

    __slots__ = ("_path", "content")

    def __init__(self, content: Any, path: str = "") -> None:
        if not isinstance(content, dict):
            raise WrongValue(path, "An object is expected.")
        self.content: dict[str, Any] = content
        self._path = path

    def __contains__(self, name: str) -> bool:
        return self.content.get(name) is not None

    def column(self, name: str) -> str:
        """How the file calls a member, as a path from the row's own object."""
        return f"{self._path}.{name}" if self._path else name

    def text(self, name: str) -> str:
        """A text; a number is taken as it is written. Empty where there is none."""
        value = self.content.get(name)
        if value is None:
            return ""
        if isinstance(value, str):
            return value
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        raise WrongValue(self.column(name), "A text is expected.")

    def line(self, name: str) -> str:
        """A text in one line, without spaces around it."""
        return one_line(self.text(name))

    def flag(self, name: str) -> bool:
        """Whether something is said to be so."""
        value = self.content.get(name)
        if value is None or isinstance(value, bool):
            return bool(value)
        raise WrongValue(self.column(name), "true or false is expected.")

    def number(self, name: str) -> float:
        """A number; 0 where there is none."""
        value = self.content.get(name)
        if value is None:
            return 0
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value
        raise WrongValue(self.column(name), "A number is expected.")

    def list(self, name: str) -> list[Any]:
        """A list of anything; empty where there is none."""
        value = self.content.get(name)
        if value is None:
            return []
        if isinstance(value, list):
            return value
        raise WrongValue(self.column(name), "A list is expected.")

    def objects(self, name: str) -> Iterator["JsonObject"]:
        """The objects of a list."""
        path = self.column(name)
        for content in self.list(name):
            yield JsonObject(content, path)

    def object(self, name: str) -> "JsonObject":
        """An object; an empty one where there is none."""
        return JsonObject(self.content.get(name) or {}, self.column(name))

    def moment(self, name: str, time_zone: tzinfo) -> str | None:
        """A date and time, RFC 3339 in UTC."""
        return moment(self.text(name), self.column(name), time_zone)

    def due(self, name: str, time_zone: tzinfo) -> str | None:
        """A date by which something is to be done; without a time it is the end of the day."""
        return moment(self.text(name), self.column(name), time_zone, parse_due)


def frame_of(document: Mapping[str, Any], rows: str, *, but: str) -> tuple[str, str] | None:
    """What stands in a document around the list of its rows; None where that is too much to be kept.

    Args:
        document: an object.
        rows: the member that is the list.
        but: a member that is left out where it would be too much with it.
    """
    for left_out in ((rows,), (rows, but)):
        rest = {name: value for name, value in document.items() if name not in left_out}
        try:
            text = orjson.dumps(rest).decode()
        except (TypeError, ValueError):  # halves of surrogate pairs
            return None
        if len(text) <= FRAME_MAXIMUM:
            return f'{text[:-1]}{"," if rest else ""}"{rows}":[', "]}"
    return None


def row_of_object(
    number: int,
    content: Any,
    columns: Mapping[str, str],
    parse: Callable[[JsonObject], ParsedTask],
    source: Source | None = None,
) -> Row | BadRow:
    """The row that an object becomes.

    Args:
        number: of the row.
        content: the object.
        columns: field → member that it comes from.
        parse: makes the task; may raise `WrongValue`.
        source: of the row; None: the object.
    """
    row = row_of(number, excerpt(content), columns, lambda: parse(JsonObject(content)))
    row.source = content if source is None else source
    return row

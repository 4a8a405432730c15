"""Objects of a JSON document, read member by member, and the rows that they become."""

from collections.abc import Callable, Iterator, Mapping
from datetime import tzinfo
from typing import Any

from core.formats.dates import parse_due
from core.formats.parsed_task import ParsedTask, row_of
from core.formats.rows import BadRow, Row, excerpt
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


def row_of_object(
    number: int, content: Any, columns: Mapping[str, str], parse: Callable[[JsonObject], ParsedTask]
) -> Row | BadRow:
    """The row that an object becomes.

    Args:
        number: of the row.
        content: the object.
        columns: field → member that it comes from.
        parse: makes the task; may raise `WrongValue`.
    """
    return row_of(number, excerpt(content), columns, lambda: parse(JsonObject(content)))

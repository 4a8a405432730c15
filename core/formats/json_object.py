"""Objects of a JSON document, read member by member, and the rows that they become."""

import math
from collections.abc import Callable, Iterator, Mapping
from datetime import tzinfo
from typing import Any

import orjson

from core.formats.dates import parse_moment
from core.formats.parsed_task import ParsedTask
from core.formats.rows import FRAME_MAXIMUM, BadRow, Row, RowWarning, SkippedRow, Source, excerpt
from core.formats.values import one_line, quoted, read_moment

# What objects call the text that stands for them: GraphQL's nodes, people, milestones, fields with a value.
_NAMES = ("login", "name", "title", "displayName", "fullName", "value", "text", "content", "username", "id")
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False, "": False}
_NUMBER_MAXIMUM = 1e15
_DEPTH_MAXIMUM = 5


class JsonObject:
    """An object of a JSON document, read member by member, each as the type that it should have.

    An absent member and `null` are the same: nothing. So is `null` in a list. What is of another type is taken for what
    it can mean: a text in place of an object, an object in place of its name, one thing in place of a list of it,
    GraphQL's `nodes` in place of a list. What can mean nothing is left out with a warning.

    Attributes:
        content: the object.
        warnings: what was left out, of it and of all objects inside it that were read.
    """

    __slots__ = ("_path", "content", "warnings")

    def __init__(self, content: dict[str, Any], path: str = "", warnings: list[RowWarning] | None = None) -> None:
        self.content = content
        self.warnings: list[RowWarning] = [] if warnings is None else warnings
        self._path = path

    def __contains__(self, name: str) -> bool:
        return self.content.get(name) is not None

    def column(self, name: str) -> str:
        """How the file calls a member, as a path from the row's own object."""
        return f"{self._path}.{name}" if self._path else name

    def text(self, name: str) -> str:
        """A text; empty where there is none."""
        value = self.content.get(name)
        if value is None:
            return ""
        if isinstance(value, str):
            return value
        text = text_in(value)
        if text is None:
            self._leave_out(name, "A text", value)
        return text or ""

    def line(self, name: str) -> str:
        """A text in one line, without spaces around it."""
        return one_line(self.text(name))

    def flag(self, name: str) -> bool:
        """Whether something is said to be so."""
        value = self.content.get(name)
        if value is None or isinstance(value, bool):
            return bool(value)
        known = _WORDS.get(str(value).strip().casefold()) if isinstance(value, str | int) else None
        if known is None:
            self._leave_out(name, "true or false", value)
        return bool(known)

    def number(self, name: str) -> float:
        """A number; 0 where there is none."""
        value = self.content.get(name)
        if value is None:
            return 0
        try:
            number = float(value) if isinstance(value, int | float | str) else math.nan
        except (ValueError, OverflowError):
            number = math.nan
        if not abs(number) < _NUMBER_MAXIMUM:
            self._leave_out(name, "A number", value)
            return 0
        return number

    def items(self, name: str) -> list[Any]:
        """A list of anything but null; empty where there is none."""
        value = self.content.get(name)
        if isinstance(value, dict):
            value = _nodes(value)
        if isinstance(value, list):
            return [entry for entry in value if entry is not None] if None in value else value
        return [] if value is None or value is False or value == "" else [value]

    def texts(self, name: str) -> list[str]:
        """The texts of a list, or of one text with commas; objects by their names."""
        value = self.content.get(name)
        if isinstance(value, str):
            return [part for part in map(one_line, value.split(",")) if part]
        texts = []
        for entry in self.items(name):
            text = entry if isinstance(entry, str) else text_in(entry)
            if text is None:
                self._leave_out(name, "A text", entry)
            elif text := one_line(text):
                texts.append(text)
        return texts

    def objects(self, name: str, of_text: str = "") -> Iterator["JsonObject"]:
        """The objects of a list.

        Args:
            name: of the member.
            of_text: the member that a text stands for which takes the place of an object; empty: it stands for nothing.
        """
        for entry in self.items(name):
            found = self._object(name, entry, of_text)
            if found is not None:
                yield found

    def object(self, name: str, of_text: str = "") -> "JsonObject":
        """An object; an empty one where there is none; `of_text` as of `objects`."""
        value = self.content.get(name)
        found = None if value is None else self._object(name, value, of_text)
        return self._inner({}, name) if found is None else found

    def moment(self, name: str, time_zone: tzinfo) -> str | None:
        """A date and time, RFC 3339 in UTC; one that cannot be read is left out."""
        try:
            return read_moment(self.text(name), parse_moment, time_zone)
        except ValueError as error:
            self.warnings.append(RowWarning(self.column(name), f"{error} It was left out."))
            return None

    def _inner(self, content: dict[str, Any], name: str) -> "JsonObject":
        return JsonObject(content, self.column(name), self.warnings)

    def _object(self, name: str, value: Any, of_text: str) -> "JsonObject | None":
        if isinstance(value, dict):
            return self._inner(value, name)
        text = text_in(value) if of_text else None
        if text is None:
            self._leave_out(name, "An object", value)
            return None
        return self._inner({of_text: text}, name)

    def _leave_out(self, name: str, expected: str, value: Any) -> None:
        message = f"{expected} is expected; {quoted(_as_json(value))} was left out."
        self.warnings.append(RowWarning(self.column(name), message))


def text_in(value: Any, depth: int = 0) -> str | None:
    """The text that a value can stand for: a number's, an object's name, those of a list; None: there is none."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if depth == _DEPTH_MAXIMUM:
        return None
    if isinstance(value, dict):
        nodes = _nodes(value)
        if isinstance(nodes, list):
            return text_in(nodes, depth + 1)
        for name in _NAMES:
            inner = value.get(name)
            if inner is not None and (text := text_in(inner, depth + 1)):
                return text
    if isinstance(value, list):
        texts = [text for entry in value if entry is not None and (text := text_in(entry, depth + 1))]
        return ", ".join(texts) if texts or not value else None
    return None


def _nodes(value: dict[str, Any]) -> Any:
    """The list of a GraphQL connection; of another object, itself."""
    if isinstance(value.get("nodes"), list):
        return value["nodes"]
    edges = value.get("edges")
    if isinstance(edges, list):
        return [edge.get("node") if isinstance(edge, dict) else edge for edge in edges]
    return value


def _as_json(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except (TypeError, ValueError):  # halves of surrogate pairs, or too deep
        return "…"


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
    parse: Callable[[JsonObject], ParsedTask | str],
    source: Source | None = None,
) -> Row | BadRow | SkippedRow:
    """The row that an object becomes.

    Args:
        number: of the row.
        content: the object.
        columns: field → member that it comes from.
        parse: makes the task, or tells why the object is left out.
        source: of the row; None: the object.
    """
    if source is None:
        source = content
    if not isinstance(content, dict):
        return BadRow(number, None, "Not an object.", excerpt(content), source=source)
    item = JsonObject(content)
    task = parse(item)
    if isinstance(task, str):
        return SkippedRow(number, task, excerpt(content))
    task.warnings[:0] = item.warnings
    return task.row(number, excerpt(content), columns, source)

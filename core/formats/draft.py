"""How a foreign item becomes a task's fields: what fits into a field goes there, all else into the description.

A description is made in this order, each part only where there is something: the whole title if it was cut,
`Part of: <parent>`, the item's own text, checklists, facts in lines of `Name: value`, comments. Only what was glued on
may be left out where it does not fit, and then a line tells how much; the item's own text never is.
"""

import contextlib
import hashlib
import html
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, tzinfo
from typing import Any

from core.formats.dates import parse_due, parse_moment
from core.formats.rows import BadRow, Row, Values
from core.tasks.fields import (
    DEFAULT_STATUS,
    DESCRIPTION_MAXIMUM,
    EXTERNAL_ID_MAXIMUM,
    LABEL_MAXIMUM,
    LABELS_MAXIMUM,
    OPEN_STATUSES,
    TITLE_MAXIMUM,
)
from core.tasks.recurrence import require_next_date
from core.tasks.rules import RECURRENCE_MAXIMUM, RecurrenceInvalid, normalized

UNTITLED = "(untitled)"
"""The title of an item whose program lets it have none."""

_SHOWN_MAXIMUM = 500
_GAP = "\n\n"
_FACTS = "lines"
_FACTS_ROOM = 4000
_OMISSIONS_MAXIMUM = 120  # what the lines that tell of omissions take


class WrongValueError(Exception):
    """A value that no task can be made of.

    Attributes:
        column: the file's own name of it.
        message: what is wrong, and what would be right.
    """

    def __init__(self, column: str, message: str) -> None:
        super().__init__(message)
        self.column = column
        self.message = message


class Item:
    """An object of a JSON document, read member by member, each of the type that it should have.

    An absent member and `null` are the same: nothing. A wrong type raises `WrongValueError` with the member's name.

    Attributes:
        content: the object.
    """

    __slots__ = ("_path", "content")

    def __init__(self, content: Any, path: str = "") -> None:
        if not isinstance(content, dict):
            raise WrongValueError(path, "An object is expected.")
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
        raise WrongValueError(self.column(name), "A text is expected.")

    def line(self, name: str) -> str:
        """A text in one line, without spaces around it."""
        return one_line(self.text(name))

    def flag(self, name: str) -> bool:
        """Whether something is said to be so."""
        value = self.content.get(name)
        if value is None or isinstance(value, bool):
            return bool(value)
        raise WrongValueError(self.column(name), "true or false is expected.")

    def number(self, name: str) -> float:
        """A number; 0 where there is none."""
        value = self.content.get(name)
        if value is None:
            return 0
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value
        raise WrongValueError(self.column(name), "A number is expected.")

    def list(self, name: str) -> list[Any]:
        """A list of anything; empty where there is none."""
        value = self.content.get(name)
        if value is None:
            return []
        if isinstance(value, list):
            return value
        raise WrongValueError(self.column(name), "A list is expected.")

    def items(self, name: str) -> Iterator["Item"]:
        """The objects of a list."""
        path = self.column(name)
        for content in self.list(name):
            yield Item(content, path)

    def item(self, name: str) -> "Item":
        """An object; an empty one where there is none."""
        return Item(self.content.get(name) or {}, self.column(name))

    def moment(self, name: str, time_zone: tzinfo) -> str | None:
        """A date and time, RFC 3339 in UTC."""
        return moment(self.text(name), self.column(name), time_zone)

    def due(self, name: str, time_zone: tzinfo) -> str | None:
        """A date by which something is to be done; without a time it is the end of the day."""
        return moment(self.text(name), self.column(name), time_zone, parse_due)


def moment(text: str, column: str, time_zone: tzinfo, parse: Callable[[str, tzinfo], str] = parse_moment) -> str | None:
    """A date, RFC 3339 in UTC; nothing where the text is blank.

    Raises:
        WrongValueError: the text is no date.
    """
    if not text.strip():
        return None
    try:
        return parse(text, time_zone)
    except ValueError as error:
        raise WrongValueError(column, str(error)) from None


def one_line(text: str) -> str:
    """A text with all its white space made single spaces."""
    return " ".join(text.split())


class Draft:
    """A task on its way.

    Attributes:
        parent: the title of what it is a part of.
        body: the item's own text.
        checklists: heading (may be empty) → lines.
        comments: the oldest first.
    """

    __slots__ = ("_facts", "_fields", "_labels", "body", "checklists", "comments", "parent")

    def __init__(self, title: str, external_id: str = "") -> None:
        self._fields: dict[str, Any] = {"title": title}
        self._labels: dict[str, None] = {}
        self._facts: list[str] = []
        self.parent = ""
        self.body = ""
        self.checklists: list[tuple[str, list[str]]] = []
        self.comments: list[str] = []
        if external_id:
            self._fields["external_id"] = fitting_id(external_id)

    @property
    def title(self) -> str:
        """As the file has it; never empty."""
        return one_line(self._fields["title"]) or UNTITLED

    def set(self, **fields: Any) -> None:
        """Sets fields of the task; None leaves them as they are."""
        self._fields.update((name, value) for name, value in fields.items() if value is not None)

    def complete(self, *moments: str | None) -> None:
        """The task is completed, at the first of the moments that is known."""
        self.set(status="completed", completed_at=next(filter(None, moments), None))

    def fact(self, name: str, value: str) -> None:
        """Adds a line `Name: value` if there is a value."""
        value = one_line(value)
        if value:
            self._facts.append(f"{name}: {value}")

    def repeat(self, rule: str) -> None:
        """Takes a rule of RFC 5545 as the recurrence; one that an open task cannot follow becomes a fact.

        To be called when status and due date are set: the rule has to have a date behind them.
        """
        recurrence, due_date = normalized(rule), self._fields.get("due_date")
        is_open = self._fields.get("status", DEFAULT_STATUS) in OPEN_STATUSES
        if is_open and len(recurrence) <= RECURRENCE_MAXIMUM:
            with contextlib.suppress(RecurrenceInvalid):
                require_next_date(recurrence, datetime.fromisoformat(due_date) if due_date else None)
                self.set(recurrence=recurrence)
                return
        self.fact("Repeats", rule)

    def label(self, text: str) -> None:
        """Adds a label; one that a task cannot have becomes a fact."""
        text = one_line(text)
        if text:
            self._labels[text] = None

    def checklist(self, heading: str, entries: Iterable[tuple[str, bool]]) -> None:
        """Adds a checklist: texts, and whether each is done."""
        lines = [f"- [{'x' if is_done else ' '}] {one_line(text)}" for text, is_done in entries]
        if lines:
            self.checklists.append((one_line(heading), lines))

    def comment(self, text: str, *about: str | None) -> None:
        """Adds a comment, with what is known about it: when, and who wrote it."""
        heading = ", ".join(filter(None, map(one_line, filter(None, about))))
        text = plain(text)
        if text:
            self.comments.append(f"Comment ({heading}):\n{text}" if heading else f"Comment:\n{text}")

    def row(self, number: int, values: Values, columns: Mapping[str, str]) -> Row:
        """The finished row."""
        fields = self._fields
        title = self.title
        front = []
        if len(title) > TITLE_MAXIMUM:
            front.append(title)
            title = title[: TITLE_MAXIMUM - 1].rstrip() + "…"
        fields["title"] = title
        labels = [label for label in self._labels if len(label) <= LABEL_MAXIMUM and "," not in label]
        del labels[LABELS_MAXIMUM:]
        if labels:
            fields["labels"] = labels
        rest = [label for label in self._labels if label not in labels]
        facts = [f"Labels: {'; '.join(rest)}", *self._facts] if rest else self._facts
        if self.parent:
            front.append(f"Part of: {one_line(self.parent)}")
        description = self._description(front, facts)
        if description:
            fields["description"] = description
        return Row(number, fields, values, columns)

    def _description(self, front: list[str], facts: list[str]) -> str:
        front = ["\n".join(front), plain(self.body)]
        glued: list[tuple[str, list[str]]] = [
            *(("checklist items", [heading + ":", *lines] if heading else lines) for heading, lines in self.checklists),
            (_FACTS, facts),
            *(("comments", [comment]) for comment in self.comments),
        ]
        whole = _GAP.join(filter(None, [*front, *("\n".join(lines) for _, lines in glued)]))
        if len(whole) <= DESCRIPTION_MAXIMUM:
            return whole
        own = _GAP.join(filter(None, front))
        fitted = _fit(own, glued)
        return fitted if len(fitted) <= DESCRIPTION_MAXIMUM else own


def _fit(text: str, glued: list[tuple[str, list[str]]]) -> str:
    """As much as a description holds; `text` is not cut, so that what is too long by itself is refused."""
    # Facts are short, and say where the task comes from: what stands before them leaves them room.
    facts = min(_FACTS_ROOM, sum(len(line) + 1 for kind, lines in glued if kind == _FACTS for line in lines))
    for place, (kind, lines) in enumerate(glued):
        if kind == _FACTS:
            facts = 0
        room = DESCRIPTION_MAXIMUM - _OMISSIONS_MAXIMUM - facts
        for index, line in enumerate(lines):
            gap = "\n" if index else _GAP if text else ""
            if len(text) + len(gap) + len(line) > room:
                others = [entry for entry in glued[place + 1 :] if entry[0] == kind]
                left = len(lines) - index + sum(len(entry[1]) for entry in others)
                rest = [entry for entry in glued[place + 1 :] if entry[0] != kind]
                return _fit(f"{text}{gap}[… {left} more {kind}]", rest)
            text += gap + line
    return text


def fitting_id(text: str) -> str:
    """An external id that fits into its column: one that is too long is replaced by its digest."""
    return (
        text
        if len(text) <= EXTERNAL_ID_MAXIMUM
        else f"sha256:{hashlib.sha256(text.encode(errors='replace')).hexdigest()}"
    )


def plain(text: str) -> str:
    """A text with newlines as we write them, and without blank lines around it."""
    return text.replace("\r\n", "\n").replace("\r", "\n").strip("\n").rstrip()


def make_row(number: int, content: Any, columns: Mapping[str, str], draft: Callable[[Item], Draft]) -> Row | BadRow:
    """The row that an object becomes.

    Args:
        number: of the row.
        content: the object.
        columns: field → member that it comes from.
        draft: makes the task; may raise `WrongValueError`.
    """
    try:
        return draft(Item(content)).row(number, shown(content), columns)
    except WrongValueError as wrong:
        return BadRow(number, wrong.column or None, wrong.message, shown(content))


def shown(content: Any) -> Values:
    """What is worth showing of an object: its texts and numbers, none of them long."""
    if not isinstance(content, dict):
        return {"item": _shown_text(str(content)[:_SHOWN_MAXIMUM])}
    return {
        _shown_text(name): _shown_text(value) if isinstance(value, str) else value
        for name, value in content.items()
        if isinstance(value, str | int | float) or value is None
    }


def _shown_text(text: str) -> str:
    text = text if len(text) <= _SHOWN_MAXIMUM else text[: _SHOWN_MAXIMUM - 1] + "…"
    if not text.isascii():
        text = text.encode(errors="replace").decode()
    return text.replace("\0", "�")


# No "<" inside, so that what never ends is not looked for again and again.
_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9]*)([^<>]*)>|<[!?][^<>]*>")
_ADDRESS = re.compile(r"\bhref\s*=\s*[\"']?([^\"'\s]+)", re.IGNORECASE)
_LINE_TAGS = frozenset({"br", "div", "dd", "dt", "li", "ol", "td", "tr", "ul"})
_PARAGRAPH_TAGS = frozenset({"blockquote", "h1", "h2", "h3", "h4", "h5", "h6", "p", "pre", "table"})
_HIDDEN_TAGS = frozenset({"head", "script", "style", "title"})
_SPACES = re.compile(r"\s+")
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n){2,}")


def text_of_html(source: str) -> str:
    """The text of an HTML fragment: paragraphs, lines, list items and the addresses of links stay."""
    parts: list[str] = []
    at = 0
    hidden = ""  # the element whose contents are not shown
    preformatted = 0
    address = ""
    link_begin = 0

    def add(data: str) -> None:
        if data and not hidden:
            text = html.unescape(data)
            if not preformatted:
                text = _SPACES.sub(" ", text)
            if text != " " or not is_line_begun():
                parts.append(text)

    def is_line_begun() -> bool:
        return not parts or parts[-1].endswith("\n")

    for tag in _TAG.finditer(source):
        add(source[at : tag.start()])
        at = tag.end()
        is_end, name = bool(tag[1]), (tag[2] or "").lower()
        if hidden:
            hidden = "" if is_end and name == hidden else hidden
        elif name in _HIDDEN_TAGS and not is_end:
            hidden = name
        elif name == "a" and not is_end:
            found = _ADDRESS.search(tag[3])
            address = html.unescape(found[1]) if found else ""
            link_begin = len(parts)
        elif name == "a":
            if "://" in address and address not in "".join(parts[link_begin:]):
                parts.append(f" ({address})")
            address = ""
        elif name in _PARAGRAPH_TAGS:
            parts.append("\n\n")
            if name == "pre":
                preformatted = max(0, preformatted + (-1 if is_end else 1))
        elif name in _LINE_TAGS:
            if name == "br" or not is_line_begun():
                parts.append("\n")
            if name == "li" and not is_end:
                parts.append("- ")
    add(source[at:])
    lines = [line.rstrip() if line.startswith("  ") else line.strip() for line in "".join(parts).split("\n")]
    return _BLANK_LINES.sub("\n\n", "\n".join(lines)).strip()

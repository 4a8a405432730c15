"""How a foreign item becomes a task's fields: what fits into a field goes there, all else into the description."""

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, ParamSpec

from core.formats.description import description_of
from core.formats.rows import BadRow, Row, Values
from core.formats.values import WrongValue, one_line, trimmed
from core.tasks.fields import (
    DEFAULT_STATUS,
    EXTERNAL_ID_MAXIMUM,
    LABEL_MAXIMUM,
    LABELS_MAXIMUM,
    OPEN_STATUSES,
    TITLE_MAXIMUM,
)
from core.tasks.recurrence import require_next_date
from core.tasks.rules import RECURRENCE_MAXIMUM, RecurrenceInvalid, normalized

_P = ParamSpec("_P")

UNTITLED = "(untitled)"
"""The title of an item whose program lets it have none."""


class ParsedTask:
    """A task as it is read from a file.

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
        text = trimmed(text)
        if text:
            self.comments.append(f"Comment ({heading}):\n{text}" if heading else f"Comment:\n{text}")

    def row(self, number: int, values: Values, columns: Mapping[str, str]) -> Row:
        """The finished row."""
        fields = self._fields
        title = self.title
        first_lines = []
        if len(title) > TITLE_MAXIMUM:
            first_lines.append(title)
            title = title[: TITLE_MAXIMUM - 1].rstrip() + "…"
        fields["title"] = title
        labels = [label for label in self._labels if len(label) <= LABEL_MAXIMUM and "," not in label]
        del labels[LABELS_MAXIMUM:]
        if labels:
            fields["labels"] = labels
        rest = [label for label in self._labels if label not in labels]
        facts = [f"Labels: {'; '.join(rest)}", *self._facts] if rest else self._facts
        if self.parent:
            first_lines.append(f"Part of: {one_line(self.parent)}")
        description = description_of(first_lines, self.body, self.checklists, facts, self.comments)
        if description:
            fields["description"] = description
        return Row(number, fields, values, columns)


def row_of(
    number: int,
    values: Values,
    columns: Mapping[str, str],
    parse: Callable[_P, ParsedTask],
    *args: _P.args,
    **kwargs: _P.kwargs,
) -> Row | BadRow:
    """The row of a task, or what is wrong with it.

    Args:
        number: of the row.
        values: the row as it stands in the file.
        columns: field → the file's own name of it.
        parse: makes the task of the other arguments; may raise `WrongValue`.
    """
    try:
        return parse(*args, **kwargs).row(number, values, columns)
    except WrongValue as wrong:
        return BadRow(number, wrong.column or None, wrong.message, values)


def fitting_id(text: str) -> str:
    """An external id that fits into its column: one that is too long is replaced by its digest."""
    if len(text) <= EXTERNAL_ID_MAXIMUM:
        return text
    return f"sha256:{hashlib.sha256(text.encode(errors='replace')).hexdigest()}"

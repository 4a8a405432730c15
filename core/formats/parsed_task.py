"""How a foreign item becomes a task's fields: what fits into a field goes there, all else into the description.

Only what makes a task a task may cost a row. What cannot be read otherwise is left out, replaced by a default or kept
in the description, and a warning of the row says so.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from datetime import tzinfo
from typing import Any, TypeVar

from core.formats.dates import end_of_day, is_day, parse_due, parse_moment
from core.formats.description import description_of
from core.formats.faults import bad_row
from core.formats.rows import BadRow, ReadOptions, Row, RowWarning, Source, Values
from core.formats.values import one_line, quoted, read_moment, trimmed
from core.formats.words import priority_of, status_of
from core.tasks.fields import (
    DEFAULT_PRIORITY,
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
from core.tasks.schemas import due_moment
from core.tasks.values import is_storable

_T = TypeVar("_T")

IS_PENDING = f"The task is {DEFAULT_STATUS}"
PRIORITY_IS_5 = f"The priority is {DEFAULT_PRIORITY}"
_WARNINGS_MAXIMUM = 20  # of a row

UNTITLED = "(untitled)"
"""The title of an item whose program lets it have none."""


class ParsedTask:
    """A task as it is read from a file.

    Attributes:
        parent: the title of what it is a part of.
        body: the item's own text.
        checklists: heading (may be empty) → lines.
        comments: the oldest first.
        warnings: what was left out or replaced.
        faults: why the row cannot be a task; for what its sender has to decide.
    """

    __slots__ = ("_facts", "_fields", "_labels", "body", "checklists", "comments", "faults", "parent", "warnings")

    def __init__(self, title: str, external_id: str = "") -> None:
        self._fields: dict[str, Any] = {"title": title}
        self._labels: dict[str, None] = {}
        self._facts: list[str] = []
        self.parent = ""
        self.body = ""
        self.checklists: list[tuple[str, list[str]]] = []
        self.comments: list[str] = []
        self.warnings: list[RowWarning] = []
        self.faults: list[RowWarning] = []
        if external_id:
            self._fields["external_id"] = fitting_id(external_id)

    @property
    def title(self) -> str:
        """As the file has it; never empty."""
        return one_line(self._fields["title"]) or UNTITLED

    def set(self, **fields: Any) -> None:
        """Sets fields of the task; None leaves them as they are."""
        for name, value in fields.items():
            if value is not None:
                self._fields[name] = value

    def get(self, name: str) -> Any:
        """What a field was set to; None: to nothing."""
        return self._fields.get(name)

    def warn(self, column: str | None, message: str) -> None:
        """Tells what was wrong with a column, and what was done instead."""
        self.warnings.append(RowWarning(column, message))

    def fail(self, column: str | None, message: str) -> None:
        """The row cannot be a task because of a column."""
        self.faults.append(RowWarning(column, message))

    def moment(self, text: str, column: str, time_zone: tzinfo, *, day_first: bool | None = None) -> str | None:
        """A date and time, RFC 3339 in UTC; one that cannot be read is left out."""
        try:
            return read_moment(text, parse_moment, time_zone, day_first=day_first)
        except ValueError as error:
            self.warn(column, f"{error} It was left out.")
            return None

    def set_due(
        self,
        text: str,
        column: str,
        time_zone: tzinfo,
        *,
        day_first: bool | None = None,
        parse: Callable[..., str] = parse_due,
        name: str = "Due",
    ) -> None:
        """Sets the due date; one that cannot be read becomes a fact of that name."""
        try:
            due = read_moment(text, parse, time_zone, day_first=day_first)
        except ValueError as error:
            self.keep(name, text, column, f"{error} The task has no due date, and the text stands in the description.")
            return
        if due is not None:
            self.set_due_as(due, time_zone)

    def set_due_as(self, due: str, time_zone: tzinfo) -> None:
        """Sets the due date to what `parse_due` found, an instant or a day.

        The end of the day stands beside it: by that rows are known which were imported before there were days.
        """
        self._fields.pop("due_day", None)
        if is_day(due):
            self.set(due_day=due, due_date=end_of_day(due, time_zone))
        else:
            self.set(due_date=due)

    def known(self, word: str, column: str, values: Mapping[str, _T], instead: str, *, name: str = "") -> _T | None:
        """What a word of a program's means; one that nobody knows becomes a fact.

        Args:
            word: as the file has it.
            column: the file's own name of it.
            values: word → meaning.
            instead: what holds for the task then, for people.
            name: of the fact, where it is not the column's.
        """
        if word in values:
            return values[word]
        if word:
            known = ", ".join(filter(None, values))
            problem = f"{quoted(word)} is not known here: {known} are."
            self.keep(name or column, word, column, f"{problem} {instead}, and the word stands in the description.")
        return None

    def set_priority(self, word: str, column: str, *, name: str = "") -> None:
        """Sets the priority that a word of anybody's means; one that nobody knows becomes a fact, as of `known`."""
        priority = priority_of(word) if word else None
        if priority is None and word:
            problem = f"{quoted(word)} is no priority: 1 (highest) to 10, or a word such as high."
            self.keep(name or column, word, column, f"{problem} {PRIORITY_IS_5}, and it stands in the description.")
        self.set(priority=priority)

    def keep(self, name: str, text: str, column: str, message: str) -> None:
        """What cannot be read stays as a fact, and the row is warned of."""
        self.fact(name, text)
        self.warn(column, message)

    def complete(self, *moments: str | None) -> None:
        """The task is completed, at the first of the moments that is known."""
        self.set(status="completed", completed_at=next(filter(None, moments), None))

    def fact(self, name: str, value: str) -> None:
        """Adds a line `Name: value` if there is a value."""
        value = one_line(value)
        if value:
            self._facts.append(f"{name}: {value}")

    def repeat(self, rule: str, column: str) -> None:
        """Takes a rule of RFC 5545 as the recurrence; one that an open task cannot follow becomes a fact.

        To be called when status and due date are set: the rule has to have a date behind them.
        """
        if not rule:
            return
        if self._fields.get("status", DEFAULT_STATUS) not in OPEN_STATUSES:
            self.fact("Repeats", rule)
            return
        recurrence, is_of_day = normalized(rule), self._fields.get("due_day") is not None
        try:
            if len(recurrence) > RECURRENCE_MAXIMUM:
                raise RecurrenceInvalid(f"It has more than {RECURRENCE_MAXIMUM} characters.")
            require_next_date(recurrence, due_moment(self._fields), of_day=is_of_day)
        except RecurrenceInvalid as error:
            self.keep("Repeats", rule, column, f"No task can follow this rule: {error} It stands in the description.")
        else:
            self.set(recurrence=recurrence)

    def place(self, heading: str, name: str, options: ReadOptions, *completions: str | None) -> None:
        """Takes the list, column or project that the item stands in, as the reader wants it: `lists_as`, `columns_as`.

        To be called when the item's own status is set, which goes before that of its column where it is an end.

        Args:
            heading: what the program calls it.
            name: of the list.
            options: of the reader.
            completions: moments, of which the first that is known is that of completion.
        """
        name = one_line(name)
        status = status_of(name) if options.columns_as == "statuses" else None
        if status is not None:
            if self._fields.get("status", DEFAULT_STATUS) in OPEN_STATUSES:
                if status == "completed":
                    self.complete(*completions)
                else:
                    self.set(status=status)
        elif options.lists_as == "labels":
            self.label(name)
        else:
            self.fact(heading, name)

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

    def row(
        self, number: int, values: Values, columns: Mapping[str, str], source: Source | None = None
    ) -> Row | BadRow:
        """The finished row."""
        fields = self._fields
        title = self.title
        first_lines = []
        if len(title) > TITLE_MAXIMUM:
            first_lines.append(title)
            self._warn_of("title", columns, f"The title has {len(title):,} characters; a task's has at most"
                          f" {TITLE_MAXIMUM}. It was cut, and stands whole in the description.")  # fmt: skip
            title = title[: TITLE_MAXIMUM - 1].rstrip() + "…"
        fields["title"] = title
        facts = self._facts
        if self._labels:
            facts = self._settle_labels(columns)
        if self.parent:
            first_lines.append(f"Part of: {one_line(self.parent)}")
        description, length = description_of(first_lines, self.body, self.checklists, facts, self.comments)
        if description:
            fields["description"] = description
            if length > DESCRIPTION_MAXIMUM:
                self._warn_of("description", columns, f"The description would have {length:,} characters; a task's has"
                              f" at most {DESCRIPTION_MAXIMUM:,}. What does not fit was left out.")  # fmt: skip
        for name in ("title", "description", "external_id"):
            if name in fields and not is_storable(fields[name]):
                fields[name] = self._storable(fields[name], name, columns)
        if fields.get("status") != "completed":
            fields.pop("completed_at", None)
        if self.faults:
            return bad_row(number, self.faults, fields, values, columns, source)
        warnings = tuple(dict.fromkeys(self.warnings))[:_WARNINGS_MAXIMUM] if self.warnings else ()
        return Row(number, fields, values, columns, warnings, source)

    def _settle_labels(self, columns: Mapping[str, str]) -> list[str]:
        """Sets the labels that a task can have; returns all facts, with one of the other labels."""
        found = [label if is_storable(label) else self._storable(label, "labels", columns) for label in self._labels]
        labels = [label for label in found if len(label) <= LABEL_MAXIMUM and "," not in label][:LABELS_MAXIMUM]
        if labels:
            self._fields["labels"] = labels
        rest = [label for label in found if label not in labels]
        if not rest:
            return self._facts
        self._warn_of("labels", columns, f"A task has at most {LABELS_MAXIMUM} labels, of up to {LABEL_MAXIMUM}"
                      f" characters without commas; {len(rest)} stand in the description instead.")  # fmt: skip
        return [f"Labels: {'; '.join(rest)}", *self._facts]

    def _storable(self, text: str, name: str, columns: Mapping[str, str]) -> str:
        """A text without what no database takes: NUL characters and halves of surrogate pairs."""
        self._warn_of(name, columns, "Characters that are none were replaced by �.")
        return text.replace("\0", "�").encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    def _warn_of(self, name: str, columns: Mapping[str, str], message: str) -> None:
        self.warn(columns.get(name, name), message)


def fitting_id(text: str) -> str:
    """An external id that fits into its column: one that is too long is replaced by its digest."""
    if len(text) <= EXTERNAL_ID_MAXIMUM:
        return text
    return f"sha256:{hashlib.sha256(text.encode(errors='replace')).hexdigest()}"

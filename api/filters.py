"""Which tasks and in which order, as every list of tasks and every export takes it."""

import re
from typing import Any

from marshmallow import ValidationError, fields, validate, validates_schema

from api.http import CommaSeparated, WholeNumber, invalid
from core.bounds import TIMESTAMP_MAXIMUM, RequestSchema, String
from core.ids import MAXIMUM_ID
from core.tasks.fields import HIGHEST_PRIORITY, LABEL_MAXIMUM, LABELS_MAXIMUM, LOWEST_PRIORITY, STATUSES
from core.tasks.queries import SORTS, TaskFilter
from core.tasks.values import Text, Timestamp, label_field

WORDS_MAXIMUM = 10
_WORDS = rf"^\s*[^\s\x00]+(\s+[^\s\x00]+){{0,{WORDS_MAXIMUM - 1}}}\s*$"


_LOST_PLUS = re.compile(r"[Tt]\S+ [0-9]{2}:[0-9]{2}\Z")


class QueryTimestamp(Timestamp):
    """A day, or a date and time in an address, where a `+` that was not encoded arrives as a space.

    Exports tell it again, in UTC.
    """

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if isinstance(value, str) and len(value) <= TIMESTAMP_MAXIMUM and _LOST_PLUS.search(value):
            raise ValidationError("The + before the offset arrived as a space: write it as %2B.")
        return super()._deserialize(value, attr, data, **kwargs).replace("+00:00", "Z")


_MOMENT_OR_DAY = [{"format": "date-time"}, {"format": "date"}]


class TaskFilters(RequestSchema):
    """Which tasks."""

    priority = CommaSeparated(
        WholeNumber(validate=validate.Range(HIGHEST_PRIORITY, LOWEST_PRIORITY)),
        validate=validate.Length(1, LOWEST_PRIORITY),
        metadata={"description": "one, or several with commas"},
    )
    priority_min = WholeNumber(validate=validate.Range(HIGHEST_PRIORITY, LOWEST_PRIORITY))
    priority_max = WholeNumber(validate=validate.Range(HIGHEST_PRIORITY, LOWEST_PRIORITY))
    status = CommaSeparated(
        String(validate=validate.OneOf(STATUSES)),
        validate=validate.Length(1, len(STATUSES)),
        metadata={"description": "one, or several with commas"},
    )
    due_before = QueryTimestamp(
        or_day=True,
        metadata={
            "anyOf": _MOMENT_OR_DAY,
            "description": "a moment, or a day: before it begins in the user's time zone",
        },
    )
    due_after = QueryTimestamp(
        or_day=True,
        metadata={
            "anyOf": _MOMENT_OR_DAY,
            "description": "a moment, or a day: after it has ended in the user's time zone",
        },
    )
    overdue = fields.Boolean(metadata={"description": "`true`: due in the past and still open"})
    label = CommaSeparated(
        label_field(LABEL_MAXIMUM),
        validate=validate.Length(1, LABELS_MAXIMUM),
        metadata={"description": "one, or several with commas: tasks with any of them"},
    )
    q = Text(
        validate=validate.Length(1, 200),
        metadata={
            "description": f"1 to {WORDS_MAXIMUM} words that title or description must contain",
            "pattern": _WORDS,
        },
    )

    @validates_schema
    def _no_contradiction_of_filters(self, data: dict[str, Any], **_: Any) -> None:
        if data.get("priority_min", 0) > data.get("priority_max", LOWEST_PRIORITY):
            raise ValidationError("Must not be above priority_max.", "priority_min")


class OrderedTaskFilters(TaskFilters):
    """Which tasks, and in which order."""

    sort = String(validate=validate.OneOf(list(SORTS)), metadata={"description": "`id` unless given"})
    sort_by_priority = fields.Boolean(metadata={"description": "`true` is the same as `sort=priority`"})

    @validates_schema
    def _no_contradiction_of_sorts(self, data: dict[str, Any], **_: Any) -> None:
        if data.get("sort_by_priority") and data.get("sort", "priority") != "priority":
            raise ValidationError("Contradicts sort_by_priority=true.", "sort")


def user_id_filter() -> WholeNumber:
    """For admins, who see everybody's tasks."""
    return WholeNumber(
        validate=validate.Range(1, MAXIMUM_ID),
        metadata={"description": "one user's; of others' only an admin sees any", "format": "int64"},
    )


def task_filter(given: dict[str, Any]) -> TaskFilter:
    """The filter that validated `TaskFilters` mean.

    Raises:
        Problem: 422, `q` holds no word, or too many.
    """
    if "q" in given and not 0 < len(given["q"].split()) <= WORDS_MAXIMUM:
        raise invalid({"q": [f"Give 1 to {WORDS_MAXIMUM} words."]})
    return TaskFilter.from_query(given)


def sort_name(given: dict[str, Any]) -> str:
    """The key of `SORTS` that validated `OrderedTaskFilters` name."""
    name: str = "priority" if given.get("sort_by_priority") else given.get("sort", "id")
    return name

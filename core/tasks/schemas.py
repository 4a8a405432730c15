"""What a client may send about tasks; the OpenAPI document is made from these same schemas."""

import re
from datetime import UTC, datetime
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from core.bounds import TIMESTAMP_MAXIMUM, List, RequestSchema, String
from core.ids import MAXIMUM_ID
from core.tasks.recurrence import require_next_date
from core.tasks.rules import RECURRENCE_FROM, RECURRENCE_MAXIMUM, RecurrenceInvalid, normalized, parse_rule

STATUSES = ("pending", "in_progress", "blocked", "completed", "cancelled")
OPEN_STATUSES = ("pending", "in_progress", "blocked")
TITLE_MAXIMUM = 255
DESCRIPTION_MAXIMUM = 20_000
HIGHEST_PRIORITY = 1
LOWEST_PRIORITY = 10
EXTERNAL_ID_MAXIMUM = 255
LABELS_MAXIMUM = 20
LABEL_MAXIMUM = 50
BATCH_MAXIMUM = 1000
DEFAULT_PRIORITY = 5
DEFAULT_STATUS = "pending"
DEFAULT_RECURRENCE_FROM = "due_date"
_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})\Z"
)
NOT_BLANK = r"^[^\x00]*[^\s\x00][^\x00]*$"
LABEL = r"^[^\x00,]*[^\s\x00,][^\x00,]*$"


def is_unicode(text: str) -> bool:
    """Whether it can be written as UTF-8: a lone half of a surrogate pair cannot."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return False
    return True


def is_storable(text: str) -> bool:
    """Whether PostgreSQL can hold it: it has no U+0000, and knows text as UTF-8 only."""
    return "\x00" not in text and is_unicode(text)


def utc_timestamp(text: str) -> str:
    """An RFC 3339 date and time with an offset as the same instant in UTC, as `isoformat` writes it.

    Raises:
        ValueError: it is none, or lies outside the years 1 to 9999 of UTC.
    """
    # fromisoformat also takes week dates, basic forms, hours alone and offsets with seconds.
    if not _RFC_3339.match(text):
        raise ValueError(text)
    text = text.upper()
    moment = datetime.fromisoformat(text)
    if text[19:] in ("Z", "+00:00"):
        return f"{text[:19]}+00:00"  # the same at a third of the time
    try:
        return moment.astimezone(UTC).isoformat()
    except OverflowError as error:
        raise ValueError(text) from error


def has_completed_at_rightly(task: dict[str, Any]) -> bool:
    """Whether an imported task has a time of completion only if it is completed."""
    return task["status"] == "completed" or task.get("completed_at") is None


def _storable(text: str) -> None:
    if "\x00" in text:
        raise ValidationError("Must not contain NUL characters.")
    if not is_unicode(text):
        raise ValidationError("Must not contain lone surrogates.")


def _without_comma(text: str) -> None:
    if "," in text:
        raise ValidationError("Must not contain commas.")


class Text(String):
    """A string that PostgreSQL can hold, optionally trimmed before its length is looked at, and that first."""

    def __init__(self, *, trim: bool = False, **kwargs: Any) -> None:
        validators = kwargs.pop("validate", [])
        validators = validators if isinstance(validators, list) else [validators]
        super().__init__(validate=[_storable, *validators], **kwargs)
        self.trim = trim

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        return super()._deserialize(
            value.strip() if self.trim and isinstance(value, str) else value, attr, data, **kwargs
        )


class Timestamp(fields.Field[str]):
    """An RFC 3339 date and time with an offset; becomes the same instant in UTC, still as text."""

    default_error_messages = {  # noqa: RUF012
        "invalid": "Not an RFC 3339 date and time with an offset, such as 2026-01-31T17:00:00+01:00."
    }

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if not isinstance(value, str) or len(value) > TIMESTAMP_MAXIMUM:
            raise self.make_error("invalid")
        try:
            return utc_timestamp(value)
        except ValueError:
            raise self.make_error("invalid") from None


class Labels(List[str]):
    """Labels in the order in which they were sent, each once; null is none."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            label_field(),
            allow_none=True,
            validate=validate.Length(max=LABELS_MAXIMUM),
            metadata={
                "description": "Each once, in the order sent; `null` is none",
                "example": ["security", "on-call"],
                **kwargs.pop("metadata", {}),
            },
            **kwargs,
        )

    def deserialize(self, value: Any, attr: str | None = None, data: Any = None, **kwargs: Any) -> Any:
        labels = super().deserialize(value, attr, data, **kwargs)
        return list(dict.fromkeys(labels)) if isinstance(labels, list) else [] if value is None else labels

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[str | None]:
        try:
            return super()._deserialize(value, attr, data, **kwargs)
        except ValidationError as error:
            of_places: Any = error.messages
            if isinstance(of_places, list):
                raise
            raise ValidationError(
                [f"Label {place + 1}: {message}" for place, messages in of_places.items() for message in messages]
            ) from None


def label_field() -> Text:
    """One label."""
    return Text(
        trim=True,
        validate=[_without_comma, validate.Length(1, LABEL_MAXIMUM)],
        metadata={"description": "1 to 50 characters after trimming, without commas", "pattern": LABEL},
    )


def _title(**kwargs: Any) -> Text:
    return Text(
        trim=True,
        validate=validate.Length(1, TITLE_MAXIMUM),
        metadata={
            "description": "1 to 255 characters after trimming",
            "pattern": NOT_BLANK,
            "example": "Renew the TLS certificates",
        },
        **kwargs,
    )


def _description() -> Text:
    return Text(
        allow_none=True,
        validate=validate.Length(max=DESCRIPTION_MAXIMUM),
        metadata={"description": "Up to 20 000 characters", "example": "The old ones end on Friday."},
    )


def _priority(**kwargs: Any) -> fields.Integer:
    return fields.Integer(
        strict=True,
        validate=validate.Range(HIGHEST_PRIORITY, LOWEST_PRIORITY),
        metadata={"description": "1 is the highest, 10 the lowest"},
        **kwargs,
    )


def _status(**kwargs: Any) -> String:
    return String(validate=validate.OneOf(STATUSES), **kwargs)


def _due_date() -> Timestamp:
    return Timestamp(allow_none=True, metadata={"format": "date-time", "example": "2026-01-31T17:00:00+01:00"})


class Recurrence(Text):
    """A recurrence rule (RFC 5545, 3.3.10), as `core.tasks.rules` reads it."""

    def __init__(self) -> None:
        super().__init__(
            allow_none=True,
            validate=validate.Length(1, RECURRENCE_MAXIMUM),
            metadata={
                "description": "RFC 5545: completing the task makes the next one. Hourly to yearly; `null` is never",
                "format": "recurrence-rule",
                "example": "FREQ=WEEKLY;BYDAY=MO,TH",
            },
        )

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = normalized(super()._deserialize(value, attr, data, **kwargs))
        try:
            parse_rule(text)
        except RecurrenceInvalid as error:
            raise ValidationError(str(error)) from None
        return text


def _recurrence_from() -> String:
    return String(
        validate=validate.OneOf(RECURRENCE_FROM),
        metadata={"description": "What the next date is counted from: `due_date` unless set"},
    )


def _goes_on(data: dict[str, Any]) -> None:
    """Refuses a rule that would make no next task."""
    if data.get("recurrence"):
        due_date = data.get("due_date")
        try:
            require_next_date(data["recurrence"], datetime.fromisoformat(due_date) if due_date else None)
        except RecurrenceInvalid as error:
            raise ValidationError(str(error), "recurrence") from None


def _id() -> fields.Integer:
    return fields.Integer(
        strict=True, required=True, validate=validate.Range(1, MAXIMUM_ID), metadata={"format": "int64"}
    )


def _if_version() -> fields.Integer:
    return fields.Integer(strict=True, metadata={"description": "Refused (412) at any other version"})


class TaskCreate(RequestSchema):
    """A task to be made."""

    title = _title(required=True)
    description = _description()
    priority = _priority(load_default=DEFAULT_PRIORITY)
    status = _status(load_default=DEFAULT_STATUS)
    due_date = _due_date()
    labels = Labels()
    recurrence = Recurrence()
    recurrence_from = _recurrence_from()

    @validates_schema
    def _recurrence_goes_on(self, data: dict[str, Any], **_: Any) -> None:
        _goes_on(data)


class TaskImport(TaskCreate):
    """A task that comes from elsewhere, with its past."""

    created_at = Timestamp(allow_none=True)
    completed_at = Timestamp(allow_none=True)
    external_id = Text(allow_none=True, validate=validate.Length(1, EXTERNAL_ID_MAXIMUM))

    @validates_schema
    def _completed_at_of_completed(self, data: dict[str, Any], **_: Any) -> None:
        if not has_completed_at_rightly(data):
            raise ValidationError("Only a completed task has one.", "completed_at")


class TaskUpdate(RequestSchema):
    """A merge patch (RFC 7396): only what it names is changed.

    `null` clears `description`, `due_date`, `labels` and `recurrence`; labels are replaced as a whole.
    """

    title = _title()
    description = _description()
    priority = _priority()
    status = _status()
    due_date = _due_date()
    labels = Labels()
    recurrence = Recurrence()
    recurrence_from = _recurrence_from()

    @validates_schema
    def _recurrence_goes_on(self, data: dict[str, Any], **_: Any) -> None:
        _goes_on(data)


class Task(Schema):
    """A task as it is answered."""

    id = fields.Integer(required=True, metadata={"format": "int64"})
    user_id = fields.Integer(required=True, metadata={"format": "int64"})
    title = fields.String(required=True, metadata={"example": "Renew the TLS certificates"})
    description = fields.String(required=True, allow_none=True, metadata={"example": "The old ones end on Friday."})
    priority = fields.Integer(required=True, metadata={"description": "1 is the highest, 10 the lowest"})
    status = fields.String(required=True, validate=validate.OneOf(STATUSES))
    due_date = fields.String(required=True, allow_none=True, metadata={"format": "date-time"})
    labels = fields.List(fields.String(), required=True, metadata={"example": ["security", "on-call"]})
    created_at = fields.String(required=True, metadata={"format": "date-time"})
    updated_at = fields.String(required=True, metadata={"format": "date-time"})
    completed_at = fields.String(required=True, allow_none=True, metadata={"format": "date-time"})
    recurrence = fields.String(required=True, allow_none=True, metadata={"example": "FREQ=WEEKLY;BYDAY=MO,TH"})
    recurrence_from = fields.String(required=True, validate=validate.OneOf(RECURRENCE_FROM))
    version = fields.Integer(required=True, metadata={"description": "grows with every change; the `ETag`"})


class BatchCreate(RequestSchema):
    """Makes a task."""

    op = String(required=True, validate=validate.Equal("create"))
    fields_ = fields.Nested(TaskCreate, required=True, data_key="fields", attribute="fields")


class BatchUpdate(RequestSchema):
    """Changes what `fields` names, and only at `if_version` where that is given."""

    op = String(required=True, validate=validate.Equal("update"))
    id = _id()
    if_version = _if_version()
    fields_ = fields.Nested(TaskUpdate, required=True, data_key="fields", attribute="fields")


class BatchDelete(RequestSchema):
    """Deletes a task, and only at `if_version` where that is given."""

    op = String(required=True, validate=validate.Equal("delete"))
    id = _id()
    if_version = _if_version()


BATCH_OPERATIONS: dict[str, type[Schema]] = {"create": BatchCreate, "update": BatchUpdate, "delete": BatchDelete}
"""`op` → what such an operation looks like. An invalid one is refused by itself, not with the batch."""


class Batch(RequestSchema):
    """1 to 1000 operations, carried out in order, each with its own fate."""

    operations = List[Any](
        fields.Raw(allow_none=True, metadata={"one_of": BATCH_OPERATIONS, "discriminator": "op"}),
        required=True,
        validate=validate.Length(1, BATCH_MAXIMUM),
    )

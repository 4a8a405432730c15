"""What a client may send about tasks; the OpenAPI document is made from these same schemas."""

import re
from datetime import UTC, datetime
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate

from core.ids import MAXIMUM_ID

STATUSES = ("pending", "in_progress", "blocked", "completed", "cancelled")
OPEN_STATUSES = ("pending", "in_progress", "blocked")
TITLE_MAXIMUM = 255
DESCRIPTION_MAXIMUM = 20_000
HIGHEST_PRIORITY = 1
LOWEST_PRIORITY = 10
BATCH_MAXIMUM = 1000
_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})\Z"
)
NOT_BLANK = r"^[^\x00]*[^\s\x00][^\x00]*$"


def no_nul(text: str) -> None:
    """Refuses U+0000, which PostgreSQL cannot hold."""
    if "\x00" in text:
        raise ValidationError("Must not contain NUL characters.")


class Text(fields.String):
    """A string without NUL characters, optionally trimmed before its length is looked at."""

    def __init__(self, *, trim: bool = False, **kwargs: Any) -> None:
        validators = kwargs.pop("validate", [])
        super().__init__(validate=[no_nul, *(validators if isinstance(validators, list) else [validators])], **kwargs)
        self.trim = trim

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if not isinstance(value, str):
            raise self.make_error("invalid")
        return value.strip() if self.trim else value


class Timestamp(fields.Field[str]):
    """An RFC 3339 date and time with an offset; becomes the same instant in UTC, still as text."""

    default_error_messages = {  # noqa: RUF012
        "invalid": "Not an RFC 3339 date and time with an offset, such as 2026-01-31T17:00:00+01:00."
    }

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        # fromisoformat also takes week dates, basic forms, hours alone and offsets with seconds.
        if not isinstance(value, str) or not _RFC_3339.match(value):
            raise self.make_error("invalid")
        try:
            return datetime.fromisoformat(value.upper()).astimezone(UTC).isoformat()
        except (ValueError, OverflowError):
            raise self.make_error("invalid") from None


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


def _status(**kwargs: Any) -> fields.String:
    return fields.String(validate=validate.OneOf(STATUSES), **kwargs)


def _due_date() -> Timestamp:
    return Timestamp(allow_none=True, metadata={"format": "date-time", "example": "2026-01-31T17:00:00+01:00"})


def _id() -> fields.Integer:
    return fields.Integer(
        strict=True, required=True, validate=validate.Range(1, MAXIMUM_ID), metadata={"format": "int64"}
    )


def _if_version() -> fields.Integer:
    return fields.Integer(strict=True, metadata={"description": "Refused (412) at any other version"})


class TaskCreate(Schema):
    """A task to be made."""

    title = _title(required=True)
    description = _description()
    priority = _priority(load_default=5)
    status = _status(load_default="pending")
    due_date = _due_date()


class TaskUpdate(Schema):
    """A merge patch (RFC 7396): only what it names is changed; `null` clears `description` and `due_date`."""

    title = _title()
    description = _description()
    priority = _priority()
    status = _status()
    due_date = _due_date()


class Task(Schema):
    """A task as it is answered."""

    id = fields.Integer(required=True, metadata={"format": "int64"})
    user_id = fields.Integer(required=True, metadata={"format": "int64"})
    title = fields.String(required=True, metadata={"example": "Renew the TLS certificates"})
    description = fields.String(required=True, allow_none=True, metadata={"example": "The old ones end on Friday."})
    priority = fields.Integer(required=True, metadata={"description": "1 is the highest, 10 the lowest"})
    status = fields.String(required=True, validate=validate.OneOf(STATUSES))
    due_date = fields.String(required=True, allow_none=True, metadata={"format": "date-time"})
    created_at = fields.String(required=True, metadata={"format": "date-time"})
    updated_at = fields.String(required=True, metadata={"format": "date-time"})
    completed_at = fields.String(required=True, allow_none=True, metadata={"format": "date-time"})
    version = fields.Integer(required=True, metadata={"description": "grows with every change; the `ETag`"})


class BatchCreate(Schema):
    """Makes a task."""

    op = fields.String(required=True, validate=validate.Equal("create"))
    fields_ = fields.Nested(TaskCreate, required=True, data_key="fields")


class BatchUpdate(Schema):
    """Changes what `fields` names, and only at `if_version` where that is given."""

    op = fields.String(required=True, validate=validate.Equal("update"))
    id = _id()
    if_version = _if_version()
    fields_ = fields.Nested(TaskUpdate, required=True, data_key="fields")


class BatchDelete(Schema):
    """Deletes a task, and only at `if_version` where that is given."""

    op = fields.String(required=True, validate=validate.Equal("delete"))
    id = _id()
    if_version = _if_version()


BATCH_OPERATIONS: dict[str, type[Schema]] = {"create": BatchCreate, "update": BatchUpdate, "delete": BatchDelete}
"""`op` → what such an operation looks like. An invalid one is refused by itself, not with the batch."""


class Batch(Schema):
    """1 to 1000 operations, carried out in order, each with its own fate."""

    operations = fields.List(
        fields.Raw(allow_none=True, metadata={"one_of": BATCH_OPERATIONS, "discriminator": "op"}),
        required=True,
        validate=validate.Length(1, BATCH_MAXIMUM),
    )

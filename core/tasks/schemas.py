"""What a client may send about tasks; the OpenAPI document is made from these same schemas."""

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
        # fromisoformat also takes dates alone, week dates and spaces in place of the T: the length and the T do not.
        if not isinstance(value, str) or not 19 <= len(value) <= 40 or value[10] not in "Tt":
            raise self.make_error("invalid")
        try:
            moment = datetime.fromisoformat(value.upper())
            if moment.tzinfo is None:
                raise self.make_error("invalid")
            return moment.astimezone(UTC).isoformat()
        except (ValueError, OverflowError):
            raise self.make_error("invalid") from None


def _title(**kwargs: Any) -> Text:
    return Text(
        trim=True,
        validate=validate.Length(1, TITLE_MAXIMUM),
        metadata={
            "description": "1 to 255 characters after trimming",
            "example": "Renew the TLS certificates",
        },
        **kwargs,
    )


def _description() -> Text:
    return Text(
        allow_none=True,
        validate=validate.Length(max=DESCRIPTION_MAXIMUM),
        metadata={"description": "Up to 20 000 characters"},
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


class TaskCreate(Schema):
    """A task to be made."""

    title = _title(required=True)
    description = _description()
    priority = _priority(load_default=5)
    status = _status(load_default="pending")
    due_date = Timestamp(allow_none=True, metadata={"format": "date-time"})


class TaskUpdate(Schema):
    """A merge patch (RFC 7396): only what it names is changed; `null` clears `description` and `due_date`."""

    title = _title()
    description = _description()
    priority = _priority()
    status = _status()
    due_date = Timestamp(allow_none=True, metadata={"format": "date-time"})


class Task(Schema):
    """A task as it is answered."""

    id = fields.Integer(required=True, metadata={"format": "int64"})
    user_id = fields.Integer(required=True, metadata={"format": "int64"})
    title = fields.String(required=True)
    description = fields.String(required=True, allow_none=True)
    priority = fields.Integer(required=True)
    status = fields.String(required=True, validate=validate.OneOf(STATUSES))
    due_date = fields.String(required=True, allow_none=True, metadata={"format": "date-time"})
    created_at = fields.String(required=True, metadata={"format": "date-time"})
    updated_at = fields.String(required=True, metadata={"format": "date-time"})
    completed_at = fields.String(required=True, allow_none=True, metadata={"format": "date-time"})
    version = fields.Integer(required=True)


class BatchOperation(Schema):
    """One operation of a batch: `create` takes `fields`, `update` takes `id` and `fields`, `delete` takes `id`."""

    op = fields.String(required=True, validate=validate.OneOf(("create", "update", "delete")))
    id = fields.Integer(strict=True, validate=validate.Range(1, MAXIMUM_ID), metadata={"format": "int64"})
    if_version = fields.Integer(strict=True, metadata={"description": "Refused (412) at any other version"})
    fields_ = fields.Dict(data_key="fields", keys=fields.String())


class Batch(Schema):
    """1 to 1000 operations, carried out in order, each with its own fate."""

    operations = fields.List(
        fields.Raw(metadata={"$ref": "#/components/schemas/BatchOperation"}),
        required=True,
        validate=validate.Length(1, BATCH_MAXIMUM),
    )

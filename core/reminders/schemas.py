"""What a client may send about reminders; the OpenAPI document is made from these same schemas."""

from typing import Any

from marshmallow import Schema, ValidationError, fields, validate

from core.bounds import TIMESTAMP_MAXIMUM, List, RequestSchema, String
from core.durations import DURATION, normalized_duration
from core.tasks.values import utc_timestamp

REMINDERS_MAXIMUM = 20


class ReminderRule(String):
    """An offset (`P1D`) or a time with an offset from UTC; becomes what the database reads."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        try:
            return normalized_duration(text) if text[:1] in ("P", "p") else utc_timestamp(text)
        except ValueError:
            raise ValidationError(
                "Neither an ISO 8601 duration of up to a year, such as P1D or PT1H, nor an RFC 3339 date and time."
            ) from None


class ReminderRules(List[str]):
    """Rules, each once."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        return list(dict.fromkeys(super()._deserialize(value, attr, data, **kwargs)))


class SetReminders(RequestSchema):
    """A task's own reminders instead of its user's; `null` gives it those of its user again, `[]` none."""

    reminders = ReminderRules(
        ReminderRule(
            validate=validate.Length(max=TIMESTAMP_MAXIMUM),
            metadata={
                "anyOf": [{"format": "duration", "pattern": DURATION}, {"format": "date-time"}],
                "example": "PT1H",
            },
        ),
        required=True,
        allow_none=True,
        validate=validate.Length(max=REMINDERS_MAXIMUM),
        metadata={
            "description": "How long before the due date (ISO 8601 durations), or when (RFC 3339)",
            "example": ["P1D", "PT1H", "2026-01-31T09:00:00+01:00"],
        },
    )


class Reminder(Schema):
    """A time at which the user is reminded of a task."""

    rule = fields.String(required=True, metadata={"description": "as it was given", "example": "PT1H"})
    due_at = fields.String(
        required=True,
        allow_none=True,
        metadata={"format": "date-time", "description": "null while the task has no due date"},
    )
    state = fields.String(
        required=True,
        validate=validate.OneOf(("pending", "sent", "cancelled")),
        metadata={"description": "`cancelled`: its time had passed when it was set, or the task is closed"},
    )
    sent_at = fields.String(required=True, allow_none=True, metadata={"format": "date-time"})


class Reminders(Schema):
    """The reminders of a task, in the order of their times."""

    is_own = fields.Boolean(
        required=True, metadata={"description": "whether the task has its own, and not those of its user"}
    )
    reminders = fields.List(fields.Nested(Reminder), required=True)

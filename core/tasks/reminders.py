"""The rules of a task's own reminders, as clients send them and as an import brings them."""

from typing import Any

from marshmallow import ValidationError, validate

from core.bounds import TIMESTAMP_MAXIMUM, List, String
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


def reminder_rules(**kwargs: Any) -> ReminderRules:
    """The field of a task's own reminders; null: it has those of its user."""
    return ReminderRules(
        ReminderRule(
            validate=validate.Length(max=TIMESTAMP_MAXIMUM),
            metadata={
                "anyOf": [{"format": "duration", "pattern": DURATION}, {"format": "date-time"}],
                "example": "PT1H",
            },
        ),
        allow_none=True,
        validate=validate.Length(max=REMINDERS_MAXIMUM),
        metadata={
            "description": "How long before the due date (ISO 8601 durations), or when (RFC 3339)",
            "example": ["P1D", "PT1H", "2035-01-31T09:00:00+01:00"],
        },
        **kwargs,
    )

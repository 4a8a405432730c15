"""What a client may send about reminders; the OpenAPI document is made from these same schemas."""

from marshmallow import Schema, fields, validate

from core.bounds import RequestSchema
from core.tasks.reminders import reminder_rules


class SetReminders(RequestSchema):
    """A task's own reminders instead of its user's; `null` gives it those of its user again, `[]` none."""

    reminders = reminder_rules(required=True)


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


class TaskReminders(Schema):
    """The reminders of a task, in the order of their times."""

    is_own = fields.Boolean(
        required=True, metadata={"description": "whether the task has its own, and not those of its user"}
    )
    reminders = fields.List(fields.Nested(Reminder), required=True)

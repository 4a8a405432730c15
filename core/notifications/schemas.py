"""What a client may send about notifications, and how they are answered."""

from typing import Any

from marshmallow import Schema, fields

from core.bounds import RequestSchema


class Notification(Schema):
    """Something that the service tells its user."""

    id = fields.Integer(required=True, metadata={"format": "int64"})
    event = fields.String(required=True, metadata={"example": "task.reminder"})
    task_id = fields.Integer(required=True, allow_none=True, metadata={"format": "int64"})
    text = fields.String(required=True, metadata={"example": "Renew the TLS certificates, due 2035-01-31 17:00 CET"})
    read_at = fields.String(required=True, allow_none=True, metadata={"format": "date-time"})
    created_at = fields.String(required=True, metadata={"format": "date-time"})


class UnreadCount(Schema):
    """How many notifications were not read yet."""

    unread = fields.Integer(required=True, metadata={"minimum": 0})


class TrueOrFalse(fields.Boolean):
    """A boolean of JSON; to Python 1 is one, too."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class NotificationUpdate(RequestSchema):
    """Marks a notification as read, or as not read."""

    read = TrueOrFalse(required=True)

"""What a client may send about notifications, and how they are answered."""

from marshmallow import Schema, fields


class Notification(Schema):
    """Something that the service tells its user."""

    id = fields.Integer(required=True, metadata={"format": "int64"})
    event = fields.String(required=True, metadata={"example": "task.reminder"})
    task_id = fields.Integer(required=True, allow_none=True, metadata={"format": "int64"})
    text = fields.String(required=True, metadata={"example": "Renew the TLS certificates, due 2026-01-31 17:00 CET"})
    read_at = fields.String(required=True, allow_none=True, metadata={"format": "date-time"})
    created_at = fields.String(required=True, metadata={"format": "date-time"})


class NotificationUpdate(Schema):
    """Marks a notification as read, or as not read."""

    read = fields.Boolean(required=True, truthy={True}, falsy={False})

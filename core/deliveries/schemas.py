"""Deliveries as the API tells them; the OpenAPI document is made from this."""

from marshmallow import Schema, fields, validate

DELIVERY_STATES = ("pending", "delivered", "failed", "dead")


class Delivery(Schema):
    """An event on its way to a channel."""

    id = fields.Integer(required=True)
    channel_id = fields.Integer(required=True)
    channel_name = fields.String(required=True, allow_none=True, metadata={"example": "On call"})
    event = fields.String(required=True, metadata={"example": "task.reminder"})
    state = fields.String(
        required=True,
        validate=validate.OneOf(DELIVERY_STATES),
        metadata={"description": "`failed` is tried again at `next_attempt_at`, `dead` is given up"},
    )
    attempts = fields.Integer(required=True)
    next_attempt_at = fields.String(required=True, allow_none=True, metadata={"format": "date-time"})
    last_error = fields.String(required=True, allow_none=True, metadata={"example": "The receiver answered 500."})
    created_at = fields.String(required=True, metadata={"format": "date-time"})

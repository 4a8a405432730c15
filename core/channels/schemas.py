"""What a client may send about channels; the OpenAPI document is made from these same schemas."""

import re
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from core.bounds import List, RequestSchema, String
from core.channels.targets import KINDS, URL_MAXIMUM, WEBHOOK
from core.tasks.values import NOT_BLANK, Text

EVENTS = (
    "task.reminder",
    "task.created",
    "task.updated",
    "task.completed",
    "task.deleted",
    "import.finished",
)
"""What a channel can be told of."""

TEST_EVENT = "channel.test"
NAME_MAXIMUM = 100
STATES = ("active", "disabled")
_TIME_OF_DAY = re.compile(r"^([01][0-9]|2[0-3]):[0-5][0-9]\Z")


def _different(values: list[str]) -> None:
    if len(set(values)) < len(values):
        raise ValidationError("Names something twice.")


def _time_of_day(**kwargs: Any) -> String:
    told = "Not a time of day such as 22:00."
    return String(
        required=True,
        validate=[validate.Regexp(_TIME_OF_DAY, error=told), validate.Length(max=5, error=told)],
        metadata=kwargs,
    )


def _url(**kwargs: Any) -> String:
    return String(
        validate=[
            validate.Length(1, URL_MAXIMUM),
            validate.ContainsNoneOf("\x00", error="Must not contain NUL characters."),
        ],
        metadata={
            "description": "a webhook's address, or the Apprise address of a service; told masked, once it is stored",
            "example": "https://example.com/hooks/tenfold",
        },
        **kwargs,
    )


def _name(**kwargs: Any) -> Text:
    return Text(
        trim=True,
        allow_none=True,
        validate=validate.Length(1, NAME_MAXIMUM),
        metadata={
            "description": f"what its owner calls it: 1 to {NAME_MAXIMUM} characters after trimming",
            "pattern": NOT_BLANK,
            "example": "On call",
        },
        **kwargs,
    )


def _events(**kwargs: Any) -> List[Any]:
    return List(
        String(validate=validate.OneOf(EVENTS)),
        validate=[validate.Length(1, len(EVENTS)), _different],
        metadata={"description": "what the channel is told of", "example": ["task.reminder"], "uniqueItems": True},
        **kwargs,
    )


class QuietHours(RequestSchema):
    """When nothing is sent, in the user's time zone; what comes up meanwhile is sent when they end."""

    start = _time_of_day(example="22:00")
    end = _time_of_day(example="07:00", description="the next day's where it is not after `start`")

    @validates_schema
    def _not_empty(self, data: Any, **_: Any) -> None:
        if data["start"] == data["end"]:
            raise ValidationError("Must differ from the start.", "end")


class ChannelCreate(RequestSchema):
    """A new channel."""

    name = _name(load_default=None)
    kind = String(
        validate=validate.OneOf(KINDS),
        metadata={
            "description": "what the address itself says, unless given: by its scheme, or by the host of a service "
            "that gives out addresses, such as Slack, Discord or Teams; `webhook` takes any as a receiver of one's own",
            "example": WEBHOOK,
        },
    )
    url = _url(required=True)
    events = _events(load_default=["task.reminder"])
    quiet_hours = fields.Nested(QuietHours, allow_none=True, load_default=None)


class ChannelUpdate(RequestSchema):
    """Changes of a channel: what is named is changed, null clears `name` and `quiet_hours` (RFC 7396)."""

    name = _name()
    url = _url()
    events = _events()
    quiet_hours = fields.Nested(QuietHours, allow_none=True)
    state = String(
        validate=validate.OneOf(STATES),
        metadata={"description": "`disabled` sends nothing, also not later what came up meanwhile"},
    )


class Channel(Schema):
    """Where a user is told of events."""

    id = fields.Integer(required=True)
    name = fields.String(required=True, allow_none=True, metadata={"example": "On call"})
    kind = fields.String(required=True, validate=validate.OneOf(KINDS), metadata={"example": WEBHOOK})
    url = fields.String(required=True, metadata={"description": "masked", "example": "https://example.com/***"})
    events = fields.List(fields.String(validate=validate.OneOf(EVENTS)), required=True)
    quiet_hours = fields.Nested(QuietHours, required=True, allow_none=True)
    state = fields.String(required=True, validate=validate.OneOf(STATES))
    failing_since = fields.String(
        required=True,
        allow_none=True,
        metadata={"format": "date-time", "description": "since when nothing could be delivered; null: it works"},
    )
    created_at = fields.String(required=True, metadata={"format": "date-time"})


class ChannelWithSecret(Channel):
    """A channel as the answer tells it that made it, or its secret."""

    secret = fields.String(
        metadata={
            "description": "of a webhook: verifies what it sends (Standard Webhooks). It is never told again.",
            "example": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        }
    )

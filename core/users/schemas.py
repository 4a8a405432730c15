"""What a client may send about users and sessions; the OpenAPI document is made from these same schemas."""

import re
from functools import lru_cache
from typing import Any
from zoneinfo import available_timezones

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from core.bounds import Email, List, RequestSchema, String
from core.durations import DURATION, DURATION_MAXIMUM, normalized_duration

USERNAME_PATTERN = r"^[A-Za-z0-9._-]+\Z"
USERNAME_MINIMUM = 3
USERNAME_MAXIMUM = 64
TIME_OF_DAY = r"^([01][0-9]|2[0-3]):[0-5][0-9]\Z"
PASSWORD_MINIMUM = 8
PASSWORD_MAXIMUM = 256
REMINDER_OFFSETS_MAXIMUM = 10
TIME_ZONE_MAXIMUM = 64


def can_be_username(text: str) -> bool:
    """Whether a user may have this name. Of such names alone Python and PostgreSQL make the same small letters."""
    return USERNAME_MINIMUM <= len(text) <= USERNAME_MAXIMUM and re.match(USERNAME_PATTERN, text) is not None


@lru_cache(maxsize=1)
def time_zones() -> frozenset[str]:
    """The names of all IANA time zones; `localtime`, which some systems add, is each machine's own."""
    return frozenset(available_timezones() - {"localtime"})


def known_time_zone(name: str) -> None:
    """Refuses what is no IANA time zone."""
    if name not in time_zones():
        raise ValidationError("Not an IANA time zone, such as Europe/Berlin.")


def _password(**kwargs: Any) -> String:
    return String(
        validate=[
            validate.Length(PASSWORD_MINIMUM, PASSWORD_MAXIMUM),
            validate.ContainsNoneOf("\x00", error="Must not contain NUL characters."),
        ],
        load_only=True,
        metadata={"format": "password", "description": "8 to 256 characters"},
        **kwargs,
    )


def _email(**kwargs: Any) -> Email:
    return Email(validate=validate.Length(max=254), metadata={"example": "ada@example.com"}, **kwargs)


class ReminderOffset(String):
    """An ISO 8601 duration; becomes the same in capitals."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        try:
            return normalized_duration(super()._deserialize(value, attr, data, **kwargs))
        except ValueError:
            raise ValidationError("Not an ISO 8601 duration of up to a year, such as P1D or PT1H.") from None


class ReminderOffsets(List[str]):
    """Offsets, each once."""

    def __init__(self) -> None:
        super().__init__(
            ReminderOffset(
                validate=validate.Length(max=DURATION_MAXIMUM), metadata={"format": "duration", "pattern": DURATION}
            ),
            validate=validate.Length(max=REMINDER_OFFSETS_MAXIMUM),
            metadata={
                "description": "How long before a due date to remind of it (ISO 8601 durations)",
                "example": ["P1D", "PT1H"],
            },
        )

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        return list(dict.fromkeys(super()._deserialize(value, attr, data, **kwargs)))


class Register(RequestSchema):
    """A new user."""

    username = String(
        required=True,
        validate=[
            validate.Length(USERNAME_MINIMUM, USERNAME_MAXIMUM),
            validate.Regexp(USERNAME_PATTERN, error="Only A-Z a-z 0-9 . _ - are allowed."),
        ],
        metadata={"description": "3 to 64 of A-Z a-z 0-9 . _ -; unique regardless of case", "example": "ada"},
    )
    email = _email(required=True)
    password = _password(required=True)


class Login(RequestSchema):
    """Who logs in. A name or password that no user can have is simply wrong (401), not invalid."""

    username = String(required=True, validate=validate.Length(max=1024))
    password = String(
        required=True, validate=validate.Length(max=1024), load_only=True, metadata={"format": "password"}
    )


class PasswordForm(Login):
    """An OAuth 2.0 password grant (RFC 6749, 4.3)."""

    grant_type = String(validate=validate.OneOf(("password",)))
    scope = String(validate=validate.Length(max=1024))
    client_id = String(validate=validate.Length(max=1024))
    client_secret = String(validate=validate.Length(max=1024), load_only=True)


class Refresh(RequestSchema):
    """A refresh token, to be exchanged or given back."""

    refresh_token = String(required=True, validate=validate.Length(1, 4096), load_only=True)


class ProfileUpdate(RequestSchema):
    """Changes only what it names. A new `password` needs the `current_password` and ends all sessions."""

    email = _email()
    time_zone = String(
        validate=[validate.Length(max=TIME_ZONE_MAXIMUM), known_time_zone],
        metadata={"format": "time-zone", "example": "Europe/Berlin"},
    )
    reminder_offsets = ReminderOffsets()
    all_day_reminder_time = String(
        validate=[
            validate.Length(max=len("09:00")),
            validate.Regexp(TIME_OF_DAY, error="Not a time of day, such as 09:00."),
        ],
        metadata={
            "description": "When to remind, by offsets of whole days such as P1D, of what is due all day: the time of "
            "day in the user's time zone",
            "example": "09:00",
        },
    )
    password = _password()
    current_password = String(validate=validate.Length(max=1024), load_only=True, metadata={"format": "password"})

    @validates_schema
    def _both_passwords(self, data: dict[str, Any], **_: Any) -> None:
        if "password" in data and "current_password" not in data:
            raise ValidationError("Give the current password, too.", "current_password")
        if "current_password" in data and "password" not in data:
            raise ValidationError("Give the new password, too.", "password")


class User(Schema):
    """A user as it is answered."""

    id = fields.Integer(required=True, metadata={"format": "int64"})
    username = fields.String(required=True)
    email = fields.String(required=True)
    role = fields.String(required=True, validate=validate.OneOf(("user", "admin")))
    time_zone = fields.String(required=True)
    reminder_offsets = fields.List(fields.String(), required=True, metadata={"example": ["P1D", "PT1H"]})
    all_day_reminder_time = fields.String(required=True, metadata={"example": "09:00"})
    created_at = fields.String(required=True, metadata={"format": "date-time"})
    updated_at = fields.String(required=True, metadata={"format": "date-time"})


class TokenPair(Schema):
    """What a login gives."""

    access_token = fields.String(required=True)
    token_type = fields.String(required=True, validate=validate.OneOf(("bearer",)))
    expires_in = fields.Integer(required=True, metadata={"description": "seconds"})
    refresh_token = fields.String(required=True)

"""The values that clients send about tasks, as marshmallow fields."""

import contextlib
import re
from datetime import UTC, date, datetime
from typing import Any
from unicodedata import normalize

from marshmallow import ValidationError, fields, validate

from core.bounds import TIMESTAMP_MAXIMUM, List, String
from core.tasks.rules import RecurrenceInvalid, normalized, parse_rule

NOT_BLANK = r"^[^\x00]*[^\s\x00][^\x00]*$"
LABEL = r"^[^\x00,]*[^\s\x00,][^\x00,]*$"
_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})\Z"
)

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")
DAY_CHARACTERS = len("2026-01-31")

COMPOSED_MAXIMUM = 1000
"""A longer text is not brought into another form before it is refused."""


def is_unicode(text: str) -> bool:
    """Whether it can be written as UTF-8: a lone half of a surrogate pair cannot."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return False
    return True


def is_storable(text: str) -> bool:
    """Whether PostgreSQL can hold it: it has no U+0000, and knows text as UTF-8 only."""
    return "\x00" not in text and is_unicode(text)


def _storable(text: str) -> None:
    if "\x00" in text:
        raise ValidationError("Must not contain NUL characters.")
    if not is_unicode(text):
        raise ValidationError("Must not contain lone surrogates.")


class Text(String):
    """A string that PostgreSQL can hold, optionally trimmed before its length is looked at, and that first.

    With `composed` it is brought into NFC: what looks the same is the same.
    """

    def __init__(self, *, trim: bool = False, composed: bool = False, **kwargs: Any) -> None:
        validators = kwargs.pop("validate", [])
        validators = validators if isinstance(validators, list) else [validators]
        super().__init__(validate=[_storable, *validators], **kwargs)
        self.trim = trim
        self._composed = composed

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if self._composed and isinstance(value, str) and not value.isascii() and len(value) <= COMPOSED_MAXIMUM:
            value = normalize("NFC", value)
        return super()._deserialize(
            value.strip() if self.trim and isinstance(value, str) else value, attr, data, **kwargs
        )


def utc_timestamp(text: str) -> str:
    """An RFC 3339 date and time with an offset as the same instant in UTC, as `isoformat` writes it.

    Raises:
        ValueError: it is none, or lies outside the years 1 to 9999 of UTC.
    """
    # fromisoformat also takes week dates, basic forms, hours alone and offsets with seconds.
    if not _RFC_3339.match(text):
        raise ValueError(text)
    text = text.upper()
    moment = datetime.fromisoformat(text)
    if text[19:] in ("Z", "+00:00"):
        return f"{text[:19]}+00:00"  # the same at a third of the time
    try:
        return moment.astimezone(UTC).isoformat()
    except OverflowError as error:
        raise ValueError(text) from error


def calendar_day(text: str) -> str:
    """A day of the calendar, such as 2026-01-31, as it came.

    Raises:
        ValueError: it is none, or has another form.
    """
    # fromisoformat also takes week dates and basic forms.
    if not _DAY.match(text):
        raise ValueError(text)
    date.fromisoformat(text)
    return text


def is_day(text: str) -> bool:
    """Whether a text is a day, of those that are a day or a moment."""
    return len(text) == DAY_CHARACTERS


NO_SUCH_DAY = "There is no such day in the calendar."


def _reason(value: Any, otherwise: str) -> str:
    """The key of the message for what is no day: it looks like one, or it does not."""
    return "no_day" if isinstance(value, str) and _DAY.match(value) else otherwise


class Timestamp(fields.Field[str]):
    """An RFC 3339 date and time with an offset; becomes the same instant in UTC, still as text.

    With `or_day` also a day of the calendar, which stays as it is.
    """

    default_error_messages = {  # noqa: RUF012
        "invalid": "Not an RFC 3339 date and time with an offset, such as 2026-01-31T17:00:00+01:00.",
        "neither": "Neither an RFC 3339 date and time with an offset, such as 2026-01-31T17:00:00+01:00, nor a day, "
        "such as 2026-01-31.",
        "no_day": NO_SUCH_DAY,
    }

    def __init__(self, *, or_day: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._or_day = or_day

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        message = "neither" if self._or_day else "invalid"
        if not isinstance(value, str) or len(value) > TIMESTAMP_MAXIMUM:
            raise self.make_error(message)
        try:
            return calendar_day(value) if self._or_day and is_day(value) else utc_timestamp(value)
        except ValueError:
            raise self.make_error(_reason(value, message) if self._or_day else message) from None


class CalendarDay(fields.Field[str]):
    """A day of the calendar, as text."""

    default_error_messages = {"invalid": "Not a day, such as 2026-01-31.", "no_day": NO_SUCH_DAY}  # noqa: RUF012

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if isinstance(value, str):
            with contextlib.suppress(ValueError):
                return calendar_day(value)
        raise self.make_error(_reason(value, "invalid"))


def _without_comma(text: str) -> None:
    if "," in text:
        raise ValidationError("Must not contain commas.")


def label_field(longest: int) -> Text:
    """One label, of up to `longest` characters."""
    return Text(
        trim=True,
        composed=True,
        validate=[_without_comma, validate.Length(1, longest)],
        metadata={"description": f"1 to {longest} characters after trimming, without commas", "pattern": LABEL},
    )


class Labels(List[str]):
    """Labels in the order in which they were sent, each once; null is none."""

    def deserialize(self, value: Any, attr: str | None = None, data: Any = None, **kwargs: Any) -> Any:
        labels = super().deserialize(value, attr, data, **kwargs)
        return list(dict.fromkeys(labels)) if isinstance(labels, list) else [] if value is None else labels

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[str | None]:
        try:
            return super()._deserialize(value, attr, data, **kwargs)
        except ValidationError as error:
            of_places: Any = error.messages
            if isinstance(of_places, list):
                raise
            raise ValidationError(
                [f"Label {place + 1}: {message}" for place, messages in of_places.items() for message in messages]
            ) from None


class Recurrence(Text):
    """A recurrence rule (RFC 5545, 3.3.10), as `core.tasks.rules` reads it."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = normalized(super()._deserialize(value, attr, data, **kwargs))
        try:
            parse_rule(text)
        except RecurrenceInvalid as error:
            raise ValidationError(str(error)) from None
        return text

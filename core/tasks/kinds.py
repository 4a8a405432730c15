"""The kinds of fields that tasks have. Each kind says how a value is read, described and checked.

A value is read in two ways. The marshmallow field decides, and it alone refuses, with its messages. The reader is fast:
it takes a plain value by a few checks, and leaves all others to the marshmallow field.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from unicodedata import normalize

from marshmallow import fields, validate

from core.bounds import String
from core.tasks.values import (
    CalendarDay,
    Labels,
    Recurrence,
    Text,
    Timestamp,
    calendar_day,
    is_day,
    is_storable,
    label_field,
    utc_timestamp,
)

Reader = Callable[[Any], Any]
"""Returns the value as it is stored, or raises `NotPlainError`."""


class NotPlainError(Exception):
    """A glance does not tell whether the value is valid: the schema has to look at it."""


class Kind(Protocol):
    """What the values of a field are."""

    @property
    def sql(self) -> str:
        """The type of the column."""

    def check(self, column: str) -> str | None:
        """The condition of the column's CHECK constraint; None: the type says all."""

    def request(self, **kwargs: Any) -> fields.Field[Any]:
        """The marshmallow field that reads what clients send: with `required`, `allow_none`, `load_default`."""

    def answer(self, *, allow_none: bool) -> fields.Field[Any]:
        """The marshmallow field that describes what is answered."""

    def reader(self, *, allow_none: bool) -> Reader:
        """The fast way of reading what clients send."""


# -- texts ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FreeText:
    """What people write; `minimum` and `maximum` count characters."""

    maximum: int
    minimum: int | None = None
    trim: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)
    sql: str = "text"

    def check(self, column: str) -> str | None:
        if self.minimum is None:
            return f"char_length({column}) <= {self.maximum}"
        return f"char_length({column}) BETWEEN {self.minimum} AND {self.maximum}"

    def request(self, **kwargs: Any) -> fields.Field[Any]:
        length = validate.Length(self.minimum, self.maximum)
        return Text(trim=self.trim, validate=length, metadata=self.metadata, **kwargs)

    def answer(self, *, allow_none: bool) -> fields.Field[Any]:
        return fields.String(required=True, allow_none=allow_none, metadata=_only("example", self.metadata))

    def reader(self, *, allow_none: bool) -> Reader:
        minimum, maximum, trim = self.minimum or 0, self.maximum, self.trim

        def read(value: Any) -> str | None:
            if type(value) is str:
                text = value.strip() if trim else value
                if minimum <= len(text) <= maximum and is_storable(text):
                    return text
            elif value is None and allow_none:
                return None
            raise NotPlainError

        return read


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some words."""

    words: tuple[str, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    sql: str = "text"

    def check(self, column: str) -> str | None:
        words = ", ".join(f"'{word}'" for word in self.words)
        return f"{column} IN ({words})"

    def request(self, **kwargs: Any) -> fields.Field[Any]:
        return String(validate=validate.OneOf(self.words), metadata=self.metadata, **kwargs)

    def answer(self, *, allow_none: bool) -> fields.Field[Any]:
        return fields.String(required=True, allow_none=allow_none, validate=validate.OneOf(self.words))

    def reader(self, *, allow_none: bool) -> Reader:
        words = self.words

        def read(value: Any) -> str | None:
            if type(value) is str and value in words:
                return value
            if value is None and allow_none:
                return None
            raise NotPlainError

        return read


# -- numbers --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Number:
    """A whole number from `minimum` to `maximum`; `sql` is the type of its column."""

    minimum: int
    maximum: int
    sql: str
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def check(self, column: str) -> str | None:
        return f"{column} BETWEEN {self.minimum} AND {self.maximum}"

    def request(self, **kwargs: Any) -> fields.Field[Any]:
        bounds = validate.Range(self.minimum, self.maximum)
        return fields.Integer(strict=True, validate=bounds, metadata=self.metadata, **kwargs)

    def answer(self, *, allow_none: bool) -> fields.Field[Any]:
        return fields.Integer(required=True, allow_none=allow_none, metadata=self.metadata)

    def reader(self, *, allow_none: bool) -> Reader:
        minimum, maximum = self.minimum, self.maximum

        def read(value: Any) -> int | None:
            if type(value) is int and minimum <= value <= maximum:
                return value
            if value is None and allow_none:
                return None
            raise NotPlainError

        return read


# -- times ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Moment:
    """A date and time; with `or_day` clients may send a day instead."""

    metadata: Mapping[str, Any] = field(default_factory=dict)
    or_day: bool = False
    sql: str = "timestamptz"

    def check(self, column: str) -> str | None:
        return None

    def request(self, **kwargs: Any) -> fields.Field[Any]:
        return Timestamp(or_day=self.or_day, metadata=self.metadata, **kwargs)

    def answer(self, *, allow_none: bool) -> fields.Field[Any]:
        return fields.String(required=True, allow_none=allow_none, metadata={"format": "date-time"})

    def reader(self, *, allow_none: bool) -> Reader:
        or_day = self.or_day

        def read(value: Any) -> str | None:
            if type(value) is str:
                try:
                    return calendar_day(value) if or_day and is_day(value) else utc_timestamp(value)
                except ValueError:
                    pass
            elif value is None and allow_none:
                return None
            raise NotPlainError

        return read


@dataclass(frozen=True, slots=True)
class Day:
    """A day of the calendar."""

    metadata: Mapping[str, Any] = field(default_factory=dict)
    sql: str = "date"

    def check(self, column: str) -> str | None:
        return None

    def request(self, **kwargs: Any) -> fields.Field[Any]:
        return CalendarDay(metadata=self.metadata, **kwargs)

    def answer(self, *, allow_none: bool) -> fields.Field[Any]:
        return fields.String(required=True, allow_none=allow_none, metadata=self.metadata)

    def reader(self, *, allow_none: bool) -> Reader:
        def read(value: Any) -> str | None:
            if type(value) is str:
                try:
                    return calendar_day(value)
                except ValueError:
                    pass
            elif value is None and allow_none:
                return None
            raise NotPlainError

        return read


# -- labels ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LabelList:
    """Up to `maximum` labels of up to `longest` characters, without commas."""

    maximum: int
    longest: int
    metadata: Mapping[str, Any] = field(default_factory=dict)
    sql: str = "text[]"

    def check(self, column: str) -> str | None:
        return f"cardinality({column}) <= {self.maximum}"

    def request(self, **kwargs: Any) -> fields.Field[Any]:
        return Labels(
            label_field(self.longest), validate=validate.Length(max=self.maximum), metadata=self.metadata, **kwargs
        )

    def answer(self, *, allow_none: bool) -> fields.Field[Any]:
        return fields.List(
            fields.String(), required=True, allow_none=allow_none, metadata=_only("example", self.metadata)
        )

    def reader(self, *, allow_none: bool) -> Reader:
        maximum, longest = self.maximum, self.longest

        def read_label(value: Any) -> str:
            if type(value) is str:
                label = (value if value.isascii() or len(value) > longest else normalize("NFC", value)).strip()
                if 0 < len(label) <= longest and "," not in label and is_storable(label):
                    return label
            raise NotPlainError

        def read(value: Any) -> list[str]:
            if type(value) is list and len(value) <= maximum:
                return list(dict.fromkeys(map(read_label, value)))
            if value is None and allow_none:
                return []
            raise NotPlainError

        return read


# -- recurrence -----------------------------------------------------------------------------------------------


def read_no_rule(value: Any) -> None:
    """The reader of rules: few tasks have one, and the schema looks at it together with the due date."""
    if value is not None:
        raise NotPlainError


@dataclass(frozen=True, slots=True)
class RecurrenceRule:
    """A recurrence rule of up to `maximum` characters."""

    maximum: int
    metadata: Mapping[str, Any] = field(default_factory=dict)
    sql: str = "text"

    def check(self, column: str) -> str | None:
        return f"char_length({column}) BETWEEN 1 AND {self.maximum}"

    def request(self, **kwargs: Any) -> fields.Field[Any]:
        return Recurrence(validate=validate.Length(1, self.maximum), metadata=self.metadata, **kwargs)

    def answer(self, *, allow_none: bool) -> fields.Field[Any]:
        return fields.String(required=True, allow_none=allow_none, metadata=_only("example", self.metadata))

    def reader(self, *, allow_none: bool) -> Reader:
        return read_no_rule


def _only(name: str, metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: metadata[name]} if name in metadata else {}

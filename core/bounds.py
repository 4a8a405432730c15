"""Schemas and fields that measure what a client sent before they read it: lists, texts, and unknown names.

marshmallow reads everything, however much there is, and makes a message for each fault. So the schemas that read
requests are made of these.
"""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from marshmallow import Schema, ValidationError, fields, validate

UNKNOWN_MAXIMUM = 50
"""How many unknown names are told; the others are counted."""

TIMESTAMP_MAXIMUM = 64
"""Characters of a date and time, which has 35 at the most."""

OMITTED: Any = object()
"""Key among marshmallow's messages: how many fields have no message because there were too many."""

T = TypeVar("T")


class RequestSchema(Schema):
    """Reads what a client sent. Of unknown names it tells a few and counts the others."""

    def load(
        self,
        data: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        many: bool | None = None,
        partial: Any = None,
        unknown: Any = None,
    ) -> Any:
        """As marshmallow's own; its messages have the key `OMITTED` where they leave any field out."""
        omitted = 0
        if isinstance(data, dict) and len(data) > len(self.load_fields) + UNKNOWN_MAXIMUM:
            data, omitted = self._with_few_unknown(data)
        try:
            return super().load(data, many=many, partial=partial, unknown=unknown)
        except ValidationError as error:
            if omitted and isinstance(error.messages, dict):
                error.messages[OMITTED] = omitted
            raise

    def _with_few_unknown(self, data: dict[str, Any]) -> tuple[dict[str, Any], int]:
        known = {field.data_key or name for name, field in self.load_fields.items()}
        kept = {name: data[name] for name in known if name in data}
        unknown = len(data) - len(kept)
        kept |= {name: data[name] for name in islice((name for name in data if name not in known), UNKNOWN_MAXIMUM)}
        return kept, max(0, unknown - UNKNOWN_MAXIMUM)


def maximum_of(field: fields.Field[Any]) -> int | None:
    """The most items or characters that a field takes, by its `validate.Length`."""
    return next(
        (found.max for found in field.validators if isinstance(found, validate.Length) and found.max is not None), None
    )


def refuse_longer(field: fields.Field[Any], value: Any) -> None:
    """Raises the ValidationError of the field's own `validate.Length` where the value is too long."""
    for found in field.validators:
        if isinstance(found, validate.Length) and found.max is not None and len(value) > found.max:
            found(value)


class String(fields.String):
    """A text; one that is too long is refused for that alone."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if not isinstance(value, str):
            raise self.make_error("invalid")
        refuse_longer(self, value)
        return value


class Email(String, fields.Email):
    """An e-mail address; one that is too long is refused for that alone."""


class List(fields.List[T]):
    """A list of JSON (marshmallow's own also takes the names of an object); one that is too long is refused unread.

    Raises:
        TypeError: it was defined without `validate.Length(max=…)`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if maximum_of(self) is None:
            raise TypeError("a list that clients send needs validate.Length(max=…)")

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[T | None]:
        if not isinstance(value, list):
            raise self.make_error("invalid")
        refuse_longer(self, value)
        return super()._deserialize(value, attr, data, **kwargs)

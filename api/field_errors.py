"""What is wrong with which field, cut such that a problem stays small, whatever was sent."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from core.bounds import OMITTED

FIELDS_MAXIMUM = 50
"""How many fields one problem names, or all results of a batch together."""

ERRORS_MAXIMUM_BYTES = 10 << 10
NAME_MAXIMUM_BYTES = 600
MESSAGE_MAXIMUM_BYTES = 900
MESSAGES_MAXIMUM = 20
_LARGEST_CHARACTER_BYTES = 6
"""As JSON writes control characters."""


@dataclass(slots=True)
class Room:
    """How much may still be said about fields: in one problem, or in all results of a batch together."""

    fields: int = FIELDS_MAXIMUM
    bytes: int = ERRORS_MAXIMUM_BYTES

    def tell(self, messages: Any) -> dict[str, Any]:
        """What a problem says of marshmallow's messages.

        Args:
            messages: nested as the fields are; `core.bounds.OMITTED` counts some that are not among them.

        Returns:
            `errors`: `{"operations.3.title": [...]}`, where `body` stands for the body as a whole; and
            `errors_omitted`, how many fields there was no room for, where there are any.
        """
        errors: dict[str, list[str]] = {}
        omitted = 0
        for name, found in _flat(messages):
            if isinstance(found, int):
                omitted += found
            elif not self.fields or not self._add(errors, name, found):
                omitted += 1
        told: dict[str, Any] = {"errors": errors} if errors else {}
        return {**told, "errors_omitted": omitted} if omitted else told

    def _add(self, errors: dict[str, list[str]], name: str, messages: list[Any]) -> bool:
        name = shortened(name, NAME_MAXIMUM_BYTES)
        texts = [shortened(str(message), MESSAGE_MAXIMUM_BYTES) for message in messages[:MESSAGES_MAXIMUM]]
        size = len(orjson.dumps([name, texts]))
        if size > self.bytes:
            self.fields = 0
        if size > self.bytes or name in errors:
            return False
        errors[name] = texts
        self.fields -= 1
        self.bytes -= size
        return True


def _flat(messages: Any, prefix: str = "") -> Iterator[tuple[str, list[Any] | int]]:
    if isinstance(messages, list):
        yield prefix or "body", messages
        return
    for key, value in messages.items():
        if key is OMITTED:
            yield prefix, value
            continue
        name = "body" if key == "_schema" else str(key)
        yield from _flat(value, f"{prefix}.{name}" if prefix else name)


def shortened(text: str, maximum_bytes: int) -> str:
    """The text, or its beginning where it would take more bytes as JSON.

    Lone surrogates are replaced: they come from headers that are no UTF-8, and JSON cannot say them.
    """
    most = maximum_bytes // _LARGEST_CHARACTER_BYTES
    is_long = len(text) > maximum_bytes
    whole = text[:maximum_bytes].encode(errors="replace").decode()
    if not is_long and (len(text) <= most or len(orjson.dumps(whole)) <= maximum_bytes):
        return whole
    return f"{whole[: most - 1]}…"

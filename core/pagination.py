"""Keyset paging: opaque cursors that remember where a page ended and for which filters and sort."""

import base64
import binascii
import hashlib
import uuid
from datetime import datetime
from typing import Any

import orjson

from core.errors import CursorInvalid
from core.ids import MAXIMUM_ID

_DIGEST_BYTES = 6
_CURSOR_MAXIMUM = 512
DAMAGED = "The cursor is damaged: begin again without it."


def scope_digest(*parts: Any) -> str:
    """A short digest of what a cursor is bound to: filters, sort, whose list it is."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=_DIGEST_BYTES).hexdigest()


def encode_cursor(scope: str, *position: Any) -> str:
    """An opaque cursor; it grants nothing, since every read is filtered by who asks."""
    return base64.urlsafe_b64encode(orjson.dumps([scope, *position])).decode().rstrip("=")


def decode_cursor(text: str, scope: str, *kinds: type) -> list[Any]:
    """The position in a cursor that `encode_cursor` made for the same scope.

    Args:
        text: from the client.
        scope: the digest of the filters and sort of this request.
        kinds: for each part of the position `int`, `datetime` (kept as text, infinities allowed), `uuid.UUID`
            (kept as text) or `str`.

    Raises:
        CursorInvalid: damaged, forged, or of other filters or another sort.
    """
    try:
        if len(text) > _CURSOR_MAXIMUM:
            raise ValueError(text)
        position: list[Any]
        found, *position = orjson.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
        if len(position) != len(kinds) or not all(
            _is_a(value, kind) for value, kind in zip(position, kinds, strict=True)
        ):
            raise ValueError(text)
    except (ValueError, TypeError, binascii.Error):
        raise CursorInvalid(DAMAGED) from None
    if found != scope:
        raise CursorInvalid("The cursor belongs to other filters or another sort: begin again without it.")
    return position


def _is_a(value: Any, kind: type) -> bool:
    if kind is int:
        return type(value) is int and abs(value) <= MAXIMUM_ID
    if not isinstance(value, str):
        return False
    if kind is str:
        return "\x00" not in value  # which PostgreSQL does not take
    if kind is uuid.UUID:
        uuid.UUID(value)
    elif value not in ("infinity", "-infinity"):
        return datetime.fromisoformat(value).tzinfo is not None
    return True

"""Rows as the database takes them: tasks with the key by which each is known again, and what was wrong with others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from asyncpg.pgproto.pgproto import UUID

from core.formats.rows import Source, Values
from core.tasks.columns import task_arrays
from core.tasks.fields import IMPORTED

KEY_BYTES = 16
CONTENT_BYTES = 12
OCCURRENCE_BYTES = KEY_BYTES - CONTENT_BYTES
MOST_EQUALS = (1 << 8 * OCCURRENCE_BYTES) - 1

OnConflict = Literal["skip", "update", "error"]

FIELD_BITS = {field.name: 1 << place for place, field in enumerate(IMPORTED)}

_DEFAULTS = {field.name: field.default for field in IMPORTED}
# What a row without an external id is known by; never to be changed, or files are imported twice. Fields that came
# later count only in rows that set them: all others are known from before there were such fields.
_CONTENT = ("title", "description", "priority", "status", "due_date", "labels", "created_at", "completed_at")
_RULE = ("recurrence", "recurrence_from")
_LATER = {name: default for name, default in _DEFAULTS.items() if name not in (*_CONTENT, *_RULE)}


@dataclass(slots=True)
class TaskRow:
    """A row that passed validation.

    Attributes:
        number: as the format counts.
        key: of what the row is about: its source and external id, else its content and which of its equals it is.
        is_of_content: whether the key was made from the content.
        given: a bit for each field that the row has (`FIELD_BITS`).
        fields: as `load_import` returns them.
        values: the row as it stands in the file, as far as its errors show it.
        source: all of the row, where that is more.
    """

    number: int
    key: UUID
    is_of_content: bool
    given: int
    fields: dict[str, Any]
    values: Values
    source: Source | None = None


@dataclass(slots=True)
class RowError:
    """One thing that is wrong with a row; `ordinal` counts from 1 within the row, `values` and `source` are its own."""

    number: int
    ordinal: int
    column: str | None
    message: str
    values: Values
    source: Source | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """What is told of a row that did not fail; `ordinal` counts from 1 within the row."""

    number: int
    ordinal: int
    column: str | None
    message: str


def content_key(content: bytes, occurrence: int) -> UUID:
    """The key of a row that has no external id: a digest of what it says, and the how many-th of its equals it is."""
    return UUID(content + occurrence.to_bytes(OCCURRENCE_BYTES, "big"))


def content_and_occurrence(key: UUID) -> tuple[bytes, int]:
    """What `content_key` made the key of."""
    return key.bytes[:CONTENT_BYTES], int.from_bytes(key.bytes[CONTENT_BYTES:], "big")


def content_of(fields: Mapping[str, Any]) -> list[Any]:
    """What a row says, for the digest in its key."""
    content = [fields.get(name, _DEFAULTS[name]) for name in _CONTENT]
    if fields.get("recurrence") is not None:
        content += [fields.get(name, _DEFAULTS[name]) for name in _RULE]
    for name, default in _LATER.items():
        if name == "due_day" and fields.get("due_date") is not None:
            continue  # files name the end of a day beside it, by which such rows are known from before there were days
        if fields.get(name, default) != default:
            content += [name, fields[name]]
    return content


def columns_of(rows: Sequence[TaskRow]) -> list[list[Any]]:
    """The fields of rows, column by column, in the order of `IMPORTED`, as statements take them."""
    return task_arrays([row.fields for row in rows], IMPORTED)


def merge(earlier: TaskRow, later: TaskRow) -> bool:
    """Lets the later row change what it has fields for; returns whether that changed anything."""
    changed = False
    for name, default in _DEFAULTS.items():
        value = later.fields.get(name, default)
        if later.given & FIELD_BITS[name] and earlier.fields.get(name, default) != value:
            earlier.fields[name] = value
            changed = True
    if earlier.fields["status"] != "completed":
        earlier.fields["completed_at"] = None
    earlier.given |= later.given
    return changed


def conflict(row: TaskRow, message: str) -> RowError:
    """What `on_conflict=error` says of a row."""
    return RowError(row.number, 1, "external_id", message, row.values, row.source)

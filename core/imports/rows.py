"""Rows as the database takes them: tasks with the key by which each is known again, and what was wrong with others."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from asyncpg.pgproto.pgproto import UUID

from core.formats.rows import Values

KEY_BYTES = 16
CONTENT_BYTES = 12
OCCURRENCE_BYTES = KEY_BYTES - CONTENT_BYTES
MOST_EQUALS = (1 << 8 * OCCURRENCE_BYTES) - 1

OnConflict = Literal["skip", "update", "error"]

FIELDS = (
    "title", "description", "priority", "status", "due_date", "labels", "created_at", "completed_at", "recurrence",
    "recurrence_from",
)  # fmt: skip
FIELD_BITS = {name: 1 << place for place, name in enumerate(FIELDS)}


@dataclass(slots=True)
class TaskRow:
    """A row that passed validation.

    Attributes:
        number: as the format counts.
        key: of what the row is about: its source and external id, else its content and which of its equals it is.
        is_of_content: whether the key was made from the content.
        given: a bit for each field that the row has (`FIELD_BITS`).
        values: the row as it stands in the file.
    """

    number: int
    key: UUID
    is_of_content: bool
    given: int
    title: str
    description: str | None
    priority: int
    status: str
    due_date: datetime | None
    labels: list[str]
    created_at: datetime | None
    completed_at: datetime | None
    recurrence: str | None
    recurrence_from: str
    values: Values


@dataclass(slots=True)
class RowError:
    """One thing that is wrong with a row; `ordinal` counts from 1 within the row."""

    number: int
    ordinal: int
    column: str | None
    message: str
    values: Values


def content_key(content: bytes, occurrence: int) -> UUID:
    """The key of a row that has no external id: a digest of what it says, and the how many-th of its equals it is."""
    return UUID(content + occurrence.to_bytes(OCCURRENCE_BYTES, "big"))


def content_and_occurrence(key: UUID) -> tuple[bytes, int]:
    """What `content_key` made the key of."""
    return key.bytes[:CONTENT_BYTES], int.from_bytes(key.bytes[CONTENT_BYTES:], "big")


def columns_of(rows: Sequence[TaskRow]) -> tuple[list[Any], ...]:
    """The fields of rows, column by column, in the order of `FIELDS`."""
    return (
        [row.title for row in rows],
        [row.description for row in rows],
        [row.priority for row in rows],
        [row.status for row in rows],
        [row.due_date for row in rows],
        [_array_literal(row.labels) if row.labels else None for row in rows],
        [row.created_at for row in rows],
        [row.completed_at for row in rows],
        [row.recurrence for row in rows],
        [row.recurrence_from for row in rows],
    )


def _array_literal(texts: Sequence[str]) -> str:
    """A `text[]` in PostgreSQL's own notation: arrays inside an array of parameters would have to be of one length."""
    quoted = (text.replace("\\", "\\\\").replace('"', '\\"') for text in texts)
    return "{" + ",".join(f'"{text}"' for text in quoted) + "}"


def merge(earlier: TaskRow, later: TaskRow) -> bool:
    """Lets the later row change what it has fields for; returns whether that changed anything."""
    changed = False
    for name, bit in FIELD_BITS.items():
        if later.given & bit and getattr(earlier, name) != getattr(later, name):
            setattr(earlier, name, getattr(later, name))
            changed = True
    if earlier.status != "completed":
        earlier.completed_at = None
    earlier.given |= later.given
    return changed


def conflict(row: TaskRow, message: str) -> RowError:
    """What `on_conflict=error` says of a row."""
    return RowError(row.number, 1, "external_id", message, row.values)

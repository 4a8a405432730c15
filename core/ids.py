"""Identifiers that the service makes itself; task ids are made by the database (`next_task_id()`)."""

import uuid

from uuid_utils import uuid7

# Any fixed namespace will do; it only keeps our UUIDv5 values apart from other people's.
_IDEMPOTENCY_NAMESPACE = uuid.UUID("5d0f7b5e-9c7d-4c0a-8a35-0d8e4a1f6c10")
MAXIMUM_ID = (1 << 53) - 1
"""Every whole number up to it is safe in JavaScript."""


def new_job_id() -> str:
    """A time-ordered UUID (RFC 9562, version 7), so that fresh job rows share the index's hot end."""
    return str(uuid7())


def job_id_for_key(user_id: int, idempotency_key: str) -> str:
    """The job id that belongs to a user's `Idempotency-Key` (UUIDv5 of user and key)."""
    return str(uuid.uuid5(_IDEMPOTENCY_NAMESPACE, f"{user_id}:{idempotency_key}"))


def is_job_id(text: str) -> bool:
    """Whether `text` is a UUID in its canonical form."""
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False

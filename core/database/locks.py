"""Locks that workers take and the API cannot: rows, which only those can lock who may change them.

An advisory lock can be had by whoever can run SQL at all, and would stop those who wait for it.
"""

import contextlib
from collections.abc import AsyncIterator
from enum import StrEnum

import asyncpg
import sqlalchemy as sa

from core.database.pools import Connection
from core.database.schema import metadata
from core.database.transactions import LONGEST_TRANSACTION_SECONDS, transaction_begun_with

locks = sa.Table(
    "locks",
    metadata,
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("number", sa.SmallInteger, nullable=False),
    sa.PrimaryKeyConstraint("kind", "number"),
)

PER_USER = 1024
"""So many numbers has a lock that is one for each user: some users share one."""


class Lock(StrEnum):
    """What is locked."""

    import_chunks = "import chunks"
    """One for each user: two chunks of one user's imports are never written at the same time."""
    import_claims = "import claims"
    reminders = "reminders"
    """One for each user, whose reminders are sent by one worker at a time."""
    time_zones = "time zones"
    """One for each user, whose time zone changes when nobody is writing by it (`held_time_zone`)."""


def number_of(user_id: int) -> int:
    """The number of a user's lock."""
    return user_id % PER_USER


def statement(lock: Lock, number: int = 0) -> str:
    """SQL that waits for a lock and keeps it until the transaction ends."""
    return f"SELECT FROM locks WHERE kind = '{lock}' AND number = {number:d} FOR UPDATE"


@contextlib.asynccontextmanager
async def locked(
    connection: Connection, lock: Lock, number: int = 0, *, longest_seconds: int = LONGEST_TRANSACTION_SECONDS
) -> AsyncIterator[None]:
    """A transaction under a lock, begun in one round trip.

    Args:
        connection: not in a transaction.
        lock: what is locked.
        number: which of them, where there are several.
        longest_seconds: when the server ends the transaction.
    """
    async with transaction_begun_with(connection, statement(lock, number), longest_seconds=longest_seconds) as status:
        if status != "SELECT 1":
            raise asyncpg.NoDataFoundError(f"there is no lock {lock} {number}")
        yield

"""Who drains a lane, by PostgreSQL: whoever claimed it last.

The queue server says who shall drain. But a worker that froze and wakes up may still believe that it is the one. So
each drain takes a new token, and each of its transactions holds the lane's row under that token. Two drains are never
in a transaction at the same time, and the older one learns that it has lost the lane.
"""

import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg

from core.database.pools import Connection, Pool
from core.database.transactions import transaction_begun_with
from core.leases import new_lease_owner

LANE_TRANSACTION_SECONDS = 3
"""The longest transaction of a drain: also how long a frozen one keeps its lane from others."""

_LOST = "TF001"
_NAME = re.compile(r"[a-z0-9-]{1,40}\Z")

_CLAIM = """
INSERT INTO lanes AS l (name, token, claimed_by) VALUES ($1, 1, $2)
ON CONFLICT (name) DO UPDATE SET token = l.token + 1, claimed_by = excluded.claimed_by, claimed_at = now()
RETURNING token
"""


class LaneLost(Exception):
    """Another drain has claimed the lane: nothing was changed, and the rest is the other's."""


@dataclass(frozen=True, slots=True)
class LaneLease:
    """A lane and the token of the drain that claimed it."""

    lane: str
    token: int


async def claim_lane(pool: Pool, lane: str) -> LaneLease:
    """Takes a lane; waits for the transaction that an earlier drain is in.

    Raises:
        ValueError: that is no name of a lane.
        Exception: a transient fault.
    """
    if not _NAME.match(lane):
        raise ValueError("not a lane")
    return LaneLease(lane, await pool.fetchval(_CLAIM, lane, new_lease_owner()))


@contextlib.asynccontextmanager
async def lane_transaction(
    connection: Connection, lease: LaneLease, *, longest_seconds: float = LANE_TRANSACTION_SECONDS
) -> AsyncIterator[None]:
    """A transaction that no other drain of the lane can have at the same time, begun in one round trip.

    Args:
        connection: not in a transaction.
        lease: of the drain.
        longest_seconds: when the server ends the transaction.

    Raises:
        LaneLost: another drain has claimed the lane.
    """
    try:
        hold = f"SELECT hold_lane('{lease.lane}', {lease.token:d})"
        async with transaction_begun_with(connection, hold, longest_seconds=longest_seconds):
            yield
    except asyncpg.PostgresError as error:
        if error.sqlstate == _LOST:
            raise LaneLost(lease.lane) from None
        raise

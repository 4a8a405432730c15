"""Claims deliveries that are due, channel by channel, under a lease."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from core.database.pools import Pool
from core.database.transactions import bounded_transaction
from core.deliveries.messages import message_id

LEASE_SECONDS = 120.0
CHANNELS_A_CLAIM = 1000

# Walks from channel to channel along the index, with a limit for each: a channel with a hundred thousand deliveries
# keeps nobody else waiting. A claim moves the next attempt to the end of the lease. So deliveries that are being sent
# are not looked at, and are due again if their worker dies.
_CLAIM = """
WITH RECURSIVE waiting (channel_id, number) AS (
    (SELECT d.channel_id, 1
     FROM   deliveries AS d
     WHERE  d.state IN ('pending', 'failed') AND d.channel_id > $2
     ORDER  BY d.channel_id
     LIMIT  1)
    UNION ALL
    SELECT following.channel_id, w.number + 1
    FROM   waiting AS w,
           LATERAL (SELECT d.channel_id
                    FROM   deliveries AS d
                    WHERE  d.state IN ('pending', 'failed') AND d.channel_id > w.channel_id
                    ORDER  BY d.channel_id
                    LIMIT  1) AS following
    WHERE  w.number < $3
), picked AS MATERIALIZED (
    SELECT due.id, due.next_attempt_at
    FROM   (SELECT w.channel_id, c.failing_since, c.state, known.room
            FROM   waiting AS w
                   JOIN channels AS c ON c.id = w.channel_id
                   LEFT JOIN unnest($6::bigint[], $7::integer[]) AS known (id, room) ON known.id = w.channel_id
            WHERE  (c.held_until IS NULL OR c.held_until <= now() OR c.state <> 'active')
            AND    c.user_id <> ALL ($9::bigint[])
            ORDER  BY w.number) AS w,
           LATERAL (SELECT d.id, d.next_attempt_at
                    FROM   deliveries AS d
                    WHERE  d.channel_id = w.channel_id
                    AND    d.state IN ('pending', 'failed')
                    AND    d.next_attempt_at <= now()
                    ORDER  BY d.next_attempt_at
                    LIMIT  greatest(0, CASE WHEN w.failing_since IS NULL OR w.state <> 'active'
                                            THEN coalesce(w.room, $5)
                                            ELSE least(1, coalesce(w.room, 1)) END)
                    FOR    UPDATE SKIP LOCKED) AS due
    LIMIT  $4
), claimed AS (
    UPDATE deliveries AS d
    SET    lease_owner = $1, lease_until = now() + make_interval(secs => $8),
           next_attempt_at = now() + make_interval(secs => $8)
    FROM   picked
    WHERE  d.id = picked.id
    RETURNING d.id, d.event_id, d.channel_id, d.user_id, d.attempts, d.redelivered_at, d.message_id,
              picked.next_attempt_at AS due_at
), looked AS (
    SELECT max(channel_id) AS last_channel, count(*) AS channels FROM waiting
)
SELECT looked.last_channel, looked.channels, d.id, d.channel_id, d.user_id, d.attempts, d.due_at,
       d.redelivered_at, d.message_id::text, c.kind, c.url_encrypted, c.secrets_encrypted, c.quiet_hours::text,
       c.state AS channel_state, u.time_zone,
       e.type AS event, e.task_id, e.data::text,
       to_char(e.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at,
       e.type = 'task.reminder' AND e.task_id IS NOT NULL AND (NOT EXISTS (
           SELECT FROM tasks AS t
           WHERE  t.user_id = e.user_id AND t.id = e.task_id
           AND    t.status IN ('pending', 'in_progress', 'blocked')) OR EXISTS (
           SELECT FROM fan_outs AS f
           WHERE  f.user_id = e.user_id AND f.is_void AND e.id = ANY (f.event_ids))) AS is_void
FROM   looked
       LEFT JOIN (claimed AS d
                  JOIN events   AS e ON e.id = d.event_id
                  JOIN channels AS c ON c.id = d.channel_id
                  JOIN users    AS u ON u.id = d.user_id) ON true
"""

_STILL_WANTED = """
SELECT d.id
FROM   deliveries AS d JOIN channels AS c ON c.id = d.channel_id
WHERE  d.id = ANY ($2::bigint[]) AND d.lease_owner = $1 AND c.state = 'active'
AND    NOT EXISTS (SELECT FROM fan_outs AS f
                   WHERE  f.user_id = d.user_id AND f.is_void AND d.event_id = ANY (f.event_ids))
"""


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    """A delivery that a worker may make until its lease lapses.

    Attributes:
        url_encrypted: sealed, as the channel has it.
        secrets_encrypted: of a webhook, the newest first.
        is_disabled: whether its channel is disabled, or is being deleted.
        is_void: whether it is a reminder of a task that is not open any more, or was taken back.
        task_id: that the event is about.
        data: of the event, as JSON.
        due_at: when it was to be sent; later than at first, if it was tried, put off, or claimed by a worker that died.
        redelivered_at: when its owner asked for it to be sent once more.
        claimed_at: on this process's monotonic clock, in seconds.
        message_id: what its receiver knows it by, the same at each attempt and like no other installation's.
    """

    id: int
    channel_id: int
    user_id: int
    attempts: int
    due_at: datetime
    redelivered_at: datetime | None
    kind: str
    url_encrypted: bytes
    secrets_encrypted: tuple[bytes, ...]
    quiet_hours: dict[str, Any] | None
    time_zone: str
    is_disabled: bool
    is_void: bool
    event: str
    task_id: int | None
    data: str
    created_at: str
    claimed_at: float
    message_id: str


@dataclass(frozen=True, slots=True)
class Claim:
    """What a claim came to.

    Attributes:
        deliveries: those that are ours now.
        next_channel: where the next claim goes on; 0: at the beginning, since all channels were looked at.
    """

    deliveries: list[ClaimedDelivery]
    next_channel: int


async def claim_deliveries(
    pool: Pool,
    owner: str,
    *,
    after_channel: int,
    limit: int,
    a_channel: int,
    rooms: Mapping[int, int],
    sated: Sequence[int] = (),
) -> Claim:
    """Claims what is due, from the channels behind one, in their order.

    Args:
        pool: of the worker.
        owner: of the lease.
        after_channel: the `next_channel` of the claim before.
        limit: the most that are claimed.
        a_channel: the most of one channel; of one that fails, one.
        rooms: channel → the most of it, where the worker holds some of it already.
        sated: users of whom nothing is claimed.
    """
    claimed_at = time.monotonic()
    async with bounded_transaction(pool, fresh_plans=True) as connection:
        rows = await connection.fetch(
            _CLAIM,
            owner,
            after_channel,
            CHANNELS_A_CLAIM,
            limit,
            a_channel,
            list(rooms),
            list(rooms.values()),
            LEASE_SECONDS,
            sated,
        )
    deliveries = [_claimed(row, claimed_at) for row in rows if row["id"] is not None]
    if len(deliveries) >= limit:  # the next claim begins behind these, so that all have a turn
        return Claim(deliveries, max(delivery.channel_id for delivery in deliveries))
    is_all = rows[0]["channels"] < CHANNELS_A_CLAIM
    return Claim(deliveries, 0 if is_all else rows[0]["last_channel"])


def _claimed(row: Any, claimed_at: float) -> ClaimedDelivery:
    return ClaimedDelivery(
        id=row["id"],
        channel_id=row["channel_id"],
        user_id=row["user_id"],
        attempts=row["attempts"],
        due_at=row["due_at"],
        redelivered_at=row["redelivered_at"],
        kind=row["kind"],
        url_encrypted=row["url_encrypted"],
        secrets_encrypted=tuple(row["secrets_encrypted"] or ()),
        quiet_hours=None if row["quiet_hours"] is None else orjson.loads(row["quiet_hours"]),
        time_zone=row["time_zone"],
        is_disabled=row["channel_state"] != "active",
        is_void=row["is_void"],
        event=row["event"],
        task_id=row["task_id"],
        data=row["data"],
        created_at=row["created_at"],
        claimed_at=claimed_at,
        message_id=message_id(row["message_id"], row["id"]),
    )


async def still_wanted(pool: Pool, owner: str, claimed: Sequence[int]) -> set[int]:
    """Which of the claimed deliveries may still be sent: the owner still holds them, their channels are active, and
    what they tell of was not taken back."""
    async with bounded_transaction(pool, fresh_plans=True) as connection:
        return {row["id"] for row in await connection.fetch(_STILL_WANTED, owner, claimed)}

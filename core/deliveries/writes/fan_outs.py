"""Deliveries of large fan-outs: made, or taken back, a chunk at a time, of one user after the other."""

from dataclasses import dataclass

from core.database.pools import Pool
from core.database.transactions import bounded_transaction

DELIVERIES_AT_ONCE = 1000
_CHANNELS_OF_AN_EVENT = 50  # a guess: the true number is known only when they are read

# One statement, so that a worker that dies in the middle has made none of them. The channels are those that wanted the
# events when they happened. A channel that was disabled since gets its deliveries, too, and they end like its others.
_FAN_OUT = f"""
WITH next AS MATERIALIZED (
    SELECT id, user_id, event_ids, channel_ids, is_void,
           greatest(1, $2 / CASE WHEN is_void THEN {_CHANNELS_OF_AN_EVENT:d}
                                 ELSE greatest(1, cardinality(channel_ids)) END)::integer AS number
    FROM   fan_outs
    WHERE  user_id > $1
    ORDER  BY user_id, id
    LIMIT  1
    FOR    UPDATE SKIP LOCKED
), made AS (
    INSERT INTO deliveries (event_id, channel_id, user_id)
    SELECT e.id, c.id, next.user_id
    FROM   next,
           LATERAL (SELECT id FROM events WHERE id = ANY (next.event_ids[:next.number])) AS e,
           LATERAL (SELECT id FROM channels
                    WHERE  id = ANY (next.channel_ids) AND state <> 'deleted' FOR KEY SHARE) AS c
    WHERE  NOT next.is_void
    ORDER  BY e.id, c.id
    ON     CONFLICT (event_id, channel_id) DO NOTHING
    RETURNING id
), taken_back AS (
    UPDATE deliveries AS d
    SET    state = 'dead', next_attempt_at = NULL, lease_owner = NULL, lease_until = NULL,
           last_error = 'cancelled: the task was closed, deleted or moved'
    FROM   next
    WHERE  next.is_void AND d.state IN ('pending', 'failed') AND d.event_id = ANY (next.event_ids[:next.number])
    RETURNING d.id
), shortened AS (
    UPDATE fan_outs AS f
    SET    event_ids = next.event_ids[next.number + 1:]
    FROM   next
    WHERE  f.id = next.id AND cardinality(next.event_ids) > next.number
), done AS (
    DELETE FROM fan_outs AS f
    USING  next
    WHERE  f.id = next.id AND cardinality(next.event_ids) <= next.number
)
SELECT next.user_id, next.is_void, (SELECT count(*) FROM made) + (SELECT count(*) FROM taken_back) AS deliveries
FROM   next
"""  # noqa: S608

_WAITING = "SELECT coalesce(sum(cardinality(event_ids)), 0)::bigint FROM fan_outs"


@dataclass(frozen=True, slots=True)
class FannedOut:
    """How many deliveries were made, or taken back because their events are void, and whose."""

    user_id: int
    deliveries: int
    is_void: bool


async def fan_out(pool: Pool, *, after_user: int, at_once: int = DELIVERIES_AT_ONCE) -> FannedOut | None:
    """Makes up to `at_once` of the deliveries that events still lack, of the next user behind `after_user`.

    Users take turns: after the last comes the first. Each delivery is made once, however many workers do this. The
    deliveries of events that were taken back are ended in the same way.

    Returns:
        None: there are no such events, or others are at work on all of them.
    """
    async with bounded_transaction(pool, fresh_plans=True) as connection:
        row = await connection.fetchrow(_FAN_OUT, after_user, at_once)
        if row is None and after_user:
            row = await connection.fetchrow(_FAN_OUT, 0, at_once)
    return None if row is None else FannedOut(row["user_id"], row["deliveries"], row["is_void"])


async def events_to_fan_out(pool: Pool) -> int:
    """How many events wait for their deliveries to be made or taken back."""
    return int(await pool.fetchval(_WAITING))

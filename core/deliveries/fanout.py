"""Deliveries of events that are many: made a chunk at a time, of one user after the other."""

from dataclasses import dataclass

from core.database import BOUNDED, FRESH_PLANS, Pool

DELIVERIES_AT_ONCE = 1000

# Both in one statement: whoever dies in the middle has made none of them. A channel is one of those that wanted the
# events when they happened; one that has been disabled since gets them all the same, and they end as its others do.
_FAN_OUT = """
WITH next AS MATERIALIZED (
    SELECT id, user_id, event_ids, channel_ids,
           greatest(1, $2 / greatest(1, cardinality(channel_ids)))::integer AS number
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
    ORDER  BY e.id, c.id
    ON     CONFLICT (event_id, channel_id) DO NOTHING
    RETURNING id
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
SELECT next.user_id, (SELECT count(*) FROM made) AS deliveries FROM next
"""


@dataclass(frozen=True, slots=True)
class FannedOut:
    """Some deliveries that were made: how many, and whose."""

    user_id: int
    deliveries: int


async def fan_out(pool: Pool, *, after_user: int, at_once: int = DELIVERIES_AT_ONCE) -> FannedOut | None:
    """Makes up to `at_once` of the deliveries that events still lack, of the next user behind `after_user`.

    Users take turns: behind the last comes the first. Each delivery is made once, whoever else is at work.

    Returns:
        None: there are no such events, or others are at work on all of them.
    """
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(f"{BOUNDED}; {FRESH_PLANS}")
        row = await connection.fetchrow(_FAN_OUT, after_user, at_once)
        if row is None and after_user:
            row = await connection.fetchrow(_FAN_OUT, 0, at_once)
    return None if row is None else FannedOut(row["user_id"], row["deliveries"])

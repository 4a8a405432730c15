"""Records what became of deliveries, in sets, and what it means for their channels."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.database.pools import Pool
from core.database.transactions import bounded_transaction

DISABLED_AFTER_DAYS = 5

_RECORD = """
UPDATE deliveries AS d
SET    state           = coalesce(o.state, d.state),
       attempts        = d.attempts + o.attempts,
       next_attempt_at = now() + make_interval(secs => o.delay_seconds),
       last_error      = CASE WHEN o.state IS NULL THEN d.last_error ELSE o.error END,
       lease_owner     = NULL,
       lease_until     = NULL
FROM   unnest($2::bigint[], $3::text[], $4::smallint[], $5::double precision[], $6::text[])
       AS o (id, state, attempts, delay_seconds, error)
WHERE  d.id = o.id AND d.lease_owner = $1 AND d.state IN ('pending', 'failed')
RETURNING d.id, d.state
"""

_WORKS_AGAIN = """
UPDATE channels SET failing_since = NULL, held_until = NULL
WHERE  id = ANY ($1::bigint[]) AND (failing_since IS NOT NULL OR held_until IS NOT NULL)
"""

_FAILS = """
UPDATE channels AS c
SET    failing_since = coalesce(c.failing_since, now()),
       held_until    = greatest(c.held_until, now() + make_interval(secs => f.hold_seconds))
FROM   unnest($1::bigint[], $2::double precision[]) AS f (id, hold_seconds)
WHERE  c.id = f.id AND (c.failing_since IS NULL OR f.hold_seconds IS NOT NULL)
"""

_DISABLE = """
WITH disabled AS (
    UPDATE channels
    SET    state = 'disabled'
    WHERE  state = 'active'
    AND    (id = ANY ($1::bigint[])
            OR id = ANY ($2::bigint[]) AND failing_since < now() - make_interval(days => $3))
    RETURNING user_id, CASE WHEN name IS NULL THEN url_masked ELSE format('%s (%s)', name, url_masked) END AS told,
              id = ANY ($1::bigint[]) AS is_gone
), told AS (
    INSERT INTO notifications (user_id, event, text)
    SELECT user_id, 'channel.disabled',
           CASE WHEN is_gone THEN format('The channel %s was disabled: its receiver says that it is gone.', told)
                ELSE format('The channel %s was disabled: nothing could be delivered to it for %s days.',
                            told, $3) END
    FROM   disabled
)
SELECT count(*) FROM disabled
"""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a claimed delivery.

    Attributes:
        state: None: it was not tried, and waits as before.
        attempts: how many to add.
        delay_seconds: in how long it is due again; None: never.
        error: for its owner; quotes nothing of the address.
        hold_seconds: how long the receiver wants to hear nothing of the channel.
        is_gone: whether the receiver does not want to hear of it ever again.
    """

    delivery_id: int
    channel_id: int
    state: str | None
    attempts: int = 1
    delay_seconds: float | None = None
    error: str | None = None
    hold_seconds: float | None = None
    is_gone: bool = False


async def record_results(pool: Pool, owner: str, results: Sequence[Result]) -> dict[int, str]:
    """Records what became of deliveries that are still the owner's, and what it means for their channels.

    Returns:
        Delivery → state, of those that were recorded.
    """
    # In order, so that two workers never wait for each other.
    ordered = sorted(results, key=lambda result: result.delivery_id)
    async with bounded_transaction(pool, fresh_plans=True) as connection:
        rows = await connection.fetch(
            _RECORD,
            owner,
            [result.delivery_id for result in ordered],
            [result.state for result in ordered],
            [result.attempts for result in ordered],
            [result.delay_seconds for result in ordered],
            [result.error for result in ordered],
        )
    tried = [result for result in ordered if result.attempts]
    works = {result.channel_id for result in tried if result.state == "delivered"}
    holds: dict[int, float | None] = {}
    for result in tried:
        if result.state != "delivered" and (result.channel_id not in works or result.hold_seconds):
            holds[result.channel_id] = max(holds.get(result.channel_id) or 0.0, result.hold_seconds or 0.0) or None
    if works:
        await pool.execute(_WORKS_AGAIN, sorted(works))
    gone = {result.channel_id for result in tried if result.is_gone}
    if holds or gone:
        channels = sorted(holds)
        await pool.execute(_FAILS, channels, [holds[channel] for channel in channels])
        await pool.execute(_DISABLE, sorted(gone), channels, DISABLED_AFTER_DAYS)
    return {row["id"]: row["state"] for row in rows}

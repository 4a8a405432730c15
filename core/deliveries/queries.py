"""Reads of deliveries: the caller's own, as finished JSON, newest first."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.database.read_pool import ReadPool
from core.database.reads import fetch_row, fetch_rows
from core.identity import ME, MY_ID

DELIVERY_JSON = """
    (SELECT row_to_json(delivery)::text
     FROM   (SELECT d.id, d.channel_id, (SELECT c.name FROM channels AS c WHERE c.id = d.channel_id) AS channel_name,
                    d.event, d.state, d.attempts,
                    json_moment(d.next_attempt_at)::json AS next_attempt_at, d.last_error,
                    json_moment(d.created_at)::json AS created_at) AS delivery)
"""

# The event is looked up for the rows of the page only.
_EVENT = "(SELECT e.type FROM events AS e WHERE e.id = found.event_id) AS event"
_OF_A_CHANNEL = "EXISTS (SELECT FROM channels AS c WHERE c.id = found.channel_id AND c.state <> 'deleted')"

_ONE = f"""
SELECT {DELIVERY_JSON} AS delivery
FROM   {ME},
       LATERAL (SELECT found.*, {_EVENT}
                FROM   deliveries AS found
                WHERE  found.user_id = {MY_ID} AND found.id = $2 AND {_OF_A_CHANNEL}
                LIMIT  1) AS d
"""  # noqa: S608

_LIST = f"""
SELECT d.id, {DELIVERY_JSON} AS delivery
FROM   {ME},
       LATERAL (SELECT found.*, {_EVENT}
                FROM   deliveries AS found
                WHERE  found.user_id = {MY_ID}
                AND    ($2::text[] IS NULL OR found.state = ANY ($2))
                AND    ($3::bigint IS NULL OR found.channel_id = $3)
                AND    ($4::bigint IS NULL OR found.id < $4)
                AND    {_OF_A_CHANNEL}
                ORDER  BY found.id DESC
                LIMIT  $5) AS d
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class ListedDelivery:
    """A delivery in a list, with its place in the order."""

    body: str
    id: int


async def read_delivery(pool: ReadPool, user_id: int, delivery_id: int) -> str | None:
    """The user's own delivery; None where there is none.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    row = await fetch_row(pool, _ONE, pool.identities.user(user_id), delivery_id)
    return None if row is None else row["delivery"]


async def list_deliveries(
    pool: ReadPool,
    user_id: int,
    *,
    states: Sequence[str] | None,
    channel_id: int | None,
    before: int | None,
    limit: int,
) -> list[ListedDelivery]:
    """The user's own deliveries, newest first; `before` is the id of the last one seen.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    rows = await fetch_rows(pool, _LIST, pool.identities.user(user_id), states, channel_id, before, limit)
    return [ListedDelivery(row["delivery"], row["id"]) for row in rows]

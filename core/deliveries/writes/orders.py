"""What commands do to deliveries."""

from collections.abc import Sequence

from core.channels.writes import channel_is_disabled
from core.commands.effects import Effect
from core.commands.kinds import Operation, Redeliver
from core.database.pools import Connection
from core.deliveries.queries import DELIVERY_JSON

_REDELIVER = f"""
WITH d AS (
    UPDATE deliveries AS d
    SET    state = 'pending', attempts = 0, next_attempt_at = now(), last_error = NULL,
           lease_owner = NULL, lease_until = NULL, redelivered_at = now()
    FROM   channels AS c
    WHERE  d.id = $2 AND d.user_id = $1 AND c.id = d.channel_id AND c.state = 'active'
    RETURNING d.*, (SELECT e.type FROM events AS e WHERE e.id = d.event_id) AS event
)
SELECT {DELIVERY_JSON} AS delivery FROM d
"""  # noqa: S608

_EXISTS = """
SELECT true
FROM   deliveries AS d JOIN channels AS c ON c.id = d.channel_id
WHERE  d.id = $2 AND d.user_id = $1 AND c.state <> 'deleted'
"""


async def redeliver(connection: Connection, wanted: Sequence[Operation[Redeliver]]) -> list[Effect]:
    """Lets deliveries begin anew, whatever became of them."""
    effects = []
    for one in wanted:
        delivery = await connection.fetchval(_REDELIVER, one.user_id, one.payload["id"])
        if delivery is not None:
            effects.append(Effect(200, delivery))
        elif await connection.fetchval(_EXISTS, one.user_id, one.payload["id"]):
            effects.append(channel_is_disabled())
        else:
            effects.append(Effect.rejected("not-found", "There is no such delivery."))
    return effects

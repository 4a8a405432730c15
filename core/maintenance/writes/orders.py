"""Orders of maintenance, by the clock or by an admin.

A tick is on record once, whichever worker noticed it first, and is not noticed at all while an earlier run of the same
job is still to be done.
"""

from collections.abc import Sequence
from datetime import datetime

import orjson

from core.authority import current_admins, forbidden
from core.commands.effects import Effect
from core.commands.kinds import Operation, OrderMaintenance
from core.database.pools import Connection, Pool
from core.jobs.outcomes import BEGUN
from core.maintenance.schedule import SCHEDULE

CLOCKS_APART_SECONDS = 24 * 3600.0
"""How far ahead a worker's clock may be before a tick runs twice. The limit is needed: a clock that was years ahead
once must not stop maintenance for years."""

_ORDER = """
INSERT INTO maintenance_runs (name, tick, state, job_id, arguments)
SELECT o.name, now(), 'queued', o.job_id::uuid, o.arguments::json
FROM   unnest($1::text[], $2::text[], $3::text[]) AS o (name, job_id, arguments)
"""


async def order_maintenance(connection: Connection, orders: Sequence[Operation[OrderMaintenance]]) -> list[Effect]:
    """Orders one run for each of `orders`; their jobs' rows are still to be written, by the same transaction.

    Args:
        connection: in a transaction.
        orders: refused unless their users are admins now.
    """
    admins = await current_admins(connection, [order.user_id for order in orders])
    allowed = [order for order in orders if order.user_id in admins]
    await connection.execute(
        _ORDER,
        [order.payload["name"] for order in allowed],
        [order.job_id for order in allowed],
        [orjson.dumps(order.payload.get("arguments", {})).decode() for order in allowed],
    )
    return [Effect(BEGUN) if order.user_id in admins else forbidden() for order in orders]


_NOTE = """
INSERT INTO maintenance_runs (name, tick, state, arguments)
SELECT t.name, t.tick, 'queued', '{}'
FROM   unnest($1::text[], $2::timestamptz[]) AS t (name, tick)
WHERE  NOT EXISTS (SELECT FROM maintenance_runs AS m
                   WHERE  m.name = t.name
                   AND    (m.tick BETWEEN t.tick AND t.tick + make_interval(secs => $3)
                           OR m.state IN ('queued', 'running')))
ON     CONFLICT (name, tick) WHERE job_id IS NULL DO NOTHING
"""


async def note_ticks(pool: Pool, now: datetime) -> int:
    """Records which jobs are due; returns how many are new.

    A run that an admin has ordered counts as the tick before it.
    """
    ticks = [interval.tick(now) for interval in SCHEDULE.values()]
    return int((await pool.execute(_NOTE, list(SCHEDULE), ticks, CLOCKS_APART_SECONDS)).rpartition(" ")[2])

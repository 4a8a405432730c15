"""Reads of maintenance: for admins each job with its next tick and its last runs; for gauges the last successes."""

from datetime import datetime

import orjson

from core.database.pools import Pool
from core.database.read_pool import ReadPool
from core.database.reads import fetch_rows
from core.identity import ME
from core.maintenance.schedule import NAMES, SCHEDULE, SWEEP

RUNS_TOLD = 10

_RUNS = f"""
SELECT n.name, coalesce(r.runs, '[]') AS runs, r.last_success
FROM   {ME},
       unnest($2::text[]) AS n (name),
       LATERAL (
           SELECT '[' || string_agg(row_to_json(told)::text, ',' ORDER BY m.place) FILTER (WHERE m.place <= $3) || ']'
                  AS runs,
                  json_moment(max(m.finished_at) FILTER (WHERE m.state = 'succeeded')) AS last_success
           FROM   (SELECT *, row_number() OVER (ORDER BY started_at DESC NULLS FIRST, id DESC) AS place
                   FROM   maintenance_runs
                   WHERE  me IS NOT NULL AND name = n.name) AS m,
                  LATERAL (SELECT m.state, json_moment(m.started_at)::json AS started_at,
                                  json_moment(m.finished_at)::json AS finished_at,
                                  extract(epoch FROM m.finished_at - m.started_at)::float8 AS seconds,
                                  m.rows, m.error, m.job_id) AS told) AS r
"""  # noqa: S608


async def list_maintenance(pool: ReadPool, user_id: int, now: datetime) -> bytes:
    """Every job of maintenance as finished JSON; the caller, `user_id`, is known to be an admin.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    found = {
        row["name"]: row
        for row in await fetch_rows(pool, _RUNS, pool.identities.admin(user_id), list(NAMES), RUNS_TOLD)
    }
    items = []
    for name in NAMES:
        interval = SCHEDULE.get(name, SWEEP)
        row = found[name]
        items.append(
            {
                "name": name,
                "every_seconds": interval.seconds,
                "next_run_at": interval.next_tick(now),
                "last_success_at": orjson.Fragment(row["last_success"]),
                "runs": orjson.Fragment(row["runs"]),
            }
        )
    return orjson.dumps({"items": items}, option=orjson.OPT_UTC_Z)


_LAST_SUCCESSES = """
SELECT name, extract(epoch FROM max(finished_at))::float8 AS moment
FROM   maintenance_runs
WHERE  state = 'succeeded'
GROUP  BY name
"""


async def last_successes(pool: Pool) -> dict[str, float]:
    """Name → when the job last succeeded, in seconds since 1970; for jobs that have a success on record."""
    return {row["name"]: row["moment"] for row in await pool.fetch(_LAST_SUCCESSES)}

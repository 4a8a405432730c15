"""Runs of maintenance: claimed with a lease, and what came of them.

A run that fails for a fault that passes goes back to where it was; one whose worker died is claimed again when its
lease has lapsed.
"""

from dataclasses import dataclass
from typing import Any

import orjson

from core.commands.effects import problem
from core.database.pools import Pool
from core.leases import LEASE_SECONDS
from core.maintenance.schedule import SWEEPS

KEPT_RUNS = 100
"""How many runs of each job stay on record."""

ATTEMPTS_MAXIMUM = 5
"""How often a run may be left in the middle. Its worker may have died of it each time."""


@dataclass(frozen=True, slots=True)
class ClaimedRun:
    """A run that is ours as long as the lease lasts.

    Attributes:
        owner: the name of this claim.
        job_id: of the job to which it belongs, where an admin has ordered it.
        is_allowed: whether whoever ordered it is still an admin.
        attempts: how many claims there have been, this one included.
    """

    id: int
    owner: str
    name: str
    arguments: dict[str, Any]
    job_id: str | None
    attempts: int
    is_allowed: bool


# A queued run may have a lease without an owner: after a transient fault it rests until then. Orders of admins go
# first.
_CLAIM = """
WITH next AS MATERIALIZED (
    SELECT id
    FROM   maintenance_runs
    WHERE  state IN ('queued', 'running')
    AND    (lease_until IS NULL OR lease_until < now())
    ORDER  BY job_id IS NULL, id
    LIMIT  1
    FOR    UPDATE SKIP LOCKED
), claimed AS (
    UPDATE maintenance_runs AS m
    SET    state = 'running', attempts = m.attempts + 1, started_at = coalesce(m.started_at, now()),
           lease_owner = $1, lease_until = now() + make_interval(secs => $2)
    FROM   next
    WHERE  m.id = next.id
    RETURNING m.*
), begun AS (
    UPDATE jobs AS j
    SET    state = 'processing', started_at = coalesce(j.started_at, now())
    FROM   claimed
    WHERE  j.id = claimed.job_id
    AND    j.state = 'queued'
)
SELECT c.id, c.name, c.arguments::text, c.job_id::text, c.attempts,
       c.job_id IS NULL OR EXISTS (SELECT FROM jobs AS j JOIN users AS u ON u.id = j.user_id
                                   WHERE  j.id = c.job_id AND u.role = 'admin') AS is_allowed
FROM   claimed AS c
"""

_RENEW = """
UPDATE maintenance_runs
SET    lease_until = now() + make_interval(secs => $3)
WHERE  id = $1
AND    lease_owner = $2
"""

_RELEASE = """
UPDATE maintenance_runs
SET    state = 'queued', attempts = greatest(attempts - 1, 0), lease_owner = NULL,
       lease_until = now() + make_interval(secs => $3)
WHERE  id = $1
AND    lease_owner = $2
"""

_END = """
WITH done AS (
    UPDATE maintenance_runs
    SET    state = $3, rows = $4, error = $5, finished_at = clock_timestamp(), lease_owner = NULL, lease_until = NULL
    WHERE  id = $1
    AND    lease_owner = $2
    RETURNING *
), told AS (
    UPDATE jobs AS j
    SET    state = $6, status_code = $7, error = $8::text::json, finished_at = clock_timestamp(),
           result = CASE WHEN $8::text IS NULL THEN row_to_json(counted) END
    FROM   done, LATERAL (SELECT done.rows) AS counted
    WHERE  j.id = done.job_id
    AND    j.state IN ('queued', 'processing')
)
DELETE FROM maintenance_runs AS m
USING  done
WHERE  m.name = done.name
AND    m.state IN ('succeeded', 'failed')
AND    m.id <= (SELECT id FROM maintenance_runs WHERE name = done.name ORDER BY id DESC OFFSET $9 LIMIT 1)
"""


async def claim_run(pool: Pool, owner: str) -> ClaimedRun | None:
    """Takes the run that has waited longest: new, released, or left by a dead worker; None: there is none."""
    row = await pool.fetchrow(_CLAIM, owner, LEASE_SECONDS)
    if row is None:
        return None
    arguments = orjson.loads(row["arguments"])
    return ClaimedRun(row["id"], owner, row["name"], arguments, row["job_id"], row["attempts"], row["is_allowed"])


async def renew_run(pool: Pool, claim: ClaimedRun) -> bool:
    """Prolongs the lease; False: the run is not ours any more."""
    return await pool.execute(_RENEW, claim.id, claim.owner, LEASE_SECONDS) == "UPDATE 1"


async def release_run(pool: Pool, claim: ClaimedRun, *, pause_seconds: float) -> None:
    """Lets others claim the run, after a pause; this attempt does not count."""
    await pool.execute(_RELEASE, claim.id, claim.owner, pause_seconds)


async def finish_run(pool: Pool, claim: ClaimedRun, *, rows: int) -> None:
    """The run has succeeded, and removed or made so many rows."""
    await pool.execute(_END, claim.id, claim.owner, "succeeded", rows, None, "succeeded", 200, None, KEPT_RUNS)


async def fail_run(pool: Pool, claim: ClaimedRun, name: str, detail: str) -> None:
    """The run ends with a problem of a kind in `REJECTIONS`."""
    content = problem(name, detail)
    status = content["status"]
    await pool.execute(
        _END, claim.id, claim.owner, "failed", 0, detail, "failed" if status >= 500 else "rejected", status,
        orjson.dumps(content).decode(), KEPT_RUNS,
    )  # fmt: skip


# Only the last run of each is kept: they run thousands of times a day.
_RECORD_SWEEP = """
INSERT INTO maintenance_runs (name, tick, state, arguments, attempts, started_at, finished_at, rows, error)
VALUES ($1, '-infinity', $2, '{}', 1, clock_timestamp() - make_interval(secs => $3), clock_timestamp(), $4, $5)
ON     CONFLICT (name, tick) WHERE job_id IS NULL DO UPDATE
SET    state = excluded.state, started_at = excluded.started_at, finished_at = excluded.finished_at,
       rows = excluded.rows, error = excluded.error
"""


async def record_sweep(pool: Pool, name: str, *, seconds: float, rows: int, error: str | None) -> None:
    """Records that a sweep has just run, and how long it took; `error`: why it failed, if it did."""
    assert name in SWEEPS
    await pool.execute(_RECORD_SWEEP, name, "succeeded" if error is None else "failed", seconds, rows, error)

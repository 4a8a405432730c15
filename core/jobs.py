"""Queues, and the `jobs` table: a command's outcome, its idempotency record and its status page in one row."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa
from arq.connections import ArqRedis
from sqlalchemy.dialects.postgresql import JSON, UUID

from core.commands import Command, Effect, Outcome
from core.database import Connection, Pool, delete_in_chunks, fetch_row, fetch_rows, is_data_fault, metadata
from core.errors import CursorInvalid
from core.identity import ME, MY_ID
from core.lanes import WRITES_QUEUE
from core.pagination import DAMAGED
from core.readpool import ReadPool
from core.redis import wake_channel

MAINTENANCE_QUEUE = "tenfold:maintenance"
BULK_QUEUE = "tenfold:bulk"
TIME_QUEUE = "tenfold:time"
QUEUES = {"writes": WRITES_QUEUE, "bulk": BULK_QUEUE, "time": TIME_QUEUE, "maintenance": MAINTENANCE_QUEUE}
"""The names that operators use → the arq queues."""

LONG_WORK = {"import": "run_imports", "export": "run_exports"}
"""Kinds of jobs that outlive their command → the arq job that looks for such work. `<kind>.cancel` ends one."""

STATES = ("queued", "processing", "succeeded", "rejected", "failed", "cancelled")
BEGUN = 202
"""The status of a command that began long work, whose outcome its job will tell."""
FINAL_STATES = frozenset({"succeeded", "rejected", "failed", "cancelled"})

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", UUID, primary_key=True),
    sa.Column("user_id", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("status_code", sa.SmallInteger),
    sa.Column("task_id", sa.BigInteger),
    sa.Column("result", JSON),
    sa.Column("error", JSON),
    sa.Column("progress", JSON),
    sa.Column("fingerprint", sa.Text),
    sa.Column("request_id", sa.Text),
    sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("started_at", sa.TIMESTAMP(timezone=True)),
    sa.Column("finished_at", sa.TIMESTAMP(timezone=True)),
    sa.CheckConstraint(
        "state IN ('queued', 'processing', 'succeeded', 'rejected', 'failed', 'cancelled')", name="state"
    ),
    sa.Index("jobs_user_id_created_at_id_idx", "user_id", "created_at", "id"),
    # Rows arrive in the order of their time, so a block range index finds what is past its retention.
    sa.Index("jobs_created_at_idx", "created_at", postgresql_using="brin", postgresql_with={"autosummarize": "on"}),
)


@dataclass(frozen=True, slots=True)
class StoredOutcome:
    """What a job row says of a command that was carried out before; of long work, how far it has come."""

    status_code: int
    result: str | None
    error: str | None
    task_id: int | None
    fingerprint: str | None
    created_at: str

    def answer_to(self, command: Command) -> dict[str, Any]:
        """The outcome for `command`, which has this row's job id: the first outcome, or a refusal.

        A second delivery of the same command and a client's repeat differ in when they were taken.
        """
        if self.fingerprint != command.fingerprint:
            return outcome_message(command, key_reuse())
        error = None if self.error is None else orjson.loads(self.error)
        first = Effect(self.status_code, self.result, error, self.task_id, self._version())
        return outcome_message(command, first, replayed=self.created_at != command.created_at)

    def _version(self) -> int | None:
        """The task's, where the result is a task."""
        if self.task_id is None or self.result is None:
            return None
        version: int | None = orjson.loads(self.result).get("version")
        return version


def key_reuse() -> Effect:
    """The refusal of a command whose idempotency key belongs to another request."""
    return Effect.rejected(
        "idempotency-key-reuse",
        "This Idempotency-Key was used for another request: choose a new key for a new request.",
        errors={"Idempotency-Key": ["Was used for another request."]},
    )


def outcome_message(command: Command, effect: Effect, *, replayed: bool = False) -> dict[str, Any]:
    """An `Outcome` in its wire form.

    The result is a text in it, as PostgreSQL made it and as it will be answered: nobody on the way need read it.
    """
    return {
        "id": command.id,
        "status_code": effect.status_code,
        "result": effect.result,
        "error": effect.error,
        "task_id": effect.task_id,
        "version": effect.version,
        "replayed": replayed,
        "token": command.token,
    }


def state_of(effect: Effect) -> str:
    """The job state that an effect leads to."""
    if effect.status_code == BEGUN:
        return "queued"
    if effect.error is None:
        return "succeeded"
    return "failed" if effect.status_code >= 500 else "rejected"


_RECORD = """
INSERT INTO jobs (id, user_id, kind, state, status_code, task_id, result, error, fingerprint, request_id,
                  created_at, started_at, finished_at)
SELECT j.id::uuid, j.user_id, j.kind, j.state, j.status_code, j.task_id, j.result::json, j.error::json,
       j.fingerprint, j.request_id, j.created_at::timestamptz,
       CASE WHEN j.state <> 'queued' THEN now() END, CASE WHEN j.state <> 'queued' THEN clock_timestamp() END
FROM   unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::smallint[], $6::bigint[], $7::text[], $8::text[],
              $9::text[], $10::text[], $11::text[])
       AS j (id, user_id, kind, state, status_code, task_id, result, error, fingerprint, request_id, created_at)
ON CONFLICT (id) DO NOTHING
"""

_STORED = """
SELECT id::text, coalesce(status_code, 202) AS status_code, result::text, error::text, task_id, fingerprint,
       to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"') AS created_at
FROM   jobs
WHERE  id = ANY ($1::text[]::uuid[])
"""


async def record_jobs(connection: Connection, done: Sequence[tuple[Command, Effect]]) -> int:
    """Writes the job rows of commands, in the transaction of their effects.

    Returns:
        How many rows were new; fewer than `done` means that a command had been carried out before, and that
        the transaction must be rolled back.
    """
    commands = [command for command, _ in done]
    effects = [effect for _, effect in done]
    status = await connection.execute(
        _RECORD,
        [c.id for c in commands],
        [c.user_id for c in commands],
        [c.kind for c in commands],
        [state_of(e) for e in effects],
        [None if e.status_code == BEGUN else e.status_code for e in effects],
        [e.task_id for e in effects],
        [None if e.status_code == BEGUN else e.result for e in effects],
        [None if e.error is None else orjson.dumps(e.error).decode() for e in effects],
        [c.fingerprint for c in commands],
        [c.request_id for c in commands],
        [c.created_at for c in commands],
    )
    return int(status.rpartition(" ")[2])


async def stored_outcomes(connection: Connection, job_ids: Sequence[str]) -> dict[str, StoredOutcome]:
    """Job id → outcome, for those of the commands that were carried out before."""
    rows = await connection.fetch(_STORED, job_ids)
    return {row["id"]: _stored(row) for row in rows}


def _stored(row: Any) -> StoredOutcome:
    return StoredOutcome(
        row["status_code"], row["result"], row["error"], row["task_id"], row["fingerprint"], row["created_at"]
    )


async def call_bulk(queue: ArqRedis, kind: str) -> None:
    """Lets a worker look for long work of a kind in `LONG_WORK`, and wakes one."""
    await queue.enqueue_job(LONG_WORK[kind], _queue_name=BULK_QUEUE)
    await queue.publish(wake_channel(BULK_QUEUE), "")


async def call_time(queue: ArqRedis, job: str) -> None:
    """Lets a worker look for what has come due: `send_due_reminders` or `deliver`."""
    await queue.enqueue_job(job, _queue_name=TIME_QUEUE)
    await queue.publish(wake_channel(TIME_QUEUE), "")


async def call_maintenance(queue: ArqRedis) -> None:
    """Lets a worker look for runs of maintenance that were ordered, and wakes one."""
    await queue.enqueue_job("run_maintenance", _queue_name=MAINTENANCE_QUEUE)
    await queue.publish(wake_channel(MAINTENANCE_QUEUE), "")


# What a stored problem lacks is what makes it one occurrence of its kind (RFC 9457, 3.1.5): where, for which request.
JOB_COLUMNS_JSON = """
    j.id, j.kind, j.state, j.created_at, j.started_at, j.finished_at, j.progress, j.status_code, j.result,
    (left(j.error::text, -1) || ',"instance":"/jobs/' || j.id || '","request_id":'
     || coalesce(to_json(j.request_id)::text, 'null') || '}')::json AS error
"""
"""SQL: what every job shows of itself, of a row of `jobs AS j`."""

_JOB_JSON = f"(SELECT row_to_json(job)::text FROM (SELECT {JOB_COLUMNS_JSON}) AS job)"  # noqa: S608

_ONE = f"""
SELECT {_JOB_JSON} AS job, j.state, j.kind
FROM   {ME},
       LATERAL (SELECT * FROM jobs WHERE user_id = {MY_ID} AND id = $2::text::uuid LIMIT 1) AS j
"""  # noqa: S608

_OUTCOME = f"""
SELECT j.*
FROM   {ME},
       LATERAL (SELECT id::text, coalesce(status_code, 202) AS status_code, result::text, error::text,
                       task_id, fingerprint,
                       to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"') AS created_at
                FROM   jobs WHERE user_id = {MY_ID} AND id = $2::text::uuid LIMIT 1) AS j
"""  # noqa: S608

_LIST = f"""
SELECT j.id::text, j.created_at::text, {_JOB_JSON} AS job
FROM   {ME},
       LATERAL (SELECT * FROM jobs
                WHERE  user_id = {MY_ID}
                AND    ($2::text[] IS NULL OR kind = ANY ($2))
                AND    ($3::text[] IS NULL OR state = ANY ($3))
                AND    ($4::text IS NULL OR (created_at, id) < ($4::text::timestamptz, $5::text::uuid))
                ORDER  BY created_at DESC, id DESC
                LIMIT  $6) AS j
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class JobView:
    """A job as its owner sees it: finished JSON, and what decides about headers."""

    body: str
    state: str
    kind: str


@dataclass(frozen=True, slots=True)
class ListedJob:
    """A job in a list, with its place in the order (newest first)."""

    body: str
    created_at: str
    id: str


async def read_job(pool: ReadPool, user_id: int, job_id: str) -> JobView | None:
    """The user's own job; None where there is no row (yet).

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    row = await fetch_row(pool, _ONE, pool.identities.user(user_id), job_id)
    return None if row is None else JobView(row["job"], row["state"], row["kind"])


async def list_jobs(
    pool: ReadPool,
    user_id: int,
    *,
    kinds: Sequence[str] | None,
    states: Sequence[str] | None,
    after: tuple[str, str] | None,
    limit: int,
) -> list[ListedJob]:
    """The user's own jobs, newest first; `after` is the place (`created_at`, `id`) of the last one seen.

    Raises:
        CursorInvalid: `after`, which comes from a cursor, is no place.
        DatabaseUnavailable: the database cannot answer.
    """
    return await fetch_newest_first(pool, _LIST, pool.identities.user(user_id), kinds, states, after=after, limit=limit)


async def fetch_newest_first(
    pool: ReadPool, sql: str, *arguments: Any, after: tuple[str, str] | None, limit: int
) -> list[ListedJob]:
    """Jobs of any kind, as `sql` finds them.

    Args:
        sql: gives `id`, `created_at` and `job` (finished JSON), all text; its last three parameters are the place's
            two halves, null on the first page, and the limit.
        arguments: for its first parameters.
        after: the place (`created_at`, `id`) of the last one seen.

    Raises:
        CursorInvalid: `after`, which comes from a cursor, is no place.
        DatabaseUnavailable: the database cannot answer.
    """
    try:
        rows = await fetch_rows(pool, sql, *arguments, *(after or (None, None)), limit)
    except Exception as error:
        if after and is_data_fault(error):
            raise CursorInvalid(DAMAGED) from None
        raise
    return [ListedJob(row["job"], row["created_at"], row["id"]) for row in rows]


async def find_outcome(pool: ReadPool, command: Command) -> Outcome | None:
    """What a command came to, where it was carried out already.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    row = await fetch_row(pool, _OUTCOME, pool.identities.user(command.user_id), command.id)
    return None if row is None else Outcome(**_stored(row).answer_to(command))


_PURGE = """
DELETE FROM jobs
WHERE  ctid = ANY (ARRAY(
    SELECT ctid FROM jobs WHERE created_at < now() - make_interval(hours => $1)
    AND    kind <> 'export'
    AND    state IN ('succeeded', 'rejected', 'failed', 'cancelled') LIMIT $2
))
"""


async def purge_jobs(pool: Pool, *, retention_hours: int, chunk: int = 5000) -> int:
    """Deletes finished jobs past their retention, `chunk` rows a transaction; returns how many.

    Exports are not among them: they are told of for longer than their files are kept.
    """
    return await delete_in_chunks(pool, _PURGE, retention_hours, chunk=chunk)

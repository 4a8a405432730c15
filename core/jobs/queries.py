"""Reads of jobs: what a user sees, and the outcomes of commands that were carried out before."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core.commands.effects import Outcome
from core.commands.wire import Command
from core.database.faults import is_data_fault
from core.database.pools import Connection
from core.database.read_pool import ReadPool
from core.database.reads import fetch_row, fetch_rows
from core.errors import CursorInvalid
from core.identity import ME, MY_ID
from core.jobs.outcomes import StoredOutcome
from core.pagination import DAMAGED

# A stored problem lacks `instance` and the request's id, which make it one occurrence (RFC 9457, 3.1.5).
JOB_COLUMNS_JSON = """
    j.id, j.kind, j.state, json_moment(j.created_at)::json AS created_at, json_moment(j.started_at)::json AS started_at,
    json_moment(j.finished_at)::json AS finished_at, j.progress, j.status_code, j.result,
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

_OUTCOME_COLUMNS = """
    id::text, coalesce(status_code, 202) AS status_code, result::text, error::text, task_id, fingerprint,
    to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"') AS created_at
"""

_STORED = f"""
SELECT {_OUTCOME_COLUMNS}
FROM   jobs
WHERE  id = ANY ($1::text[]::uuid[])
"""  # noqa: S608

_OUTCOME = f"""
SELECT j.*
FROM   {ME},
       LATERAL (SELECT {_OUTCOME_COLUMNS}
                FROM   jobs WHERE user_id = {MY_ID} AND id = $2::text::uuid LIMIT 1) AS j
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


async def stored_outcomes(connection: Connection, job_ids: Sequence[str]) -> dict[str, StoredOutcome]:
    """Job id → outcome, for those of the commands that were carried out before."""
    rows = await connection.fetch(_STORED, job_ids)
    return {row["id"]: _stored(row) for row in rows}


def _stored(row: Any) -> StoredOutcome:
    return StoredOutcome(
        row["status_code"], row["result"], row["error"], row["task_id"], row["fingerprint"], row["created_at"]
    )

"""How jobs are read: their schema, waiting for their end, and what imports and exports have in common as jobs."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from aiohttp import web
from marshmallow import Schema, fields, validate

from api.endpoints import ProblemSchema
from api.errors import Problem
from api.http import json_response, not_found
from api.keys import IDENTITY, POOL, QUEUE, SETTINGS
from api.pages import page_limit, page_response
from api.writes.submission import RETRY_AFTER, read_preference
from core.database.read_pool import ReadPool
from core.errors import CursorInvalid
from core.ids import is_job_id
from core.jobs.pending import PendingJob, PendingJobs
from core.jobs.queries import JobView, ListedJob
from core.jobs.tables import FINAL_STATES, STATES
from core.pagination import DAMAGED, decode_cursor, encode_cursor, scope_digest

LONG_POLL_FIRST_SECONDS = 0.05
LONG_POLL_LONGEST_SECONDS = 0.5


class JobProgress(Schema):
    """How far long work has come."""

    done = fields.Integer(required=True)
    total = fields.Integer(required=True, allow_none=True)
    failed = fields.Integer(required=True)


class Job(Schema):
    """A command's fate."""

    id = fields.UUID(required=True)
    kind = fields.String(required=True, metadata={"example": "task.create"})
    state = fields.String(required=True, validate=validate.OneOf(STATES))
    created_at = fields.String(required=True, metadata={"format": "date-time"})
    started_at = fields.String(required=True, allow_none=True, metadata={"format": "date-time"})
    finished_at = fields.String(required=True, allow_none=True, metadata={"format": "date-time"})
    progress = fields.Nested(JobProgress, required=True, allow_none=True)
    status_code = fields.Integer(
        required=True, allow_none=True, metadata={"description": "what a synchronous API would have answered"}
    )
    result = fields.Raw(required=True, allow_none=True, metadata={"description": "the body that goes with it"})
    error = fields.Nested(ProblemSchema, required=True, allow_none=True)


def path_job_id(request: web.Request, *, noun: str) -> str:
    """The `{id}` of the path, in its canonical form.

    Raises:
        Problem: 404 for what cannot be one.
    """
    text = request.match_info["id"]
    if not is_job_id(text):
        raise not_found(f"There is no such {noun}.")
    return text.lower()


async def when_ended(request: web.Request, find: Callable[[], Awaitable[JobView]]) -> web.Response:
    """Answers with the job that `find` finds; with `Prefer: wait=N` when it has ended, or after N seconds."""
    preference = read_preference(request, longest=request.app[SETTINGS].write_wait_seconds, default=0.0)
    deadline = asyncio.get_running_loop().time() + preference.wait
    pause = LONG_POLL_FIRST_SECONDS
    while True:
        work = await find()
        left = deadline - asyncio.get_running_loop().time()
        if work.state in FINAL_STATES or left <= 0:
            break
        await asyncio.sleep(min(pause, left))
        pause = min(2 * pause, LONG_POLL_LONGEST_SECONDS)
    headers = {} if work.state in FINAL_STATES else dict(RETRY_AFTER)
    if preference.applied is not None:
        headers["Preference-Applied"] = preference.applied
    return json_response(work.body, headers=headers)


async def find_job(
    request: web.Request,
    job_id: str,
    kind: str,
    read: Callable[[ReadPool, int, str], Awaitable[JobView | None]],
    as_queued: Callable[[str, str, dict[str, Any]], bytes],
) -> JobView:
    """The caller's own import or export.

    Args:
        request: of the caller.
        job_id: of the import or export.
        kind: of the job.
        read: its row, by pool, user and id.
        as_queued: its JSON while it waits in a lane, by id, `created_at` and the command's payload.

    Raises:
        Problem: 404, there is none.
        DatabaseUnavailable, QueueUnavailable: as `PendingJobs.row_or_listed`.
    """
    user_id = request[IDENTITY].user_id

    def as_work(pending: PendingJob) -> JobView | None:
        if pending.kind != kind or pending.payload is None:
            return None
        return JobView(as_queued(job_id, pending.created_at, pending.payload).decode(), "queued", kind)

    found = await PendingJobs(request.app[QUEUE]).row_or_listed(
        user_id, job_id, lambda: read(request.app[POOL], user_id, job_id), as_work
    )
    if found is None:
        raise not_found(f"There is no such {kind}.")
    return found


async def page_of_jobs(
    request: web.Request, given: dict[str, Any], kind: str, read: Callable[..., Awaitable[list[ListedJob]]]
) -> web.Response:
    """A page of the caller's own imports or exports, newest first.

    Args:
        request: of the caller.
        given: the validated query.
        kind: of the jobs.
        read: a list, by pool, user, `after` and `limit`.

    Raises:
        Problem: 422, the limit is too high.
        CursorInvalid: the cursor is damaged, or of another list.
        DatabaseUnavailable: the database cannot answer.
    """
    limit = page_limit(given, request.app[SETTINGS])
    scope = scope_digest(f"{kind}s")
    after = position(given["cursor"], scope) if "cursor" in given else None
    found = await read(request.app[POOL], request[IDENTITY].user_id, after=after, limit=limit + 1)
    page = found[:limit]
    cursor = encode_cursor(scope, page[-1].created_at, page[-1].id) if len(found) > limit else None
    return page_response(request, f"[{','.join(one.body for one in page)}]", cursor)


def position(cursor: str, scope: str) -> tuple[str, str]:
    """The place (`created_at`, `id`) where the page before ended.

    Raises:
        CursorInvalid: damaged, or of another list.
    """
    created_at, job_id = decode_cursor(cursor, scope, datetime, uuid.UUID)
    if created_at.endswith("infinity"):
        raise CursorInvalid(DAMAGED)
    return created_at, job_id


def not_ready(detail: str) -> Problem:
    """409 for what is there only when the job has ended."""
    return Problem("not-ready", detail, headers=dict(RETRY_AFTER))

"""What imports and exports have in common over HTTP: they are jobs that outlive the request that began them."""

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import orjson
from aiohttp import web
from marshmallow import Schema, fields, validate

from api.endpoints import ProblemSchema
from api.errors import Problem
from api.http import json_response, not_found, page_limit, page_response
from api.keys import GATEWAY, IDENTITY, POOL, QUEUE, SETTINGS
from api.submission import RETRY_AFTER, answer, read_preference
from core import lanes
from core.commands import Command
from core.database.read_pool import ReadPool
from core.errors import CursorInvalid, DatabaseUnavailable, QueueUnavailable
from core.ids import is_job_id
from core.jobs.queries import JobView, ListedJob
from core.jobs.tables import FINAL_STATES, STATES
from core.pagination import DAMAGED, decode_cursor, encode_cursor, scope_digest
from core.redis.clients import REDIS_FAULTS, reply

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


async def begin(
    request: web.Request,
    command: Command,
    *,
    queued: bytes,
    read: Callable[[], Awaitable[JobView | None]],
    path: str | None = None,
) -> web.Response:
    """Submits the command that begins a long job, and answers 202 with the job as body.

    Args:
        request: its `Prefer` says how long to wait until the job is on record.
        command: its id becomes the job's.
        queued: the job as JSON while no worker has claimed it.
        read: reads the job, for a command that was carried out before.
        path: of the collection that the job belongs to; the command's kind in plural unless given.
    """
    preference = read_preference(request, longest=request.app[SETTINGS].write_wait_seconds)
    outcome = await request.app[GATEWAY].submit(command, wait=preference.wait, respond_async=preference.respond_async)
    headers = {"Location": f"{path or f'/{command.kind}s'}/{command.id}", **RETRY_AFTER}
    if preference.applied is not None:
        headers["Preference-Applied"] = preference.applied
    body: bytes | str = queued
    if outcome is not None and outcome.replayed:
        headers["Idempotent-Replayed"] = "true"
        work = await read()
        if work is None:
            return answer(request, outcome)
        body = work.body
        if work.state in FINAL_STATES:
            del headers["Retry-After"]
    elif outcome is not None and outcome.error is not None:
        return answer(request, outcome)
    return json_response(body, status=202, headers=headers)


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


async def row_or_queued(
    read: Callable[[], Awaitable[JobView | None]], queued: Callable[[], Awaitable[JobView | None]]
) -> JobView | None:
    """The job from its row, else from the list of what waits in the lanes.

    Args:
        read: its row; may raise `DatabaseUnavailable`.
        queued: what the list has; may raise `QueueUnavailable`.

    Raises:
        DatabaseUnavailable: there is no row to be had, and nothing in the list.
        QueueUnavailable: there is no row, and the list cannot be read.
    """
    try:
        job = await read()
    except DatabaseUnavailable:
        waiting = None
        with contextlib.suppress(QueueUnavailable):
            waiting = await queued()
        if waiting is None:
            raise
        return waiting
    if job is not None:
        return job
    # Between the two looks it may have been carried out and taken off the list: so the row is read once more.
    return await queued() or await read()


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
        DatabaseUnavailable, QueueUnavailable: as `row_or_queued`.
    """
    user_id = request[IDENTITY].user_id

    async def queued() -> JobView | None:
        listed = await listed_as_queued(request, user_id, job_id)
        if listed is None or listed["kind"] != kind:
            return None
        return JobView(as_queued(job_id, listed["created_at"], listed["payload"]).decode(), "queued", kind)

    found = await row_or_queued(lambda: read(request.app[POOL], user_id, job_id), queued)
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


async def listed_as_queued(request: web.Request, user_id: int, job_id: str) -> dict[str, Any] | None:
    """The user's own command as the list of those that wait in the lanes has it: `kind`, `created_at`, `payload`.

    Raises:
        QueueUnavailable: the list cannot be read, so it is not known whether there is such a job.
    """
    try:
        listed = await reply(request.app[QUEUE].hget(lanes.PENDING_JOBS, job_id))
    except REDIS_FAULTS as error:
        raise QueueUnavailable("the job may be waiting in the queue, which cannot be asked just now") from error
    content: dict[str, Any] | None = orjson.loads(listed) if listed else None
    return None if content is None or content["user_id"] != user_id else content


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

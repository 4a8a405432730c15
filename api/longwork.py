"""What imports and exports have in common over HTTP: they are jobs that outlive the request that began them."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Protocol, TypeVar

import orjson
from aiohttp import web
from marshmallow import Schema, fields, validate

from api.errors import Problem
from api.http import RejectionSchema, json_response, not_found
from api.keys import GATEWAY, QUEUE, SETTINGS
from api.submission import RETRY_AFTER, answer, read_preference
from core import lanes
from core.commands import Command
from core.errors import CursorInvalid, QueueUnavailable
from core.ids import is_job_id
from core.jobs import FINAL_STATES, STATES
from core.pagination import DAMAGED, decode_cursor
from core.redis import REDIS_FAULTS, reply

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
    error = fields.Nested(RejectionSchema, required=True, allow_none=True)


class View(Protocol):
    """Work as its owner sees it: finished JSON, and what decides about headers."""

    @property
    def body(self) -> str: ...

    @property
    def state(self) -> str: ...


V = TypeVar("V", bound=View)


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
    read: Callable[[], Awaitable[View | None]],
    path: str | None = None,
) -> web.Response:
    """Submits the command that begins long work, and answers 202 with the work as body.

    Args:
        request: its `Prefer` says how long to wait until the work is on record.
        command: whose id becomes the work's.
        queued: the work as it is when nobody has taken it up yet.
        read: the work as it is now, for a command that was carried out before.
        path: of the collection in which the work will be found; the command's kind in plural unless given.
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


async def when_ended(request: web.Request, find: Callable[[], Awaitable[V]]) -> web.Response:
    """The work that `find` finds; with `Prefer: wait=N` when it has ended, or after N seconds."""
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


async def listed_as_queued(request: web.Request, user_id: int, job_id: str) -> dict[str, Any] | None:
    """What the list of commands that wait in the lanes says of the user's own: `kind`, `created_at`, `payload`.

    Raises:
        QueueUnavailable: the list cannot be read; that is not to say that there is no such job.
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
    """409 for what will be there when the work has ended."""
    return Problem("not-ready", detail, headers=dict(RETRY_AFTER))

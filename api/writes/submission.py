"""From a handler to the gateway and back: preferences, idempotency keys, and how an outcome is answered."""

import re
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import orjson
from aiohttp import web

from api.conditions import ETAG, version_etag
from api.errors import Problem, problem_response
from api.http import json_response
from api.keys import BODY, GATEWAY, IDENTITY, JOB_ID, REQUEST_ID, SETTINGS, TOKENS
from core import clock
from core.commands.effects import Outcome
from core.commands.kinds import Asked
from core.commands.wire import ANONYMOUS, Command
from core.ids import job_id_for_key, new_job_id
from core.jobs.queries import JobView
from core.jobs.tables import FINAL_STATES

# RFC 8941 string or bare: 1 to 255 visible ASCII characters.
_KEY = re.compile(r"[\x21-\x7e]{1,255}\Z")
RETRY_AFTER = {"Retry-After": "1"}


class Preference(NamedTuple):
    """What `Prefer` (RFC 7240) says about waiting.

    Attributes:
        wait: seconds to wait for the outcome, already capped.
        respond_async: whether to answer as soon as the write is queued.
        applied: the value of `Preference-Applied`; None where nothing was asked for.
    """

    wait: float
    respond_async: bool
    applied: str | None


def read_preference(request: web.Request, *, longest: float, default: float | None = None) -> Preference:
    """Reads `Prefer`; what it does not know is ignored, as the RFC demands."""
    usual = longest if default is None else default
    if "Prefer" not in request.headers:
        return Preference(usual, False, None)
    wait: float | None = None
    respond_async = False
    for part in ",".join(request.headers.getall("Prefer")).split(","):
        name, _, value = part.partition(";")[0].partition("=")
        name, value = name.strip().lower(), value.strip().strip('"')
        if name == "respond-async":
            respond_async = True
        elif name == "wait" and wait is None and value.isascii() and value.isdecimal():
            wait = min(float(value[:9]), longest)
    if wait is not None:
        return Preference(wait, False, f"wait={wait:g}")
    if respond_async:
        return Preference(0.0, True, "respond-async")
    return Preference(usual, False, None)


def read_idempotency_key(request: web.Request) -> str | None:
    """The `Idempotency-Key`, unquoted.

    Raises:
        Problem: 400, it is given twice or is not 1 to 255 visible ASCII characters.
    """
    if "Idempotency-Key" not in request.headers:
        return None
    values = request.headers.getall("Idempotency-Key")
    if len(values) > 1:
        raise Problem("invalid-header", "Give one Idempotency-Key, not several.")
    key = values[0].strip()
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not _KEY.match(key):
        raise Problem("invalid-header", "Idempotency-Key must be 1 to 255 visible ASCII characters.")
    return key


def build_command(
    request: web.Request,
    asked: Asked,
    *,
    user_id: int | None = None,
    scope: str = "",
    body: bytes | None = None,
) -> Command:
    """A command for this request; its job id follows from the idempotency key where there is one.

    Args:
        request: its `Idempotency-Key`, method, path and body make the fingerprint.
        asked: the kind, and its payload, which holds no secret.
        user_id: on whose behalf, where that is not the caller.
        scope: tells keys of users apart who have no id yet.
        body: stands for the request's body where that was not read into memory.
    """
    kind, payload = asked
    identity = request.get(IDENTITY)
    owner = user_id if user_id is not None else (identity.user_id if identity else ANONYMOUS)
    key = read_idempotency_key(request)
    if key is None:
        request[JOB_ID] = new_job_id()
    elif owner == ANONYMOUS:  # whose jobs can be read by all who know their ids
        request[JOB_ID] = request.app[TOKENS].secret_job_id(scope + key)
    else:
        request[JOB_ID] = job_id_for_key(owner, scope + key)
    return Command(
        id=request[JOB_ID],
        kind=kind.name,
        user_id=owner,
        payload=payload,
        created_at=clock.timestamp(),
        request_id=request[REQUEST_ID],
        fingerprint=None if key is None else request_fingerprint(request, body),
    )


def request_fingerprint(request: web.Request, body: bytes | None = None) -> str:
    """What makes a repeat the same request: method, path, conditions and body."""
    if body is None:
        body = request.get(BODY, b"")
    conditions = ",".join(request.headers.getall("If-Match", []))
    condition = ", ".join(tag.removeprefix("W/") for tag in ETAG.findall(conditions)) or conditions
    if "If-None-Match" in request.headers:
        condition += " unless there"
    return request.app[TOKENS].fingerprint(f"{request.method} {request.path} {condition}\n".encode() + body)


async def perform(request: web.Request, command: Command) -> web.Response:
    """Submits a command and answers with its outcome, or 202 where that was wished for or took too long.

    Raises:
        QueueUnavailable: nothing was accepted.
    """
    settings = request.app[SETTINGS]
    preference = read_preference(request, longest=settings.write_wait_seconds)
    outcome = await request.app[GATEWAY].submit(command, wait=preference.wait, respond_async=preference.respond_async)
    response = accepted(command) if outcome is None else answer(request, outcome)
    if preference.applied is not None and (outcome is None or not preference.respond_async):
        response.headers["Preference-Applied"] = preference.applied
    return response


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


def answer(request: web.Request, outcome: Outcome) -> web.Response:
    """An outcome as a synchronous API would have answered it."""
    headers = {"Idempotent-Replayed": "true"} if outcome.replayed else {}
    if outcome.error is not None:
        current = outcome.error.get("current_version")
        if current is not None:
            headers["ETag"] = version_etag(current)
        if outcome.status_code == 401:
            headers["WWW-Authenticate"] = 'Bearer realm="tenfold", error="invalid_token"'
        return problem_response(
            outcome.error, instance=request.rel_url.raw_path, request_id=request[REQUEST_ID], headers=headers
        )
    if outcome.result is None:
        return web.Response(status=outcome.status_code, headers=headers)
    if outcome.version is not None:
        headers["ETag"] = version_etag(outcome.version)
        if outcome.status_code == 201:
            headers["Location"] = f"/tasks/{outcome.task_id}"
    return json_response(outcome.result, status=outcome.status_code, headers=headers)


def accepted(command: Command) -> web.Response:
    """202: the write is on the queue's disk and will be carried out; the job tells when."""
    return json_response(
        orjson.dumps(queued_job(command.id, command.kind, command.created_at)),
        status=202,
        headers={"Location": f"/jobs/{command.id}", **RETRY_AFTER},
    )


def queued_job(job_id: str, kind: str, created_at: str) -> dict[str, Any]:
    """The job of a command that waits in its lane and has no row yet."""
    return {
        "id": job_id,
        "kind": kind,
        "state": "queued",
        "created_at": created_at.replace("+00:00", "Z"),
        "started_at": None,
        "finished_at": None,
        "progress": None,
        "status_code": None,
        "result": None,
        "error": None,
    }

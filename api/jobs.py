"""Jobs: what became of writes that the client did not wait for, and of long work."""

import contextlib
from collections.abc import Iterable, Sequence
from datetime import datetime

import orjson
from aiohttp import web
from marshmallow import Schema, fields, validate

from api.authority import visible_job, visible_jobs
from api.bodies import read_body
from api.endpoints import Endpoint
from api.errors import Problem, Unauthenticated
from api.http import CommaSeparated, not_found, read_query
from api.keys import CACHE_CLIENT, IDENTITY, POOL, QUEUE, SETTINGS
from api.long_jobs import Job, path_job_id, position, when_ended
from api.pages import cursor_field, limit_field, page_limit, page_response
from api.writes.submission import build_command, perform, queued_job
from core.bounds import RequestSchema, String
from core.cache import CacheInvalidator
from core.commands.kinds import LONG_WORK
from core.commands.wire import ANONYMOUS
from core.errors import QueueUnavailable
from core.jobs.pending import PendingJob, PendingJobs
from core.jobs.queries import JobView, ListedJob, list_jobs, read_job
from core.jobs.tables import FINAL_STATES, STATES
from core.pagination import encode_cursor, scope_digest
from core.redis.clients import REDIS_FAULTS

NOT_A_KIND = "Not a kind of job, such as task.create."
KIND_PATTERN = r"^[a-z_]{1,32}(\.[a-z_]{1,32})?\Z"


class JobListQuery(RequestSchema):
    """How the list of jobs is narrowed and paged."""

    kind = CommaSeparated(
        String(
            validate=[
                validate.Length(max=65, error=NOT_A_KIND),
                validate.Regexp(KIND_PATTERN, error=NOT_A_KIND),
            ]
        ),
        validate=validate.Length(1, 32),
        metadata={"description": "one, or several with commas, such as `task.create`"},
    )
    state = CommaSeparated(
        String(validate=validate.OneOf(STATES)),
        validate=validate.Length(1, len(STATES)),
        metadata={"description": "one, or several with commas"},
    )
    limit = limit_field()
    cursor = cursor_field(of_the_same="filters")


class JobPage(Schema):
    """A page of jobs, newest first; `next_cursor` is null on the last one, and only there."""

    items = fields.List(fields.Nested(Job), required=True)
    next_cursor = fields.String(required=True, allow_none=True)


_LIST_QUERY = JobListQuery()


async def get_job(request: web.Request) -> web.Response:
    """`GET /jobs/{id}`; with `Prefer: wait=N` it answers when the job has ended, or after N seconds."""
    job_id = path_job_id(request, noun="job")
    return await when_ended(request, lambda: _find_job(request, job_id))


async def cancel_job(request: web.Request) -> web.Response:
    """`DELETE /jobs/{id}`: ends long work; a single write is too small to be stopped on its way."""
    job_id = path_job_id(request, noun="job")
    await read_body(request)
    job = await _find_job(request, job_id)
    if job.kind in LONG_WORK:
        return await perform(request, build_command(request, LONG_WORK[job.kind].of({"id": job_id})))
    if job.state in FINAL_STATES:
        raise Problem("job-not-cancellable", f"The job has ended already: {job.state}.")
    raise Problem("job-not-cancellable", "A single write cannot be cancelled: it will be carried out in a moment.")


async def list_own_jobs(request: web.Request) -> web.Response:
    """`GET /jobs`: the caller's own, newest first, with those that still wait in their lane."""
    given = read_query(request, _LIST_QUERY)
    limit = page_limit(given, request.app[SETTINGS])
    kinds, states = given.get("kind"), given.get("state")
    scope = scope_digest("jobs", kinds, states)
    after = position(given["cursor"], scope) if "cursor" in given else None
    user_id = request[IDENTITY].user_id
    pending = await PendingJobs(request.app[QUEUE]).of_user(user_id)
    jobs = await list_jobs(request.app[POOL], user_id, kinds=kinds, states=states, after=after, limit=limit + 1)
    done = {job.id for job in jobs}
    if not done.isdisjoint(pending):
        await _forget_pages(request)
    waiting = _waiting_jobs([pending[job_id] for job_id in pending.keys() - done], kinds, states, after)
    merged = sorted([*jobs, *waiting], key=lambda job: (_comparable(job.created_at), job.id), reverse=True)
    page = merged[:limit]
    cursor = encode_cursor(scope, page[-1].created_at, page[-1].id) if len(merged) > limit else None
    return page_response(request, f"[{','.join(job.body for job in await visible_jobs(request, page))}]", cursor)


async def _find_job(request: web.Request, job_id: str) -> JobView:
    """The caller's job from its row, else from the list of what waits in the lanes.

    Without a token only a registration's job can be seen, by those who know its id.
    """
    identity = request.get(IDENTITY)
    user_id = identity.user_id if identity else ANONYMOUS

    pending = PendingJobs(request.app[QUEUE])
    job = await pending.row_or_listed(
        user_id,
        job_id,
        lambda: read_job(request.app[POOL], user_id, job_id),
        lambda found: JobView(_queued(found), "queued", found.kind),
    )
    if job is not None:
        job = _anonymised(job) if identity is None else await visible_job(request, job, job_id)
    if job is None:
        if identity is None:
            raise Unauthenticated("authentication-required", "Send an access token: Authorization: Bearer <token>.")
        raise not_found("There is no such job.")
    if job.state in FINAL_STATES:
        with contextlib.suppress(QueueUnavailable):  # then the cache is passed by
            if await pending.find(user_id, job_id) is not None:
                await _forget_pages(request)
    return job


def _anonymised(job: JobView) -> JobView:
    """A registration's job for anybody who knows its id: how it went, but not who registered."""
    content = orjson.loads(job.body)
    content["result"] = None
    if content["error"] is not None:
        content["error"]["detail"] = content["error"]["title"]
    return JobView(orjson.dumps(content).decode(), job.state, job.kind)


async def _forget_pages(request: web.Request) -> None:
    """Before a job is told that has ended and is still pending: no page may contradict it (rule 3 of `PendingJobs`)."""
    invalidator = CacheInvalidator(request.app[CACHE_CLIENT], request.app[QUEUE])
    identity = request.get(IDENTITY)
    with contextlib.suppress(*REDIS_FAULTS):  # then the cache is passed by
        if identity is not None and identity.is_admin:
            await invalidator.distrust_everything()  # the task may be anybody's
        elif identity is not None:
            await invalidator.forget_users([identity.user_id])


def _waiting_jobs(
    pending: Iterable[PendingJob],
    kinds: Sequence[str] | None,
    states: Sequence[str] | None,
    after: tuple[str, str] | None,
) -> list[ListedJob]:
    """Those that the filters want and that stand behind a place."""
    if states is not None and "queued" not in states:
        return []
    found = []
    for job in pending:
        place = (_comparable(job.created_at), job.id)
        if (kinds is None or job.kind in kinds) and (after is None or place < (_comparable(after[0]), after[1])):
            found.append(ListedJob(_queued(job), job.created_at, job.id))
    return found


def _queued(job: PendingJob) -> str:
    return orjson.dumps(queued_job(job.id, job.kind, job.created_at)).decode()


def _comparable(moment: str) -> datetime:
    """PostgreSQL and Python write the same instant differently."""
    return datetime.fromisoformat(moment)


routes = [
    Endpoint(
        "GET",
        "/jobs",
        list_own_jobs,
        "List the caller's jobs, newest first",
        {200: JobPage},
        query=JobListQuery,
        problems=(400,),
        description="Every write is a job; finished ones are kept for `JOB_RETENTION_HOURS` (24 unless set).",
    ),
    Endpoint(
        "GET",
        "/jobs/{id}",
        get_job,
        "Read a job",
        {200: Job},
        auth="optional",
        problems=(401, 404),
        description="With `Prefer: wait=N` the answer comes when the job has ended, or after N seconds. "
        "An unfinished job's answer carries `Retry-After`. A registration's job is read without a token, and "
        "tells how it went: who was registered is answered to a repeat of the request with its `Idempotency-Key`.",
        path_id="uuid",
        headers=("Prefer",),
        answer_headers=("Retry-After",),
    ),
    Endpoint(
        "DELETE",
        "/jobs/{id}",
        cancel_job,
        "Cancel a job that can still be cancelled",
        {204: None},
        is_write=True,
        problems=(404, 409, 413),
        description="Imports and exports can be; a single write is carried out too soon (409).",
        path_id="uuid",
    ),
]

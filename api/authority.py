"""Whether an admin is still one, where PostgreSQL does not check it: tokens and stored outcomes outlive a role.

A stored outcome is shown to its user as that user may see it now: tasks of others only to whoever is still an admin.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace

import orjson
from aiohttp import web

from api.keys import IDENTITY, POOL
from core.authority import holds_others, seen_outcome, tells_of_others, without_others
from core.commands.effects import Outcome
from core.commands.kinds import SET_REMINDERS
from core.commands.wire import Command
from core.database.read_pool import ReadPool
from core.jobs.queries import JobView, ListedJob
from core.reminders.queries import jobs_of_others_tasks
from core.users.queries import current_role


async def still_admin(request: web.Request) -> bool:
    """Whether the caller is an admin now.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    return request[IDENTITY].is_admin and await _is_admin(request.app[POOL], request[IDENTITY].user_id)


async def _is_admin(pool: ReadPool, user_id: int) -> bool:
    return await current_role(pool, user_id) == "admin"


async def visible_outcome(pool: ReadPool, command: Command, outcome: Outcome) -> Outcome:
    """What the outcome of an earlier delivery of a command may tell its user now.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    user_id = command.user_id
    if command.kind == SET_REMINDERS.name and outcome.result is not None:
        if await jobs_of_others_tasks(pool, user_id, [command.id]) and not await _is_admin(pool, user_id):
            return Outcome(**seen_outcome(asdict(outcome), user_id, is_of_other=True))
    elif (holds_others(outcome.result, user_id) or tells_of_others(outcome.error, user_id)) and not await _is_admin(
        pool, user_id
    ):
        return Outcome(**seen_outcome(asdict(outcome), user_id))
    return outcome


async def visible_job(request: web.Request, job: JobView, job_id: str) -> JobView | None:
    """The caller's job; None where all it tells of is a task that the caller may not see (any more).

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    seen = await _visible_bodies(request, {job_id: job.body})
    return replace(job, body=seen[job_id]) if job_id in seen else None


async def visible_jobs(request: web.Request, jobs: Sequence[ListedJob]) -> list[ListedJob]:
    """The caller's jobs but those for which `visible_job` is None.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    seen = await _visible_bodies(request, {job.id: job.body for job in jobs})
    return [replace(job, body=seen[job.id]) for job in jobs if job.id in seen]


async def _visible_bodies(request: web.Request, bodies: dict[str, str]) -> dict[str, str]:
    user_id = request[IDENTITY].user_id
    hidden: set[str] = set()
    if of_reminders := [job_id for job_id, body in bodies.items() if _is_about_reminders(body)]:
        hidden = await jobs_of_others_tasks(request.app[POOL], user_id, of_reminders)
    others = {job_id for job_id, body in bodies.items() if holds_others(body, user_id)}
    if not (hidden or others) or await still_admin(request):
        return bodies
    seen = {}
    for job_id, body in bodies.items():
        left: str | None = body
        if job_id in others:
            left = _without_others(body, user_id)
        if left is not None and job_id not in hidden:
            seen[job_id] = left
    return seen


def _is_about_reminders(body: str) -> bool:
    return f'"kind":"{SET_REMINDERS.name}"' in body and '"result":null' not in body


def _without_others(body: str, user_id: int) -> str | None:
    content = orjson.loads(body)
    result = None if content["result"] is None else orjson.dumps(content["result"]).decode()
    left = without_others(result, user_id)
    if left.result is None:
        return None
    content["result"] = orjson.Fragment(left.result)
    return orjson.dumps(content).decode()

"""The caller's own profile."""

from aiohttp import web

from api.bodies import read_json
from api.endpoints import Endpoint
from api.errors import Problem, Unauthenticated
from api.http import json_response
from api.keys import GUESS_LIMITS, IDENTITY, PASSWORDS, POOL
from api.writes.submission import answer, build_command, perform, read_idempotency_key
from core.commands.kinds import UPDATE_USER, UpdateUser
from core.jobs.queries import find_outcome
from core.users.queries import own_password_hash, read_profile
from core.users.schemas import ProfileUpdate, User

_UPDATE = ProfileUpdate()


async def get_profile(request: web.Request) -> web.Response:
    """`GET /user/me`."""
    profile = await read_profile(request.app[POOL], request[IDENTITY].user_id)
    if profile is None:
        raise Unauthenticated("invalid-token", "The user does not exist any more.", error="invalid_token")
    return json_response(profile)


async def update_profile(request: web.Request) -> web.Response:
    """`PATCH /user/me`."""
    changes = await read_json(request, _UPDATE)
    payload: UpdateUser = {}
    if "email" in changes:
        payload["email"] = changes["email"]
    if "time_zone" in changes:
        payload["time_zone"] = changes["time_zone"]
    if "reminder_offsets" in changes:
        payload["reminder_offsets"] = changes["reminder_offsets"]
    if "all_day_reminder_time" in changes:
        payload["all_day_reminder_time"] = changes["all_day_reminder_time"]
    command = build_command(request, UPDATE_USER.of(payload))
    if "password" not in changes:
        return await perform(request, command)
    if read_idempotency_key(request) is not None:
        # A repeat comes with the old password of the first request, which is right no more.
        outcome = await find_outcome(request.app[POOL], command)
        if outcome is not None:
            return answer(request, outcome)
    await _require_current_password(request, changes["current_password"])
    payload["password_hash"] = await request.app[PASSWORDS].hash(changes["password"])
    return await perform(request, command)


async def _require_current_password(request: web.Request, password: str) -> None:
    """
    Raises:
        Problem: 403, it is another; 429, this session has given too many wrong ones.
    """
    identity = request[IDENTITY]
    guess = await request.app[GUESS_LIMITS].current_password(f"{identity.user_id} {identity.session}")
    if not await guess.judged(_matches_own(request, password)):
        raise Problem("wrong-password", "The current password is wrong; nothing was changed.")


async def _matches_own(request: web.Request, password: str) -> bool:
    current = await own_password_hash(request.app[POOL], request[IDENTITY].user_id)
    return await request.app[PASSWORDS].matches(password, current)


routes = [
    Endpoint(
        "GET",
        "/user/me",
        get_profile,
        "Read the caller's profile",
        {200: User},
        description="With the time zone by which days and reminders are told, and the offsets of reminders.",
    ),
    Endpoint(
        "PATCH",
        "/user/me",
        update_profile,
        "Change the caller's profile",
        {200: User},
        body=ProfileUpdate,
        is_write=True,
        problems=(403,),
        description="A new `password` needs the `current_password` (else 403) and ends every session.",
    ),
]

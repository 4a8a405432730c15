"""A task's reminders over HTTP."""

from aiohttp import web

from api.bodies import read_json
from api.endpoints import Endpoint
from api.http import json_response, not_found, path_id
from api.keys import IDENTITY, POOL
from api.writes.submission import build_command, perform
from core.commands.kinds import SET_REMINDERS, SetTaskReminders
from core.reminders.queries import read_reminders
from core.reminders.schemas import SetReminders, TaskReminders
from core.tasks.queries import Caller

_SET = SetReminders()


async def get_reminders(request: web.Request) -> web.Response:
    """`GET /tasks/{id}/reminders`."""
    identity = request[IDENTITY]
    found = await read_reminders(request.app[POOL], Caller(identity.user_id, identity.is_admin), path_id(request))
    if found is None:
        raise not_found("There is no such task.")
    return json_response(found)


async def set_reminders(request: web.Request) -> web.Response:
    """`PUT /tasks/{id}/reminders`."""
    task_id = path_id(request)
    given = await read_json(request, _SET)
    payload: SetTaskReminders = {"id": task_id, "reminders": given["reminders"]}
    if request[IDENTITY].is_admin:
        payload["any_owner"] = True
    return await perform(request, build_command(request, SET_REMINDERS.of(payload)))


routes = [
    Endpoint(
        "GET",
        "/tasks/{id}/reminders",
        get_reminders,
        "Read a task's reminders",
        {200: TaskReminders},
        problems=(404,),
        description="Those that will come, and those that were sent.",
    ),
    Endpoint(
        "PUT",
        "/tasks/{id}/reminders",
        set_reminders,
        "Set a task's own reminders",
        {200: TaskReminders},
        body=SetReminders,
        is_write=True,
        problems=(403, 404),
        description="They stand instead of the offsets of the user (`PATCH /user/me`) and follow the due date when "
        "that is moved. `null` gives the task those of its user again, `[]` none at all.",
    ),
]

"""Imports over HTTP: a file is stored as it arrives, an import ordered as a command, and carried on by workers."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from aiohttp import web

from api.bodies import read_body
from api.endpoints import Endpoint
from api.http import invalid, read_query
from api.import_jobs import find_import, queued_import
from api.import_schemas import Import, ImportPage, ImportQuery, ImportUndone
from api.keys import IDENTITY, POOL, SETTINGS, STORAGE, UPLOADS
from api.long_jobs import (
    LONG_POLL_FIRST_SECONDS,
    LONG_POLL_LONGEST_SECONDS,
    page_of_jobs,
    path_job_id,
    when_ended,
)
from api.pages import PageQuery
from api.uploads import quota_problem, receive, refused
from api.writes.submission import (
    answer,
    begin,
    build_command,
    perform,
    queued_job,
    read_idempotency_key,
    read_preference,
)
from core.commands.effects import Outcome
from core.commands.kinds import BEGIN_IMPORT, CANCEL_IMPORT, UNDO_IMPORT, BeginImport
from core.database.reads import within
from core.errors import DatabaseUnavailable, QueueUnavailable, StorageUnavailable
from core.formats.own_lists import SEND_THE_ROWS, is_list_about_rows
from core.formats.registry import FORMATS, recognise
from core.formats.rows import Head
from core.ids import job_id_for_key, new_job_id
from core.imports.queries import list_imports, read_import
from core.jobs.outcomes import BEGUN
from core.jobs.queries import find_outcome, read_job
from core.logs import get_logger
from core.quotas.queries import read_held
from core.quotas.refusals import refusal_of

MAPPED = ("csv", "json")
"""The formats of any program, which take a mapping."""
CERTAIN = 3
HELD_SECONDS = 1.0

log = get_logger()


_QUERY = ImportQuery()
_LIST_QUERY = PageQuery()


# -- ordering -------------------------------------------------------------------------------------------------


async def create_import(request: web.Request) -> web.Response:
    """`POST /imports`: 202 with the import, once the file and its row are on disk."""
    given = read_query(request, _QUERY)
    settings, user_id = request.app[SETTINGS], request[IDENTITY].user_id
    stored = await _require_room(request)
    with request.app[UPLOADS].room(user_id, stored=stored, limit=settings.quota_stored_bytes) as take:
        return await _take_and_order(request, given, take)


async def _require_room(request: web.Request) -> int:
    """How many bytes the caller has stored.

    A repeat of an import is answered as the first one was: its file is not kept.

    Raises:
        Problem: 409, a quota leaves no room for an import.
    """
    pool, user_id, settings = request.app[POOL], request[IDENTITY].user_id, request.app[SETTINGS]
    key = read_idempotency_key(request)
    try:
        if key is not None:
            first = await within(HELD_SECONDS, read_job(pool, user_id, job_id_for_key(user_id, key)))
            if first is not None:
                return 0
        held = await within(HELD_SECONDS, read_held(pool, user_id))
    except DatabaseUnavailable:
        return 0  # the worker judges when the database is back
    size = request.content_length or 0
    # What is larger than any import may be is refused for that, and not for the room that it would take.
    refusal = refusal_of(settings, held, size=size if 0 < size <= settings.max_import_bytes else 1)
    if refusal is not None:
        raise quota_problem(refusal)
    return held.stored_bytes


async def _take_and_order(request: web.Request, given: dict[str, Any], take: Callable[[int], None]) -> web.Response:
    name = f"imports/{new_job_id()}"
    storage = request.app[STORAGE]
    async with storage.writer(name) as writer:
        maximum_bytes = request.app[SETTINGS].max_import_bytes
        upload = await receive(request, writer, _inspector(given), maximum_bytes=maximum_bytes, take=take)
    dry_run = given.pop("dry_run", False)
    given.pop("format", None)
    payload: BeginImport = {
        "format": upload.format,
        "filename": upload.filename,
        "dry_run": dry_run,
        "options": given,
        "object": name,
        "digest": upload.digest,
        "bytes": upload.bytes,
    }
    stands_for_body = orjson.dumps([upload.digest, upload.format, dry_run, given], option=orjson.OPT_SORT_KEYS)
    command = build_command(request, BEGIN_IMPORT.of(payload), body=stands_for_body)
    response: web.Response | None = None
    try:
        response = await begin(
            request,
            command,
            queued=queued_import(command.id, command.created_at, payload),
            read=lambda: read_import(request.app[POOL], command.user_id, command.id),
        )
    except QueueUnavailable:
        await _drop(request, name)
        raise
    if response.status != 202 or "Idempotent-Replayed" in response.headers:
        await _drop(request, name)
    return response


def _inspector(given: dict[str, Any]) -> Callable[[Head], str]:
    """Tells the format of a file that begins so."""
    named: str | None = given.get("format")
    if "mapping" in given and named not in (None, *MAPPED):
        raise invalid({"mapping": [f"Goes with format={' or '.join(MAPPED)} only."]})

    def inspect(head: Head) -> str:
        wanted = named
        if wanted is None and "mapping" in given:
            wanted = next((name for name in reversed(MAPPED) if FORMATS[name].recognise(head)), MAPPED[0])
        if "mapping" not in given and is_list_about_rows(head):
            raise refused("import-wrong-format", SEND_THE_ROWS)
        found = recognise(head)
        if wanted is not None:
            if found is not None and FORMATS[wanted].recognise(head) == 0 and found.recognise(head) == CERTAIN:
                raise refused(
                    "import-wrong-format",
                    f"This is no file of {FORMATS[wanted].title}, but looks like one of {found.title}: "
                    f"leave format out, or send format={found.name}.",
                )
            return wanted
        if found is None:
            raise refused(
                "import-format-unknown",
                "It cannot be told what program wrote this file: name its format, or give a mapping.",
            )
        return found.name

    return inspect


async def _drop(request: web.Request, name: str) -> None:
    """Deletes an upload that no import needs; what stays is purged later."""
    try:
        await request.app[STORAGE].delete(name)
    except StorageUnavailable as error:
        log.warning("an upload stays for now", object=name, error=repr(error.__cause__))


async def cancel_import(request: web.Request) -> web.Response:
    """`DELETE /imports/{id}`: what was imported so far stays."""
    import_id = path_job_id(request, noun="import")
    await read_body(request)
    return await perform(request, build_command(request, CANCEL_IMPORT.of({"id": import_id})))


async def undo_import(request: web.Request) -> web.Response:
    """`DELETE /imports/{id}/tasks`: takes back what the import has made and nobody has changed since."""
    import_id = path_job_id(request, noun="import")
    await read_body(request)
    command = build_command(request, UNDO_IMPORT.of({"id": import_id}))
    preference = read_preference(request, longest=request.app[SETTINGS].write_wait_seconds)
    deadline = asyncio.get_running_loop().time() + preference.wait
    pool = request.app[POOL]
    response = await begin(
        request,
        command,
        queued=orjson.dumps(queued_job(command.id, command.kind, command.created_at)),
        read=lambda: read_job(pool, command.user_id, command.id),
        path="/jobs",
    )
    if response.status != 202 or preference.respond_async:
        return response
    outcome = await _outcome_by(deadline, lambda: find_outcome(pool, command))
    if outcome is None:
        return response
    ended = answer(request, outcome)
    if preference.applied is not None:
        ended.headers["Preference-Applied"] = preference.applied
    return ended


async def _outcome_by(deadline: float, find: Callable[[], Awaitable[Outcome | None]]) -> Outcome | None:
    """What a job came to, if it ends in time and the database can tell."""
    pause = LONG_POLL_FIRST_SECONDS
    while (left := deadline - asyncio.get_running_loop().time()) > 0:
        await asyncio.sleep(min(pause, left))
        pause = min(2 * pause, LONG_POLL_LONGEST_SECONDS)
        try:
            outcome = await find()
        except DatabaseUnavailable:
            return None
        if outcome is not None and outcome.status_code != BEGUN:
            return outcome
    return None


# -- reading --------------------------------------------------------------------------------------------------


async def get_import(request: web.Request) -> web.Response:
    """`GET /imports/{id}`; with `Prefer: wait=N` it answers when the import has ended, or after N seconds."""
    import_id = path_job_id(request, noun="import")
    return await when_ended(request, lambda: find_import(request, import_id))


async def list_own_imports(request: web.Request) -> web.Response:
    """`GET /imports`: the caller's own, newest first."""
    return await page_of_jobs(request, read_query(request, _LIST_QUERY), "import", list_imports)


routes = [
    Endpoint(
        "POST",
        "/imports",
        create_import,
        "Import a file",
        {202: Import},
        query=ImportQuery,
        takes_file=True,
        problems=(409,),
        headers=("Prefer", "Idempotency-Key", "Content-Disposition"),
        answer_headers=("Location", "Retry-After"),
        description="The file is the body as it is, of any content type, or the field `file` of a form; gzip and zstd "
        "are unpacked. Read the import until it has ended, then its `errors`: rows that are wrong are told and stop "
        "nothing. Sent again, a file makes nothing new: rows are known by their `external_id`, or else by their "
        "content.",
    ),
    Endpoint(
        "GET",
        "/imports",
        list_own_imports,
        "List the caller's imports, newest first",
        {200: ImportPage},
        query=PageQuery,
        problems=(400,),
        description="Those that have ended are kept for `JOB_RETENTION_HOURS` (24 unless set).",
    ),
    Endpoint(
        "GET",
        "/imports/{id}",
        get_import,
        "Read an import",
        {200: Import},
        problems=(404,),
        description="An import whose rows were all looked at has `succeeded`, also when some failed. With "
        "`Prefer: wait=N` the answer comes when it has ended, or after N seconds. An unfinished import's answer "
        "carries `Retry-After`.",
        path_id="uuid",
        headers=("Prefer",),
        answer_headers=("Retry-After",),
    ),
    Endpoint(
        "DELETE",
        "/imports/{id}",
        cancel_import,
        "Cancel an import",
        {204: None},
        is_write=True,
        problems=(404, 409, 413),
        description="It stops within a chunk; what was imported so far stays.",
        path_id="uuid",
    ),
    Endpoint(
        "DELETE",
        "/imports/{id}/tasks",
        undo_import,
        "Take an import back",
        {200: ImportUndone},
        is_write=True,
        problems=(404, 409, 413),
        description="A job that deletes the tasks which the import has made and nobody has changed since. Tasks that "
        "it has changed stay as they are. While the import has not ended, or is being taken back, the answer is 409.",
        path_id="uuid",
        answer_headers=("Retry-After",),
    ),
]

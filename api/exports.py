"""Exports over HTTP: ordered as a command, written by a worker, fetched from the store of files."""

from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web
from marshmallow import Schema, ValidationError, fields, pre_load, validate, validates_schema

from api.authority import still_admin
from api.bodies import read_body, read_json
from api.endpoints import Endpoint
from api.errors import Problem
from api.files import StoredFile, file_response
from api.filters import OrderedTaskFilters, sort_name, task_filter, user_id_filter
from api.http import JSON, CommaSeparated, WholeNumber, not_found, read_query
from api.keys import IDENTITY, POOL, STORAGE
from api.long_jobs import Job, find_job, not_ready, page_of_jobs, path_job_id, when_ended
from api.pages import PageQuery
from api.writes.submission import begin, build_command, perform, queued_job
from core.bounds import String, refuse_longer
from core.commands.kinds import BEGIN_EXPORT, CANCEL_EXPORT, BeginExport
from core.errors import ObjectGone
from core.exports.queries import list_exports, read_export, read_export_file
from core.exports.schemas import FORMATS, file_name
from core.jobs.queries import JobView


class ExportCreate(OrderedTaskFilters):
    """What to export, and as what: the filters and the sort of `GET /tasks`, and a format."""

    format = String(required=True, validate=validate.OneOf(list(FORMATS)), metadata={"example": "csv"})
    user_id = user_id_filter()
    bom = fields.Boolean(
        load_default=False,
        metadata={
            "description": "whether a CSV begins with a byte order mark: spreadsheets take the file for UTF-8 by it",
            "default": False,
        },
    )

    @pre_load
    def _as_parameters(self, data: Any, **_: Any) -> Any:
        """Turns JSON's numbers, lists and booleans into query parameters: that is what the fields read."""
        if not isinstance(data, dict):
            return data
        errors: dict[str, list[str]] = {}
        parameters = {}
        for name, value in data.items():
            try:
                parameters[name] = _as_parameter(self.fields.get(name), value)
            except ValidationError as error:
                errors[name] = [str(message) for message in error.messages]
        if errors:
            raise ValidationError(errors)
        return parameters

    @validates_schema
    def _bom_of_csv(self, data: dict[str, Any], **_: Any) -> None:
        if data.get("bom") and data.get("format") != "csv":
            raise ValidationError("Only a CSV has one.", "bom")


def _as_parameter(field: fields.Field[Any] | None, value: Any) -> Any:
    if isinstance(field, WholeNumber):
        if type(value) is not int:
            raise ValidationError("Not a valid integer.")
        return str(value)
    if isinstance(field, fields.Boolean) and not isinstance(value, bool):
        raise ValidationError("Not a valid boolean.")
    if isinstance(field, CommaSeparated):
        if isinstance(value, str):
            return value
        if not isinstance(value, list) or not value:
            raise ValidationError("Not a list, nor values separated by commas.")
        refuse_longer(field, value)
        wanted: type = int if isinstance(field.inner, WholeNumber) else str
        if any(type(item) is not wanted or "," in str(item) for item in value):
            raise ValidationError("Not a valid integer." if wanted is int else "Not a valid string.")
        return ",".join(map(str, value))
    return value


class Export(Job):
    """An export: its job, what was ordered, and the file."""

    format = fields.String(required=True, validate=validate.OneOf(list(FORMATS)))
    bom = fields.Boolean(required=True, metadata={"description": "whether it begins with a byte order mark"})
    filters = fields.Dict(
        keys=fields.String(), required=True, metadata={"description": "as they were ordered", "example": {"q": "tax"}}
    )
    rows = fields.Integer(required=True, metadata={"description": "written so far"})
    bytes = fields.Integer(required=True, allow_none=True, metadata={"description": "of the file, so far"})
    expires_at = fields.String(
        required=True, allow_none=True, metadata={"format": "date-time", "description": "until when the file is kept"}
    )
    file = fields.String(
        required=True,
        allow_none=True,
        metadata={"format": "uri-reference", "description": "where the file is, as long as there is one"},
    )


class ExportPage(Schema):
    """A page of exports, newest first; `next_cursor` is null on the last one, and only there."""

    items = fields.List(fields.Nested(Export), required=True)
    next_cursor = fields.String(required=True, allow_none=True)


_CREATE = ExportCreate()
_LIST_QUERY = PageQuery()


# -- ordering -------------------------------------------------------------------------------------------------


async def create_export(request: web.Request) -> web.Response:
    """`POST /exports`: 202 with the export, once it is on record."""
    given = await read_json(request, _CREATE)
    task_filter(given)  # refuses what the schema cannot
    export_format, bom = given.pop("format"), given.pop("bom")
    filters = {name: value for name, value in given.items() if name != "sort_by_priority"}
    if "sort" in given or "sort_by_priority" in given:
        filters["sort"] = sort_name(given)
    payload: BeginExport = {"format": export_format, "filters": filters, "all_users": request[IDENTITY].is_admin}
    if bom:
        payload["bom"] = True
    command = build_command(request, BEGIN_EXPORT.of(payload))
    return await begin(
        request,
        command,
        queued=_queued(command.id, command.created_at, payload),
        read=lambda: read_export(request.app[POOL], command.user_id, command.id),
    )


def _queued(export_id: str, created_at: str, payload: Mapping[str, Any]) -> bytes:
    """An export that nobody has taken up yet."""
    return orjson.dumps(
        {
            **queued_job(export_id, "export", created_at),
            "format": payload["format"],
            "bom": payload.get("bom", False),
            "filters": payload["filters"],
            "rows": 0,
            "bytes": None,
            "expires_at": None,
            "file": None,
        }
    )


async def delete_export(request: web.Request) -> web.Response:
    """`DELETE /exports/{id}`: cancels an export, or deletes the file of one that has succeeded."""
    export_id = path_job_id(request, noun="export")
    await read_body(request)
    return await perform(request, build_command(request, CANCEL_EXPORT.of({"id": export_id, "with_file": True})))


# -- reading --------------------------------------------------------------------------------------------------


async def get_export(request: web.Request) -> web.Response:
    """`GET /exports/{id}`; with `Prefer: wait=N` it answers when the export has ended, or after N seconds."""
    export_id = path_job_id(request, noun="export")
    return await when_ended(request, lambda: _find_export(request, export_id))


async def list_own_exports(request: web.Request) -> web.Response:
    """`GET /exports`: the caller's own, newest first."""
    return await page_of_jobs(request, read_query(request, _LIST_QUERY), "export", list_exports)


async def _find_export(request: web.Request, export_id: str) -> JobView:
    return await find_job(request, export_id, "export", read_export, _queued)


# -- the file -------------------------------------------------------------------------------------------------


async def get_export_file(request: web.Request) -> web.Response:
    """`GET /exports/{id}/file`, whole or a part of it."""
    export_id = path_job_id(request, noun="export")
    file = await read_export_file(request.app[POOL], request[IDENTITY].user_id, export_id)
    if file is None or file.state in ("queued", "processing"):
        await _find_export(request, export_id)
        raise not_ready("The export is not finished yet: read it again, with Prefer: wait=5, until it has succeeded.")
    if file.state != "succeeded":
        raise not_found("The export has no file, because it did not succeed.")
    if file.all_users and not await still_admin(request):
        raise Problem("forbidden", "This file holds everybody's tasks, and is for admins.")
    if file.is_expired or file.object is None:
        raise _expired()
    assert file.etag is not None
    assert file.bytes is not None
    assert file.finished_at is not None
    stored = StoredFile(
        file.object,
        file.bytes,
        file.etag,
        file.finished_at,
        FORMATS[file.format].media_type,
        file_name(file.format, file.finished_at),
    )
    try:
        return await file_response(request, request.app[STORAGE], stored)
    except ObjectGone:
        raise _expired() from None


def _expired() -> Problem:
    return Problem("export-expired", "The file is not kept any more: order a new export.")


routes = [
    Endpoint(
        "POST",
        "/exports",
        create_export,
        "Export tasks as a file",
        {202: Export},
        body=ExportCreate,
        problems=(400, 403, 409, 422),
        headers=("Prefer", "Idempotency-Key"),
        answer_headers=("Location", "Retry-After"),
        description="CSV for spreadsheets, NDJSON or JSON for programs, iCalendar for calendars; what is exported as "
        "CSV, NDJSON or JSON can be imported again. `GET` the export until it has succeeded, then its `file`.",
    ),
    Endpoint(
        "GET",
        "/exports",
        list_own_exports,
        "List the caller's exports, newest first",
        {200: ExportPage},
        query=PageQuery,
        problems=(400,),
        description="They are told of for a week after their files have expired.",
    ),
    Endpoint(
        "GET",
        "/exports/{id}",
        get_export,
        "Read an export",
        {200: Export},
        problems=(404,),
        description="With `Prefer: wait=N` the answer comes when the export has ended, or after N seconds. "
        "An unfinished export's answer carries `Retry-After`.",
        path_id="uuid",
        headers=("Prefer",),
        answer_headers=("Retry-After",),
    ),
    Endpoint(
        "GET",
        "/exports/{id}/file",
        get_export_file,
        "Fetch the file of an export",
        {200: None, 206: None, 304: None},
        conditional=True,
        problems=(403, 404, 409, 410, 416),
        media_type="text/csv",
        other_media_types=("application/x-ndjson", JSON, "text/calendar"),
        description="Its media type is that of the format. A download that broke off goes on with `Range` and "
        "`If-Range`. Until the export has succeeded the answer is 409, after `EXPORT_RETENTION_HOURS` (24 unless set) "
        "410.",
        path_id="uuid",
        headers=("Range", "If-Range", "If-Modified-Since"),
        answer_headers=("ETag", "Last-Modified", "Accept-Ranges", "Content-Disposition"),
    ),
    Endpoint(
        "DELETE",
        "/exports/{id}",
        delete_export,
        "Cancel an export, or delete its file",
        {204: None},
        is_write=True,
        problems=(404, 409, 413),
        path_id="uuid",
        description="One that has not ended is cancelled; of one that has, the file is deleted.",
    ),
]

"""What admins alone see and order: partitions of tasks, and maintenance."""

import re
from datetime import date
from typing import Any

import orjson
from aiohttp import web
from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from api.authority import still_admin
from api.bodies import read_body, read_json
from api.endpoints import Endpoint
from api.errors import Problem
from api.http import json_response, not_found
from api.keys import IDENTITY, POOL
from api.long_jobs import Job
from api.writes.submission import begin, build_command, queued_job, read_idempotency_key
from core import clock
from core.bounds import RequestSchema
from core.commands.kinds import ORDER_MAINTENANCE
from core.commands.wire import Command
from core.jobs.queries import find_outcome, read_job
from core.maintenance.queries import list_maintenance
from core.maintenance.schedule import NAMES
from core.partitions.queries import EARLIEST, LATEST, Partition, list_partitions, partition_bounds

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class PartitionSchema(Schema):
    """A range of time whose tasks lie together."""

    name = fields.String(required=True, metadata={"example": "tasks_2026"})
    from_ = fields.String(required=True, data_key="from", metadata={"format": "date-time"})
    to = fields.String(required=True, metadata={"format": "date-time", "description": "not in the range"})
    attached = fields.Boolean(required=True, metadata={"description": "false: its tasks are nowhere to be seen"})
    current = fields.Boolean(required=True, metadata={"description": "whether new tasks go into it now"})
    rows = fields.Integer(required=True, metadata={"description": "as PostgreSQL estimates them"})
    bytes = fields.Integer(required=True, metadata={"description": "on disk, with its indexes"})


class PartitionList(Schema):
    """All partitions in the order of time, the detached ones too."""

    items = fields.List(fields.Nested(PartitionSchema), required=True)


class Day(fields.Date):
    """A date as RFC 3339 writes it; Python itself would also read `20280101` and `2028-W01-1`."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> date:
        if not isinstance(value, str) or not _DAY.fullmatch(value):
            raise self.make_error("invalid", input=value, obj_type=self.OBJ_TYPE)
        return super()._deserialize(value, attr, data, **kwargs)


class PartitionCreate(RequestSchema):
    """The days that a new partition is for: from `from` to before `to`, or a whole `year`; in UTC."""

    from_ = Day(data_key="from", metadata={"example": "2028-01-01"})
    to = Day(metadata={"description": "not in the range", "example": "2028-07-01"})
    year = fields.Integer(
        strict=True,
        validate=validate.Range(EARLIEST.year, LATEST.year - 1),
        metadata={"description": "instead of `from` and `to`"},
    )

    @validates_schema
    def _names_one_range(self, data: dict[str, Any], **_: Any) -> None:
        if "year" in data:
            if "from_" in data or "to" in data:
                raise ValidationError("Give a year, or from and to.", "year")
            return
        missing = {key: ["Missing data for required field."] for key in ("from_", "to") if key not in data}
        if missing:
            raise ValidationError({key.rstrip("_"): messages for key, messages in missing.items()})
        if not EARLIEST <= data["from_"] < data["to"] <= LATEST:
            raise ValidationError(f"Must be after from, and both from {EARLIEST} to {LATEST}.", "to")


class MaintenanceRun(Schema):
    """One run of a job of maintenance."""

    state = fields.String(required=True, validate=validate.OneOf(("queued", "running", "succeeded", "failed")))
    started_at = fields.String(required=True, allow_none=True, metadata={"format": "date-time"})
    finished_at = fields.String(required=True, allow_none=True, metadata={"format": "date-time"})
    seconds = fields.Float(required=True, allow_none=True)
    rows = fields.Integer(required=True, metadata={"description": "removed or made"})
    error = fields.String(required=True, allow_none=True)
    job_id = fields.UUID(required=True, allow_none=True, metadata={"description": "where an admin has ordered it"})


class MaintenanceJob(Schema):
    """A job of maintenance: when it is due, and its last runs, newest first."""

    name = fields.String(required=True, validate=validate.OneOf(NAMES))
    every_seconds = fields.Integer(required=True)
    next_run_at = fields.String(required=True, metadata={"format": "date-time"})
    last_success_at = fields.String(required=True, allow_none=True, metadata={"format": "date-time"})
    runs = fields.List(fields.Nested(MaintenanceRun), required=True)


class MaintenanceList(Schema):
    """All jobs of maintenance."""

    items = fields.List(fields.Nested(MaintenanceJob), required=True)


_PARTITION_CREATE = PartitionCreate()


async def get_partitions(request: web.Request) -> web.Response:
    """`GET /admin/partitions`."""
    await _require_admin(request)
    return json_response(f'{{"items":{await list_partitions(request.app[POOL])}}}')


async def create_partition(request: web.Request) -> web.Response:
    """`POST /admin/partitions`: 202 with the job, once it is on record."""
    await _require_admin(request)
    given = await read_json(request, _PARTITION_CREATE)
    lower, upper = given.get("from_"), given.get("to")
    if "year" in given:
        lower, upper = date(given["year"], 1, 1), date(given["year"] + 1, 1, 1)
    arguments = {"from": lower.isoformat(), "to": upper.isoformat()}
    return await _order(request, _command(request, "create_partition", arguments))


async def detach_partition(request: web.Request) -> web.Response:
    """`POST /admin/partitions/{name}/detach`."""
    await _require_admin(request)
    await read_body(request)
    command = _command(request, "detach_partition", {"name": request.match_info["name"]})
    if not await _is_repeat(request, command):
        partition = await _find_partition(request)
        if not partition.is_attached:
            raise Problem("partition-conflict", "The partition is detached already.")
        if partition.upper > clock.now():
            raise Problem("partition-conflict", "New tasks go into this partition, or will: it stays attached.")
    return await _order(request, command)


async def attach_partition(request: web.Request) -> web.Response:
    """`POST /admin/partitions/{name}/attach`."""
    await _require_admin(request)
    await read_body(request)
    command = _command(request, "attach_partition", {"name": request.match_info["name"]})
    if not await _is_repeat(request, command) and (await _find_partition(request)).is_attached:
        raise Problem("partition-conflict", "The partition is attached already.")
    return await _order(request, command)


async def get_maintenance(request: web.Request) -> web.Response:
    """`GET /admin/maintenance`."""
    await _require_admin(request)
    return json_response(await list_maintenance(request.app[POOL], request[IDENTITY].user_id, clock.now()))


async def run_maintenance(request: web.Request) -> web.Response:
    """`POST /admin/maintenance/{name}`: runs it now, whenever it is due."""
    await _require_admin(request)
    await read_body(request)
    name = request.match_info["name"]
    if name not in NAMES:
        raise not_found("There is no such job of maintenance: GET /admin/maintenance lists them.")
    return await _order(request, _command(request, name, {}))


async def _require_admin(request: web.Request) -> None:
    """Raises a Problem, 403. To be called before anything else."""
    if not await still_admin(request):
        raise Problem("forbidden", "Only admins may do this.")


async def _find_partition(request: web.Request) -> Partition:
    name = request.match_info["name"]
    for partition in await partition_bounds(request.app[POOL]):
        if partition.name == name:
            return partition
    raise not_found("There is no such partition: GET /admin/partitions lists them.")


def _command(request: web.Request, name: str, arguments: dict[str, Any]) -> Command:
    return build_command(request, ORDER_MAINTENANCE.of({"name": name, "arguments": arguments}))


async def _is_repeat(request: web.Request, command: Command) -> bool:
    """Whether the order was carried out before. A repeat gets the first answer, whatever has changed since."""
    return read_idempotency_key(request) is not None and await find_outcome(request.app[POOL], command) is not None


async def _order(request: web.Request, command: Command) -> web.Response:
    return await begin(
        request,
        command,
        queued=orjson.dumps(queued_job(command.id, command.kind, command.created_at)),
        read=lambda: read_job(request.app[POOL], command.user_id, command.id),
        path="/jobs",
    )


routes = [
    Endpoint(
        "GET",
        "/admin/partitions",
        get_partitions,
        "List the partitions of tasks (admins)",
        {200: PartitionList},
        problems=(403,),
        description="Attached and detached ones, with their rows and bytes as PostgreSQL estimates them.",
    ),
    Endpoint(
        "POST",
        "/admin/partitions",
        create_partition,
        "Make a partition (admins)",
        {202: Job},
        body=PartitionCreate,
        headers=("Prefer", "Idempotency-Key"),
        answer_headers=("Location", "Retry-After"),
        problems=(403, 409),
        description="Maintenance makes what is needed by itself. The job is rejected where a partition, be it a "
        "detached one, is for a part of that time already.",
    ),
    Endpoint(
        "POST",
        "/admin/partitions/{name}/detach",
        detach_partition,
        "Detach a partition (admins)",
        {202: Job},
        headers=("Prefer", "Idempotency-Key"),
        answer_headers=("Location", "Retry-After"),
        problems=(400, 403, 404, 409, 413, 422),
        description="Takes a bygone range of time out of the tasks: nobody sees its tasks any more, and they cost no "
        "list anything. Its table stays in the database, to be dumped and dropped, or attached again.",
    ),
    Endpoint(
        "POST",
        "/admin/partitions/{name}/attach",
        attach_partition,
        "Attach a detached partition (admins)",
        {202: Job},
        headers=("Prefer", "Idempotency-Key"),
        answer_headers=("Location", "Retry-After"),
        problems=(400, 403, 404, 409, 413, 422),
        description="Its tasks are to be seen again.",
    ),
    Endpoint(
        "GET",
        "/admin/maintenance",
        get_maintenance,
        "List jobs of maintenance and their last runs (admins)",
        {200: MaintenanceList},
        problems=(403,),
        description="When each is due, and how its last runs went.",
    ),
    Endpoint(
        "POST",
        "/admin/maintenance/{name}",
        run_maintenance,
        "Run a job of maintenance now (admins)",
        {202: Job},
        headers=("Prefer", "Idempotency-Key"),
        answer_headers=("Location", "Retry-After"),
        problems=(400, 403, 404, 409, 413, 422),
        description="It is carried out by a worker, once, however often it is asked for meanwhile.",
    ),
]

"""Health for orchestrators, and metrics for Prometheus."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from aiohttp import web
from marshmallow import Schema, fields, validate
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client import REGISTRY as PROCESS_REGISTRY
from prometheus_client.multiprocess import MultiProcessCollector

from api.endpoints import Endpoint
from api.http import json_response
from api.keys import CACHE_CLIENT, DEFERRED, POOL, QUEUE, SETTINGS
from core import lanes
from core.database.rights import MISSING_SCHEMA, identity_fault, read_standing
from core.database.schema import SCHEMA_REVISION, applied_revision
from core.deferred import GATHER_SECONDS
from core.errors import DatabaseUnavailable, IdentityRefused, SchemaUnready
from core.redis.clients import REDIS_FAULTS, durability_faults

CHECK_SECONDS = 2.0
STALE_LANES_TOLD = 5


class Weakness(str):
    """A fault that does not keep the service from serving."""


Check = Callable[[web.Request], Awaitable[str | None]]
"""Returns what is wrong, or None."""


class Live(Schema):
    """The process answers."""

    status = fields.String(required=True, validate=validate.OneOf(("alive",)))


class DependencyState(Schema):
    """One dependency."""

    name = fields.String(required=True)
    status = fields.String(required=True, validate=validate.OneOf(("ok", "degraded", "failed")))
    detail = fields.String(required=True, allow_none=True)


class Ready(Schema):
    """Whether the service can serve, and why not."""

    status = fields.String(required=True, validate=validate.OneOf(("ready", "degraded", "unavailable")))
    dependencies = fields.List(fields.Nested(DependencyState), required=True)


async def live(request: web.Request) -> web.Response:
    """`GET /health/live`."""
    return json_response(b'{"status":"alive"}')


async def ready(request: web.Request) -> web.Response:
    """`GET /health/ready`: 503 where it cannot serve. Without the cache it serves, only slower."""
    faults = await asyncio.gather(*(_within(check, request) for check, _ in CHECKS.values()))
    dependencies: list[dict[str, Any]] = [
        {
            "name": name,
            "status": _status(fault, needed=needed),
            "detail": fault,
        }
        for (name, (_, needed)), fault in zip(CHECKS.items(), faults, strict=True)
    ]
    states = {dependency["status"] for dependency in dependencies}
    status = "unavailable" if "failed" in states else "degraded" if "degraded" in states else "ready"
    return json_response(
        orjson.dumps({"status": status, "dependencies": dependencies}),
        status=503 if status == "unavailable" else 200,
    )


def _status(fault: str | None, *, needed: bool) -> str:
    if fault is None:
        return "ok"
    return "failed" if needed and not isinstance(fault, Weakness) else "degraded"


async def _within(check: Check, request: web.Request) -> str | None:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await check(request)
    except TimeoutError:
        return f"no answer within {CHECK_SECONDS:g} seconds"


async def _database(request: web.Request) -> str | None:
    pool = request.app[POOL]
    try:
        standing = await read_standing(pool, "API")
        refusal = await identity_fault(pool) if standing.has_tables else None
    except SchemaUnready:
        return None  # the migrations' own line says it
    except IdentityRefused:
        return "does not let the login of API_DATABASE_URL in: correct it, or run `tenfold migrate`"
    except DatabaseUnavailable:
        return "cannot be reached"
    if refusal is not None:
        return refusal
    weakness = "; ".join(standing.faults)
    if not weakness:
        return None
    return Weakness(weakness) if request.app[SETTINGS].in_development else weakness


async def _migrations(request: web.Request) -> str | None:
    try:
        applied = await applied_revision(request.app[POOL])
    except IdentityRefused:
        return "not known: the database does not let the login in"
    except DatabaseUnavailable:
        return "the database cannot be reached"
    if applied is None:
        return MISSING_SCHEMA
    # A newer schema serves this code, too: migrations go before deployments.
    return None if applied >= SCHEMA_REVISION else f"at {applied}, need {SCHEMA_REVISION}: run `tenfold migrate`"


async def _queue(request: web.Request) -> str | None:
    try:
        faults = await durability_faults(request.app[QUEUE])
    except REDIS_FAULTS:
        return "cannot be reached"
    return "; ".join(faults) or None


async def _lanes(request: web.Request) -> str | None:
    """Says `degraded` and not `failed`: reads go on, and a process that the balancer drops would serve none."""
    try:
        states = await lanes.lane_states(request.app[QUEUE], lanes.lane_names(request.app[SETTINGS].write_lanes))
    except REDIS_FAULTS:
        return "the queue cannot be reached"
    now = time.time()
    stale = [
        f"{state.name} ({state.entries} entries, the oldest waits for {state.age_seconds(now):.0f} s)"
        for state in states
        if state.age_seconds(now) > lanes.STALE_SECONDS
    ]
    return f"not drained: {', '.join(stale[:STALE_LANES_TOLD])}: look with `tenfold lanes`" if stale else None


async def _cache(request: web.Request) -> str | None:
    try:
        await request.app[CACHE_CLIENT].ping()
    except REDIS_FAULTS:
        return "cannot be reached: reads go on without it"
    return None


# Name → the check, and whether the service needs it.
CHECKS: dict[str, tuple[Check, bool]] = {
    "database": (_database, True),
    "queue": (_queue, True),
    "cache": (_cache, False),
    "migrations": (_migrations, True),
    "lanes": (_lanes, False),
}


async def metrics_text(request: web.Request) -> web.Response:
    """`GET /metrics`: of all API processes that share the port."""
    request.app[DEFERRED].flush()
    registry = PROCESS_REGISTRY
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        await asyncio.sleep(2 * GATHER_SECONDS)  # by then the others have settled their books, too
    text = await asyncio.get_running_loop().run_in_executor(None, generate_latest, registry)
    return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})


routes = [
    Endpoint(
        "GET",
        "/health/live",
        live,
        "Whether the process answers",
        {200: Live},
        auth="none",
        limited=False,
        operation_id="get_liveness",
        description="Asks no other server; for orchestrators that start a process anew which does not answer.",
    ),
    Endpoint(
        "GET",
        "/health/ready",
        ready,
        "Whether the service can serve",
        {200: Ready, 503: Ready},
        auth="none",
        limited=False,
        operation_id="get_readiness",
        description="503 names what is missing. Without its cache the service is `degraded` and serves on.",
    ),
    Endpoint(
        "GET",
        "/metrics",
        metrics_text,
        "Metrics for Prometheus",
        {200: None},
        auth="none",
        limited=False,
        media_type="text/plain",
        operation_id="get_metrics",
        description="In the text format of Prometheus.",
    ),
]

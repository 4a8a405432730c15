"""What happens around every handler: request id, authentication, rate limit, problems, metrics, a log line."""

import itertools
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware
from multidict import istr
from prometheus_client import Counter, Histogram
from yarl import URL

from api.answers import add_common_headers, make_absolute
from api.arrivals import give_up_body
from api.clients import client_address_of
from api.compression import compress
from api.endpoints import Endpoint
from api.errors import Problem, Unauthenticated, as_problem, problem_response
from api.http import given_request_id, not_found, refuse_query
from api.identity import Identity
from api.keys import ADDRESS, ALLOWANCE, IDENTITY, JOB_ID, POOL, REQUEST_ID, REQUEST_LIMIT, TOKENS
from api.limits import counted_as, refuse
from api.origins import Origins
from api.tokens import TokenInvalid
from core import metrics
from core.database.reads import within
from core.deferred import Deferred
from core.errors import DatabaseUnavailable
from core.logs import get_logger
from core.ratelimit import Allowance
from core.settings import Settings
from core.users.queries import current_role

_UNMATCHED = "unmatched"
ROLE_SECONDS = 1.0
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
_QUIET_ROUTES = frozenset({"/health/live", "/health/ready", "/metrics"})
# Under these a slash at the end is part of a name.
_SLASHES_STAY_UNDER = ("/dav/", "/app/")

_REQUEST_ID = istr("X-Request-Id")
_RATE_LIMIT = istr("RateLimit")
_RATE_LIMIT_POLICY = istr("RateLimit-Policy")

log = get_logger()


def around_every_request(
    endpoints: Mapping[Handler, Endpoint],
    settings: Settings,
    log_request: Callable[[dict[str, Any]], None],
    deferred: Deferred,
) -> Middleware:
    """The one middleware: request id, admission, a problem for whatever is raised, metrics, and one log line.

    Args:
        endpoints: by handler; anything else that is routed needs no token and is counted by address.
        settings: `trusted_proxies`, `cors_origins`, `public_url`.
        log_request: writes the line of an answered request.
        deferred: when requests are counted and their lines written.
    """
    # A random prefix for the process, and a number for the request: random bytes for each would cost a system call.
    prefix = secrets.token_hex(8)
    numbers = itertools.count(1)
    in_flight = 0
    client_address = client_address_of(settings.trusted_proxies)
    origins = Origins(settings.cors_origins) if settings.cors_origins else None
    public_url = settings.public_url

    def tell_in_flight() -> None:
        metrics.HTTP_IN_FLIGHT.set(in_flight)

    deferred.add_level(tell_in_flight)

    def count_and_log(answered: dict[str, Any]) -> None:
        _count_and_log(answered, log_request)

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal in_flight
        started = time.perf_counter()
        request_id = given_request_id(request) or f"{prefix}{next(numbers):08x}"
        request[REQUEST_ID] = request_id
        request[ADDRESS] = address = client_address(request)
        structlog.contextvars.bind_contextvars(request_id=request_id)
        in_flight += 1
        deferred.schedule()
        status = 499  # the client went away before it was answered
        try:
            endpoint = endpoints.get(request.match_info.handler)
            preflight = None if origins is None else origins.preflight(request)
            response = preflight or await _admit(request, handler, endpoint)
            is_long = add_common_headers(response, is_public=endpoint is not None and endpoint.is_public)
            response.headers[_REQUEST_ID] = request_id
            if origins is not None:
                origins.open(request, response)
            if public_url:
                make_absolute(response, public_url)
            if is_long and hdrs.ACCEPT_ENCODING in request.headers:
                await compress(request, response)
            status = response.status
            return response
        finally:
            in_flight -= 1
            identity = request.get(IDENTITY)
            answered = {
                "timestamp": time.time(),
                "request_id": request_id,
                "method": request.method,
                "path": request.path,
                "route": route_template(request),
                "status": status,
                "seconds": time.perf_counter() - started,
                "user": identity.user_id if identity else None,
                "job": request.get(JOB_ID),
                "address": address,
            }
            deferred.add(count_and_log, answered)

    return answer


async def _admit(request: web.Request, handler: Handler, endpoint: Endpoint | None) -> web.StreamResponse:
    """Authentication first, so that a user's limit follows the user; then the limit; then the handler."""
    allowance: Allowance | None = None
    try:
        if endpoint is not None and not endpoint.limited:
            return await handler(request)
        app = request.app
        identity: Identity | None = None
        refusal: Problem | None = None
        headers = request.headers.getall(hdrs.AUTHORIZATION, ())
        if len(headers) > 1:
            refusal = Problem("bad-request", "Send one Authorization header: of two nobody knows which is meant.")
        elif endpoint is not None and endpoint.auth != "none":
            header = headers[0] if headers else None
            identity = app[TOKENS].recall(header)
            if identity is None:
                try:
                    identity = await _authenticate(request, header, optional=endpoint.auth == "optional")
                except Unauthenticated as error:
                    refusal = error  # raised below: refused requests count, too
        if identity is not None:
            request[IDENTITY] = identity
        allowance = await app[REQUEST_LIMIT].hit(counted_as(request, identity))
        if allowance is not None:
            request[ALLOWANCE] = allowance
            if allowance.exceeded:
                raise refuse(allowance, "default")
        if refusal is not None:
            raise refusal
        redirect = None
        if endpoint is None:
            redirect = await _redirect(request)
        elif endpoint.query is None:
            refuse_query(request)
        response = redirect or await handler(request)
    except Exception as error:
        response = _render(request, error)
    if allowance is not None:
        allowance = request[ALLOWANCE]  # the handler may have charged more
        response.headers[_RATE_LIMIT_POLICY] = f'"default";q={allowance.quota};w={allowance.window_seconds}'
        response.headers[_RATE_LIMIT] = f'"default";r={allowance.left};t={allowance.reset_seconds}'
    return response


async def _redirect(request: web.Request) -> web.Response | None:
    """Redirects from an address with a slash too many at its end: 308 keeps method and body.

    Raises:
        Problem: 404, the address begins with two slashes: a browser would take the next word for a host.
    """
    path = request.rel_url.raw_path
    if request.path.startswith("//"):
        raise not_found("There is nothing at this address.")
    if path == "/" or not path.endswith("/") or path.startswith(_SLASHES_STAY_UNDER):
        return None
    bare = URL.build(path=path.rstrip("/") or "/", query_string=request.rel_url.raw_query_string, encoded=True)
    match = await request.app.router.resolve(request.clone(rel_url=bare))
    if isinstance(match.http_exception, web.HTTPNotFound):
        return None
    return web.Response(status=308, headers={hdrs.LOCATION: str(bare)})


def _render(request: web.Request, error: Exception) -> web.Response:
    problem = as_problem(error)
    if problem is None:
        log.exception("request failed", method=request.method, path=request.path)
        problem = Problem("internal-error", "Something went wrong on our side; the request id finds it in our logs.")
    response = problem_response(
        problem.content(), instance=request.rel_url.raw_path, request_id=request[REQUEST_ID], headers=problem.headers
    )
    if problem.status == 408:
        give_up_body(request)
        response.force_close()
    return response


def route_template(request: web.Request) -> str:
    """The route's path with its `{names}`, so that metrics do not grow with ids."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else _UNMATCHED


@cache
def _meters(route: str, method: str, status: int) -> tuple[Counter, Histogram]:
    """The metrics of a route, kept: to look labels up costs several times what counting does."""
    return metrics.HTTP_REQUESTS.labels(route, method, str(status)), metrics.HTTP_DURATION.labels(route, method)


def _count_and_log(answered: dict[str, Any], log_request: Callable[[dict[str, Any]], None]) -> None:
    """Counts an answered request, and logs it.

    Args:
        answered: the fields of its line, with `timestamp` in seconds since 1970.
        log_request: writes the line.
    """
    method, route, seconds = answered["method"], answered["route"], answered["seconds"]
    requests, duration = _meters(route, method if method in _METHODS else "other", answered["status"])
    requests.inc()
    duration.observe(seconds)
    if route not in _QUIET_ROUTES:
        answered["timestamp"] = datetime.fromtimestamp(answered["timestamp"], UTC)
        answered["seconds"] = round(seconds, 6)
        log_request(answered)


async def _authenticate(request: web.Request, header: str | None, *, optional: bool) -> Identity | None:
    """Whose access token `Authorization` holds; None where it is optional and missing.

    Raises:
        Unauthenticated: it is missing, no bearer token, not valid, or its user is gone.
    """
    if header is None:
        if optional:
            return None
        raise Unauthenticated("authentication-required", "Send an access token: Authorization: Bearer <token>.")
    scheme, _, token = header.partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("authentication-required", "Send the access token as: Bearer <token>.")
    tokens = request.app[TOKENS]
    try:
        claims = tokens.verify_access(token)
    except TokenInvalid as error:
        raise Unauthenticated("invalid-token", str(error), error="invalid_token") from None
    role: str | None = claims.role
    checked = True
    try:
        role = await within(ROLE_SECONDS, current_role(request.app[POOL], claims.user_id))
    except DatabaseUnavailable:
        checked = False  # the role in the token holds until the database is back
    if role is None:
        raise Unauthenticated("invalid-token", "The user does not exist any more.", error="invalid_token")
    identity = Identity(claims.user_id, role, claims.session)
    if len(header) == len(scheme) + 1 + len(token):  # so one token is remembered in one spelling only
        tokens.remember(header, identity, claims, checked=checked)
    return identity

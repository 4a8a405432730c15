"""Problems (RFC 9457): one table of kinds, one table from error class to kind, one renderer."""

import re
from typing import Any

import orjson
from aiohttp import web

from api.field_errors import Room, shortened
from core.commands.effects import REJECTIONS
from core.errors import AnchorGone, CursorInvalid, DatabaseUnavailable, QueueUnavailable, StorageUnavailable

PROBLEM_JSON = "application/problem+json"
PROBLEM_MAXIMUM_BYTES = 16 << 10
DETAIL_MAXIMUM_BYTES = 2000
INSTANCE_MAXIMUM = 1000
_HALF_ESCAPE = re.compile(r"%[0-9A-Fa-f]?\Z")

# The problem's name, the last part of its `type` → (status, title).
PROBLEMS: dict[str, tuple[int, str]] = {
    **REJECTIONS,
    "bad-request": (400, "The request cannot be understood"),
    "invalid-json": (400, "The body is not JSON"),
    "invalid-cursor": (400, "The cursor cannot be used"),
    "invalid-header": (400, "A header cannot be understood"),
    "authentication-required": (401, "Authentication is required"),
    "wrong-credentials": (401, "Wrong username or password"),
    "registration-closed": (403, "Registration is closed"),
    "wrong-password": (403, "The current password is wrong"),
    "export-expired": (410, "The file is not kept any more"),
    "method-not-allowed": (405, "The method is not allowed here"),
    "request-timeout": (408, "The body did not come in time"),
    "no-secret": (409, "There is no secret"),
    "payload-too-large": (413, "The body is too large"),
    "uri-too-long": (414, "The address is too long"),
    "unsupported-media-type": (415, "The media type is not supported"),
    "range-not-satisfiable": (416, "The file has no such part"),
    "expectation-failed": (417, "The expectation cannot be met"),
    "too-many-requests": (429, "Too many requests"),
    "headers-too-large": (431, "The headers are too large"),
    "queue-unavailable": (503, "Writes cannot be taken just now"),
    "database-unavailable": (503, "The database cannot answer just now"),
    "storage-unavailable": (503, "Files cannot be stored just now"),
    "channels-unavailable": (503, "Channels are not set up here"),
    "overloaded": (503, "Too much to do just now"),
}

RETRY_AFTER_SECONDS = 2


class Problem(Exception):
    """Ends a request with a problem of a kind in `PROBLEMS`."""

    def __init__(self, name: str, detail: str, *, headers: dict[str, str] | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.name = name
        self.detail = detail
        self.headers = headers or {}
        self.extra = extra

    @property
    def status(self) -> int:
        return PROBLEMS[self.name][0]

    def content(self) -> dict[str, Any]:
        """The problem without what depends on the request."""
        status, title = PROBLEMS[self.name]
        return {
            "type": f"/problems/{self.name}",
            "title": title,
            "status": status,
            "detail": self.detail,
            **self.extra,
        }


class Unauthenticated(Problem):
    """401 with the challenge of RFC 6750, 3. It always names an error, also where no token was sent."""

    def __init__(self, name: str, detail: str, *, error: str = "invalid_request") -> None:
        challenge = f'Bearer realm="tenfold", error="{error}", error_description="{detail}"'
        super().__init__(name, detail, headers={"WWW-Authenticate": challenge})


# Core's errors → (problem, whether the client should come again).
_DOMAIN_ERRORS: dict[type[Exception], tuple[str, bool]] = {
    CursorInvalid: ("invalid-cursor", False),
    AnchorGone: ("invalid-cursor", False),
    QueueUnavailable: ("queue-unavailable", True),
    DatabaseUnavailable: ("database-unavailable", True),
    StorageUnavailable: ("storage-unavailable", True),
}

# aiohttp's own refusals, by status.
_FRAMEWORK_ERRORS = {
    404: ("not-found", "There is nothing at this address."),
    405: (
        "method-not-allowed",
        "This address does not know that method; the Allow header says which it knows.",
    ),
    413: ("payload-too-large", "The body is larger than this service takes."),
    417: ("expectation-failed", "Only 'Expect: 100-continue' is understood."),
}


def as_problem(error: Exception) -> Problem | None:
    """The problem that an exception means; None for one that nobody expected."""
    if isinstance(error, Problem):
        return error
    for kind, (name, come_again) in _DOMAIN_ERRORS.items():
        if isinstance(error, kind):
            headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if come_again else None
            return Problem(name, str(error)[:1].upper() + str(error)[1:], headers=headers)
    if isinstance(error, web.HTTPException):
        name, detail = _FRAMEWORK_ERRORS.get(error.status, ("bad-request", error.reason or "The request is not valid."))
        allow = error.headers.get("Allow")
        return Problem(name, detail, headers={"Allow": allow} if allow else None)
    return None


def problem_response(
    content: dict[str, Any], *, instance: str, request_id: str, headers: dict[str, str] | None = None
) -> web.Response:
    """Renders a problem in `PROBLEM_MAXIMUM_BYTES` at the most: text of the client in it is cut short.

    Args:
        content: at least `type`, `title`, `status` and `detail`; its `errors` are told as far as there is room.
        instance: the path of the request as it was sent: a decoded path may be no URI reference.
        request_id: of the request.
        headers: of the answer.
    """
    body = {**content, "detail": shortened(content["detail"], DETAIL_MAXIMUM_BYTES), **_few_errors(content)}
    body |= {"instance": _shown(instance), "request_id": request_id}
    return web.Response(body=orjson.dumps(body), status=content["status"], content_type=PROBLEM_JSON, headers=headers)


def _few_errors(content: dict[str, Any]) -> dict[str, Any]:
    if "errors" not in content:
        return {}
    told = Room().tell(content["errors"])
    omitted = told.get("errors_omitted", 0) + content.get("errors_omitted", 0)
    return {**told, "errors_omitted": omitted} if omitted else told


def _shown(path: str) -> str:
    """The beginning of a path; no escape in it is cut in half."""
    return path if len(path) <= INSTANCE_MAXIMUM else _HALF_ESCAPE.sub("", path[:INSTANCE_MAXIMUM])

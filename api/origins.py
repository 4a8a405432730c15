"""Pages of other origins (CORS): what a browser lets them do with this service.

Tokens travel in a header that a page sets itself, so nothing is ever allowed "with credentials": no page can act with
what a browser keeps for this origin.
"""

from collections.abc import Sequence

from aiohttp import hdrs, web
from multidict import istr

ANY = "*"
_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE"
_REQUEST_HEADERS = (
    "Authorization, Content-Type, Content-Disposition, If-Match, If-None-Match, Idempotency-Key, Prefer, Range, "
    "X-Request-Id, Last-Event-ID"
)
_EXPOSED_HEADERS = (
    "ETag, Link, Location, Retry-After, RateLimit, RateLimit-Policy, Idempotent-Replayed, Preference-Applied, "
    "X-Request-Id, Content-Disposition, Content-Range, WWW-Authenticate"
)
_MAX_AGE_SECONDS = 600

_ALLOW_ORIGIN = istr("Access-Control-Allow-Origin")
_EXPOSE_HEADERS = istr("Access-Control-Expose-Headers")


class Origins:
    """The origins whose pages may read answers."""

    def __init__(self, allowed: Sequence[str]) -> None:
        """
        Args:
            allowed: origins as browsers write them, or `*` alone.
        """
        self._allowed = frozenset(allowed)
        self._all_may = ANY in self._allowed

    def preflight(self, request: web.BaseRequest) -> web.Response | None:
        """The answer to a browser that asks what a page may send; None for any other request."""
        if (
            request.method != "OPTIONS"
            or hdrs.ORIGIN not in request.headers
            or hdrs.ACCESS_CONTROL_REQUEST_METHOD not in request.headers
        ):
            return None
        response = web.Response(status=204)
        if self._may_read(request):
            response.headers["Access-Control-Allow-Methods"] = _METHODS
            response.headers["Access-Control-Allow-Headers"] = _REQUEST_HEADERS
            response.headers["Access-Control-Max-Age"] = str(_MAX_AGE_SECONDS)
        return response

    def open(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        """Says on an answer which origin's pages may read it."""
        if self._may_read(request):
            response.headers[_ALLOW_ORIGIN] = ANY if self._all_may else request.headers[hdrs.ORIGIN]
            response.headers[_EXPOSE_HEADERS] = _EXPOSED_HEADERS
        if not self._all_may:
            vary = response.headers.get(hdrs.VARY)
            response.headers[hdrs.VARY] = f"{vary}, Origin" if vary else "Origin"

    def _may_read(self, request: web.BaseRequest) -> bool:
        origin = request.headers.get(hdrs.ORIGIN)
        return origin is not None and (self._all_may or origin in self._allowed)

"""How connections are served: aiohttp's runner, which answers with problems also before the application is reached.

aiohttp alone answers outside all middlewares, and as plain text, where it cannot parse a request or does not know its
`Expect`.
"""

import secrets
from collections import deque
from collections.abc import Awaitable, Iterable
from itertools import chain
from typing import Any

from aiohttp import HttpVersion11, web
from aiohttp.http_exceptions import LineTooLong, TransferEncodingError
from aiohttp.web_protocol import RequestHandler, _ErrInfo
from multidict import CIMultiDict
from yarl import URL

from api.answers import add_common_headers
from api.errors import Problem, problem_response
from api.http import given_request_id
from api.keys import AWAITS_CONTINUE, SETTINGS
from core import metrics
from core.logs import get_logger

KEEPALIVE_SECONDS = 75.0
SHUTDOWN_SECONDS = 20.0
# The two differ: aiohttp tells the limit that was exceeded, and by that we know which it was.
TARGET_MAXIMUM_BYTES = 8190
HEADER_MAXIMUM_BYTES = 16_380
HEADERS_MAXIMUM_BYTES = 64 << 10
"""Of all headers together. aiohttp itself takes 128 headers: two megabytes of lists that would have to be split."""
CHUNKS_FREE = 4096
CHUNK_BYTES = 64
"""What chunks of a body must hold on average, beyond the first few: one takes as long to read as a kilobyte."""

log = get_logger()


class Runner(web.AppRunner):
    """An application's runner; sites are added by whoever knows where to listen."""

    def __init__(self, app: web.Application) -> None:
        self._public_path = app[SETTINGS].public_path
        super().__init__(
            app,
            access_log=None,
            keepalive_timeout=KEEPALIVE_SECONDS,
            shutdown_timeout=SHUTDOWN_SECONDS,
            handle_signals=False,
            auto_decompress=False,  # see api/encodings.py
            max_line_size=TARGET_MAXIMUM_BYTES,
            max_field_size=HEADER_MAXIMUM_BYTES,
        )

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()

        prefix = self._public_path

        async def answer_expectation(request: web.BaseRequest) -> web.StreamResponse:
            if request.version >= HttpVersion11 and request.headers["Expect"].lower() != "100-continue":
                return _refuse(request, Problem("expectation-failed", "Only 'Expect: 100-continue' is understood."))
            # aiohttp would send 100 Continue before anybody has looked at the head.
            headers = CIMultiDict(request.headers)
            del headers["Expect"]
            asked = request.clone(headers=headers)
            asked[AWAITS_CONTINUE] = request.version >= HttpVersion11
            response = await made.request_handler(asked)
            if asked[AWAITS_CONTINUE]:
                response.force_close()  # the body may come all the same
            return response

        async def refuse_headers(request: web.BaseRequest) -> web.StreamResponse:
            told = f"The headers are longer than {HEADERS_MAXIMUM_BYTES} bytes together."
            response = _refuse(request, Problem("headers-too-large", told))
            response.force_close()
            return response

        def handle(request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
            if sum(map(len, chain.from_iterable(request.raw_headers))) > HEADERS_MAXIMUM_BYTES:
                return refuse_headers(request)
            if prefix and (request.path == prefix or request.path.startswith(f"{prefix}/")):
                request = _without_prefix(request, prefix)
            return answer_expectation(request) if "Expect" in request.headers else made.request_handler(request)

        return _Server(handle, request_factory=made.request_factory, **self._kwargs)


def _without_prefix(request: web.BaseRequest, prefix: str) -> web.BaseRequest:
    url = request.rel_url
    path = url.raw_path[len(prefix) :] or "/"
    return request.clone(rel_url=URL.build(path=path, query_string=url.raw_query_string, encoded=True))


class _Server(web.Server):
    def __call__(self) -> RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class _Connection(RequestHandler):
    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        """Tells the reader of a body that it cannot be parsed: aiohttp tells only the reader of the next request.

        And counts the chunks of a body; the parser pauses after `CHUNKS_FREE`.
        """
        super().data_received(data)
        if not self._messages:
            return
        message, payload = self._messages[-1]
        if not isinstance(message, _ErrInfo):
            if message.chunked and not isinstance(payload._http_chunk_splits, _ChunkEnds):
                payload._http_chunk_splits = _ChunkEnds(payload._http_chunk_splits or ())
            return
        if self._current_request is None:
            return
        content = self._current_request.content
        if not content.is_eof():
            self._messages.clear()
            self.close()  # after the answer: where the next request begins is not known
            content.set_exception(web.RequestPayloadError(message.message))

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Leaves out the client's faults: the rest of a refused body is read, too, and may be broken."""
        if not isinstance(kw.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*args, **kw)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answers a request that could not be parsed, and closes the connection: where the next begins is not known."""
        if status >= 500:
            log.error("request failed outside the application", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has been begun already")
        response = _refuse(request, _as_problem(status, exc))
        response.force_close()
        return response


class _ChunkEnds(deque[int]):
    """Where the chunks of a body end, as its reader keeps them; refuses too many small ones."""

    def __init__(self, places: Iterable[int]) -> None:
        super().__init__(places)
        self._count = len(self)

    def append(self, place: int) -> None:
        """
        Raises:
            TransferEncodingError: the chunks are too small. The parser treats that as a malformed chunk.
        """
        self._count += 1
        if self._count > CHUNKS_FREE + place // CHUNK_BYTES:
            raise TransferEncodingError("The chunks are too small.")
        super().append(place)


def _as_problem(status: int, error: BaseException | None) -> Problem:
    if status >= 500:
        return _unexpected()
    if not isinstance(error, LineTooLong):
        return Problem("bad-request", "This is not HTTP as this service understands it.")
    _, limit, *_ = error.args
    if limit == TARGET_MAXIMUM_BYTES:
        return Problem("uri-too-long", f"The address is longer than {limit} bytes.")
    return Problem("headers-too-large", f"A header is longer than {limit} bytes.")


def _unexpected() -> Problem:
    return Problem("internal-error", "Something went wrong on our side; the request id finds it in our logs.")


def _refuse(request: web.BaseRequest, problem: Problem) -> web.Response:
    request_id = given_request_id(request) or secrets.token_hex(12)
    metrics.HTTP_REQUESTS.labels("unparsed", "other", str(problem.status)).inc()
    log.info("request refused", status=problem.status, address=request.remote, request_id=request_id)
    response = problem_response(
        problem.content(), instance=request.rel_url.raw_path, request_id=request_id, headers=problem.headers
    )
    response.headers["X-Request-Id"] = request_id
    add_common_headers(response, is_public=False)
    return response

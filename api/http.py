"""How a handler reads what a client sent and how it answers; and what an endpoint is."""

import collections
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol
from urllib.parse import parse_qsl

import orjson
from aiohttp import hdrs, web
from marshmallow import RAISE, Schema, ValidationError, fields

from api.encodings import BodyBroken, decoded_pieces
from api.errors import Problem
from api.fielderrors import FIELDS_MAXIMUM, Room
from api.keys import BODY
from core.bounds import List
from core.ids import MAXIMUM_ID
from core.pagination import decode_cursor, encode_cursor
from core.settings import Settings

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
JSON_TYPES = frozenset({JSON, MERGE_PATCH, "application/octet-stream", ""})
FORM = "application/x-www-form-urlencoded"
FORM_FIELDS_MAXIMUM = 20
FORM_MAXIMUM_BYTES = 64 << 10
"""Of a form with nothing but names and passwords in it; each escape in it takes longer to read than all of JSON."""

CONTAINERS_MAXIMUM = 20_000
"""Lists and objects in one body. The largest valid one, a batch, has 3,001."""
QUOTES_MAXIMUM = 100_000
"""Quotes and escapes in a body with so many brackets in it; to tell what of those is text would take too long."""

MEDIA_TYPE_MAXIMUM = 255
LIST_TEXT_MAXIMUM = 8190
"""Characters of several values in one text: as many as an address may have."""

_JSON_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}\Z")
_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
ETAG = re.compile(_TAG)
# RFC 9110, 5.6.1: elements of a list may be missing.
_ETAGS = re.compile(rf"(?:,[ \t]*)*{_TAG}[ \t]*(?:,[ \t]*(?:{_TAG}[ \t]*)?)*\Z")

# Of an answer with tokens or secrets in it; it is not compressed, either (RFC 6749, 5.1).
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path: what routes it, what guards it, and what documents it.

    Attributes:
        method: GET (which answers HEAD, too), POST, PUT, PATCH or DELETE.
        path: with `{names}`.
        handler: answers, or raises a `Problem`.
        summary: one line for the OpenAPI document.
        answers: status → schema of the body (None: no body, or one that is no JSON); problems are added by the
            document itself.
        body: the schema of the JSON body (a form's with `form`).
        query: the schema of the query parameters.
        auth: whether an access token is needed, allowed, or not looked at.
        is_write: takes `Prefer` and `Idempotency-Key`, and may answer 202.
        conditional: takes `If-Match` where it writes and `If-None-Match` where it reads.
        problems: statuses of problems that are this endpoint's own.
        limited: whether the general rate limit counts it.
        is_public: the answer is the same for everybody, and the handler says who may keep it.
        media_type: of its answers.
        description: more than the summary says, as Markdown.
        operation_id: the handler's name unless given; clients are generated with it, so it stays as it is.
        path_id: what the `{id}` of the path is.
        headers: request headers that it takes beside those which follow from the above.
        answer_headers: headers of its answers beside those which follow from the above.
        documented: False keeps it out of the OpenAPI document.
        takes_file: its body is a file of any type, or the field `file` of a form.
        other_media_types: of its answers, for those who prefer one of them (`Accept`).
    """

    method: str
    path: str
    handler: Handler
    summary: str
    answers: dict[int, type[Schema] | Schema | None]
    body: type[Schema] | None = None
    query: type[Schema] | None = None
    auth: Literal["required", "optional", "none"] = "required"
    is_write: bool = False
    form: bool = False
    conditional: bool = False
    problems: tuple[int, ...] = field(default=())
    limited: bool = True
    is_public: bool = False
    media_type: str = JSON
    description: str = ""
    operation_id: str | None = None
    path_id: Literal["integer", "uuid"] = "integer"
    headers: tuple[str, ...] = ()
    answer_headers: tuple[str, ...] = ()
    documented: bool = True
    takes_file: bool = False
    other_media_types: tuple[str, ...] = ()


class RejectionSchema(Schema):
    """Why a write was refused: a problem (RFC 9457) without what depends on a request."""

    type = fields.String(required=True, metadata={"format": "uri-reference", "example": "/problems/validation-error"})
    title = fields.String(required=True, metadata={"example": "The request is not valid"})
    status = fields.Integer(required=True, metadata={"example": 422})
    detail = fields.String(required=True, metadata={"example": "Mend these fields and send the request again: title."})
    errors = fields.Dict(
        keys=fields.String(),
        values=fields.List(fields.String()),
        metadata={
            "description": f"field → what is wrong with it; {FIELDS_MAXIMUM} fields at the most",
            "example": {"title": ["Missing data for required field."]},
            "maxProperties": FIELDS_MAXIMUM,
        },
    )
    errors_omitted = fields.Integer(
        metadata={"description": "how many more fields are wrong than `errors` names", "minimum": 1}
    )
    current_version = fields.Integer(metadata={"description": "the task's, where the condition named another"})
    user_id = fields.Integer(metadata={"description": "whose the task is, where an admin asked", "format": "int64"})
    quota = fields.String(metadata={"description": "which quota is used up, such as `tasks`", "example": "tasks"})
    limit = fields.Integer(metadata={"description": "of the quota", "format": "int64"})
    used = fields.Integer(metadata={"description": "of the quota", "format": "int64"})


class ProblemSchema(RejectionSchema):
    """A problem (RFC 9457)."""

    instance = fields.String(required=True, metadata={"description": "the path of the request", "example": "/tasks"})
    request_id = fields.String(required=True, metadata={"description": "finds the request in the logs"})


class WholeNumber(fields.Integer):
    """A number in a query: ASCII digits alone, where `int()` also takes `1_0`, spaces and other scripts' digits."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if not (value.isascii() and value.removeprefix("-").isdecimal()):
            raise self.make_error("invalid")
        return super()._deserialize(value, attr, data, **kwargs)


class CommaSeparated(List[Any]):
    """Several values of one query parameter, separated by commas; becomes a sorted tuple of the different ones."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if len(value) > LIST_TEXT_MAXIMUM:
            raise ValidationError(f"Longer than maximum length {LIST_TEXT_MAXIMUM}.")
        parts = list(dict.fromkeys(part.strip() for part in value.split(",")))
        try:
            return tuple(sorted(set(super()._deserialize(parts, attr, data, **kwargs))))
        except ValidationError as error:
            messages: Any = error.messages
            if isinstance(messages, list):
                raise
            raise ValidationError(sorted({text for texts in messages.values() for text in texts})) from None


# -- reading --------------------------------------------------------------------------------------------------


async def read_json(request: web.Request, schema: Schema) -> Any:
    """The validated body.

    Raises:
        Problem: 400 not JSON, 413 too large, 415 another media type, 422 not valid.
    """
    return validate(schema, await read_raw_json(request))


async def read_body(request: web.Request) -> bytes:
    """The whole body, also to be found at `request[BODY]`; to be called once.

    One that is or will be too large is refused without waiting for the rest of it.

    Raises:
        Problem: 400 it breaks off or cannot be decompressed, 413 too large.
    """
    largest = request.client_max_size
    try:
        if request.content.is_eof() and hdrs.CONTENT_ENCODING not in request.headers:
            body = request.content.read_nowait()  # as most are, which came with the head: this costs a third
        elif (request.content_length or 0) <= largest:
            body = await _gather_body(request, largest)
        else:
            raise _too_large(largest)
    except (web.RequestPayloadError, ConnectionError, BodyBroken):
        raise broken_body() from None
    if len(body) > largest:
        raise _too_large(largest)
    request[BODY] = body
    return body


async def _gather_body(request: web.Request, largest: int) -> bytes:
    """The body, or the beginning of one that is too large."""
    body = bytearray()
    async for piece in decoded_pieces(request):
        body += piece
        if len(body) > largest:
            break
    return bytes(body)


def broken_body() -> Problem:
    return Problem("bad-request", "The body breaks off, or is not encoded as its headers say.")


def _too_large(largest: int) -> Problem:
    return Problem("payload-too-large", f"The body is larger than {largest} bytes.")


async def read_form(request: web.Request, schema: Schema) -> Any:
    """The validated fields of a form.

    Raises:
        Problem: 400 not UTF-8, 413 too large, 415 another media type, 422 not valid.
    """
    if media_type(request) != FORM:
        raise Problem("unsupported-media-type", f"Send the form as {FORM}, not as {media_type(request)}.")
    if (request.content_length or 0) > FORM_MAXIMUM_BYTES:
        raise _too_large(FORM_MAXIMUM_BYTES)
    body = await read_body(request)
    if len(body) > FORM_MAXIMUM_BYTES:
        raise _too_large(FORM_MAXIMUM_BYTES)
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=FORM_FIELDS_MAXIMUM)
    except ValueError:
        raise Problem("bad-request", f"The body is not a UTF-8 form of up to {FORM_FIELDS_MAXIMUM} fields.") from None
    repeated = _repeated(name for name, _ in pairs)
    if repeated:
        raise invalid({name: ["Give it once."] for name in repeated})
    # Unlike everywhere else, what is not known is ignored: RFC 6749, 3.2 demands it of a form of OAuth 2.0.
    return validate(schema, {name: value for name, value in pairs if name in schema.fields})


async def read_raw_json(request: web.Request) -> Any:
    """The body as JSON, not yet validated; the same problems but 422."""
    if request.headers.get(hdrs.CONTENT_TYPE) != JSON and media_type(request) not in JSON_TYPES:
        raise Problem("unsupported-media-type", f"Send the body as {JSON}, not as {media_type(request)}.")
    body = await read_body(request)
    if len(body) > CONTAINERS_MAXIMUM:
        _refuse_masses(body)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        detail = f"{error.msg} (line {error.lineno}, column {error.colno})" if body else "The body is empty."
        raise Problem("invalid-json", f"The body is not JSON: {detail}") from None


def _refuse_masses(body: bytes) -> None:
    """Refuses what would be valid nowhere, and takes the longest to read by far: hundreds of thousands of lists.

    Raises:
        Problem: 400, there are more than `CONTAINERS_MAXIMUM` lists and objects in it.
    """
    if body.count(b"[") + body.count(b"{") <= CONTAINERS_MAXIMUM:
        return  # as nearly always; what is in texts does not count, but to look for those takes longer
    structure = body
    if body.count(b'"') + body.count(b"\\") <= QUOTES_MAXIMUM:
        structure = _JSON_STRING.sub(b"", body)
    if structure.count(b"[") + structure.count(b"{") > CONTAINERS_MAXIMUM:
        raise Problem("invalid-json", f"The body has more than {CONTAINERS_MAXIMUM} lists and objects in it.")


def media_type(request: web.Request) -> str:
    """What the body is, in lower case and without parameters: `application/octet-stream` unless it is said.

    aiohttp's own takes seconds for a header that means harm.
    """
    given = request.headers.get(hdrs.CONTENT_TYPE)
    if given is None:
        return "application/octet-stream"
    return given[:MEDIA_TYPE_MAXIMUM].partition(";")[0].strip().lower()


def validate(schema: Schema, content: Any) -> Any:
    """`content` as the schema reads it.

    Raises:
        Problem: 422 with `errors`.
    """
    try:
        return schema.load(content, unknown=RAISE)
    except ValidationError as error:
        raise invalid(error.messages) from None


def invalid(messages: Any) -> Problem:
    """422 for marshmallow's messages."""
    told = Room().tell(messages)
    fields = ", ".join(sorted(told.get("errors", ()))[:5])
    return Problem("validation-error", f"Mend these fields and send the request again: {fields}.", **told)


def read_query(request: web.Request, schema: Schema) -> Any:
    """The validated query parameters; each may stand once, or several times where it is a list.

    Raises:
        Problem: 422.
    """
    parameters = request.query
    given = dict(parameters)
    if len(given) < len(parameters):
        repeated = _repeated(name for name, _ in parameters.items())
        lists = [name for name in repeated if isinstance(schema.fields.get(name), CommaSeparated)]
        if len(lists) < len(repeated):
            raise invalid({name: ["Give it once."] for name in repeated if name not in lists})
        given |= {name: ",".join(parameters.getall(name)) for name in lists}
    return validate(schema, given)


def _repeated(names: Iterable[str]) -> list[str]:
    """The names that stand there more than once."""
    return sorted(name for name, count in collections.Counter(names).items() if count > 1)


def page_limit(given: dict[str, Any], settings: Settings) -> int:
    """How many items a page shall have.

    Raises:
        Problem: 422, more than MAX_PAGE_SIZE.
    """
    limit: int = given.get("limit", settings.default_page_size)
    if limit > settings.max_page_size:
        raise invalid({"limit": [f"Must be at most {settings.max_page_size}."]})
    return limit


def refuse_query(request: web.Request) -> None:
    """For endpoints without query parameters.

    Raises:
        Problem: 422, there are some.
    """
    if request.query_string:
        raise invalid({name: ["Unknown field."] for name in request.query} or {"query": ["None is known here."]})


def given_request_id(request: web.BaseRequest) -> str | None:
    """The client's `X-Request-Id`, if it is sane."""
    given = request.headers.get("X-Request-Id", "")
    return given if _SANE_REQUEST_ID.match(given) else None


def path_id(request: web.Request, *, noun: str = "task") -> int:
    """The `{id}` of the path.

    Raises:
        Problem: 404 for what cannot be an id.
    """
    text = request.match_info["id"]
    if text.isascii() and text.isdecimal() and len(text) <= len(str(MAXIMUM_ID)) and 0 < int(text) <= MAXIMUM_ID:
        return int(text)
    raise not_found(f"There is no such {noun}.")


def not_found(detail: str) -> Problem:
    return Problem("not-found", detail)


# -- answering ------------------------------------------------------------------------------------------------


def json_response(body: bytes | str, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A response whose body is finished JSON."""
    return web.Response(
        body=body.encode() if isinstance(body, str) else body,
        status=status,
        headers={"Content-Type": "application/json; charset=utf-8", **(headers or {})},
    )


def page_response(request: web.Request, items: str, next_cursor: str | None) -> web.Response:
    """A page: the body as the contract has it, and the next page as a link (RFC 8288)."""
    cursor = "null" if next_cursor is None else f'"{next_cursor}"'
    headers = {}
    if next_cursor is not None:
        following = request.rel_url.without_query_params("cursor", "last_id").extend_query(cursor=next_cursor)
        headers["Link"] = f'<{following}>; rel="next"'
    return json_response(f'{{"items":{items},"next_cursor":{cursor}}}', headers=headers)


class Listed(Protocol):
    """One of a list that is ordered by ids: finished JSON, and its place."""

    @property
    def body(self) -> str: ...

    @property
    def id(self) -> int: ...


async def page_by_id(
    request: web.Request,
    given: dict[str, Any],
    settings: Settings,
    scope: str,
    read: Callable[[int | None, int], Awaitable[Sequence[Listed]]],
) -> web.Response:
    """A page of a list that is ordered by ids.

    Args:
        request: of the caller.
        given: the validated query.
        settings: `default_page_size`, `max_page_size`.
        scope: the digest of the list and its filters.
        read: the list behind an id (None: from its beginning), up to a number.

    Raises:
        Problem: 422, the limit is too high.
        CursorInvalid: the cursor is damaged, or of another list.
        DatabaseUnavailable: the database cannot answer.
    """
    limit = page_limit(given, settings)
    place = decode_cursor(given["cursor"], scope, int)[0] if "cursor" in given else None
    found = await read(place, limit + 1)
    page = found[:limit]
    cursor = encode_cursor(scope, page[-1].id) if len(found) > limit else None
    return page_response(request, f"[{','.join(one.body for one in page)}]", cursor)


def read_entity_tags(request: web.Request, header: str) -> list[str] | None:
    """The tags of `If-Match` or `If-None-Match`, of several lines as of one; None where it was not sent.

    Raises:
        Problem: 400, it is neither `*` nor a list of entity tags.
    """
    lines = request.headers.getall(header, None)
    if lines is None:
        return None
    condition = ",".join(lines).strip()
    if condition == "*":
        return ["*"]
    tags = ETAG.findall(condition) if _ETAGS.match(condition) else []
    if not tags:
        raise Problem("invalid-header", f'{header} must be "*" or entity tags such as "3".')
    return tags


def version_etag(version: int) -> str:
    return f'"{version}"'


def is_unchanged(request: web.Request, etag: str) -> bool:
    """Whether `If-None-Match` names the tag: weak comparison (RFC 9110, 13.1.2)."""
    conditions = request.headers.getall("If-None-Match", None)
    if conditions is None:
        return False
    condition = ",".join(conditions)
    return condition.strip() == "*" or any(found.removeprefix("W/") == etag for found in ETAG.findall(condition))

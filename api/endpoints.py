"""What an endpoint is: one row says how it is routed, guarded and documented."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal

from aiohttp import web
from marshmallow import Schema, fields

from api.field_errors import FIELDS_MAXIMUM
from api.http import JSON

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path: what routes it, what guards it, and what documents it.

    Attributes:
        method: GET (which answers HEAD, too), POST, PUT, PATCH or DELETE.
        path: with `{names}`; `{rest}` stands for all that follows.
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
    status = fields.Integer(required=True, metadata={"description": "of the answer", "example": 422})
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

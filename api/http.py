"""How a handler reads queries and paths, and answers."""

import collections
import re
from collections.abc import Iterable
from typing import Any

from aiohttp import web
from marshmallow import RAISE, Schema, ValidationError, fields

from api.errors import Problem
from api.field_errors import Room
from core.bounds import List
from core.ids import MAXIMUM_ID

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
FORM = "application/x-www-form-urlencoded"

LIST_TEXT_MAXIMUM = 8190
"""Characters of several values in one text: as many as an address may have."""

# Of an answer with tokens or secrets in it; it is not compressed, either (RFC 6749, 5.1).
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}

_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}\Z")


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
        repeated = repeated_names(name for name, _ in parameters.items())
        lists = [name for name in repeated if isinstance(schema.fields.get(name), CommaSeparated)]
        if len(lists) < len(repeated):
            raise invalid({name: ["Give it once."] for name in repeated if name not in lists})
        given |= {name: ",".join(parameters.getall(name)) for name in lists}
    return validate(schema, given)


def repeated_names(names: Iterable[str]) -> list[str]:
    """The names that stand there more than once."""
    return sorted(name for name, count in collections.Counter(names).items() if count > 1)


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


def prefers(request: web.Request, media_type: str) -> bool:
    """Whether `Accept` names a media type, and nothing that is JSON before it (RFC 9110, 12.5.1)."""
    weights: dict[str, float] = {}
    for part in ",".join(request.headers.getall("Accept", [])).split(","):
        named, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    weight = float(parameter[2:])
                except ValueError:
                    weight = 0.0
        weights[named] = max(weight, weights.get(named, 0.0))
    return weights.get(media_type, 0.0) > weights.get(JSON, 0.0)


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

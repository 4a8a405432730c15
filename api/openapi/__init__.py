"""The OpenAPI 3.1 document: made from the endpoints and from the very schemas that validate requests."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from apispec import APISpec
from marshmallow import fields

from api.endpoints import Endpoint, ProblemSchema
from api.errors import PROBLEM_JSON, PROBLEMS
from api.http import FORM, JSON, MERGE_PATCH
from api.long_jobs import Job
from api.openapi.schemas import SchemaPlugin, schema_name
from api.openapi.vocabulary import (
    ANSWER_HEADERS,
    ANSWERS,
    DESCRIPTION,
    FILE_BODY,
    NOUNS,
    PROBLEM_ANSWERS,
    REQUEST_HEADERS,
    TAG_OF_MODULE,
    TAGS,
)
from core.ids import MAXIMUM_ID
from core.settings import Settings
from core.version import VERSION

__all__ = ["document", "operation_id"]


def document(endpoints: Sequence[Endpoint], *, settings: Settings | None = None) -> dict[str, Any]:
    """The OpenAPI 3.1 document of `endpoints`.

    Args:
        endpoints: those that are `documented` stand in it, in this order.
        settings: where the document shall name this installation's page sizes and address; without, the defaults.
    """
    shown = [endpoint for endpoint in endpoints if endpoint.documented]
    schemas = SchemaPlugin(schema_name_resolver=schema_name)
    spec = APISpec(
        title="Tenfold",
        version=VERSION,
        openapi_version="3.1.0",
        plugins=[schemas],
        info={
            "description": DESCRIPTION,
            "contact": {"name": "The maintainers of Tenfold"},
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        servers=[{"url": (settings and settings.public_url) or "/"}],
        tags=[{"name": name, "description": text} for name, text in TAGS.items()],
    )
    _add_security(spec, settings.public_url if settings else "")
    _add_headers(spec)
    for endpoint in shown:
        if endpoint.body is not None:
            schemas.add_request_body(endpoint.body)
    _add_answers(spec, shown)
    for endpoint in shown:
        spec.path(endpoint.path, operations={endpoint.method.lower(): _operation(endpoint, shown)})
    made: dict[str, Any] = spec.to_dict()
    _set_page_sizes(made, settings)
    return made


def _add_security(spec: APISpec, public_url: str) -> None:
    spec.components.security_scheme(
        "password",
        {
            "type": "oauth2",
            "description": "Username and password; leave the client's id and secret empty.",
            "flows": {"password": {"tokenUrl": f"{public_url}/auth/token", "scopes": {}}},
        },
    )
    spec.components.security_scheme(
        "bearer",
        {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "An access token that is there already.",
        },
    )


def _add_headers(spec: APISpec) -> None:
    for name, header in REQUEST_HEADERS.items():
        spec.components.parameter(name, "header", {"name": name, "required": False, **header})
    for name, header in ANSWER_HEADERS.items():
        spec.components.header(name, header)


def _add_answers(spec: APISpec, endpoints: Sequence[Endpoint]) -> None:
    """The answers that many endpoints share: 202, and problems."""
    spec.components.response(
        "Accepted",
        {
            "description": "The write is safe on disk and will be carried out; the job tells its outcome.",
            "headers": _headers(
                "X-Request-Id", "RateLimit", "RateLimit-Policy", "Location", "Retry-After", "Preference-Applied"
            ),
            "content": {JSON: {"schema": Job}},
            "links": _links(endpoints, "/jobs"),
        },
    )
    for status, (component, description, headers) in PROBLEM_ANSWERS.items():
        types = ", ".join(f"`/problems/{name}`" for name, (found, _) in PROBLEMS.items() if found == status)
        usual = ["X-Request-Id", "RateLimit", "RateLimit-Policy"]
        if status in {401, 403, 404, 409, 412, 422}:  # what a worker may have said
            usual += ["Idempotent-Replayed", "Preference-Applied"]
        spec.components.response(
            component,
            {
                "description": f"{description} Types: {types}.",
                "headers": _headers(*usual, *headers),
                "content": {PROBLEM_JSON: {"schema": ProblemSchema}},
            },
        )


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _links(endpoints: Sequence[Endpoint], path: str) -> dict[str, Any]:
    """To what can be done with what is answered, by its `id`."""
    return {
        operation_id(endpoint): {
            "operationId": operation_id(endpoint),
            "parameters": {"id": "$response.body#/id"},
        }
        for endpoint in endpoints
        if f"{endpoint.path}/".startswith(f"{path}/{{id}}/")
    }


def operation_id(endpoint: Endpoint) -> str:
    """The name that generated clients call an endpoint by."""
    name: str = endpoint.operation_id or endpoint.handler.__name__
    return name


def _operation(endpoint: Endpoint, endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    module = endpoint.handler.__module__.rpartition(".")[2]
    operation: dict[str, Any] = {
        "tags": [TAG_OF_MODULE.get(module, module)],
        "operationId": operation_id(endpoint),
        "summary": endpoint.summary,
        "security": _security(endpoint),
        "parameters": _parameters(endpoint),
        "responses": _responses(endpoint, endpoints),
    }
    if endpoint.description:
        operation["description"] = endpoint.description
    if endpoint.body is not None:
        kinds = [FORM] if endpoint.form else [JSON, MERGE_PATCH] if endpoint.method == "PATCH" else [JSON]
        operation["requestBody"] = {
            "required": True,
            "content": {kind: {"schema": endpoint.body} for kind in kinds},
        }
    if endpoint.takes_file:
        operation["requestBody"] = {"required": True, "content": FILE_BODY}
    return operation


def _security(endpoint: Endpoint) -> list[dict[str, list[str]]]:
    nobody: list[dict[str, list[str]]] = [{}]
    either: list[dict[str, list[str]]] = [{"password": []}, {"bearer": []}]
    return {"none": [], "optional": either + nobody, "required": either}[endpoint.auth]


def _request_headers(endpoint: Endpoint) -> list[str]:
    names = list(endpoint.headers)
    if endpoint.is_write:
        names += ["Prefer", "Idempotency-Key"]
    if endpoint.conditional:
        names += ["If-Match", "If-None-Match-Any"] if endpoint.is_write else ["If-None-Match"]
    return [*names, "X-Request-Id"]


def _parameters(endpoint: Endpoint) -> list[Any]:
    parameters: list[Any] = []
    noun = NOUNS.get(endpoint.path.split("/")[1], "")
    if "{id}" in endpoint.path:
        schema: dict[str, Any] = {"type": "integer", "format": "int64", "minimum": 1, "maximum": MAXIMUM_ID}
        if endpoint.path_id == "uuid":
            schema = {"type": "string", "format": "uuid"}
        parameters.append(_path_parameter("id", f"The id of the {noun}.", schema))
    if "{name}" in endpoint.path:
        schema = {"type": "string", "pattern": "^[a-z0-9_]+$"}
        parameters.append(_path_parameter("name", f"The name of the {noun}.", schema))
    if endpoint.query is not None:
        parameters.append({"in": "query", "schema": endpoint.query})
    return parameters + _request_headers(endpoint)


def _path_parameter(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "description": description, "schema": schema}


def _responses(endpoint: Endpoint, endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    responses: dict[str, Any] = {
        str(status): _answer(endpoint, status, schema, endpoints) for status, schema in endpoint.answers.items()
    }
    if endpoint.is_write:
        responses["202"] = "Accepted"
    for status in _problem_statuses(endpoint):
        responses.setdefault(str(status), PROBLEM_ANSWERS[status][0])
    return dict(sorted(responses.items()))


def _problem_statuses(endpoint: Endpoint) -> set[int]:
    """Those that follow from what the endpoint is, and its own."""
    takes_headers = set(_request_headers(endpoint))
    statuses = set(endpoint.problems)
    if endpoint.body is not None or endpoint.takes_file:
        statuses |= {400, 408, 413, 415, 422}
    if "Idempotency-Key" in takes_headers:
        statuses |= {400, 422}
    if "If-Match" in takes_headers:
        statuses |= {400, 412}
    if endpoint.auth == "required":
        statuses.add(401)
    if endpoint.limited:  # those that are not need no database, and take any query
        statuses |= {400, 422, 429, 503}
    return statuses


def _answer(endpoint: Endpoint, status: int, schema: Any, endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    takes_headers = _request_headers(endpoint)
    known = set() if schema is None else set(schema().fields)
    is_versioned = "version" in known and isinstance(schema().fields["version"], fields.Integer)
    headers = ["X-Request-Id", *(["RateLimit", "RateLimit-Policy"] if endpoint.limited else [])]
    if "Idempotency-Key" in takes_headers:
        headers.append("Idempotent-Replayed")
    if "Prefer" in takes_headers:
        headers.append("Preference-Applied")
    if is_versioned or status == 304:
        headers.append("ETag")
    if status == 206:
        headers.append("Content-Range")
    if "next_cursor" in known:
        headers.append("Link")
    answer: dict[str, Any] = {"description": ANSWERS[status]}
    if status == 201 and is_versioned:
        headers.append("Location")
        answer["links"] = _links(endpoints, endpoint.path)
    if status == 202:
        answer["links"] = _links(endpoints, endpoint.path)
    answer["headers"] = _headers(*headers, *endpoint.answer_headers)
    if schema is not None:
        answer["content"] = {endpoint.media_type: {"schema": schema}}
    elif status not in {204, 304}:
        answer["content"] = {endpoint.media_type: {"schema": {"type": "string"}}}
    if "content" in answer:
        for media_type in endpoint.other_media_types:
            answer["content"][media_type] = {"schema": {} if media_type == JSON else {"type": "string"}}
    return answer


def _set_page_sizes(made: dict[str, Any], settings: Settings | None) -> None:
    defaults = {field.name: field.default for field in dataclasses.fields(Settings)}
    default, maximum = (
        (settings.default_page_size, settings.max_page_size)
        if settings is not None
        else (defaults["default_page_size"], defaults["max_page_size"])
    )
    for path in made["paths"].values():
        for operation in path.values():
            for parameter in operation["parameters"]:
                if parameter.get("name") == "limit":
                    parameter["schema"] |= {"default": default, "maximum": maximum}

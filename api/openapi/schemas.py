"""marshmallow's schemas as OpenAPI says them."""

import inspect
import re
from typing import Any

import orjson
from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from marshmallow import Schema
from marshmallow.fields import Field
from marshmallow.validate import ContainsNoneOf

from api.http import CommaSeparated
from api.openapi.examples import EXAMPLES
from api.openapi.vocabulary import FIELDS
from core.ids import MAXIMUM_ID
from core.tasks.values import CalendarDay, Text, Timestamp

# What a schema demands between fields, which marshmallow says in code.
BETWEEN_FIELDS: dict[str, dict[str, Any]] = {
    "ProfileUpdate": {"dependentRequired": {"password": ["current_password"], "current_password": ["password"]}},
    "PartitionCreate": {
        "oneOf": [
            {"required": ["year"], "not": {"anyOf": [{"required": ["from"]}, {"required": ["to"]}]}},
            {"required": ["from", "to"], "not": {"required": ["year"]}},
        ]
    },
}


class SchemaPlugin(MarshmallowPlugin):
    """marshmallow's schemas, with their docstrings: closed where they validate requests, else open to more fields."""

    converter: Any  # apispec leaves it untyped
    _is_request = False

    def init_spec(self, spec: APISpec) -> None:
        super().init_spec(spec)
        self.converter.map_to_openapi_type(Timestamp, "string", "date-time")
        self.converter.map_to_openapi_type(CalendarDay, "string", "date")
        self.converter.add_attribute_function(_one_of)
        self.converter.add_attribute_function(_portable_pattern)
        self.converter.add_attribute_function(_typed_choices)
        self.converter.add_attribute_function(_safe_integer)
        self.converter.add_attribute_function(_described)
        self.converter.add_parameter_attribute_function(_comma_separated)

    def add_request_body(self, schema: type[Schema]) -> None:
        """Registers a schema, and those inside it, whose fields are all that a client may send."""
        self._is_request = True
        self.converter.resolve_nested_schema(schema)
        self._is_request = False

    def schema_helper(self, name: str, _: Any, schema: Any = None, **kwargs: Any) -> dict[str, Any] | None:  # type: ignore[override]
        made: dict[str, Any] | None = super().schema_helper(name, _, schema=schema, **kwargs)  # type: ignore[no-untyped-call]
        if made is None:
            return None
        kind = schema if inspect.isclass(schema) else type(schema)
        if self._is_request:
            _tell_defaults(made)
        else:
            made.pop("additionalProperties", None)
        return {
            "description": inspect.getdoc(kind),
            **made,
            **BETWEEN_FIELDS.get(name, {}),
            **({"example": EXAMPLES[name]} if name in EXAMPLES else {}),
        }


def schema_name(schema: Any) -> str:
    name: str = (schema if inspect.isclass(schema) else type(schema)).__name__
    return name.removesuffix("Schema")


def _one_of(self: Any, field: Field[Any], ret: dict[str, Any]) -> dict[str, Any]:
    """A field that takes one of several schemas, told apart by the property `discriminator`."""
    choices: dict[str, type[Schema]] | None = field.metadata.get("one_of")
    if choices is None:
        return {}
    name = field.metadata["named"]
    if name not in self.spec.components.schemas:
        references = {value: self.resolve_nested_schema(schema) for value, schema in choices.items()}
        self.spec.components.schema(
            name,
            {
                "description": f"One of several, told apart by `{field.metadata['discriminator']}`.",
                "oneOf": list(references.values()),
                "discriminator": {
                    "propertyName": field.metadata["discriminator"],
                    "mapping": {value: reference["$ref"] for value, reference in references.items()},
                },
            },
        )
    ret.clear()
    return {"$ref": f"#/components/schemas/{name}"}


def _portable_pattern(self: Any, field: Field[Any], ret: dict[str, Any]) -> dict[str, Any]:
    """Patterns as ECMA 262 knows them; and that a text holds no NUL."""
    if "pattern" in ret:
        return {"pattern": re.sub(r"\\Z\Z", "$", ret["pattern"])}
    refuses_nul = any(
        "\x00" in validator.iterable for validator in field.validators if isinstance(validator, ContainsNoneOf)
    )
    return {"pattern": r"^[^\x00]*$"} if refuses_nul or isinstance(field, Text) else {}


def _typed_choices(self: Any, field: Field[Any], ret: dict[str, Any]) -> dict[str, Any]:
    """Of several formats each with its type: to generators a choice without one may be anything."""
    if "type" not in ret or "anyOf" not in ret:
        return {}
    kind, *null = ret["type"] if isinstance(ret["type"], list) else [ret["type"]]
    del ret["type"]
    ret.pop("format", None)
    return {"anyOf": [*({"type": kind, **choice} for choice in ret["anyOf"]), *({"type": name} for name in null)]}


def _tell_defaults(made: dict[str, Any]) -> None:
    """Puts defaults into words: generators of types take a field with one for a field that must be sent."""
    for part in made.get("properties", {}).values():
        if "default" in part:
            default = orjson.dumps(part.pop("default")).decode().strip('"')
            part["description"] = f"{part['description']}; `{default}` unless given"


def _safe_integer(self: Any, field: Field[Any], ret: dict[str, Any]) -> dict[str, Any]:
    """What has 64 bits elsewhere has no more than a number of JavaScript can hold."""
    is_long = field.metadata.get("format") == "int64"
    return {"maximum": min(ret.get("maximum", MAXIMUM_ID), MAXIMUM_ID)} if is_long else {}


def _described(self: Any, field: Field[Any], ret: dict[str, Any]) -> dict[str, Any]:
    """What a field says that has the same meaning wherever it stands."""
    name = field.data_key or field.name
    is_known = "$ref" in ret or "description" in field.metadata or not isinstance(field.parent, Schema)
    return {"description": FIELDS[name]} if name in FIELDS and not is_known else {}


def _comma_separated(self: Any, field: Field[Any], ret: dict[str, Any]) -> dict[str, Any]:
    return {"style": "form", "explode": False} if isinstance(field, CommaSeparated) else {}

"""marshmallow's schemas as OpenAPI says them."""

import inspect
import re
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from marshmallow import Schema
from marshmallow.fields import Field
from marshmallow.validate import ContainsNoneOf

from api.http import CommaSeparated
from core.tasks.values import Text, Timestamp

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
        self.converter.add_attribute_function(_one_of)
        self.converter.add_attribute_function(_portable_pattern)
        self.converter.add_attribute_function(_list_or_text)
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
        if not self._is_request:
            made.pop("additionalProperties", None)
        return {"description": inspect.getdoc(kind), **made, **BETWEEN_FIELDS.get(name, {})}


def schema_name(schema: Any) -> str:
    name: str = (schema if inspect.isclass(schema) else type(schema)).__name__
    return name.removesuffix("Schema")


def _one_of(self: Any, field: Field[Any], ret: dict[str, Any]) -> dict[str, Any]:
    """A field that takes one of several schemas, told apart by the property `discriminator`."""
    choices: dict[str, type[Schema]] | None = field.metadata.get("one_of")
    if choices is None:
        return {}
    references = {value: self.resolve_nested_schema(schema) for value, schema in choices.items()}
    return {
        "oneOf": list(references.values()),
        "discriminator": {
            "propertyName": field.metadata["discriminator"],
            "mapping": {value: reference["$ref"] for value, reference in references.items()},
        },
    }


def _portable_pattern(self: Any, field: Field[Any], ret: dict[str, Any]) -> dict[str, Any]:
    """Patterns as ECMA 262 knows them; and that a text holds no NUL."""
    if "pattern" in ret:
        return {"pattern": re.sub(r"\\Z\Z", "$", ret["pattern"])}
    refuses_nul = any(
        "\x00" in validator.iterable for validator in field.validators if isinstance(validator, ContainsNoneOf)
    )
    return {"pattern": r"^[^\x00]*$"} if refuses_nul or isinstance(field, Text) else {}


def _list_or_text(self: Any, field: Field[Any], ret: dict[str, Any]) -> dict[str, Any]:
    """In a JSON body the values may also stand in one text, as a query has them."""
    is_in_json = isinstance(field, CommaSeparated) and getattr(field.parent, "takes_json", False)
    return {"type": ["array", "string"]} if is_in_json else {}


def _comma_separated(self: Any, field: Field[Any], ret: dict[str, Any]) -> dict[str, Any]:
    return {"style": "form", "explode": False} if isinstance(field, CommaSeparated) else {}

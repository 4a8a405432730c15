"""What a client says with a file, and how imports and their errors are told."""

import codecs
import encodings
import pkgutil
from encodings import aliases
from functools import lru_cache
from typing import Any

import orjson
from marshmallow import Schema, ValidationError, fields, validate

from api.http import WholeNumber
from api.long_jobs import Job
from core.bounds import RequestSchema, String
from core.formats.registry import FORMATS
from core.ids import MAXIMUM_ID
from core.tasks.schemas import Task
from core.users.schemas import TIME_ZONE_MAXIMUM, known_time_zone

NOT_A_DELIMITER = "Must be one character, or tab."


@lru_cache(maxsize=1)
def _encoding_names() -> frozenset[str]:
    """What Python knows encodings by; asked for any other name, it looks for a file and remembers the name for ever."""
    return frozenset(aliases.aliases) | {module.name for module in pkgutil.iter_modules(encodings.__path__)}


def _known_encoding(name: str) -> None:
    try:
        if encodings.normalize_encoding(name).lower().replace(".", "_") not in _encoding_names():
            raise LookupError(name)
        "".encode(name)
    except (LookupError, UnicodeError, ValueError):
        raise ValidationError("Not an encoding that is known, such as utf-8 or windows-1252.") from None
    if not name.isascii() or codecs.lookup(name).name in ("idna", "punycode", "undefined"):
        raise ValidationError("Not an encoding of files.")


class Delimiter(String):
    """One character, or `tab`."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        text = "\t" if text == "tab" else text
        if len(text) != 1 or text in '"\r\n\x00':
            raise ValidationError(NOT_A_DELIMITER)
        return text


class Mapping(fields.Field[dict[str, Any]]):
    """A JSON object in a query parameter."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> dict[str, Any]:
        try:
            content = orjson.loads(value)
        except orjson.JSONDecodeError as error:
            raise ValidationError(f"Not valid JSON: {error.msg} (column {error.colno}).") from None
        if not isinstance(content, dict):
            raise ValidationError("Not a JSON object.")
        return content


class ImportQuery(RequestSchema):
    """What is to be known about the file, and what to do with its rows."""

    format = String(
        validate=validate.OneOf(list(FORMATS)),
        metadata={"description": "the program that wrote the file; found out from its beginning unless given"},
    )
    dry_run = fields.Boolean(metadata={"description": "`true`: tell the same counts and errors, and write nothing"})
    on_conflict = String(
        validate=validate.OneOf(["skip", "update", "error"]),
        metadata={
            "description": "what becomes of a row that was imported before, by its `external_id`, or else by all of "
            "its content: `skip` unless given; `update` changes the fields that the row has. A row with the "
            "`external_id` of an earlier one of the same file fails, unless it may `update`"
        },
    )
    mapping = Mapping(
        metadata={
            "type": "string",
            "description": "of the columns of any CSV, as a JSON object: `columns` (name → field, or "
            "`{field, values}`), `constants`, `header`, `date_format`; a dry run offers a guess",
            "example": '{"columns": {"Task": "title", "Prio": {"field": "priority", "values": {"A": 1}}}}',
        }
    )
    time_zone = String(
        validate=[validate.Length(max=TIME_ZONE_MAXIMUM), known_time_zone],
        metadata={"format": "time-zone", "description": "of dates that have none; the user's unless given"},
    )
    delimiter = Delimiter(
        validate=validate.Length(max=3, error=NOT_A_DELIMITER),
        metadata={
            "description": "of a CSV: one character, or `tab`; found out unless given",
            "pattern": r'^(tab|[^"\r\n\x00])$',
            "example": "tab",
        },
    )
    encoding = String(
        validate=[validate.Length(1, 40), _known_encoding],
        metadata={"description": "of the file's text; found out unless given", "example": "windows-1252"},
    )
    max_errors = WholeNumber(
        validate=validate.Range(0, MAXIMUM_ID),
        metadata={"description": "with more rows than that failed, the import ends `failed`; any number unless given"},
    )
    lists_as = String(
        validate=validate.OneOf(["labels", "text"]),
        metadata={
            "description": "what lists, columns and projects of other programs become: `labels`, or `text` of the "
            "description unless given; a dry run's preview shows it"
        },
    )
    columns_as = String(
        validate=validate.OneOf(["statuses", "text"]),
        metadata={
            "description": "`statuses`: a list or column whose name means a status, such as `Doing`, `En cours` or "
            "`Done`, sets it; `text` unless given"
        },
    )
    pull_requests = fields.Boolean(metadata={"description": "`true`: GitHub's pull requests become tasks, too"})


class Import(Job):
    """An import: its job, the file, and what became of its rows: `read = created + updated + skipped + failed`."""

    format = fields.String(required=True, metadata={"example": "todoist-csv"})
    filename = fields.String(required=True, allow_none=True)
    dry_run = fields.Boolean(required=True)
    on_conflict = fields.String(required=True, validate=validate.OneOf(["skip", "update", "error"]))
    bytes = fields.Integer(required=True, metadata={"description": "of the file, as it was sent"})
    bytes_read = fields.Integer(required=True)
    read = fields.Integer(required=True)
    created = fields.Integer(required=True)
    updated = fields.Integer(required=True)
    skipped = fields.Integer(required=True)
    failed = fields.Integer(required=True)
    warned = fields.Integer(
        required=True, metadata={"description": "rows of which something was replaced or left out: see its warnings"}
    )
    rows_per_second = fields.Float(required=True, allow_none=True)
    eta_seconds = fields.Integer(required=True, allow_none=True, metadata={"description": "an estimate"})
    ignored = fields.Dict(
        keys=fields.String(),
        values=fields.Integer(),
        required=True,
        metadata={"description": "reason → how many records were passed over on purpose, and are no rows"},
    )
    mapping = fields.Dict(
        required=True,
        allow_none=True,
        metadata={"description": "that was guessed for a CSV; can be sent back as `mapping`, mended where need be"},
    )


class ImportPage(Schema):
    """A page of imports, newest first; `next_cursor` is null on the last one, and only there."""

    items = fields.List(fields.Nested(Import), required=True)
    next_cursor = fields.String(required=True, allow_none=True)


class RowError(Schema):
    """What is wrong with a row."""

    row = fields.Integer(required=True, metadata={"description": "from 1, as a person would count in the file"})
    column = fields.String(
        required=True, allow_none=True, metadata={"description": "in the file's own words; null: the row as a whole"}
    )
    message = fields.String(required=True)
    values = fields.Raw(
        required=True,
        allow_none=True,
        metadata={"description": "the row as it stands in the file; null where it was too large to be kept"},
    )


class RowErrorPage(Schema):
    """A page of errors in the order of the file; `next_cursor` is null on the last one, and only there."""

    items = fields.List(fields.Nested(RowError), required=True)
    next_cursor = fields.String(required=True, allow_none=True)


class RowWarning(Schema):
    """What was replaced or left out of a row, or why it was left out as a whole."""

    row = fields.Integer(required=True, metadata={"description": "from 1, as a person would count in the file"})
    column = fields.String(
        required=True, allow_none=True, metadata={"description": "in the file's own words; null: the row as a whole"}
    )
    message = fields.String(required=True, metadata={"description": "what was wrong, and what was done instead"})


class RowWarningPage(Schema):
    """A page of warnings in the order of the file; `next_cursor` is null on the last one, and only there."""

    items = fields.List(fields.Nested(RowWarning), required=True)
    next_cursor = fields.String(required=True, allow_none=True)


class PreviewedTask(Task):
    """A task that came of a row, as it was then; of a dry run it has no id unless it is there already."""

    id = fields.Integer(required=True, allow_none=True)


class ImportPreview(Schema):
    """The first 20 tasks that come of a file; there is no next page."""

    items = fields.List(fields.Nested(PreviewedTask), required=True)
    next_cursor = fields.String(required=True, allow_none=True)


class ImportUndone(Schema):
    """What became of the tasks that an import has made or changed."""

    import_id = fields.UUID(required=True)
    deleted = fields.Integer(required=True, metadata={"description": "tasks that it has made"})
    changed = fields.Integer(
        required=True, metadata={"description": "tasks that it has made, which stay: they were changed since"}
    )
    gone = fields.Integer(required=True, metadata={"description": "tasks that it has made, which had gone before"})
    updated = fields.Integer(
        required=True,
        metadata={"description": "rows that changed tasks of before, which stay as they are"},
    )

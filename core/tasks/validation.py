"""Reads what a client sent about a task, fast: the API does it for each write, an import for each row.

A well-formed task passes by a few checks of types and lengths. Whatever does not (a field that is unknown, missing,
too long, of another type) goes to the schema, which decides: it alone refuses, with its messages.
"""

from collections.abc import Callable
from typing import Any

from marshmallow import RAISE, Schema, ValidationError

from core.ids import MAXIMUM_ID
from core.tasks.rules import RECURRENCE_FROM
from core.tasks.schemas import (
    BATCH_OPERATIONS,
    DEFAULT_PRIORITY,
    DEFAULT_STATUS,
    DESCRIPTION_MAXIMUM,
    EXTERNAL_ID_MAXIMUM,
    HIGHEST_PRIORITY,
    LABEL_MAXIMUM,
    LABELS_MAXIMUM,
    LOWEST_PRIORITY,
    STATUSES,
    TITLE_MAXIMUM,
    TaskCreate,
    TaskImport,
    TaskUpdate,
    has_completed_at_rightly,
    is_storable,
    utc_timestamp,
)


def load_create(content: Any) -> dict[str, Any]:
    """The fields of a task to be made, as `TaskCreate` reads them.

    Raises:
        marshmallow.ValidationError: with the messages of each field.
    """
    fields = _read(content, _CREATE)
    if fields is None or "title" not in fields:
        return _by_schema(_TASK_CREATE, content)
    return fields


def load_update(content: Any) -> dict[str, Any]:
    """The changes of a merge patch, as `TaskUpdate` reads them.

    Raises:
        marshmallow.ValidationError: with the messages of each field.
    """
    fields = _read(content, _UPDATE)
    return _by_schema(_TASK_UPDATE, content) if fields is None else fields


def load_import(content: Any) -> dict[str, Any]:
    """The fields of a task that comes from elsewhere, as `TaskImport` reads them.

    Raises:
        marshmallow.ValidationError: with the messages of each field.
    """
    fields = _read(content, _IMPORT)
    if fields is None or "title" not in fields or not has_completed_at_rightly(fields):
        return _by_schema(_TASK_IMPORT, content)
    return fields


def load_operation(content: Any) -> dict[str, Any]:
    """An operation of a batch, as the schema of its `op` reads it.

    Raises:
        marshmallow.ValidationError: with the messages of each field.
    """
    if not isinstance(content, dict):
        raise ValidationError("Not an object.")
    op = content.get("op")
    if not isinstance(op, str) or op not in _OPERATIONS:
        raise ValidationError({"op": [f"Must be one of: {', '.join(_OPERATIONS)}."]})
    schema, readers, required = _OPERATIONS[op]
    operation = _read(content, readers)
    if operation is None or any(name not in operation for name in required):
        return _by_schema(schema, content)
    return operation


def faults_of_operation(content: Any) -> int | None:
    """How many fields of an operation are wrong, at a twentieth of what their messages cost.

    Returns:
        None where only the schema can tell: a rule of recurrence stands in it, and may or may not be valid.
    """
    if not isinstance(content, dict):
        return 1
    op = content.get("op")
    if not isinstance(op, str) or op not in _OPERATIONS:
        return 1
    _, readers, required = _OPERATIONS[op]
    return _faults(content, readers, required)


def _faults(content: Any, readers: tuple[tuple[str, "_Reader", Any], ...], required: tuple[str, ...]) -> int | None:
    if type(content) is not dict:
        return 1
    faults = sum(name not in content for name in required)
    faults += len(content.keys() - {name for name, _, _ in readers})
    for name, read, _ in readers:
        if name not in content:
            continue
        value = content[name]
        if read is _recurrence and isinstance(value, str):
            return None
        if read in (_creation, _changes):
            inner = _faults(value, _CREATE, ("title",)) if read is _creation else _faults(value, _UPDATE, ())
            if inner is None:
                return None
            faults += inner
            continue
        try:
            read(value)
        except _NotPlainError:
            faults += 1
    return faults


class _NotPlainError(Exception):
    """A glance does not tell that it is valid."""


_Reader = Callable[[Any], Any]
_ABSENT: Any = object()


def _read(content: Any, readers: tuple[tuple[str, _Reader, Any], ...]) -> dict[str, Any] | None:
    """The fields; None where the schema has to look."""
    if type(content) is not dict:
        return None
    fields = {}
    unread = len(content)
    try:
        for name, read, default in readers:
            value = content.get(name, _ABSENT)
            if value is not _ABSENT:
                fields[name] = read(value)
                unread -= 1
            elif default is not _ABSENT:
                fields[name] = default
    except _NotPlainError:
        return None
    return None if unread else fields


def _by_schema(schema: Schema, content: Any) -> dict[str, Any]:
    fields: dict[str, Any] = schema.load(content, unknown=RAISE)
    return fields


def _title(value: Any) -> str:
    if type(value) is str:
        title = value.strip()
        if 0 < len(title) <= TITLE_MAXIMUM and is_storable(title):
            return title
    raise _NotPlainError


def _description(value: Any) -> str | None:
    if value is None or (type(value) is str and len(value) <= DESCRIPTION_MAXIMUM and is_storable(value)):
        return value
    raise _NotPlainError


def _priority(value: Any) -> int:
    if type(value) is int and HIGHEST_PRIORITY <= value <= LOWEST_PRIORITY:
        return value
    raise _NotPlainError


def _status(value: Any) -> str:
    if type(value) is str and value in STATUSES:
        return value
    raise _NotPlainError


def _timestamp(value: Any) -> str | None:
    if value is None:
        return None
    if type(value) is str:
        try:
            return utc_timestamp(value)
        except ValueError:
            pass
    raise _NotPlainError


def _labels(value: Any) -> list[str]:
    if value is None:
        return []
    if type(value) is list and len(value) <= LABELS_MAXIMUM:
        return list(dict.fromkeys(map(_label, value)))
    raise _NotPlainError


def _label(value: Any) -> str:
    if type(value) is str:
        label = value.strip()
        if 0 < len(label) <= LABEL_MAXIMUM and "," not in label and is_storable(label):
            return label
    raise _NotPlainError


def _recurrence(value: Any) -> None:
    if value is not None:
        raise _NotPlainError  # few tasks have one, and the schema looks at it together with the due date


def _recurrence_from(value: Any) -> str:
    if type(value) is str and value in RECURRENCE_FROM:
        return value
    raise _NotPlainError


def _external_id(value: Any) -> str | None:
    if value is None or (type(value) is str and 0 < len(value) <= EXTERNAL_ID_MAXIMUM and is_storable(value)):
        return value
    raise _NotPlainError


def _op(value: Any) -> Any:
    return value  # its readers were found by it


def _task_id(value: Any) -> int:
    if type(value) is int and 1 <= value <= MAXIMUM_ID:
        return value
    raise _NotPlainError


def _version(value: Any) -> int:
    if type(value) is int:
        return value
    raise _NotPlainError


def _creation(value: Any) -> dict[str, Any]:
    fields = _read(value, _CREATE)
    if fields is None or "title" not in fields:
        raise _NotPlainError
    return fields


def _changes(value: Any) -> dict[str, Any]:
    fields = _read(value, _UPDATE)
    if fields is None:
        raise _NotPlainError
    return fields


# Field, reader, what stands for an absent one; in the order of the schemas.
_UPDATE = (
    ("title", _title, _ABSENT),
    ("description", _description, _ABSENT),
    ("priority", _priority, _ABSENT),
    ("status", _status, _ABSENT),
    ("due_date", _timestamp, _ABSENT),
    ("labels", _labels, _ABSENT),
    ("recurrence", _recurrence, _ABSENT),
    ("recurrence_from", _recurrence_from, _ABSENT),
)
_DEFAULTS = {"priority": DEFAULT_PRIORITY, "status": DEFAULT_STATUS}
_CREATE = tuple((name, read, _DEFAULTS.get(name, _ABSENT)) for name, read, _ in _UPDATE)
_IMPORT = (
    *_CREATE,
    ("created_at", _timestamp, _ABSENT),
    ("completed_at", _timestamp, _ABSENT),
    ("external_id", _external_id, _ABSENT),
)
_TASK_CREATE, _TASK_UPDATE, _TASK_IMPORT = TaskCreate(), TaskUpdate(), TaskImport()

_OP = ("op", _op, _ABSENT)
_ID = ("id", _task_id, _ABSENT)
_IF_VERSION = ("if_version", _version, _ABSENT)
_OPERATION_READERS = {
    "create": (_OP, ("fields", _creation, _ABSENT)),
    "update": (_OP, _ID, _IF_VERSION, ("fields", _changes, _ABSENT)),
    "delete": (_OP, _ID, _IF_VERSION),
}
_REQUIRED = {"create": ("fields",), "update": ("id", "fields"), "delete": ("id",)}
_OPERATIONS = {op: (schema(), _OPERATION_READERS[op], _REQUIRED[op]) for op, schema in BATCH_OPERATIONS.items()}

"""Reads what a client sent about a task, fast: the API does it for each write, an import for each row.

A well-formed task passes by a few checks of types and lengths. Whatever does not (a field that is unknown, missing,
too long, of another type) goes to the schema, which decides: it alone refuses, with its messages.
"""

from typing import Any

from marshmallow import RAISE, Schema, ValidationError

from core.ids import MAXIMUM_ID
from core.tasks.fields import EXTERNAL_ID, IMPORTED, WRITABLE, Field
from core.tasks.kinds import NotPlainError, Reader, read_no_rule
from core.tasks.schemas import (
    BATCH_OPERATIONS,
    TaskCreate,
    TaskImport,
    TaskUpdate,
    has_completed_at_rightly,
    settle_due,
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
    fields = _read(content, _IMPORT, is_import=True)
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


def _faults(content: Any, readers: tuple[tuple[str, Reader, Any], ...], required: tuple[str, ...]) -> int | None:
    if type(content) is not dict:
        return 1
    faults = sum(name not in content for name in required)
    faults += len(content.keys() - {name for name, _, _ in readers})
    for name, read, _ in readers:
        if name not in content:
            continue
        value = content[name]
        if read is read_no_rule and isinstance(value, str):
            return None
        if read in (_creation, _changes):
            inner = _faults(value, _CREATE, ("title",)) if read is _creation else _faults(value, _UPDATE, ())
            if inner is None:
                return None
            faults += inner
            continue
        try:
            read(value)
        except NotPlainError:
            faults += 1
    return faults


_ABSENT: Any = object()


def _read(
    content: Any, readers: tuple[tuple[str, Reader, Any], ...], *, is_import: bool = False
) -> dict[str, Any] | None:
    """The fields; None where the schema has to look."""
    if type(content) is not dict:
        return None
    fields = {}
    unread = len(content)
    try:
        for name, read, default in readers:
            if name in content:
                fields[name] = read(content[name])
                unread -= 1
            elif default is not _ABSENT:
                fields[name] = default
        if "due_date" in fields or "due_day" in fields:
            settle_due(fields, day_wins=is_import)
    except (NotPlainError, ValidationError):
        return None
    return None if unread else fields


def _by_schema(schema: Schema, content: Any) -> dict[str, Any]:
    fields: dict[str, Any] = schema.load(content, unknown=RAISE)
    return fields


def _reminders(_value: Any) -> Any:
    raise NotPlainError  # few rows have their own


def _op(value: Any) -> Any:
    return value  # its readers were found by it


def _task_id(value: Any) -> int:
    if type(value) is int and 1 <= value <= MAXIMUM_ID:
        return value
    raise NotPlainError


def _version(value: Any) -> int:
    if type(value) is int:
        return value
    raise NotPlainError


def _creation(value: Any) -> dict[str, Any]:
    fields = _read(value, _CREATE)
    if fields is None or "title" not in fields:
        raise NotPlainError
    return fields


def _changes(value: Any) -> dict[str, Any]:
    fields = _read(value, _UPDATE)
    if fields is None:
        raise NotPlainError
    return fields


def _reader(field: Field, default: Any = _ABSENT) -> tuple[str, Reader, Any]:
    return field.name, field.kind.reader(allow_none=field.is_clearable), default


# Field, reader, what stands for an absent one; in the order of the schemas.
_UPDATE = tuple(_reader(field) for field in WRITABLE)
_CREATE = tuple(_reader(field, field.default if field.is_default_sent else _ABSENT) for field in WRITABLE)
_IMPORT = (
    *_CREATE,
    *(_reader(field) for field in IMPORTED if not field.is_writable),
    ("external_id", EXTERNAL_ID.reader(allow_none=True), _ABSENT),
    ("reminders", _reminders, _ABSENT),
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

"""What a client may send about tasks; the OpenAPI document is made from these same schemas."""

from datetime import datetime
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from core.bounds import List, RequestSchema, String
from core.ids import MAXIMUM_ID
from core.tasks.fields import EXTERNAL_ID, FIELDS, IMPORTED, WRITABLE
from core.tasks.recurrence import require_next_date
from core.tasks.rules import RecurrenceInvalid

BATCH_MAXIMUM = 1000


def has_completed_at_rightly(task: dict[str, Any]) -> bool:
    """Whether an imported task has a time of completion only if it is completed."""
    return task["status"] == "completed" or task.get("completed_at") is None


def _goes_on(data: dict[str, Any]) -> None:
    """Refuses a rule that would make no next task."""
    if data.get("recurrence"):
        due_date = data.get("due_date")
        try:
            require_next_date(data["recurrence"], datetime.fromisoformat(due_date) if due_date else None)
        except RecurrenceInvalid as error:
            raise ValidationError(str(error), "recurrence") from None


def _id() -> fields.Integer:
    return fields.Integer(
        strict=True, required=True, validate=validate.Range(1, MAXIMUM_ID), metadata={"format": "int64"}
    )


def _if_version() -> fields.Integer:
    return fields.Integer(strict=True, metadata={"description": "Refused (412) at any other version"})


class TaskCreate(RequestSchema):
    """A task to be made."""

    class Meta:
        include = {field.name: field.request(is_new=True) for field in WRITABLE}  # noqa: RUF012

    @validates_schema
    def _recurrence_goes_on(self, data: dict[str, Any], **_: Any) -> None:
        _goes_on(data)


class TaskImport(TaskCreate):
    """A task that comes from elsewhere, with its past."""

    class Meta:
        include = {  # noqa: RUF012
            **{field.name: field.request(is_new=True) for field in IMPORTED if not field.is_writable},
            "external_id": EXTERNAL_ID.request(allow_none=True),
        }

    @validates_schema
    def _completed_at_of_completed(self, data: dict[str, Any], **_: Any) -> None:
        if not has_completed_at_rightly(data):
            raise ValidationError("Only a completed task has one.", "completed_at")


class TaskUpdate(RequestSchema):
    """A merge patch (RFC 7396): only what it names is changed.

    `null` clears `description`, `due_date`, `labels` and `recurrence`; labels are replaced as a whole.
    """

    class Meta:
        include = {field.name: field.request(is_new=False) for field in WRITABLE}  # noqa: RUF012

    @validates_schema
    def _recurrence_goes_on(self, data: dict[str, Any], **_: Any) -> None:
        _goes_on(data)


class Task(Schema):
    """A task as it is answered."""

    class Meta:
        # The version stands last.
        include = {  # noqa: RUF012
            field.name: field.answer() for field in sorted(FIELDS, key=lambda field: field.name == "version")
        }


class BatchCreate(RequestSchema):
    """Makes a task."""

    op = String(required=True, validate=validate.Equal("create"))
    fields_ = fields.Nested(TaskCreate, required=True, data_key="fields", attribute="fields")


class BatchUpdate(RequestSchema):
    """Changes what `fields` names, and only at `if_version` where that is given."""

    op = String(required=True, validate=validate.Equal("update"))
    id = _id()
    if_version = _if_version()
    fields_ = fields.Nested(TaskUpdate, required=True, data_key="fields", attribute="fields")


class BatchDelete(RequestSchema):
    """Deletes a task, and only at `if_version` where that is given."""

    op = String(required=True, validate=validate.Equal("delete"))
    id = _id()
    if_version = _if_version()


BATCH_OPERATIONS: dict[str, type[Schema]] = {"create": BatchCreate, "update": BatchUpdate, "delete": BatchDelete}
"""`op` → what such an operation looks like. An invalid one is refused by itself, not with the batch."""


class Batch(RequestSchema):
    """1 to 1000 operations, carried out in order, each with its own fate."""

    operations = List[Any](
        fields.Raw(allow_none=True, metadata={"one_of": BATCH_OPERATIONS, "discriminator": "op"}),
        required=True,
        validate=validate.Length(1, BATCH_MAXIMUM),
    )

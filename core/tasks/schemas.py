"""What a client may send about tasks; the OpenAPI document is made from these same schemas."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from core.bounds import List, RequestSchema, String
from core.ids import MAXIMUM_ID
from core.tasks.fields import EXTERNAL_ID, FIELDS, IMPORTED, WRITABLE
from core.tasks.recurrence import require_next_date
from core.tasks.reminders import reminder_rules
from core.tasks.rules import RecurrenceInvalid
from core.tasks.values import is_day

BATCH_MAXIMUM = 1000


def has_completed_at_rightly(task: dict[str, Any]) -> bool:
    """Whether an imported task has a time of completion only if it is completed."""
    return task["status"] == "completed" or task.get("completed_at") is None


def settle_due(fields: dict[str, Any], *, day_wins: bool = False) -> None:
    """Makes a bare date that was given as `due_date` the `due_day`; whoever writes it knows the zone.

    Args:
        fields: are changed.
        day_wins: of a day and a due date that do not agree.

    Raises:
        ValidationError: the two contradict each other. Of a moment and a day only the zone tells whether they do.
    """
    due_date, due_day = fields.get("due_date"), fields.get("due_day")
    if due_date is not None and is_day(due_date):
        if day_wins and due_day is None:
            fields["due_day"] = due_date
        elif fields.setdefault("due_day", due_date) != due_date and not day_wins:
            raise ValidationError("Contradicts due_date.", "due_day")
        del fields["due_date"]
    elif due_day is not None and due_date is None and "due_date" in fields and not day_wins:
        raise ValidationError("Contradicts due_date.", "due_day")


def _goes_on(data: dict[str, Any]) -> None:
    """Refuses a rule that would make no next task."""
    # A bare date is there only where it contradicts the day, which is told already.
    if data.get("recurrence") and not is_day(data.get("due_date") or ""):
        try:
            require_next_date(data["recurrence"], due_moment(data), of_day=bool(data.get("due_day")))
        except RecurrenceInvalid as error:
            raise ValidationError(str(error), "recurrence") from None


def due_moment(fields: Mapping[str, Any]) -> datetime | None:
    """About when a task is due by fields that a client sent: of a day the end of it in UTC."""
    day = fields.get("due_day")
    text = f"{day}T23:59:59+00:00" if day else fields.get("due_date")
    return datetime.fromisoformat(text) if text else None


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

    day_wins = False

    @validates_schema
    def _due_agrees(self, data: dict[str, Any], **_: Any) -> None:
        settle_due(data, day_wins=self.day_wins)

    @validates_schema
    def _recurrence_goes_on(self, data: dict[str, Any], **_: Any) -> None:
        _goes_on(data)


class TaskImport(TaskCreate):
    """A task that comes from elsewhere, with its past. Its day counts, and not when that ended elsewhere."""

    day_wins = True

    class Meta:
        include = {  # noqa: RUF012
            **{field.name: field.request(is_new=True) for field in IMPORTED if not field.is_writable},
            "external_id": EXTERNAL_ID.request(allow_none=True),
            "reminders": reminder_rules(),
        }

    @validates_schema
    def _completed_at_of_completed(self, data: dict[str, Any], **_: Any) -> None:
        if not has_completed_at_rightly(data):
            raise ValidationError("Only a completed task has one.", "completed_at")


class TaskUpdate(RequestSchema):
    """A merge patch (RFC 7396): only what it names is changed.

    `null` clears `description`, `due_date` with its `due_day`, `labels` and `recurrence`; labels are replaced as a
    whole. A moment as `due_date` clears `due_day`.
    """

    class Meta:
        include = {field.name: field.request(is_new=False) for field in WRITABLE}  # noqa: RUF012

    @validates_schema
    def _due_agrees(self, data: dict[str, Any], **_: Any) -> None:
        settle_due(data)

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
        fields.Raw(
            allow_none=True, metadata={"one_of": BATCH_OPERATIONS, "discriminator": "op", "named": "BatchOperation"}
        ),
        required=True,
        validate=validate.Length(1, BATCH_MAXIMUM),
    )

"""The fields of a task: the one list of them, a row a field.

From it follow the table's columns and checks, what clients may send and what they are answered, the statements that
write tasks, and the columns of imports and exports. CONTRIBUTING.md has the recipe for a new one.
"""

from dataclasses import dataclass
from typing import Any

from marshmallow import fields as marshmallow_fields

from core.ids import MAXIMUM_ID
from core.tasks.kinds import Choice, Day, FreeText, Kind, LabelList, Moment, Number, RecurrenceRule
from core.tasks.rules import RECURRENCE_FROM, RECURRENCE_MAXIMUM
from core.tasks.values import NOT_BLANK

STATUSES = ("pending", "in_progress", "blocked", "completed", "cancelled")
OPEN_STATUSES = ("pending", "in_progress", "blocked")
TITLE_MAXIMUM = 255
DESCRIPTION_MAXIMUM = 20_000
HIGHEST_PRIORITY = 1
LOWEST_PRIORITY = 10
DEFAULT_PRIORITY = 5
DEFAULT_STATUS = "pending"
DEFAULT_RECURRENCE_FROM = "due_date"
LABELS_MAXIMUM = 20
LABEL_MAXIMUM = 50
EXTERNAL_ID_MAXIMUM = 255
VERSION_MAXIMUM = (1 << 31) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A field of a task.

    Attributes:
        name: of the field, and of its column.
        kind: what its values are.
        is_writable: clients set it, by a create, an update or an import.
        is_imported: an import may set it; what is writable always is.
        is_required: a new task needs it.
        is_clearable: clients may send null.
        default: of a new task, where nothing is said; None: there is none.
        is_default_sent: the API puts the default in, and the OpenAPI document shows it; else the worker does.
        made: SQL of what the database puts in where nothing is said.
        is_kept: the next task of a recurring one has it, too.
    """

    name: str
    kind: Kind
    is_writable: bool = True
    is_imported: bool = True
    is_required: bool = False
    is_clearable: bool = False
    default: Any = None
    is_default_sent: bool = False
    made: str | None = None
    is_kept: bool = False

    @property
    def is_nullable(self) -> bool:
        """Whether the column may be NULL."""
        return self.is_clearable and self.default is None and self.made is None

    def request(self, *, is_new: bool) -> marshmallow_fields.Field[Any]:
        """The marshmallow field of a new task, or of a change."""
        given: dict[str, Any] = {"allow_none": self.is_clearable}
        if is_new and self.is_required:
            given["required"] = True
        if is_new and self.is_default_sent:
            given["load_default"] = self.default
        return self.kind.request(**given)

    def answer(self) -> marshmallow_fields.Field[Any]:
        """The marshmallow field of an answered task."""
        return self.kind.answer(allow_none=self.is_nullable)


_ID = Number(1, MAXIMUM_ID, "bigint", {"format": "int64"})

FIELDS = (
    Field(name="id", kind=_ID, is_writable=False, is_imported=False, made="next_task_id()"),
    Field(name="user_id", kind=_ID, is_writable=False, is_imported=False),
    Field(
        name="title",
        kind=FreeText(
            TITLE_MAXIMUM,
            minimum=1,
            trim=True,
            metadata={
                "description": "1 to 255 characters after trimming",
                "pattern": NOT_BLANK,
                "example": "Renew the TLS certificates",
            },
        ),
        is_required=True,
        is_kept=True,
    ),
    Field(
        name="description",
        kind=FreeText(
            DESCRIPTION_MAXIMUM,
            metadata={"description": "Up to 20 000 characters", "example": "The old ones end on Friday."},
        ),
        is_clearable=True,
        is_kept=True,
    ),
    Field(
        name="priority",
        kind=Number(HIGHEST_PRIORITY, LOWEST_PRIORITY, "smallint", {"description": "1 is the highest, 10 the lowest"}),
        default=DEFAULT_PRIORITY,
        is_default_sent=True,
        is_kept=True,
    ),
    Field(name="status", kind=Choice(STATUSES), default=DEFAULT_STATUS, is_default_sent=True),
    Field(
        name="due_date",
        kind=Moment(
            {
                "description": "A moment, or a day of the calendar: then the task is due on that day (`due_day`)",
                "anyOf": [{"format": "date-time"}, {"format": "date"}],
                "example": "2035-01-31T17:00:00+01:00",
            },
            or_day=True,
        ),
        is_clearable=True,
    ),
    Field(
        name="labels",
        kind=LabelList(
            LABELS_MAXIMUM,
            LABEL_MAXIMUM,
            {"description": "Each once, in the order sent; `null` is none", "example": ["security", "on-call"]},
        ),
        is_clearable=True,
        default=[],
        is_kept=True,
    ),
    Field(name="created_at", kind=Moment(), is_writable=False, is_clearable=True, made="now()"),
    Field(name="updated_at", kind=Moment(), is_writable=False, is_imported=False, made="now()"),
    Field(name="completed_at", kind=Moment(), is_writable=False, is_clearable=True),
    Field(
        name="version",
        kind=Number(1, VERSION_MAXIMUM, "integer", {"description": "grows with every change; the `ETag`"}),
        is_writable=False,
        is_imported=False,
        made="1",
    ),
    Field(
        name="recurrence",
        kind=RecurrenceRule(
            RECURRENCE_MAXIMUM,
            {
                "description": "RFC 5545: completing the task makes the next one. Hourly to yearly; `null` is never",
                "format": "recurrence-rule",
                "example": "FREQ=WEEKLY;BYDAY=MO,TH",
            },
        ),
        is_clearable=True,
    ),
    Field(
        name="recurrence_from",
        kind=Choice(RECURRENCE_FROM, {"description": "What the next date is counted from: `due_date` unless set"}),
        default=DEFAULT_RECURRENCE_FROM,
        is_kept=True,
    ),
    Field(
        name="due_day",
        kind=Day(
            {
                "description": "The day on which a task is due; `due_date` is its last second in the user's zone",
                "format": "date",
                "example": "2035-01-31",
            }
        ),
        is_clearable=True,
    ),
)
"""In the order in which tasks are answered and exported; new ones stand at the end."""

WRITABLE = tuple(field for field in FIELDS if field.is_writable)
IMPORTED = tuple(field for field in FIELDS if field.is_imported)

EXTERNAL_ID = FreeText(EXTERNAL_ID_MAXIMUM, minimum=1)
"""What another program calls a task; imports know it, tasks do not."""

"""Tasks, partitioned by ranges of their ids, which carry the time of their making."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from core.database.schema import metadata
from core.tasks.fields import FIELDS, WRITABLE, Field

_TYPES: dict[str, sa.types.TypeEngine[Any]] = {
    "bigint": sa.BigInteger(),
    "integer": sa.Integer(),
    "smallint": sa.SmallInteger(),
    "text": sa.Text(),
    "text[]": ARRAY(sa.Text),
    "timestamptz": sa.TIMESTAMP(timezone=True),
    "date": sa.Date(),
}


def _column(field: Field) -> sa.Column[Any]:
    default: Any = None
    if field.made is not None:
        default = sa.text(field.made)
    elif field.default is not None:
        default = "{}" if field.default == [] else str(field.default)
    return sa.Column(field.name, _TYPES[field.kind.sql], nullable=field.is_nullable, server_default=default)


tasks = sa.Table(
    "tasks",
    metadata,
    *map(_column, FIELDS),
    # What clients do not see here: the due date as the rule has it, where the clocks skip that time, and the task's own
    # reminders, which have a resource of their own; null: it has those of its user.
    sa.Column("recurrence_local", sa.TIMESTAMP),
    sa.Column("reminder_rules", ARRAY(sa.Text)),
    sa.PrimaryKeyConstraint("user_id", "id"),
    sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
    *(sa.CheckConstraint(check, name=field.name) for field in WRITABLE if (check := field.kind.check(field.name))),
    sa.CheckConstraint("(completed_at IS NOT NULL) = (status = 'completed')", name="completed_at"),
    sa.Index("tasks_user_id_priority_id_idx", "user_id", "priority", "id"),
    sa.Index("tasks_user_id_status_priority_id_idx", "user_id", "status", "priority", "id"),
    # The next two serve admins, whose lists span all users and who name a task without its owner. The condition always
    # holds: it keeps the planner from them where a statement does not say it.
    sa.Index("tasks_priority_id_idx", "priority", "id", postgresql_where=sa.text("user_id > 0")),
    sa.Index("tasks_id_idx", "id", postgresql_where=sa.text("user_id > 0")),
    sa.Index(
        "tasks_user_id_due_date_idx",
        "user_id",
        "due_date",
        postgresql_where=sa.text("status IN ('pending', 'in_progress', 'blocked')"),
    ),
    sa.Index("tasks_labels_idx", "labels", postgresql_using="gin", postgresql_where=sa.text("labels <> '{}'")),
    postgresql_partition_by="RANGE (id)",
)

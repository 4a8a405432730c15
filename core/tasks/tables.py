"""Tasks, partitioned by ranges of their ids, which carry the time of their making."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from core.database.schema import metadata

tasks = sa.Table(
    "tasks",
    metadata,
    sa.Column("id", sa.BigInteger, nullable=False, server_default=sa.text("next_task_id()")),
    sa.Column("user_id", sa.BigInteger, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("description", sa.Text),
    sa.Column("priority", sa.SmallInteger, nullable=False, server_default="5"),
    sa.Column("status", sa.Text, nullable=False, server_default="pending"),
    sa.Column("due_date", sa.TIMESTAMP(timezone=True)),
    sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("updated_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("completed_at", sa.TIMESTAMP(timezone=True)),
    sa.Column("version", sa.Integer, nullable=False, server_default="1"),
    sa.Column("labels", ARRAY(sa.Text), nullable=False, server_default="{}"),
    sa.Column("recurrence", sa.Text),
    sa.Column("recurrence_from", sa.Text, nullable=False, server_default="due_date"),
    # What clients do not see here: the due date as the rule has it, where the clocks skip that time, and the task's own
    # reminders, which have a resource of their own; null: it has those of its user.
    sa.Column("recurrence_local", sa.TIMESTAMP),
    sa.Column("reminder_rules", ARRAY(sa.Text)),
    sa.PrimaryKeyConstraint("user_id", "id"),
    sa.CheckConstraint("char_length(title) BETWEEN 1 AND 255", name="title"),
    sa.CheckConstraint("char_length(description) <= 20000", name="description"),
    sa.CheckConstraint("priority BETWEEN 1 AND 10", name="priority"),
    sa.CheckConstraint("status IN ('pending', 'in_progress', 'blocked', 'completed', 'cancelled')", name="status"),
    sa.CheckConstraint("(completed_at IS NOT NULL) = (status = 'completed')", name="completed_at"),
    sa.CheckConstraint("cardinality(labels) <= 20", name="labels"),
    sa.CheckConstraint("char_length(recurrence) BETWEEN 1 AND 500", name="recurrence"),
    sa.CheckConstraint("recurrence_from IN ('due_date', 'after_completion')", name="recurrence_from"),
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

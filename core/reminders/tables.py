"""Reminders: one row for each time at which a user is to be told of a task."""

import sqlalchemy as sa

from core.database.schema import metadata

reminders = sa.Table(
    "reminders",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("user_id", sa.BigInteger, nullable=False),
    sa.Column("task_id", sa.BigInteger, nullable=False),
    sa.Column("rule", sa.Text, nullable=False),
    sa.Column("is_own", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("due_at", sa.TIMESTAMP(timezone=True)),
    sa.Column("state", sa.Text, nullable=False, server_default="pending"),
    sa.Column("sent_at", sa.TIMESTAMP(timezone=True)),
    sa.Column("event_id", sa.BigInteger),
    sa.CheckConstraint("state IN ('pending', 'sent', 'cancelled')", name="state"),
    sa.UniqueConstraint("user_id", "task_id", "rule", name="reminders_user_id_task_id_rule_key"),
    sa.Index("reminders_due_at_idx", "due_at", postgresql_where=sa.text("state = 'pending'")),
    sa.Index("reminders_user_id_due_at_idx", "user_id", "due_at", postgresql_where=sa.text("state = 'pending'")),
)

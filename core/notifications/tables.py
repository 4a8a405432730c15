"""Notifications inside the service itself."""

import sqlalchemy as sa

from core.database.schema import metadata

notifications = sa.Table(
    "notifications",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("user_id", sa.BigInteger, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("task_id", sa.BigInteger),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("read_at", sa.TIMESTAMP(timezone=True)),
    sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Index("notifications_user_id_id_idx", "user_id", "id"),
)

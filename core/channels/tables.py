"""Channels, with their addresses and secrets encrypted."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, JSON

from core.database.schema import metadata

channels = sa.Table(
    "channels",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("user_id", sa.BigInteger, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("url_encrypted", BYTEA, nullable=False),
    sa.Column("url_masked", sa.Text, nullable=False),
    sa.Column("secrets_encrypted", ARRAY(BYTEA)),
    sa.Column("events", ARRAY(sa.Text), nullable=False, server_default="{}"),
    sa.Column("quiet_hours", JSON),
    sa.Column("state", sa.Text, nullable=False, server_default="active"),
    sa.Column("failing_since", sa.TIMESTAMP(timezone=True)),
    sa.Column("held_until", sa.TIMESTAMP(timezone=True)),
    sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("name", sa.Text),
    sa.CheckConstraint("char_length(name) BETWEEN 1 AND 100", name="name"),
    sa.CheckConstraint("state IN ('active', 'disabled', 'deleted')", name="state"),
    sa.Index("channels_user_id_id_idx", "user_id", "id"),
)

"""Events and their deliveries to channels.

Events are an outbox: each is written in the transaction of what it tells of. A trigger on `events` makes the
deliveries, or notes in `fan_outs` that they are still to be made.
"""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSON, UUID

from core.database.schema import metadata

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("user_id", sa.BigInteger, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("task_id", sa.BigInteger),
    sa.Column("data", JSON, nullable=False),
    sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Index("events_created_at_idx", "created_at", postgresql_using="brin", postgresql_with={"autosummarize": "on"}),
)

deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("event_id", sa.BigInteger, sa.ForeignKey("events.id", ondelete="CASCADE"), nullable=False),
    sa.Column("channel_id", sa.BigInteger, sa.ForeignKey("channels.id", ondelete="CASCADE"), nullable=False),
    sa.Column("user_id", sa.BigInteger, nullable=False),
    sa.Column("state", sa.Text, nullable=False, server_default="pending"),
    sa.Column("attempts", sa.SmallInteger, nullable=False, server_default="0"),
    sa.Column("next_attempt_at", sa.TIMESTAMP(timezone=True), server_default=sa.func.now()),
    sa.Column("last_error", sa.Text),
    sa.Column("lease_owner", sa.Text),
    sa.Column("lease_until", sa.TIMESTAMP(timezone=True)),
    sa.Column("redelivered_at", sa.TIMESTAMP(timezone=True)),
    sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
    # The id of a webhook's message. Null: the row is of version 0.1, and its number is the id.
    sa.Column("message_id", UUID, server_default=sa.func.gen_random_uuid()),
    sa.UniqueConstraint("event_id", "channel_id"),
    sa.CheckConstraint("state IN ('pending', 'delivered', 'failed', 'dead')", name="state"),
    sa.Index("deliveries_user_id_id_idx", "user_id", "id"),
    sa.Index("deliveries_channel_id_idx", "channel_id"),
    sa.Index(
        "deliveries_channel_id_next_attempt_at_idx",
        "channel_id",
        "next_attempt_at",
        postgresql_where=sa.text("state IN ('pending', 'failed')"),
    ),
)

# A row for each user and kind of event, where one statement had many events.
fan_outs = sa.Table(
    "fan_outs",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("user_id", sa.BigInteger, nullable=False),
    sa.Column("event_ids", ARRAY(sa.BigInteger), nullable=False),
    sa.Column("channel_ids", ARRAY(sa.BigInteger), nullable=False),
    # The events were taken back: their deliveries are to be ended.
    sa.Column("is_void", sa.Boolean, nullable=False, server_default="false"),
    sa.Index("fan_outs_user_id_id_idx", "user_id", "id"),
)

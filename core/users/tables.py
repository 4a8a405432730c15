"""Users and their sessions. A session is a family of refresh tokens, of which only the newest is good."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, UUID

from core.database.schema import metadata

users = sa.Table(
    "users",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("username", sa.Text, nullable=False),
    sa.Column("email", sa.Text, nullable=False),
    sa.Column("password_hash", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False, server_default="user"),
    sa.Column("time_zone", sa.Text, nullable=False, server_default="UTC"),
    sa.Column("reminder_offsets", ARRAY(sa.Text), nullable=False, server_default="{}"),
    # The last task whose reminders follow the present offsets and time zone. Null: all do.
    sa.Column("reminders_planned_to", sa.BigInteger),
    # When the user is reminded of what is due all day.
    sa.Column("all_day_reminder_time", sa.Text, nullable=False, server_default="09:00"),
    # The last task that was looked at for a day to be moved into the present time zone. Null: all were.
    sa.Column("days_moved_to", sa.BigInteger),
    sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("updated_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.CheckConstraint("username ~ '^[A-Za-z0-9._-]{3,64}$'", name="username"),
    sa.CheckConstraint("role IN ('user', 'admin')", name="role"),
    sa.CheckConstraint("all_day_reminder_time ~ '^([01][0-9]|2[0-3]):[0-5][0-9]$'", name="all_day_reminder_time"),
)
sa.Index("users_reminders_planned_to_idx", users.c.id, postgresql_where=users.c.reminders_planned_to.isnot(None))
sa.Index("users_days_moved_to_idx", users.c.id, postgresql_where=users.c.days_moved_to.isnot(None))
sa.Index("users_username_key", sa.func.lower(users.c.username), unique=True)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("id", UUID, primary_key=True),
    sa.Column("user_id", sa.BigInteger, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    sa.Column("generation", sa.Integer, nullable=False, server_default="0"),
    sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("refreshed_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("expires_at", sa.TIMESTAMP(timezone=True), nullable=False),
    sa.Column("revoked_at", sa.TIMESTAMP(timezone=True)),
    sa.Index("sessions_user_id_idx", "user_id"),
    sa.Index("sessions_expires_at_idx", "expires_at"),
)

# Where users logged in from: from there, nobody who guesses their passwords can lock them out.
login_places = sa.Table(
    "login_places",
    metadata,
    sa.Column("user_id", sa.BigInteger, sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    # A keyed digest of name and address: the table does not tell where users are.
    sa.Column("place", sa.Text, primary_key=True),
    sa.Column("last_login_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
)

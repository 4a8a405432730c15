"""Exports: each is a job, and these are its particulars."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSON, UUID

from core.database.schema import metadata

# The job's row is written last in its transaction.
_JOB = sa.ForeignKey("jobs.id", ondelete="CASCADE", deferrable=True, initially="DEFERRED")

exports = sa.Table(
    "exports",
    metadata,
    sa.Column("id", UUID, _JOB, primary_key=True),
    sa.Column("user_id", sa.BigInteger, nullable=False),
    sa.Column("format", sa.Text, nullable=False),
    sa.Column("filters", JSON, nullable=False),
    sa.Column("all_users", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("object", sa.Text),
    sa.Column("etag", sa.Text),
    sa.Column("bytes", sa.BigInteger),
    sa.Column("rows", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("attempts", sa.SmallInteger, nullable=False, server_default="0"),
    sa.Column("lease_owner", sa.Text),
    sa.Column("lease_until", sa.TIMESTAMP(timezone=True)),
    sa.Column("expires_at", sa.TIMESTAMP(timezone=True)),
    # When an export of this user was last begun since this one was ordered. Null: none was.
    sa.Column("turn_at", sa.TIMESTAMP(timezone=True)),
    # A CSV begins with a byte order mark.
    sa.Column("bom", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.CheckConstraint("format IN ('csv', 'ndjson', 'json', 'ics')", name="format"),
    sa.Index("exports_user_id_id_idx", "user_id", "id"),
    sa.Index("exports_user_id_idx", "user_id", postgresql_where=sa.text("object IS NOT NULL OR expires_at IS NULL")),
    sa.Index("exports_expires_at_idx", "expires_at", postgresql_where=sa.text("object IS NOT NULL")),
)

"""Imports, what is told of their rows, which row of which file became which task, and how that is taken back."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSON, UUID

from core.database.schema import metadata


# The job's row is written last in its transaction.
def _job() -> sa.ForeignKey:
    return sa.ForeignKey("jobs.id", ondelete="CASCADE", deferrable=True, initially="DEFERRED")


imports = sa.Table(
    "imports",
    metadata,
    sa.Column("id", UUID, _job(), primary_key=True),
    sa.Column("user_id", sa.BigInteger, nullable=False),
    sa.Column("format", sa.Text),
    sa.Column("filename", sa.Text),
    sa.Column("dry_run", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("options", JSON, nullable=False),
    sa.Column("object", sa.Text),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("bytes_read", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("columns", JSON),
    sa.Column("report", JSON),
    sa.Column("rows_read", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("rows_created", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("rows_updated", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("rows_skipped", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("rows_failed", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("errors_kept", sa.Integer, nullable=False, server_default="0"),
    sa.Column("error_bytes", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("rows_warned", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("warnings_kept", sa.Integer, nullable=False, server_default="0"),
    sa.Column("frame", JSON),
    sa.Column("preview", ARRAY(JSON)),
    sa.Column("busy_seconds", sa.Double, nullable=False, server_default="0"),
    sa.Column("attempts", sa.SmallInteger, nullable=False, server_default="0"),
    sa.Column("is_unwanted", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("lease_owner", sa.Text),
    sa.Column("lease_until", sa.TIMESTAMP(timezone=True)),
    sa.Column("turn_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Index("imports_user_id_id_idx", "user_id", "id"),
    sa.Index("imports_user_id_idx", "user_id", postgresql_where=sa.text("object IS NOT NULL")),
    sa.Index("imports_turn_at_idx", "turn_at", postgresql_where=sa.text("object IS NOT NULL")),
)

import_errors = sa.Table(
    "import_errors",
    metadata,
    sa.Column("import_id", UUID, sa.ForeignKey("imports.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("user_id", sa.BigInteger, nullable=False),
    sa.Column("row", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("number", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("column", sa.Text),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("values", JSON),
    sa.Column("source", sa.Text),
)

import_warnings = sa.Table(
    "import_warnings",
    metadata,
    sa.Column("import_id", UUID, sa.ForeignKey("imports.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("user_id", sa.BigInteger, nullable=False),
    sa.Column("row", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("number", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("column", sa.Text),
    sa.Column("message", sa.Text, nullable=False),
)

imported_tasks = sa.Table(
    "imported_tasks",
    metadata,
    sa.Column("user_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("key", UUID, primary_key=True),
    sa.Column("task_id", sa.BigInteger, nullable=False),
    sa.Column("import_id", UUID, nullable=False),
)

imported_chunks = sa.Table(
    "imported_chunks",
    metadata,
    sa.Column("import_id", UUID, sa.ForeignKey("imports.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("rows_read", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("task_ids", ARRAY(sa.BigInteger), nullable=False),
)

import_undos = sa.Table(
    "import_undos",
    metadata,
    sa.Column("id", UUID, _job(), primary_key=True),
    sa.Column("user_id", sa.BigInteger, nullable=False),
    sa.Column("import_id", UUID, nullable=False),
    sa.Column("deleted", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("changed", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("gone", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("is_ended", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("attempts", sa.SmallInteger, nullable=False, server_default="0"),
    sa.Column("lease_owner", sa.Text),
    sa.Column("lease_until", sa.TIMESTAMP(timezone=True)),
    sa.Column("turn_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Index("import_undos_turn_at_idx", "turn_at", postgresql_where=sa.text("NOT is_ended")),
)

"""Runs of maintenance: a row for each tick of a schedule, so that a tick is run once by however many workers."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSON, UUID

from core.database.schema import metadata

maintenance_runs = sa.Table(
    "maintenance_runs",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("tick", sa.TIMESTAMP(timezone=True), nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("job_id", UUID),
    sa.Column("attempts", sa.SmallInteger, nullable=False, server_default="0"),
    sa.Column("started_at", sa.TIMESTAMP(timezone=True)),
    sa.Column("finished_at", sa.TIMESTAMP(timezone=True)),
    sa.Column("arguments", JSON, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("error", sa.Text),
    sa.Column("lease_owner", sa.Text),
    sa.Column("lease_until", sa.TIMESTAMP(timezone=True)),
    sa.CheckConstraint("state IN ('queued', 'running', 'succeeded', 'failed')", name="state"),
    # What an admin has ordered is a job; all else is a tick.
    sa.Index("maintenance_runs_name_tick_key", "name", "tick", unique=True, postgresql_where=sa.text("job_id IS NULL")),
    sa.Index("maintenance_runs_name_id_idx", "name", "id"),
)

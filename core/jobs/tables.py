"""The `jobs` table: a command's outcome, its idempotency record and its status page in one row."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSON, UUID

from core.database.schema import metadata

STATES = ("queued", "processing", "succeeded", "rejected", "failed", "cancelled")
FINAL_STATES = frozenset(STATES) - {"queued", "processing"}

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", UUID, primary_key=True),
    sa.Column("user_id", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("status_code", sa.SmallInteger),
    sa.Column("task_id", sa.BigInteger),
    sa.Column("result", JSON),
    sa.Column("error", JSON),
    sa.Column("progress", JSON),
    sa.Column("fingerprint", sa.Text),
    sa.Column("request_id", sa.Text),
    sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("started_at", sa.TIMESTAMP(timezone=True)),
    sa.Column("finished_at", sa.TIMESTAMP(timezone=True)),
    sa.CheckConstraint(f"state IN {STATES}", name="state"),
    sa.Index("jobs_user_id_created_at_id_idx", "user_id", "created_at", "id"),
    # Rows arrive in the order of their time, so a block range index finds what is past its retention.
    sa.Index("jobs_created_at_idx", "created_at", postgresql_using="brin", postgresql_with={"autosummarize": "on"}),
)

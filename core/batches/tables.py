"""The `batch_slices` table."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import UUID

from core.database.schema import metadata

batch_slices = sa.Table(
    "batch_slices",
    metadata,
    sa.Column("job_id", UUID, nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("operations", sa.Integer, nullable=False),
    sa.Column("results", sa.Text, nullable=False),
    sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.PrimaryKeyConstraint("job_id", "position"),
    sa.Index(
        "batch_slices_created_at_idx", "created_at", postgresql_using="brin", postgresql_with={"autosummarize": "on"}
    ),
)

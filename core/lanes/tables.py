"""The `lanes` table: who drains a lane."""

import sqlalchemy as sa

from core.database.schema import metadata

lanes = sa.Table(
    "lanes",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("token", sa.BigInteger, nullable=False),
    sa.Column("claimed_by", sa.Text, nullable=False),
    sa.Column("claimed_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
)

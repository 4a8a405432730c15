"""A task's JSON, made in one place.

Revision ID: 0009
Revises: 0008
"""

from migrations import sql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    sql.up(__file__)


def downgrade() -> None:
    sql.down(__file__)

"""What an import tells of its rows besides errors, how it can be taken back, and the text of rows that failed.

Revision ID: 0010
Revises: 0009
"""

from migrations import sql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    sql.up(__file__)


def downgrade() -> None:
    sql.down(__file__)

"""Names of channels, and exports that begin with a byte order mark.

Revision ID: 0012
Revises: 0011
"""

from migrations import sql

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    sql.up(__file__)


def downgrade() -> None:
    sql.down(__file__)

"""All-day due dates: a task's day, the time at which users are reminded of such, and time zones that may change.

Revision ID: 0011
Revises: 0010
"""

from migrations import sql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    sql.up(__file__)


def downgrade() -> None:
    sql.down(__file__)

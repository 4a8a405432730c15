"""Quotas: what a user has stored is summed up quickly, exports are taken in turns; admins are those who are it now.

Revision ID: 0006
Revises: 0005
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

STATEMENTS = [
    # Few rows hold a file at any time, of however many there are.
    "CREATE INDEX imports_user_id_idx ON imports (user_id) WHERE object IS NOT NULL",
    "CREATE INDEX exports_user_id_idx ON exports (user_id) WHERE object IS NOT NULL OR expires_at IS NULL",
    "CREATE INDEX exports_expires_at_idx ON exports (expires_at) WHERE object IS NOT NULL",
    # When the user's exports were served last; null: not since this one was ordered. No row is rewritten.
    "ALTER TABLE exports ADD COLUMN turn_at timestamptz",
    # As the owner, whom row-level security does not bind: the policy of `users` asks for this very answer.
    """
    CREATE FUNCTION caller_is_admin_now() RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = public, pg_temp
    BEGIN ATOMIC
        SELECT EXISTS (SELECT FROM users AS u WHERE u.id = current_app_user() AND u.role = 'admin');
    END
    """,
    "REVOKE ALL ON FUNCTION caller_is_admin_now() FROM PUBLIC",
    "GRANT EXECUTE ON FUNCTION caller_is_admin_now() TO tenfold_api",
    # What the API believes of a role may be half a minute old.
    """
    CREATE OR REPLACE FUNCTION current_app_user_is_admin() RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN coalesce(current_setting('app.role', true), '') = 'admin' AND caller_is_admin_now()
    """,
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    for statement in [
        """
        CREATE OR REPLACE FUNCTION current_app_user_is_admin() RETURNS boolean
        LANGUAGE sql STABLE PARALLEL SAFE
        RETURN current_app_user() IS NOT NULL AND coalesce(current_setting('app.role', true), '') = 'admin'
        """,
        "DROP FUNCTION caller_is_admin_now()",
        "ALTER TABLE exports DROP COLUMN turn_at",
        "DROP INDEX exports_expires_at_idx",
        "DROP INDEX exports_user_id_idx",
        "DROP INDEX imports_user_id_idx",
    ]:
        op.get_bind().exec_driver_sql(statement)

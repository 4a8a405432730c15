"""Where users logged in from.

Revision ID: 0008
Revises: 0007
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

STATEMENTS = [
    """
    CREATE TABLE login_places (
        user_id       bigint NOT NULL CONSTRAINT login_places_user_id_fkey REFERENCES users ON DELETE CASCADE,
        place         text NOT NULL,
        last_login_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT login_places_pkey PRIMARY KEY (user_id, place)
    )
    """,
    "ALTER TABLE login_places ENABLE ROW LEVEL SECURITY",
    "CREATE POLICY login_places_worker ON login_places TO tenfold_worker USING (true) WITH CHECK (true)",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON login_places TO tenfold_worker",
    # Before there is an identity. A place is a digest that the API alone can make: whoever runs SQL as the API learns
    # nothing of others with it.
    """
    CREATE FUNCTION logged_in_from(name text, asked_place text) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
    BEGIN ATOMIC
        SELECT EXISTS (
            SELECT FROM users u JOIN login_places l ON l.user_id = u.id
            WHERE  lower(u.username) = lower(name)
            AND    l.place = asked_place AND l.last_login_at > now() - interval '30 days'
        );
    END
    """,
    "REVOKE ALL ON FUNCTION logged_in_from(text, text) FROM PUBLIC",
    "GRANT EXECUTE ON FUNCTION logged_in_from(text, text) TO tenfold_api",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    for statement in ("DROP FUNCTION logged_in_from(text, text)", "DROP TABLE login_places"):
        op.get_bind().exec_driver_sql(statement)

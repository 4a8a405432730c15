"""Labels of tasks; imports, their row errors and what they brought; exports.

Revision ID: 0002
Revises: 0001
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

STATEMENTS = [
    # A constant default: no row is rewritten, however many there are.
    """
    ALTER TABLE tasks
        ADD COLUMN labels text[] NOT NULL DEFAULT '{}',
        ADD CONSTRAINT tasks_labels_check CHECK (cardinality(labels) <= 20)
    """,
    "CREATE INDEX tasks_labels_idx ON tasks USING gin (labels) WHERE labels <> '{}'",
    # Everybody's, for admins. Through row-level security no index finds labels, since PostgreSQL does not hold `&&` for
    # leakproof; a view reads as its owner, whom row-level security does not bind, and looks at the caller itself.
    """
    CREATE VIEW labelled_tasks AS
    SELECT id, user_id, title, description, priority, status, due_date, labels, created_at, updated_at, completed_at,
           version
    FROM   tasks
    WHERE  labels <> '{}' AND (SELECT current_app_user_is_admin())
    """,
    "GRANT SELECT ON labelled_tasks TO tenfold_api",
    # -- imports: each is a job, and these are its particulars. The job's row is written last in its transaction.
    """
    CREATE TABLE imports (
        id           uuid CONSTRAINT imports_pkey PRIMARY KEY
                          CONSTRAINT imports_id_fkey REFERENCES jobs ON DELETE CASCADE
                          DEFERRABLE INITIALLY DEFERRED,
        user_id      bigint NOT NULL,
        format       text,
        filename     text,
        dry_run      boolean NOT NULL DEFAULT false,
        options      json NOT NULL,
        object       text,
        digest       text NOT NULL,
        bytes        bigint NOT NULL,
        bytes_read   bigint NOT NULL DEFAULT 0,
        columns      json,
        report       json,
        rows_read    bigint NOT NULL DEFAULT 0,
        rows_created bigint NOT NULL DEFAULT 0,
        rows_updated bigint NOT NULL DEFAULT 0,
        rows_skipped bigint NOT NULL DEFAULT 0,
        rows_failed  bigint NOT NULL DEFAULT 0,
        errors_kept  integer NOT NULL DEFAULT 0,
        error_bytes  bigint NOT NULL DEFAULT 0,
        busy_seconds double precision NOT NULL DEFAULT 0,
        attempts     smallint NOT NULL DEFAULT 0,
        is_unwanted  boolean NOT NULL DEFAULT false,
        lease_owner  text,
        lease_until  timestamptz,
        turn_at      timestamptz NOT NULL DEFAULT now()
    )
    """,
    "CREATE INDEX imports_user_id_id_idx ON imports (user_id, id)",
    # An import holds its upload until it has ended: these are the ones that somebody still has to look after.
    "CREATE INDEX imports_turn_at_idx ON imports (turn_at) WHERE object IS NOT NULL",
    """
    CREATE TABLE import_errors (
        import_id uuid NOT NULL CONSTRAINT import_errors_import_id_fkey REFERENCES imports ON DELETE CASCADE,
        user_id   bigint NOT NULL,
        row       bigint NOT NULL,
        number    smallint NOT NULL,
        "column"  text,
        message   text NOT NULL,
        "values"  json,
        CONSTRAINT import_errors_pkey PRIMARY KEY (import_id, row, number)
    )
    """,
    # Which row of which file became which task, under a digest of the row's source and external id. No foreign keys:
    # each would cost a look-up a row, and a key whose task is gone is taken over by the next import that brings it.
    """
    CREATE TABLE imported_tasks (
        user_id   bigint NOT NULL,
        key       uuid NOT NULL,
        task_id   bigint NOT NULL,
        import_id uuid NOT NULL,
        CONSTRAINT imported_tasks_pkey PRIMARY KEY (user_id, key)
    )
    """,
    # -- exports: their files expire before their rows do
    """
    CREATE TABLE exports (
        id          uuid CONSTRAINT exports_pkey PRIMARY KEY
                         CONSTRAINT exports_id_fkey REFERENCES jobs ON DELETE CASCADE
                         DEFERRABLE INITIALLY DEFERRED,
        user_id     bigint NOT NULL,
        format      text NOT NULL CONSTRAINT exports_format_check CHECK (format IN ('csv', 'ndjson', 'json', 'ics')),
        filters     json NOT NULL,
        all_users   boolean NOT NULL DEFAULT false,
        object      text,
        etag        text,
        bytes       bigint,
        rows        bigint NOT NULL DEFAULT 0,
        attempts    smallint NOT NULL DEFAULT 0,
        lease_owner text,
        lease_until timestamptz,
        expires_at  timestamptz
    )
    """,
    "CREATE INDEX exports_user_id_id_idx ON exports (user_id, id)",
    "ALTER TABLE imports ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE import_errors ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE imported_tasks ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE exports ENABLE ROW LEVEL SECURITY",
    """
    CREATE POLICY imports_of_caller ON imports FOR SELECT TO tenfold_api
        USING (user_id = (SELECT current_app_user()))
    """,
    """
    CREATE POLICY import_errors_of_caller ON import_errors FOR SELECT TO tenfold_api
        USING (user_id = (SELECT current_app_user()))
    """,
    """
    CREATE POLICY exports_of_caller ON exports FOR SELECT TO tenfold_api
        USING (user_id = (SELECT current_app_user()))
    """,
    "CREATE POLICY imports_worker ON imports TO tenfold_worker USING (true) WITH CHECK (true)",
    "CREATE POLICY import_errors_worker ON import_errors TO tenfold_worker USING (true) WITH CHECK (true)",
    "CREATE POLICY imported_tasks_worker ON imported_tasks TO tenfold_worker USING (true) WITH CHECK (true)",
    "CREATE POLICY exports_worker ON exports TO tenfold_worker USING (true) WITH CHECK (true)",
    # Imports stage their rows. PUBLIC may make temporary tables, unless somebody has taken that away.
    """
    DO $$
    BEGIN
        EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO tenfold_worker', current_database());
    END
    $$
    """,
    "GRANT SELECT ON imports, import_errors, exports TO tenfold_api",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON imports, import_errors, imported_tasks, exports TO tenfold_worker",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    for statement in [
        """
        DO $$
        BEGIN
            EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM tenfold_worker', current_database());
        END
        $$
        """,
        "DROP TABLE exports",
        "DROP TABLE imported_tasks",
        "DROP TABLE import_errors",
        "DROP TABLE imports",
        "DROP VIEW labelled_tasks",
        "DROP INDEX tasks_labels_idx",
        "ALTER TABLE tasks DROP COLUMN labels",
    ]:
        op.get_bind().exec_driver_sql(statement)

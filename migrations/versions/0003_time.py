"""Recurring tasks, reminders, channels, events and their deliveries, notifications, runs of maintenance.

Revision ID: 0003
Revises: 0002
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# Constant defaults: no row is rewritten, however many there are.
RECURRENCE = [
    """
    ALTER TABLE tasks
        ADD COLUMN recurrence text,
        ADD COLUMN recurrence_from text NOT NULL DEFAULT 'due_date',
        ADD CONSTRAINT tasks_recurrence_check CHECK (char_length(recurrence) BETWEEN 1 AND 500),
        ADD CONSTRAINT tasks_recurrence_from_check CHECK (recurrence_from IN ('due_date', 'completion'))
    """,
    """
    CREATE OR REPLACE VIEW labelled_tasks AS
    SELECT id, user_id, title, description, priority, status, due_date, labels, created_at, updated_at, completed_at,
           version, recurrence, recurrence_from
    FROM   tasks
    WHERE  labels <> '{}' AND (SELECT current_app_user_is_admin())
    """,
]

REMINDERS = [
    "ALTER TABLE users ADD COLUMN reminder_offsets text[] NOT NULL DEFAULT '{}'",
    "GRANT SELECT (reminder_offsets) ON users TO tenfold_api",
    # No foreign key: it would cost a look-up a row, and would bind the partitions that are to be detached.
    """
    CREATE TABLE reminders (
        id          bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT reminders_pkey PRIMARY KEY,
        user_id     bigint NOT NULL,
        task_id     bigint NOT NULL,
        rule        text NOT NULL,
        is_own      boolean NOT NULL DEFAULT false,
        due_at      timestamptz,
        state       text NOT NULL DEFAULT 'pending'
                    CONSTRAINT reminders_state_check CHECK (state IN ('pending', 'sent', 'cancelled')),
        lease_owner text,
        lease_until timestamptz,
        sent_at     timestamptz
    )
    """,
    "CREATE INDEX reminders_user_id_task_id_idx ON reminders (user_id, task_id)",
    "CREATE INDEX reminders_due_at_idx ON reminders (due_at) WHERE state = 'pending'",
    "ALTER TABLE reminders ENABLE ROW LEVEL SECURITY",
    """
    CREATE POLICY reminders_of_caller ON reminders FOR SELECT TO tenfold_api
        USING (user_id = (SELECT current_app_user()))
    """,
    "CREATE POLICY reminders_worker ON reminders TO tenfold_worker USING (true) WITH CHECK (true)",
    "GRANT SELECT ON reminders TO tenfold_api",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON reminders TO tenfold_worker",
]

CHANNELS = [
    """
    CREATE TABLE channels (
        id                bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT channels_pkey PRIMARY KEY,
        user_id           bigint NOT NULL CONSTRAINT channels_user_id_fkey REFERENCES users ON DELETE CASCADE,
        kind              text NOT NULL,
        url_encrypted     bytea NOT NULL,
        url_masked        text NOT NULL,
        secrets_encrypted bytea,
        events            text[] NOT NULL DEFAULT '{}',
        quiet_hours       json,
        state             text NOT NULL DEFAULT 'active'
                          CONSTRAINT channels_state_check CHECK (state IN ('active', 'disabled')),
        failing_since     timestamptz,
        created_at        timestamptz NOT NULL DEFAULT now()
    )
    """,
    "CREATE INDEX channels_user_id_id_idx ON channels (user_id, id)",
    "ALTER TABLE channels ENABLE ROW LEVEL SECURITY",
    """
    CREATE POLICY channels_of_caller ON channels FOR SELECT TO tenfold_api
        USING (user_id = (SELECT current_app_user()))
    """,
    "CREATE POLICY channels_worker ON channels TO tenfold_worker USING (true) WITH CHECK (true)",
    # Neither the address nor the secrets: no read needs them.
    """
    GRANT SELECT (id, user_id, kind, url_masked, events, quiet_hours, state, failing_since, created_at)
        ON channels TO tenfold_api
    """,
    "GRANT SELECT, INSERT, UPDATE, DELETE ON channels TO tenfold_worker",
]

EVENTS = [
    # The outbox: written in the transaction of what it tells of. No foreign keys, for the same reason as above.
    """
    CREATE TABLE events (
        id         bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT events_pkey PRIMARY KEY,
        user_id    bigint NOT NULL,
        type       text NOT NULL,
        task_id    bigint,
        data       json NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    "CREATE INDEX events_created_at_idx ON events USING brin (created_at) WITH (autosummarize = on)",
    """
    CREATE TABLE deliveries (
        id              bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT deliveries_pkey PRIMARY KEY,
        event_id        bigint NOT NULL CONSTRAINT deliveries_event_id_fkey REFERENCES events ON DELETE CASCADE,
        channel_id      bigint NOT NULL CONSTRAINT deliveries_channel_id_fkey REFERENCES channels ON DELETE CASCADE,
        user_id         bigint NOT NULL,
        state           text NOT NULL DEFAULT 'pending' CONSTRAINT deliveries_state_check
                        CHECK (state IN ('pending', 'delivered', 'failed', 'dead')),
        attempts        smallint NOT NULL DEFAULT 0,
        next_attempt_at timestamptz DEFAULT now(),
        last_error      text,
        lease_owner     text,
        lease_until     timestamptz,
        created_at      timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT deliveries_event_id_channel_id_key UNIQUE (event_id, channel_id)
    )
    """,
    "CREATE INDEX deliveries_user_id_id_idx ON deliveries (user_id, id)",
    "CREATE INDEX deliveries_channel_id_idx ON deliveries (channel_id)",
    """
    CREATE INDEX deliveries_next_attempt_at_idx ON deliveries (next_attempt_at)
        WHERE state IN ('pending', 'failed')
    """,
    """
    CREATE TABLE notifications (
        id         bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT notifications_pkey PRIMARY KEY,
        user_id    bigint NOT NULL CONSTRAINT notifications_user_id_fkey REFERENCES users ON DELETE CASCADE,
        event      text NOT NULL,
        task_id    bigint,
        text       text NOT NULL,
        read_at    timestamptz,
        created_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    "CREATE INDEX notifications_user_id_id_idx ON notifications (user_id, id)",
    *(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY" for table in ("events", "deliveries", "notifications")),
    *(
        f"CREATE POLICY {table}_of_caller ON {table} FOR SELECT TO tenfold_api"
        " USING (user_id = (SELECT current_app_user()))"
        for table in ("events", "deliveries", "notifications")
    ),
    *(
        f"CREATE POLICY {table}_worker ON {table} TO tenfold_worker USING (true) WITH CHECK (true)"
        for table in ("events", "deliveries", "notifications")
    ),
    "GRANT SELECT ON events, deliveries, notifications TO tenfold_api",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON events, deliveries, notifications TO tenfold_worker",
]

MAINTENANCE = [
    # A row for each tick of a schedule, so that a tick is run once by however many workers.
    """
    CREATE TABLE maintenance_runs (
        id          bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT maintenance_runs_pkey PRIMARY KEY,
        name        text NOT NULL,
        tick        timestamptz NOT NULL,
        state       text NOT NULL CONSTRAINT maintenance_runs_state_check
                    CHECK (state IN ('queued', 'running', 'succeeded', 'failed')),
        job_id      uuid,
        attempts    smallint NOT NULL DEFAULT 0,
        started_at  timestamptz,
        finished_at timestamptz,
        rows        bigint NOT NULL DEFAULT 0,
        error       text,
        lease_owner text,
        lease_until timestamptz,
        CONSTRAINT maintenance_runs_name_tick_key UNIQUE (name, tick)
    )
    """,
    "ALTER TABLE maintenance_runs ENABLE ROW LEVEL SECURITY",
    """
    CREATE POLICY maintenance_runs_of_admins ON maintenance_runs FOR SELECT TO tenfold_api
        USING ((SELECT current_app_user_is_admin()))
    """,
    "CREATE POLICY maintenance_runs_worker ON maintenance_runs TO tenfold_worker USING (true) WITH CHECK (true)",
    "GRANT SELECT ON maintenance_runs TO tenfold_api",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON maintenance_runs TO tenfold_worker",
]


def upgrade() -> None:
    for statement in [*RECURRENCE, *REMINDERS, *CHANNELS, *EVENTS, *MAINTENANCE]:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    for statement in [
        "DROP TABLE maintenance_runs",
        "DROP TABLE notifications",
        "DROP TABLE deliveries",
        "DROP TABLE events",
        "DROP TABLE channels",
        "DROP TABLE reminders",
        "ALTER TABLE users DROP COLUMN reminder_offsets",
        # A view's columns can be added to, not taken from.
        "DROP VIEW labelled_tasks",
        "ALTER TABLE tasks DROP COLUMN recurrence, DROP COLUMN recurrence_from",
        """
        CREATE VIEW labelled_tasks AS
        SELECT id, user_id, title, description, priority, status, due_date, labels, created_at, updated_at,
               completed_at, version
        FROM   tasks
        WHERE  labels <> '{}' AND (SELECT current_app_user_is_admin())
        """,
        "GRANT SELECT ON labelled_tasks TO tenfold_api",
    ]:
        op.get_bind().exec_driver_sql(statement)

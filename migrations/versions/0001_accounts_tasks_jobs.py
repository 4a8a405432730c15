"""Users, sessions, tasks in partitions, jobs; roles, row-level security and grants.

Revision ID: 0001
Revises:
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

STATEMENTS = [
    # -- roles: both tiers assume one of these (or log in as a member of it); neither owns a table
    """
    DO $$
    BEGIN
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tenfold_api') THEN
            CREATE ROLE tenfold_api NOLOGIN;
        END IF;
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tenfold_worker') THEN
            CREATE ROLE tenfold_worker NOLOGIN;
        END IF;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN
        NULL;  -- another database of this cluster is being migrated at the same moment
    END
    $$
    """,
    """
    DO $$
    DECLARE
        tier text;
    BEGIN
        FOREACH tier IN ARRAY ARRAY['tenfold_api', 'tenfold_worker'] LOOP
            IF NOT pg_has_role(current_user, tier, 'SET') THEN
                EXECUTE format('GRANT %I TO %I', tier, current_user);
            END IF;
        END LOOP;
    END
    $$
    """,
    # -- users and sessions
    """
    CREATE TABLE users (
        id            bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT users_pkey PRIMARY KEY,
        username      text NOT NULL CONSTRAINT users_username_check CHECK (username ~ '^[A-Za-z0-9._-]{3,64}$'),
        email         text NOT NULL,
        password_hash text NOT NULL,
        role          text NOT NULL DEFAULT 'user' CONSTRAINT users_role_check CHECK (role IN ('user', 'admin')),
        time_zone     text NOT NULL DEFAULT 'UTC',
        created_at    timestamptz NOT NULL DEFAULT now(),
        updated_at    timestamptz NOT NULL DEFAULT now()
    )
    """,
    "CREATE UNIQUE INDEX users_username_key ON users (lower(username))",
    """
    CREATE TABLE sessions (
        id           uuid CONSTRAINT sessions_pkey PRIMARY KEY,
        user_id      bigint NOT NULL CONSTRAINT sessions_user_id_fkey REFERENCES users ON DELETE CASCADE,
        generation   integer NOT NULL DEFAULT 0,
        created_at   timestamptz NOT NULL DEFAULT now(),
        refreshed_at timestamptz NOT NULL DEFAULT now(),
        expires_at   timestamptz NOT NULL,
        revoked_at   timestamptz
    )
    """,
    "CREATE INDEX sessions_user_id_idx ON sessions (user_id)",
    "CREATE INDEX sessions_expires_at_idx ON sessions (expires_at)",
    # -- task ids: milliseconds since 2020-01-01 UTC in the upper bits, a counter in the lower twelve: 53 bits
    "CREATE SEQUENCE task_id_sequence",
    """
    CREATE FUNCTION task_id_floor(moment timestamptz) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (extract(epoch FROM moment) * 1000 - 1577836800000)::bigint << 12
    """,
    """
    CREATE FUNCTION next_task_id() RETURNS bigint
    LANGUAGE plpgsql VOLATILE
    AS $$
    DECLARE
        moment timestamptz;
        number bigint;
    BEGIN
        -- Whoever is interrupted between the two would give out an old moment with a number that comes round
        -- again, and which another may have had in that moment.
        LOOP
            moment := clock_timestamp();
            number := nextval('task_id_sequence');
            EXIT WHEN clock_timestamp() - moment < interval '200 microseconds';
        END LOOP;
        RETURN ((extract(epoch FROM moment) * 1000)::bigint - 1577836800000) << 12 | (number & 4095);
    END
    $$
    """,
    # -- tasks
    """
    CREATE TABLE tasks (
        id           bigint NOT NULL DEFAULT next_task_id(),
        user_id      bigint NOT NULL CONSTRAINT tasks_user_id_fkey REFERENCES users ON DELETE CASCADE,
        title        text NOT NULL,
        description  text,
        priority     smallint NOT NULL DEFAULT 5,
        status       text NOT NULL DEFAULT 'pending',
        due_date     timestamptz,
        created_at   timestamptz NOT NULL DEFAULT now(),
        updated_at   timestamptz NOT NULL DEFAULT now(),
        completed_at timestamptz,
        version      integer NOT NULL DEFAULT 1,
        CONSTRAINT tasks_pkey PRIMARY KEY (user_id, id),
        CONSTRAINT tasks_title_check CHECK (char_length(title) BETWEEN 1 AND 255),
        CONSTRAINT tasks_description_check CHECK (char_length(description) <= 20000),
        CONSTRAINT tasks_priority_check CHECK (priority BETWEEN 1 AND 10),
        CONSTRAINT tasks_status_check
            CHECK (status IN ('pending', 'in_progress', 'blocked', 'completed', 'cancelled')),
        CONSTRAINT tasks_completed_at_check CHECK ((completed_at IS NOT NULL) = (status = 'completed'))
    ) PARTITION BY RANGE (id)
    """,
    "CREATE INDEX tasks_user_id_priority_id_idx ON tasks (user_id, priority, id)",
    "CREATE INDEX tasks_user_id_status_priority_id_idx ON tasks (user_id, status, priority, id)",
    # For admins alone, who say `user_id > 0`. Any list of one user's would else be read from these where they look
    # cheaper on average, and one of a user with few tasks then passes over everybody else's.
    "CREATE INDEX tasks_priority_id_idx ON tasks (priority, id) WHERE user_id > 0",
    "CREATE INDEX tasks_id_idx ON tasks (id) WHERE user_id > 0",
    """
    CREATE INDEX tasks_user_id_due_date_idx ON tasks (user_id, due_date)
        WHERE status IN ('pending', 'in_progress', 'blocked')
    """,
    # Made beside the parent and then attached: that locks out nobody, where CREATE … PARTITION OF would.
    # SECURITY DEFINER, because workers keep partitions ahead and do not own the schema.
    """
    CREATE FUNCTION ensure_task_partitions(years_ahead integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC'
    AS $$
    DECLARE
        year    integer;
        name    text;
        made    integer := 0;
        current integer := extract(year FROM now())::integer;
    BEGIN
        PERFORM pg_advisory_xact_lock(hashtext('ensure_task_partitions'));
        FOR year IN current .. current + years_ahead LOOP
            name := 'tasks_' || year;
            CONTINUE WHEN to_regclass(name) IS NOT NULL;
            EXECUTE format('CREATE TABLE %I (LIKE tasks INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name);
            EXECUTE format(
                'ALTER TABLE tasks ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)',
                name,
                task_id_floor(make_timestamptz(year, 1, 1, 0, 0, 0, 'UTC')),
                task_id_floor(make_timestamptz(year + 1, 1, 1, 0, 0, 0, 'UTC'))
            );
            made := made + 1;
        END LOOP;
        RETURN made;
    END
    $$
    """,
    "SELECT ensure_task_partitions(2)",
    # -- jobs
    """
    CREATE TABLE jobs (
        id          uuid CONSTRAINT jobs_pkey PRIMARY KEY,
        user_id     bigint NOT NULL,
        kind        text NOT NULL,
        state       text NOT NULL CONSTRAINT jobs_state_check
            CHECK (state IN ('queued', 'processing', 'succeeded', 'rejected', 'failed', 'cancelled')),
        status_code smallint,
        task_id     bigint,
        result      json,
        error       json,
        progress    json,
        fingerprint text,
        request_id  text,
        created_at  timestamptz NOT NULL DEFAULT now(),
        started_at  timestamptz,
        finished_at timestamptz
    )
    """,
    "CREATE INDEX jobs_user_id_created_at_id_idx ON jobs (user_id, created_at, id)",
    "CREATE INDEX jobs_created_at_idx ON jobs USING brin (created_at) WITH (autosummarize = on)",
    # -- who the caller is: set by each statement for itself; without it nothing is visible
    """
    CREATE FUNCTION current_app_user() RETURNS bigint
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('app.user_id', true), '')::bigint
    """,
    """
    CREATE FUNCTION current_app_user_is_admin() RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN current_app_user() IS NOT NULL AND coalesce(current_setting('app.role', true), '') = 'admin'
    """,
    "ALTER TABLE users ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE sessions ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE tasks ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE jobs ENABLE ROW LEVEL SECURITY",
    # The functions stand in sub-selects, so that each is called once a statement and not once a row.
    """
    CREATE POLICY users_of_caller ON users FOR SELECT TO tenfold_api
        USING (id = (SELECT current_app_user()) OR (SELECT current_app_user_is_admin()))
    """,
    """
    CREATE POLICY tasks_of_caller ON tasks FOR SELECT TO tenfold_api
        USING (user_id = (SELECT current_app_user()) OR (SELECT current_app_user_is_admin()))
    """,
    "CREATE POLICY jobs_of_caller ON jobs FOR SELECT TO tenfold_api USING (user_id = (SELECT current_app_user()))",
    "CREATE POLICY users_worker ON users TO tenfold_worker USING (true) WITH CHECK (true)",
    "CREATE POLICY sessions_worker ON sessions TO tenfold_worker USING (true) WITH CHECK (true)",
    "CREATE POLICY tasks_worker ON tasks TO tenfold_worker USING (true) WITH CHECK (true)",
    "CREATE POLICY jobs_worker ON jobs TO tenfold_worker USING (true) WITH CHECK (true)",
    # -- a password's hash, for the one who tries to log in: the table's column is granted to no API
    """
    CREATE FUNCTION credentials_of(name text)
    RETURNS TABLE (id bigint, username text, role text, password_hash text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
    BEGIN ATOMIC
        SELECT u.id, u.username, u.role, u.password_hash FROM users u WHERE lower(u.username) = lower(name);
    END
    """,
    """
    CREATE FUNCTION own_password_hash() RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
    BEGIN ATOMIC
        SELECT u.password_hash FROM users u WHERE u.id = current_app_user();
    END
    """,
    "REVOKE ALL ON FUNCTION credentials_of(text), own_password_hash(), ensure_task_partitions(integer) FROM PUBLIC",
    # -- grants; the first for databases whose public schema is closed, as many guides advise
    "GRANT USAGE ON SCHEMA public TO tenfold_api, tenfold_worker",
    "GRANT SELECT (id, username, email, role, time_zone, created_at, updated_at) ON users TO tenfold_api",
    "GRANT SELECT ON tasks, jobs, alembic_version TO tenfold_api",
    "GRANT EXECUTE ON FUNCTION credentials_of(text), own_password_hash() TO tenfold_api",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON users, sessions, tasks, jobs TO tenfold_worker",
    "GRANT USAGE ON SEQUENCE task_id_sequence TO tenfold_worker",
    "GRANT SELECT ON alembic_version TO tenfold_worker",
    "GRANT EXECUTE ON FUNCTION ensure_task_partitions(integer) TO tenfold_worker",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    for statement in [
        "DROP TABLE jobs",
        "DROP TABLE tasks",
        "DROP TABLE sessions",
        "DROP FUNCTION credentials_of(text)",
        "DROP FUNCTION own_password_hash()",
        "DROP TABLE users",
        "DROP FUNCTION current_app_user_is_admin()",
        "DROP FUNCTION current_app_user()",
        "DROP FUNCTION ensure_task_partitions(integer)",
        "DROP FUNCTION next_task_id()",
        "DROP FUNCTION task_id_floor(timestamptz)",
        "DROP SEQUENCE task_id_sequence",
        "REVOKE ALL ON alembic_version FROM tenfold_api, tenfold_worker",
        "REVOKE USAGE ON SCHEMA public FROM tenfold_api, tenfold_worker",
        # The roles belong to the cluster and may serve another database of it: then they stay.
        """
        DO $$
        BEGIN
            DROP ROLE tenfold_api, tenfold_worker;
        EXCEPTION WHEN dependent_objects_still_exist OR insufficient_privilege OR object_in_use THEN
            NULL;
        END
        $$
        """,
    ]:
        op.get_bind().exec_driver_sql(statement)

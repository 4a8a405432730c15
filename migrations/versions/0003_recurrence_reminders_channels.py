"""Recurring tasks, reminders, channels, events and their deliveries, notifications, runs of maintenance.

Long because it was made so: a migration that has been applied is not cut.

Revision ID: 0003
Revises: 0002
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

PARTITION_FUNCTIONS = [
    "ensure_task_partitions(integer, text)",
    "create_task_partition(timestamptz, timestamptz)",
    "detach_task_partition(text)",
    "attach_task_partition(text)",
    "analyze_tasks()",
]

# Constant defaults: no row is rewritten, however many there are.
RECURRENCE = [
    """
    ALTER TABLE tasks
        ADD COLUMN recurrence text,
        ADD COLUMN recurrence_from text NOT NULL DEFAULT 'due_date',
        ADD COLUMN recurrence_local timestamp,
        ADD COLUMN reminder_rules text[],
        ADD CONSTRAINT tasks_recurrence_check CHECK (char_length(recurrence) BETWEEN 1 AND 500),
        ADD CONSTRAINT tasks_recurrence_from_check CHECK (recurrence_from IN ('due_date', 'after_completion'))
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
    # Where an offset or the time zone has changed, the reminders of the tasks behind `reminders_planned_to` are still
    # to follow: that may be a million, which is too much for the transaction of the change.
    """
    ALTER TABLE users
        ADD COLUMN reminder_offsets text[] NOT NULL DEFAULT '{}',
        ADD COLUMN reminders_planned_to bigint
    """,
    "CREATE INDEX users_reminders_planned_to_idx ON users (id) WHERE reminders_planned_to IS NOT NULL",
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
        sent_at     timestamptz,
        event_id    bigint,
        CONSTRAINT reminders_user_id_task_id_rule_key UNIQUE (user_id, task_id, rule)
    )
    """,
    "CREATE INDEX reminders_due_at_idx ON reminders (due_at) WHERE state = 'pending'",
    "CREATE INDEX reminders_user_id_due_at_idx ON reminders (user_id, due_at) WHERE state = 'pending'",
    "ALTER TABLE reminders ENABLE ROW LEVEL SECURITY",
    """
    CREATE POLICY reminders_of_caller ON reminders FOR SELECT TO tenfold_api
        USING (user_id = (SELECT current_app_user()) OR (SELECT current_app_user_is_admin()))
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
        secrets_encrypted bytea[],
        events            text[] NOT NULL DEFAULT '{}',
        quiet_hours       json,
        state             text NOT NULL DEFAULT 'active'
                          CONSTRAINT channels_state_check CHECK (state IN ('active', 'disabled', 'deleted')),
        failing_since     timestamptz,
        held_until        timestamptz,
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
        redelivered_at  timestamptz,
        created_at      timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT deliveries_event_id_channel_id_key UNIQUE (event_id, channel_id)
    )
    """,
    "CREATE INDEX deliveries_user_id_id_idx ON deliveries (user_id, id)",
    "CREATE INDEX deliveries_channel_id_idx ON deliveries (channel_id)",
    # Claims go from channel to channel, and take from each what is due.
    """
    CREATE INDEX deliveries_channel_id_next_attempt_at_idx ON deliveries (channel_id, next_attempt_at)
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
    "GRANT USAGE ON SEQUENCE events_id_seq TO tenfold_worker",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON events, deliveries, notifications TO tenfold_worker",
]

_TASK = """
        json_build_object('task', (SELECT row_to_json(task) FROM (
            SELECT {0}.id, {0}.user_id, {0}.title, {0}.description, {0}.priority, {0}.status, {0}.due_date, {0}.labels,
                   {0}.created_at, {0}.updated_at, {0}.completed_at, {0}.version, {0}.recurrence, {0}.recurrence_from
        ) AS task))
"""

# The LIMITs keep these on the indexes, whatever else the plan of the statement around them is.
_WANTED = """
        LATERAL (SELECT FROM channels AS c
                 WHERE  c.user_id = {0}.user_id AND c.state = 'active' AND {1} = ANY (c.events) LIMIT 1) AS wanted
"""

FOLLOWING = [
    # Triggers, because tasks are changed from many places, and none may forget what follows from it. They work on the
    # whole statement's rows, and first look whether anything is to be done: mostly nothing is.
    """
    CREATE FUNCTION known_time_zone(name text) RETURNS text
    LANGUAGE plpgsql STABLE
    AS $$
    BEGIN
        -- PostgreSQL's list of zones may be older than the one that the name was checked against.
        PERFORM now() AT TIME ZONE name;
        RETURN name;
    EXCEPTION WHEN invalid_parameter_value THEN
        RETURN 'UTC';
    END
    $$
    """,
    # An offset is an ISO 8601 duration; its days are days of the calendar, also when the clocks change. Nothing lies
    # before the first year: Python knows no such dates, and whoever sends reminders would stumble over one.
    """
    CREATE FUNCTION reminder_moment(rule text, due_date timestamptz, zone text) RETURNS timestamptz
    LANGUAGE sql STABLE
    RETURN CASE WHEN rule NOT LIKE 'P%' THEN rule::timestamptz
                WHEN due_date IS NOT NULL
                THEN greatest(date_subtract(due_date, rule::interval, zone), '0001-01-01 00:00:00+00')
           END
    """,
    # Brings the reminders of some tasks in line with their due dates. A time that has passed already is not made up
    # for, unless it was about to be when it was moved. Rules are joined by spaces; null: those of the user.
    """
    CREATE FUNCTION plan_reminders(
        of_users bigint[], of_tasks bigint[], due_dates timestamptz[], own_rules text[], are_open boolean[]
    ) RETURNS void
    LANGUAGE plpgsql
    AS $$
    BEGIN
        INSERT INTO reminders AS r (user_id, task_id, rule, is_own, due_at, state)
        SELECT t.user_id, t.task_id, w.rule, t.rules IS NOT NULL, m.due_at,
               CASE WHEN t.is_open AND m.due_at > now() THEN 'pending' ELSE 'cancelled' END
        FROM   unnest(of_users, of_tasks, due_dates, own_rules, are_open)
               AS t (user_id, task_id, due_date, rules, is_open),
               LATERAL (SELECT reminder_offsets, known_time_zone(time_zone) AS zone
                        FROM users WHERE id = t.user_id LIMIT 1) AS u,
               LATERAL (SELECT DISTINCT rule
                        FROM   unnest(CASE WHEN t.rules IS NOT NULL THEN string_to_array(t.rules, ' ')
                                           WHEN t.is_open AND t.due_date IS NOT NULL THEN u.reminder_offsets
                                      END) AS wanted (rule)) AS w,
               LATERAL (SELECT reminder_moment(w.rule, t.due_date, u.zone) AS due_at OFFSET 0) AS m
        ON     CONFLICT (user_id, task_id, rule) DO UPDATE
        SET    is_own   = excluded.is_own,
               due_at   = excluded.due_at,
               state    = CASE WHEN r.due_at = excluded.due_at AND r.state <> 'cancelled' THEN r.state
                               WHEN r.state = 'pending' AND greatest(r.due_at, excluded.due_at) <= now() THEN 'pending'
                               ELSE excluded.state END,
               sent_at  = CASE WHEN r.due_at = excluded.due_at THEN r.sent_at END,
               event_id = CASE WHEN r.due_at = excluded.due_at THEN r.event_id END
        WHERE  (r.is_own, r.due_at) IS DISTINCT FROM (excluded.is_own, excluded.due_at)
        OR     (r.state = 'cancelled' AND excluded.state = 'pending');
    END
    $$
    """,
    """
    CREATE FUNCTION follow_new_tasks() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    BEGIN
        IF EXISTS (SELECT FROM new_tasks WHERE due_date IS NOT NULL OR reminder_rules IS NOT NULL) THEN
            PERFORM plan_reminders(
                array_agg(n.user_id), array_agg(n.id), array_agg(n.due_date),
                array_agg(array_to_string(n.reminder_rules, ' ')),
                array_agg(n.status IN ('pending', 'in_progress', 'blocked'))
            )
            FROM   new_tasks AS n
            WHERE  n.reminder_rules IS NOT NULL
            OR     (n.due_date IS NOT NULL
                    AND n.status IN ('pending', 'in_progress', 'blocked')
                    AND (SELECT reminder_offsets <> '{}' FROM users WHERE id = n.user_id))
            HAVING count(*) > 0;
        END IF;
        IF EXISTS (SELECT FROM channels WHERE state = 'active')
           AND current_setting('app.quiet_events', true) IS DISTINCT FROM 'on' THEN
            INSERT INTO events (user_id, type, task_id, data)
            SELECT n.user_id, 'task.created', n.id, $task
            FROM   new_tasks AS n, $wanted
            ORDER  BY n.id;
        END IF;
        RETURN NULL;
    END
    $$
    """.replace("$task", _TASK.format("n")).replace("$wanted", _WANTED.format("n", "'task.created'")),
    # Without nested loops, since the plan of a statement that changed one row is used again where it changes thousands.
    """
    CREATE FUNCTION follow_changed_tasks() RETURNS trigger
    LANGUAGE plpgsql SET enable_nestloop = off
    AS $$
    DECLARE
        moved record;
    BEGIN
        IF EXISTS (SELECT FROM new_tasks WHERE due_date IS NOT NULL OR reminder_rules IS NOT NULL)
           OR EXISTS (SELECT FROM old_tasks WHERE due_date IS NOT NULL OR reminder_rules IS NOT NULL) THEN
            SELECT array_agg(n.user_id) AS user_ids, array_agg(n.id) AS ids, array_agg(n.due_date) AS due_dates,
                   array_agg(array_to_string(n.reminder_rules, ' ')) AS rules,
                   array_agg(n.status IN ('pending', 'in_progress', 'blocked')) AS are_open,
                   array_agg(o.due_date IS DISTINCT FROM n.due_date
                             OR n.status NOT IN ('pending', 'in_progress', 'blocked')) AS are_void
            INTO   moved
            FROM   new_tasks AS n JOIN old_tasks AS o USING (user_id, id)
            WHERE  (o.due_date, o.reminder_rules, o.status IN ('pending', 'in_progress', 'blocked'))
                   IS DISTINCT FROM (n.due_date, n.reminder_rules, n.status IN ('pending', 'in_progress', 'blocked'));
            IF moved.ids IS NOT NULL THEN
                PERFORM void_reminders(moved.user_ids, moved.ids, moved.are_void);
                PERFORM drop_reminders(moved.user_ids, moved.ids, moved.due_dates, moved.rules, moved.are_open);
                PERFORM plan_reminders(moved.user_ids, moved.ids, moved.due_dates, moved.rules, moved.are_open);
            END IF;
        END IF;
        IF EXISTS (SELECT FROM channels WHERE state = 'active')
           AND current_setting('app.quiet_events', true) IS DISTINCT FROM 'on' THEN
            INSERT INTO events (user_id, type, task_id, data)
            SELECT n.user_id, k.type, n.id, $task
            FROM   new_tasks AS n
                   JOIN old_tasks AS o USING (user_id, id),
                   LATERAL (SELECT CASE WHEN n.status = 'completed' AND o.status <> 'completed'
                                        THEN 'task.completed' ELSE 'task.updated' END AS type OFFSET 0) AS k,
                   $wanted
            WHERE  n.version <> o.version
            ORDER  BY n.id;
        END IF;
        RETURN NULL;
    END
    $$
    """.replace("$task", _TASK.format("n")).replace("$wanted", _WANTED.format("n", "k.type")),
    # What was on its way for a due date that stands no more is not delivered. The lock waits for whoever is sending it,
    # and only the next statement sees what was written meanwhile.
    """
    CREATE FUNCTION void_reminders(of_users bigint[], of_tasks bigint[], are_void boolean[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
    DECLARE
        void_events bigint[] := ARRAY(
            SELECT r.event_id
            FROM   unnest(of_users, of_tasks, are_void) AS t (user_id, task_id, is_void),
                   LATERAL (SELECT event_id FROM reminders AS r
                            WHERE  r.user_id = t.user_id AND r.task_id = t.task_id LIMIT 1000
                            FOR UPDATE) AS r
            WHERE  t.is_void AND r.event_id IS NOT NULL);
    BEGIN
        IF cardinality(void_events) > 0 THEN
            UPDATE deliveries
            SET    state = 'dead', next_attempt_at = NULL, lease_owner = NULL, lease_until = NULL,
                   last_error = 'cancelled: the task was closed, deleted or moved'
            WHERE  state IN ('pending', 'failed') AND event_id = ANY (void_events);
        END IF;
    END
    $$
    """,
    # Those of rules that are no rules of the task any more go; those of a task that is closed wait for its reopening.
    """
    CREATE FUNCTION drop_reminders(
        of_users bigint[], of_tasks bigint[], due_dates timestamptz[], own_rules text[], are_open boolean[]
    ) RETURNS void
    LANGUAGE plpgsql
    AS $$
    DECLARE
        task record;
    BEGIN
        FOR task IN
            SELECT * FROM unnest(of_users, of_tasks, due_dates, own_rules, are_open)
                          AS t (user_id, id, due_date, rules, is_open)
        LOOP
            DELETE FROM reminders
            WHERE  user_id = task.user_id AND task_id = task.id
            AND    CASE WHEN task.rules IS NOT NULL THEN rule <> ALL (string_to_array(task.rules, ' '))
                        ELSE is_own OR task.due_date IS NULL
                             OR rule <> ALL (SELECT unnest(reminder_offsets) FROM users WHERE users.id = task.user_id)
                   END;
            IF NOT task.is_open THEN
                UPDATE reminders SET state = 'cancelled'
                WHERE  user_id = task.user_id AND task_id = task.id AND state = 'pending';
            END IF;
        END LOOP;
    END
    $$
    """,
    """
    CREATE FUNCTION follow_deleted_tasks() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    BEGIN
        IF EXISTS (SELECT FROM old_tasks WHERE due_date IS NOT NULL OR reminder_rules IS NOT NULL) THEN
            PERFORM void_reminders(array_agg(user_id), array_agg(id), array_agg(true)) FROM old_tasks;
            DELETE FROM reminders
            WHERE  id = ANY (ARRAY(
                       SELECT r.id
                       FROM   old_tasks AS o,
                              LATERAL (SELECT id FROM reminders AS r
                                       WHERE  r.user_id = o.user_id AND r.task_id = o.id LIMIT 1000) AS r));
        END IF;
        IF EXISTS (SELECT FROM channels WHERE state = 'active')
           AND current_setting('app.quiet_events', true) IS DISTINCT FROM 'on' THEN
            -- Tasks also go with their user, of whom there is nobody to be told.
            INSERT INTO events (user_id, type, task_id, data)
            SELECT o.user_id, 'task.deleted', o.id, $task
            FROM   old_tasks AS o, $wanted
            WHERE  EXISTS (SELECT FROM users AS u WHERE u.id = o.user_id)
            ORDER  BY o.id;
        END IF;
        RETURN NULL;
    END
    $$
    """.replace("$task", _TASK.format("o")).replace("$wanted", _WANTED.format("o", "'task.deleted'")),
    """
    CREATE TRIGGER follow_new_tasks AFTER INSERT ON tasks
        REFERENCING NEW TABLE AS new_tasks FOR EACH STATEMENT EXECUTE FUNCTION follow_new_tasks()
    """,
    """
    CREATE TRIGGER follow_changed_tasks AFTER UPDATE ON tasks
        REFERENCING OLD TABLE AS old_tasks NEW TABLE AS new_tasks
        FOR EACH STATEMENT EXECUTE FUNCTION follow_changed_tasks()
    """,
    """
    CREATE TRIGGER follow_deleted_tasks AFTER DELETE ON tasks
        REFERENCING OLD TABLE AS old_tasks FOR EACH STATEMENT EXECUTE FUNCTION follow_deleted_tasks()
    """,
    # A delivery for each channel that wants an event: whoever writes an event has written its deliveries. The foreign
    # key takes the lock anyway; here it makes a channel that is just being deleted vanish instead of failing the write.
    """
    CREATE FUNCTION fan_out_events() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    BEGIN
        INSERT INTO deliveries (event_id, channel_id, user_id)
        SELECT e.id, wanting.id, e.user_id
        FROM   new_events AS e,
               LATERAL (SELECT c.id FROM channels AS c
                        WHERE  c.user_id = e.user_id AND c.state = 'active' AND e.type = ANY (c.events)
                        ORDER  BY c.id LIMIT 1000
                        FOR    KEY SHARE) AS wanting
        ORDER  BY e.id, wanting.id
        ON     CONFLICT (event_id, channel_id) DO NOTHING;
        RETURN NULL;
    END
    $$
    """,
    """
    CREATE TRIGGER fan_out_events AFTER INSERT ON events
        REFERENCING NEW TABLE AS new_events FOR EACH STATEMENT EXECUTE FUNCTION fan_out_events()
    """,
    # Ends of imports are told in one place, whichever statement ends them.
    """
    CREATE FUNCTION follow_ended_import() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    DECLARE
        import imports;
    BEGIN
        SELECT * INTO import FROM imports WHERE id = NEW.id;
        IF import.id IS NULL OR NOT EXISTS (SELECT FROM users WHERE id = NEW.user_id) THEN
            RETURN NULL;
        END IF;
        INSERT INTO notifications (user_id, event, text)
        VALUES (NEW.user_id, 'import.finished',
                format('%s %s: %s rows read, %s created, %s updated, %s skipped, %s failed',
                       CASE WHEN import.dry_run THEN 'The dry run of an import' ELSE 'The import' END
                       || coalesce(' of ' || left(import.filename, 255), ''),
                       CASE NEW.state WHEN 'failed' THEN 'has failed' ELSE 'is finished' END,
                       import.rows_read, import.rows_created, import.rows_updated, import.rows_skipped,
                       import.rows_failed));
        INSERT INTO events (user_id, type, data)
        SELECT NEW.user_id, 'import.finished',
               json_build_object('import', json_build_object(
                   'id', NEW.id, 'state', NEW.state, 'format', import.format, 'filename', import.filename,
                   'dry_run', import.dry_run, 'read', import.rows_read, 'created', import.rows_created,
                   'updated', import.rows_updated, 'skipped', import.rows_skipped, 'failed', import.rows_failed))
        WHERE  EXISTS (SELECT FROM channels AS c
                       WHERE  c.user_id = NEW.user_id AND c.state = 'active' AND 'import.finished' = ANY (c.events));
        RETURN NULL;
    END
    $$
    """,
    """
    CREATE TRIGGER follow_ended_import AFTER UPDATE OF state ON jobs FOR EACH ROW
        WHEN (NEW.kind = 'import' AND NEW.state IN ('succeeded', 'failed') AND OLD.state IN ('queued', 'processing'))
        EXECUTE FUNCTION follow_ended_import()
    """,
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
        arguments   json NOT NULL,
        rows        bigint NOT NULL DEFAULT 0,
        error       text,
        lease_owner text,
        lease_until timestamptz
    )
    """,
    # What an admin has ordered is a job; all else is a tick.
    "CREATE UNIQUE INDEX maintenance_runs_name_tick_key ON maintenance_runs (name, tick) WHERE job_id IS NULL",
    "CREATE INDEX maintenance_runs_name_id_idx ON maintenance_runs (name, id)",
    "ALTER TABLE maintenance_runs ENABLE ROW LEVEL SECURITY",
    """
    CREATE POLICY maintenance_runs_of_admins ON maintenance_runs FOR SELECT TO tenfold_api
        USING ((SELECT current_app_user_is_admin()))
    """,
    "CREATE POLICY maintenance_runs_worker ON maintenance_runs TO tenfold_worker USING (true) WITH CHECK (true)",
    "GRANT SELECT ON maintenance_runs TO tenfold_api",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON maintenance_runs TO tenfold_worker",
]


PARTITIONS = [
    """
    CREATE FUNCTION task_id_moment(task_id bigint) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN to_timestamp(((task_id >> 12) + 1577836800000) / 1000.0)
    """,
    # A partition's bounds are in the catalogue as long as it is attached; a detached one carries them as a comment, in
    # the same words. The numbers of rows are PostgreSQL's own estimates.
    r"""
    CREATE VIEW task_partitions AS
    SELECT c.relname::text AS name, b.bounds[1]::bigint AS low, b.bounds[2]::bigint AS high,
           task_id_moment(b.bounds[1]::bigint) AS lower, task_id_moment(b.bounds[2]::bigint) AS upper,
           c.relispartition AS is_attached,
           coalesce(nullif(pg_stat_get_live_tuples(c.oid), 0), greatest(c.reltuples, 0)::bigint) AS rows,
           coalesce(pg_total_relation_size(c.oid), 0) AS bytes
    FROM   pg_class AS c
           LEFT JOIN pg_inherits AS i ON i.inhrelid = c.oid AND i.inhparent = 'tasks'::regclass
           CROSS JOIN LATERAL regexp_match(
               CASE WHEN i.inhrelid IS NOT NULL THEN pg_get_expr(c.relpartbound, c.oid)
                    WHEN NOT c.relispartition THEN obj_description(c.oid, 'pg_class') END,
               $$^FOR VALUES FROM \('(-?\d+)'\) TO \('(-?\d+)'\)$$) AS b (bounds)
    WHERE  c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND c.relname LIKE 'tasks\_%'
    AND    b.bounds IS NOT NULL
    """,
    # Made beside the parent and then attached: that locks out nobody, where CREATE … PARTITION OF would. The names
    # tell calendar years, quarters and months apart from other ranges of days.
    """
    CREATE FUNCTION add_task_partition(low bigint, high bigint) RETURNS text
    LANGUAGE plpgsql SET search_path = public, pg_temp SET timezone = 'UTC'
    AS $$
    DECLARE
        lower timestamptz := task_id_moment(low);
        upper timestamptz := task_id_moment(high);
        name  text := CASE
            WHEN lower = date_trunc('year', lower) AND upper = lower + interval '1 year'
            THEN to_char(lower, '"tasks_"YYYY')
            WHEN lower = date_trunc('quarter', lower) AND upper = lower + interval '3 months'
            THEN to_char(lower, '"tasks_"YYYY"q"Q')
            WHEN lower = date_trunc('month', lower) AND upper = lower + interval '1 month'
            THEN to_char(lower, '"tasks_"YYYY"m"MM')
            ELSE to_char(lower, '"tasks_"YYYYMMDD') || to_char(upper, '"_"YYYYMMDD')
        END;
    BEGIN
        EXECUTE format('CREATE TABLE %I (LIKE tasks INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name);
        EXECUTE format('ALTER TABLE tasks ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)', name, low, high);
        RETURN name;
    END
    $$
    """,
    "DROP FUNCTION ensure_task_partitions(integer)",
    # SECURITY DEFINER here and below, because workers keep partitions and do not own the schema. Who waits for another
    # that makes partitions may wait long, but none of the locks that others could wait behind is waited for long.
    """
    CREATE FUNCTION ensure_task_partitions(ahead integer, unit text DEFAULT 'year') RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' SET lock_timeout = '5s'
    AS $$
    DECLARE
        step  interval := CASE unit WHEN 'year' THEN '1 year' WHEN 'quarter' THEN '3 months' WHEN 'month' THEN '1 month'
                          END;
        first timestamptz := date_trunc(unit, now());
        made  integer := 0;
        gap   int8range;
    BEGIN
        IF step IS NULL THEN
            RAISE invalid_parameter_value USING MESSAGE = 'a partition spans a year, a quarter or a month';
        END IF;
        PERFORM pg_advisory_xact_lock(hashtext('ensure_task_partitions'));
        PERFORM set_config('lock_timeout', '100ms', true);
        FOR number IN 0 .. ahead LOOP
            -- What of it no partition holds: others may be of another unit.
            FOR gap IN
                SELECT unnest(int8range(task_id_floor(first + number * step),
                                        task_id_floor(first + (number + 1) * step))::int8multirange
                              - coalesce(range_agg(int8range(p.low, p.high)), '{}'))
                FROM   task_partitions AS p
                WHERE  p.is_attached
            LOOP
                PERFORM add_task_partition(lower(gap), upper(gap));
                made := made + 1;
            END LOOP;
        END LOOP;
        RETURN made;
    END
    $$
    """,
    # The next three answer what became of it; see core/partitions/writes.py.
    """
    CREATE FUNCTION create_task_partition(lower timestamptz, upper timestamptz) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' SET lock_timeout = '5s'
    AS $$
    BEGIN
        PERFORM pg_advisory_xact_lock(hashtext('ensure_task_partitions'));
        PERFORM set_config('lock_timeout', '100ms', true);
        IF EXISTS (SELECT FROM task_partitions AS p
                   WHERE int8range(p.low, p.high) && int8range(task_id_floor(create_task_partition.lower),
                                                               task_id_floor(create_task_partition.upper))) THEN
            RETURN 'overlaps';
        END IF;
        PERFORM add_task_partition(task_id_floor(lower), task_id_floor(upper));
        RETURN 'done';
    END
    $$
    """,
    # DETACH … CONCURRENTLY is not for functions, and only they have the owner's rights. This takes all tasks away from
    # everybody for the moment that it takes to change the catalogue, once it has got them: for that it waits no longer
    # than anybody would notice, and whoever calls it calls it again.
    """
    CREATE FUNCTION detach_task_partition(wanted text) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' SET lock_timeout = '5s'
    AS $$
    DECLARE
        partition task_partitions;
    BEGIN
        PERFORM pg_advisory_xact_lock(hashtext('ensure_task_partitions'));
        SELECT * INTO partition FROM task_partitions WHERE name = wanted;
        IF NOT FOUND THEN
            RETURN 'unknown';
        ELSIF NOT partition.is_attached THEN
            RETURN 'done already';
        ELSIF partition.upper > clock_timestamp() THEN
            RETURN 'in use';
        END IF;
        PERFORM set_config('lock_timeout', '100ms', true);
        EXECUTE format('ALTER TABLE tasks DETACH PARTITION %I', wanted);
        EXECUTE format('COMMENT ON TABLE %I IS %L', wanted,
                       format('FOR VALUES FROM (%L) TO (%L)', partition.low::text, partition.high::text));
        RETURN 'done';
    END
    $$
    """,
    # The rows are looked at under a constraint of their own, while only the detached table is locked: attached without
    # it, they would be looked at while nobody can write to users.
    """
    CREATE FUNCTION attach_task_partition(wanted text) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' SET lock_timeout = '5s'
    AS $$
    DECLARE
        partition task_partitions;
    BEGIN
        PERFORM pg_advisory_xact_lock(hashtext('ensure_task_partitions'));
        SELECT * INTO partition FROM task_partitions WHERE name = wanted;
        IF NOT FOUND THEN
            RETURN 'unknown';
        ELSIF partition.is_attached THEN
            RETURN 'done already';
        ELSIF EXISTS (SELECT FROM task_partitions AS p
                      WHERE p.is_attached
                      AND   int8range(p.low, p.high) && int8range(partition.low, partition.high)) THEN
            RETURN 'overlaps';
        END IF;
        EXECUTE format('ALTER TABLE %I ADD CONSTRAINT within_bounds CHECK (id >= %s AND id < %s)',
                       wanted, partition.low, partition.high);
        PERFORM set_config('lock_timeout', '100ms', true);
        EXECUTE format('ALTER TABLE tasks ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)',
                       wanted, partition.low, partition.high);
        EXECUTE format('ALTER TABLE %I DROP CONSTRAINT within_bounds', wanted);
        EXECUTE format('COMMENT ON TABLE %I IS NULL', wanted);
        RETURN 'done';
    EXCEPTION
        -- A migration has changed the tasks meanwhile, or a user has gone whose tasks are still here.
        WHEN datatype_mismatch OR undefined_column OR check_violation OR foreign_key_violation
             OR invalid_table_definition THEN
            RETURN 'does not fit';
    END
    $$
    """,
    # Statistics are for a table's owner to take.
    """
    CREATE FUNCTION analyze_tasks() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
    AS $$
    BEGIN
        ANALYZE tasks;
    END
    $$
    """,
    "REVOKE ALL ON FUNCTION add_task_partition(bigint, bigint) FROM PUBLIC",
    *(
        statement
        for function in PARTITION_FUNCTIONS
        for statement in (
            f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC",
            f"GRANT EXECUTE ON FUNCTION {function} TO tenfold_worker",
        )
    ),
    "GRANT SELECT ON task_partitions TO tenfold_api, tenfold_worker",
]


# As the first migration made it.
YEARLY_PARTITIONS = [
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
    "REVOKE ALL ON FUNCTION ensure_task_partitions(integer) FROM PUBLIC",
    "GRANT EXECUTE ON FUNCTION ensure_task_partitions(integer) TO tenfold_worker",
]


def upgrade() -> None:
    for statement in [*RECURRENCE, *REMINDERS, *CHANNELS, *EVENTS, *FOLLOWING, *MAINTENANCE, *PARTITIONS]:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    for statement in [
        "DROP TRIGGER follow_ended_import ON jobs",
        "DROP TRIGGER follow_new_tasks ON tasks",
        "DROP TRIGGER follow_changed_tasks ON tasks",
        "DROP TRIGGER follow_deleted_tasks ON tasks",
        *(f"DROP FUNCTION {function}" for function in PARTITION_FUNCTIONS),
        "DROP FUNCTION add_task_partition(bigint, bigint)",
        "DROP VIEW task_partitions",
        "DROP FUNCTION task_id_moment(bigint)",
        *YEARLY_PARTITIONS,
        "DROP TABLE maintenance_runs",
        "DROP TABLE notifications",
        "DROP TABLE deliveries",
        "DROP TABLE events",
        "DROP TABLE channels",
        "DROP TABLE reminders",
        """
        DROP FUNCTION follow_ended_import(), follow_new_tasks(), follow_changed_tasks(), follow_deleted_tasks(),
            fan_out_events(), known_time_zone(text), reminder_moment(text, timestamptz, text),
            plan_reminders(bigint[], bigint[], timestamptz[], text[], boolean[]),
            drop_reminders(bigint[], bigint[], timestamptz[], text[], boolean[]),
            void_reminders(bigint[], bigint[], boolean[])
        """,
        "ALTER TABLE users DROP COLUMN reminder_offsets, DROP COLUMN reminders_planned_to",
        # A view's columns can be added to, not taken from.
        "DROP VIEW labelled_tasks",
        "ALTER TABLE tasks DROP COLUMN recurrence, DROP COLUMN recurrence_from, DROP COLUMN recurrence_local, "
        "DROP COLUMN reminder_rules",
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

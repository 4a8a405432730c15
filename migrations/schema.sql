-- What the migrations come to in an empty database: made by `make schema`, compared by a test, read by nothing else.
-- Left out: partitions of tasks, whose names depend on the year, and what `tenfold migrate` does besides
-- (migrations/access.py).

CREATE ROLE tenfold_api;
ALTER ROLE tenfold_api WITH NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB NOLOGIN NOREPLICATION NOBYPASSRLS;
CREATE ROLE tenfold_worker;
ALTER ROLE tenfold_worker WITH NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB NOLOGIN NOREPLICATION NOBYPASSRLS;

CREATE FUNCTION public.add_task_partition(low bigint, high bigint) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    SET "TimeZone" TO 'UTC'
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
    $$;

CREATE FUNCTION public.agreed_due_date(of_day timestamp with time zone, given timestamp with time zone) RETURNS timestamp with time zone
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    AS $$
BEGIN
    IF given <> of_day THEN
        RAISE EXCEPTION 'the due date is not the end of the day' USING ERRCODE = '22T01';
    END IF;
    RETURN of_day;
END
$$;

CREATE FUNCTION public.analyze_tasks() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
    BEGIN
        ANALYZE tasks;
    END
    $$;

CREATE FUNCTION public.attach_task_partition(wanted text) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    SET lock_timeout TO '5s'
    AS $$
    DECLARE
        partition task_partitions;
    BEGIN
        PERFORM FROM locks WHERE kind = 'partitions' FOR UPDATE;
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
    $$;

CREATE FUNCTION public.refused_identity(given text) RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    BEGIN
        IF given <> '' THEN
            RAISE EXCEPTION 'the identity is not valid, or not any more' USING ERRCODE = '28000';
        END IF;
        RETURN NULL;
    END
    $$;

CREATE TABLE public.identity_keys (
    id text NOT NULL,
    inner_pad bytea NOT NULL,
    outer_pad bytea NOT NULL,
    made_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT identity_keys_inner_pad_check CHECK ((length(inner_pad) = 64)),
    CONSTRAINT identity_keys_outer_pad_check CHECK ((length(outer_pad) = 64))
);

CREATE FUNCTION public.verified_identity(given text, of_login boolean DEFAULT false) RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT verified_identity.given AS given
    FROM public.identity_keys k,
     ( SELECT (floor((date_part('epoch'::text, now()) / (3600)::double precision)))::integer AS hour) t
   WHERE ((k.id = split_part(verified_identity.given, '.'::text, 2)) AND (((split_part(verified_identity.given, '.'::text, 6) = (t.hour)::text) OR (split_part(verified_identity.given, '.'::text, 6) = ((t.hour - 1))::text)) OR (split_part(verified_identity.given, '.'::text, 6) = ((t.hour + 1))::text)) AND ((split_part(verified_identity.given, '.'::text, 4) = 'login'::text) = verified_identity.of_login) AND (encode(sha256((k.outer_pad || sha256((k.inner_pad || convert_to("left"(verified_identity.given, '-65'::integer), 'UTF8'::name))))), 'hex'::text) = "right"(verified_identity.given, 64)));
END;

CREATE TABLE public.users (
    id bigint NOT NULL,
    username text NOT NULL,
    email text NOT NULL,
    password_hash text NOT NULL,
    role text DEFAULT 'user'::text NOT NULL,
    time_zone text DEFAULT 'UTC'::text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    reminder_offsets text[] DEFAULT '{}'::text[] NOT NULL,
    reminders_planned_to bigint,
    all_day_reminder_time text DEFAULT '09:00'::text NOT NULL,
    days_moved_to bigint,
    CONSTRAINT users_all_day_reminder_time_check CHECK ((all_day_reminder_time ~ '^([01][0-9]|2[0-3]):[0-5][0-9]$'::text)),
    CONSTRAINT users_role_check CHECK ((role = ANY (ARRAY['user'::text, 'admin'::text]))),
    CONSTRAINT users_username_check CHECK ((username ~ '^[A-Za-z0-9._-]{3,64}$'::text))
);

CREATE FUNCTION public.caller_is_admin_now() RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT (EXISTS ( SELECT
            FROM (( SELECT COALESCE(public.verified_identity(current_setting('app.identity'::text, true)), public.refused_identity(current_setting('app.identity'::text, true))) AS verified
                  OFFSET 0) i
              JOIN public.users u ON ((u.id = (split_part(i.verified, '.'::text, 3))::bigint)))
           WHERE ((split_part(i.verified, '.'::text, 4) = 'admin'::text) AND (u.role = 'admin'::text)))) AS "exists";
END;

CREATE FUNCTION public.create_task_partition(lower timestamp with time zone, upper timestamp with time zone) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    SET lock_timeout TO '5s'
    AS $$
    BEGIN
        PERFORM FROM locks WHERE kind = 'partitions' FOR UPDATE;
        PERFORM set_config('lock_timeout', '100ms', true);
        IF EXISTS (SELECT FROM task_partitions AS p
                   WHERE int8range(p.low, p.high) && int8range(task_id_floor(create_task_partition.lower),
                                                               task_id_floor(create_task_partition.upper))) THEN
            RETURN 'overlaps';
        END IF;
        PERFORM add_task_partition(task_id_floor(lower), task_id_floor(upper));
        RETURN 'done';
    END
    $$;

CREATE FUNCTION public.credentials_of(name text, given text) RETURNS TABLE(id bigint, username text, role text, password_hash text)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
    BEGIN
        PERFORM public.require_login(given, coalesce(encode(sha256(convert_to(name, 'UTF8')), 'hex'), ''));
        RETURN QUERY SELECT u.id, u.username, u.role, u.password_hash
                     FROM   public.users AS u
                     WHERE  lower(u.username) = lower(name)
                     AND    name ~ '^[A-Za-z0-9._-]+$';  -- lower() makes some other letters one of these
    END
    $_$;

CREATE FUNCTION public.current_app_user() RETURNS bigint
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN (split_part(COALESCE(public.verified_identity(current_setting('app.identity'::text, true)), public.refused_identity(current_setting('app.identity'::text, true))), '.'::text, 3))::bigint;

CREATE FUNCTION public.current_app_user_is_admin() RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN public.caller_is_admin_now();

CREATE FUNCTION public.day_start(day date, zone text) RETURNS timestamp with time zone
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN ((day)::timestamp without time zone AT TIME ZONE zone);

CREATE FUNCTION public.day_end(day date, zone text) RETURNS timestamp with time zone
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN LEAST((public.day_start((day + 1), zone) - '00:00:01'::interval), '9999-12-31 23:59:59+00'::timestamp with time zone);

CREATE FUNCTION public.detach_task_partition(wanted text) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    SET lock_timeout TO '5s'
    AS $$
    DECLARE
        partition task_partitions;
    BEGIN
        PERFORM FROM locks WHERE kind = 'partitions' FOR UPDATE;
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
    $$;

CREATE FUNCTION public.drop_reminders(of_users bigint[], of_tasks bigint[], due_dates timestamp with time zone[], own_rules text[], are_open boolean[]) RETURNS void
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
    $$;

CREATE FUNCTION public.ensure_task_partitions(ahead integer, unit text DEFAULT 'year'::text) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    SET lock_timeout TO '5s'
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
        PERFORM FROM locks WHERE kind = 'partitions' FOR UPDATE;
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
    $$;

CREATE FUNCTION public.fan_out_events() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    BEGIN
        IF EXISTS (SELECT FROM new_events OFFSET 1) THEN
            WITH kinds AS MATERIALIZED (
                SELECT e.user_id, array_agg(e.id ORDER BY e.id) AS event_ids,
                       ARRAY(SELECT c.id FROM channels AS c
                             WHERE  c.user_id = e.user_id AND c.state = 'active' AND e.type = ANY (c.events)
                             ORDER  BY c.id LIMIT 1000) AS channel_ids
                FROM   new_events AS e
                GROUP  BY e.user_id, e.type
            ), judged AS MATERIALIZED (
                SELECT kinds.*, sum(cardinality(event_ids) * cardinality(channel_ids))
                                OVER (PARTITION BY user_id) > 50 AS is_much
                FROM   kinds
                WHERE  channel_ids <> '{}'
            ), put_off AS (
                INSERT INTO fan_outs (user_id, event_ids, channel_ids)
                SELECT user_id, event_ids, channel_ids FROM judged WHERE is_much
            )
            INSERT INTO deliveries (event_id, channel_id, user_id)
            SELECT e.id, wanting.id, j.user_id
            FROM   judged AS j,
                   unnest(j.event_ids) AS e (id),
                   LATERAL (SELECT c.id FROM channels AS c
                            WHERE  c.id = ANY (j.channel_ids) LIMIT 1000 FOR KEY SHARE) AS wanting
            WHERE  NOT j.is_much
            ORDER  BY e.id, wanting.id
            ON     CONFLICT (event_id, channel_id) DO NOTHING;
            RETURN NULL;
        END IF;
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
    $$;

CREATE FUNCTION public.follow_changed_tasks() RETURNS trigger
    LANGUAGE plpgsql
    SET enable_nestloop TO 'off'
    AS $$
    DECLARE
        moved record;
    BEGIN
        IF EXISTS (SELECT FROM new_tasks WHERE due_date IS NOT NULL OR reminder_rules IS NOT NULL)
           OR EXISTS (SELECT FROM old_tasks WHERE due_date IS NOT NULL OR reminder_rules IS NOT NULL) THEN
            SELECT array_agg(n.user_id) AS user_ids, array_agg(n.id) AS ids, array_agg(n.due_date) AS due_dates,
                   array_agg(n.due_day) AS due_days, array_agg(array_to_string(n.reminder_rules, ' ')) AS rules,
                   array_agg(n.status IN ('pending', 'in_progress', 'blocked')) AS are_open,
                   array_agg((o.due_date, o.due_day) IS DISTINCT FROM (n.due_date, n.due_day)
                             OR n.status NOT IN ('pending', 'in_progress', 'blocked')) AS are_void
            INTO   moved
            FROM   new_tasks AS n JOIN old_tasks AS o USING (user_id, id)
            WHERE  (o.due_date, o.due_day, o.reminder_rules, o.status IN ('pending', 'in_progress', 'blocked'))
                   IS DISTINCT FROM
                   (n.due_date, n.due_day, n.reminder_rules, n.status IN ('pending', 'in_progress', 'blocked'));
            IF moved.ids IS NOT NULL THEN
                PERFORM void_reminders(moved.user_ids, moved.ids, moved.are_void);
                PERFORM drop_reminders(moved.user_ids, moved.ids, moved.due_dates, moved.rules, moved.are_open);
                PERFORM plan_reminders(
                    moved.user_ids, moved.ids, moved.due_dates, moved.due_days, moved.rules, moved.are_open
                );
            END IF;
        END IF;
        IF EXISTS (SELECT FROM channels WHERE state = 'active')
           AND current_setting('app.quiet_events', true) IS DISTINCT FROM 'on' THEN
            INSERT INTO events (user_id, type, task_id, data)
            SELECT n.user_id, k.type, n.id,
                   concat('{"task":', task_json(ROW(n.*)::tasks), '}')::json
            FROM   new_tasks AS n
                   JOIN old_tasks AS o USING (user_id, id),
                   LATERAL (SELECT CASE WHEN n.status = 'completed' AND o.status <> 'completed'
                                        THEN 'task.completed' ELSE 'task.updated' END AS type OFFSET 0) AS k,
                   LATERAL (SELECT FROM channels AS c
                            WHERE  c.user_id = n.user_id AND c.state = 'active' AND k.type = ANY (c.events)
                            LIMIT  1) AS wanted
            WHERE  n.version <> o.version
            ORDER  BY n.id;
        END IF;
        RETURN NULL;
    END
    $$;

CREATE FUNCTION public.follow_deleted_tasks() RETURNS trigger
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
            SELECT o.user_id, 'task.deleted', o.id,
                   concat('{"task":', task_json(ROW(o.*)::tasks), '}')::json
            FROM   old_tasks AS o,
                   LATERAL (SELECT FROM channels AS c
                            WHERE  c.user_id = o.user_id AND c.state = 'active' AND 'task.deleted' = ANY (c.events)
                            LIMIT  1) AS wanted
            WHERE  EXISTS (SELECT FROM users AS u WHERE u.id = o.user_id)
            ORDER  BY o.id;
        END IF;
        RETURN NULL;
    END
    $$;

CREATE FUNCTION public.follow_ended_import() RETURNS trigger
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
                format('%s %s: %s rows read, %s created, %s updated, %s skipped, %s failed%s',
                       CASE WHEN import.dry_run THEN 'The dry run of an import' ELSE 'The import' END
                       || coalesce(' of ' || left(import.filename, 255), ''),
                       CASE NEW.state WHEN 'failed' THEN 'has failed' ELSE 'is finished' END,
                       import.rows_read, import.rows_created, import.rows_updated, import.rows_skipped,
                       import.rows_failed, CASE WHEN import.rows_warned > 0
                                                THEN '; of ' || import.rows_warned || ' something was replaced or left out'
                                                ELSE '' END));
        INSERT INTO events (user_id, type, data)
        SELECT NEW.user_id, 'import.finished',
               json_build_object('import', json_build_object(
                   'id', NEW.id, 'state', NEW.state, 'format', import.format, 'filename', import.filename,
                   'dry_run', import.dry_run, 'read', import.rows_read, 'created', import.rows_created,
                   'updated', import.rows_updated, 'skipped', import.rows_skipped, 'failed', import.rows_failed,
                   'warned', import.rows_warned))
        WHERE  EXISTS (SELECT FROM channels AS c
                       WHERE  c.user_id = NEW.user_id AND c.state = 'active' AND 'import.finished' = ANY (c.events));
        RETURN NULL;
    END
    $$;

CREATE FUNCTION public.follow_new_tasks() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
    BEGIN
        IF EXISTS (SELECT FROM new_tasks WHERE due_date IS NOT NULL OR reminder_rules IS NOT NULL) THEN
            PERFORM plan_reminders(
                array_agg(n.user_id), array_agg(n.id), array_agg(n.due_date), array_agg(n.due_day),
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
            SELECT n.user_id, 'task.created', n.id,
                   concat('{"task":', task_json(ROW(n.*)::tasks), '}')::json
            FROM   new_tasks AS n,
                   LATERAL (SELECT FROM channels AS c
                            WHERE  c.user_id = n.user_id AND c.state = 'active' AND 'task.created' = ANY (c.events)
                            LIMIT  1) AS wanted
            ORDER  BY n.id;
        END IF;
        RETURN NULL;
    END
    $$;

CREATE FUNCTION public.held_time_zone(of_user bigint) RETURNS text
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM FROM locks WHERE kind = 'time zones' AND number = of_user % 1024 FOR SHARE;
    RETURN (SELECT known_time_zone(time_zone) FROM users WHERE id = of_user);
END
$$;

CREATE FUNCTION public.hold_lane(lane text, drain_token bigint) RETURNS void
    LANGUAGE plpgsql
    AS $$
    BEGIN
        PERFORM FROM lanes WHERE name = lane AND token = drain_token FOR NO KEY UPDATE;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'the lane % was claimed by another drain', lane USING ERRCODE = 'TF001';
        END IF;
    END
    $$;

CREATE FUNCTION public.identity_fault(given text) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    BEGIN
        IF coalesce(public.verified_identity(given), public.verified_identity(given, true)) IS NOT NULL THEN
            RETURN NULL;
        ELSIF NOT EXISTS (SELECT FROM public.identity_keys AS k WHERE k.id = split_part(given, '.', 2)) THEN
            RETURN 'key';
        ELSIF split_part(given, '.', 6) NOT IN (SELECT (floor(date_part('epoch', now()) / 3600) + n)::text
                                                FROM   generate_series(-1, 1) AS n) THEN
            RETURN 'clock';
        END IF;
        RETURN 'signature';
    END
    $$;

CREATE FUNCTION public.json_moment(moment timestamp with time zone) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN COALESCE(("left"((to_json((moment AT TIME ZONE 'UTC'::text)))::text, '-1'::integer) || 'Z"'::text), 'null'::text);

CREATE FUNCTION public.known_time_zone(name text) RETURNS text
    LANGUAGE plpgsql STABLE
    AS $$
    BEGIN
        -- PostgreSQL's list of zones may be older than the one that the name was checked against.
        PERFORM now() AT TIME ZONE name;
        RETURN name;
    EXCEPTION WHEN invalid_parameter_value THEN
        RETURN 'UTC';
    END
    $$;

CREATE TABLE public.login_places (
    user_id bigint NOT NULL,
    place text NOT NULL,
    last_login_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE FUNCTION public.logged_in_from(name text, asked_place text) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    BEGIN ATOMIC
 SELECT (EXISTS ( SELECT
            FROM (public.users u
              JOIN public.login_places l ON ((l.user_id = u.id)))
           WHERE ((lower(u.username) = lower(logged_in_from.name)) AND (l.place = logged_in_from.asked_place) AND (l.last_login_at > (now() - '30 days'::interval))))) AS "exists";
END;

CREATE FUNCTION public.next_task_id() RETURNS bigint
    LANGUAGE plpgsql
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
    $$;

CREATE FUNCTION public.own_password_hash(user_id bigint, given text) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    BEGIN
        PERFORM public.require_login(given, coalesce(user_id::text, ''));
        RETURN (SELECT u.password_hash FROM public.users AS u WHERE u.id = user_id);
    END
    $$;

CREATE FUNCTION public.plan_reminders(of_users bigint[], of_tasks bigint[], due_dates timestamp with time zone[], own_rules text[], are_open boolean[]) RETURNS void
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
    $$;

CREATE FUNCTION public.plan_reminders(of_users bigint[], of_tasks bigint[], due_dates timestamp with time zone[], due_days date[], own_rules text[], are_open boolean[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    INSERT INTO reminders AS r (user_id, task_id, rule, is_own, due_at, state)
    SELECT t.user_id, t.task_id, w.rule, t.rules IS NOT NULL, m.due_at,
           CASE WHEN t.is_open AND m.due_at > now() THEN 'pending' ELSE 'cancelled' END
    FROM   unnest(of_users, of_tasks, due_dates, due_days, own_rules, are_open)
           AS t (user_id, task_id, due_date, due_day, rules, is_open),
           LATERAL (SELECT reminder_offsets, all_day_reminder_time, known_time_zone(time_zone) AS zone
                    FROM users WHERE id = t.user_id LIMIT 1) AS u,
           LATERAL (SELECT DISTINCT rule
                    FROM   unnest(CASE WHEN t.rules IS NOT NULL THEN string_to_array(t.rules, ' ')
                                       WHEN t.is_open AND t.due_date IS NOT NULL THEN u.reminder_offsets
                                  END) AS wanted (rule)) AS w,
           LATERAL (SELECT reminder_moment(w.rule, t.due_date, t.due_day, u.all_day_reminder_time, u.zone) AS due_at
                    OFFSET 0) AS m
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
$$;

CREATE FUNCTION public.reminder_moment(rule text, due_date timestamp with time zone, zone text) RETURNS timestamp with time zone
    LANGUAGE sql STABLE
    RETURN CASE WHEN (rule !~~ 'P%'::text) THEN (rule)::timestamp with time zone WHEN (due_date IS NOT NULL) THEN GREATEST(date_subtract(due_date, (rule)::interval, zone), '0001-01-01 00:00:00+00'::timestamp with time zone) ELSE NULL::timestamp with time zone END;

CREATE FUNCTION public.reminder_moment(rule text, due_date timestamp with time zone, due_day date, day_time text, zone text) RETURNS timestamp with time zone
    LANGUAGE sql STABLE
    RETURN CASE WHEN ((due_day IS NOT NULL) AND (due_date IS NOT NULL) AND (rule ~~ 'P%'::text) AND (rule !~~ '%T%'::text)) THEN GREATEST(((((due_day - (rule)::interval))::date + (day_time)::time without time zone) AT TIME ZONE zone), '0001-01-01 00:00:00+00'::timestamp with time zone) ELSE public.reminder_moment(rule, due_date, zone) END;

CREATE FUNCTION public.require_login(given text, subject text) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    DECLARE
        verified text := public.verified_identity(given, true);
    BEGIN
        IF verified IS NULL OR split_part(verified, '.', 3) <> subject THEN
            RAISE EXCEPTION 'the identity is not valid, or not any more' USING ERRCODE = '28000';
        END IF;
    END
    $$;

CREATE FUNCTION public.task_id_floor(moment timestamp with time zone) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ((((EXTRACT(epoch FROM moment) * (1000)::numeric) - ('1577836800000'::bigint)::numeric))::bigint << 12);

CREATE FUNCTION public.task_id_moment(task_id bigint) RETURNS timestamp with time zone
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN to_timestamp((((((task_id >> 12) + '1577836800000'::bigint))::numeric / 1000.0))::double precision);

CREATE TABLE public.tasks (
    id bigint DEFAULT public.next_task_id() NOT NULL,
    user_id bigint NOT NULL,
    title text NOT NULL,
    description text,
    priority smallint DEFAULT 5 NOT NULL,
    status text DEFAULT 'pending'::text NOT NULL,
    due_date timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    completed_at timestamp with time zone,
    version integer DEFAULT 1 NOT NULL,
    labels text[] DEFAULT '{}'::text[] NOT NULL,
    recurrence text,
    recurrence_from text DEFAULT 'due_date'::text NOT NULL,
    recurrence_local timestamp without time zone,
    reminder_rules text[],
    due_day date,
    CONSTRAINT tasks_completed_at_check CHECK (((completed_at IS NOT NULL) = (status = 'completed'::text))),
    CONSTRAINT tasks_description_check CHECK ((char_length(description) <= 20000)),
    CONSTRAINT tasks_labels_check CHECK ((cardinality(labels) <= 20)),
    CONSTRAINT tasks_priority_check CHECK (((priority >= 1) AND (priority <= 10))),
    CONSTRAINT tasks_recurrence_check CHECK (((char_length(recurrence) >= 1) AND (char_length(recurrence) <= 500))),
    CONSTRAINT tasks_recurrence_from_check CHECK ((recurrence_from = ANY (ARRAY['due_date'::text, 'after_completion'::text]))),
    CONSTRAINT tasks_status_check CHECK ((status = ANY (ARRAY['pending'::text, 'in_progress'::text, 'blocked'::text, 'completed'::text, 'cancelled'::text]))),
    CONSTRAINT tasks_title_check CHECK (((char_length(title) >= 1) AND (char_length(title) <= 255)))
)
PARTITION BY RANGE (id);

CREATE FUNCTION public.task_json(t public.tasks) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN concat('{"id":', (t).id, ',"user_id":', (t).user_id, ',"title":', to_json((t).title), ',"description":', COALESCE(to_json((t).description), 'null'::json), ',"priority":', (t).priority, ',"status":"', (t).status, '","due_date":', public.json_moment((t).due_date), ',"labels":', to_json((t).labels), ',"created_at":', public.json_moment((t).created_at), ',"updated_at":', public.json_moment((t).updated_at), ',"completed_at":', public.json_moment((t).completed_at), ',"version":', (t).version, ',"recurrence":', COALESCE(to_json((t).recurrence), 'null'::json), ',"recurrence_from":"', (t).recurrence_from, '"', ',"due_day":', COALESCE(to_json((t).due_day), 'null'::json), '}');

CREATE FUNCTION public.void_reminders(of_users bigint[], of_tasks bigint[], are_void boolean[]) RETURNS void
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
            UPDATE fan_outs
            SET    event_ids = ARRAY(SELECT e.id FROM unnest(event_ids) WITH ORDINALITY AS e (id, place)
                                     WHERE e.id <> ALL (void_events) ORDER BY e.place)
            WHERE  user_id = ANY (of_users) AND event_ids && void_events AND NOT is_void;
            IF cardinality(void_events) > 100 THEN
                INSERT INTO fan_outs (user_id, event_ids, channel_ids, is_void)
                SELECT user_id, array_agg(id ORDER BY id), '{}', true
                FROM   events
                WHERE  id = ANY (void_events)
                GROUP  BY user_id;
                RETURN;
            END IF;
            UPDATE deliveries
            SET    state = 'dead', next_attempt_at = NULL, lease_owner = NULL, lease_until = NULL,
                   last_error = 'cancelled: the task was closed, deleted or moved'
            WHERE  state IN ('pending', 'failed') AND event_id = ANY (void_events);
        END IF;
    END
    $$;

CREATE TABLE public.batch_slices (
    job_id uuid NOT NULL,
    "position" integer NOT NULL,
    operations integer NOT NULL,
    results text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE public.channels (
    id bigint NOT NULL,
    user_id bigint NOT NULL,
    kind text NOT NULL,
    url_encrypted bytea NOT NULL,
    url_masked text NOT NULL,
    secrets_encrypted bytea[],
    events text[] DEFAULT '{}'::text[] NOT NULL,
    quiet_hours json,
    state text DEFAULT 'active'::text NOT NULL,
    failing_since timestamp with time zone,
    held_until timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    name text,
    CONSTRAINT channels_name_check CHECK (((char_length(name) >= 1) AND (char_length(name) <= 100))),
    CONSTRAINT channels_state_check CHECK ((state = ANY (ARRAY['active'::text, 'disabled'::text, 'deleted'::text])))
);

ALTER TABLE public.channels ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.channels_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.deliveries (
    id bigint NOT NULL,
    event_id bigint NOT NULL,
    channel_id bigint NOT NULL,
    user_id bigint NOT NULL,
    state text DEFAULT 'pending'::text NOT NULL,
    attempts smallint DEFAULT 0 NOT NULL,
    next_attempt_at timestamp with time zone DEFAULT now(),
    last_error text,
    lease_owner text,
    lease_until timestamp with time zone,
    redelivered_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    message_id uuid DEFAULT gen_random_uuid(),
    CONSTRAINT deliveries_state_check CHECK ((state = ANY (ARRAY['pending'::text, 'delivered'::text, 'failed'::text, 'dead'::text])))
);

ALTER TABLE public.deliveries ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.deliveries_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.events (
    id bigint NOT NULL,
    user_id bigint NOT NULL,
    type text NOT NULL,
    task_id bigint,
    data json NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE public.events ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.events_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.exports (
    id uuid NOT NULL,
    user_id bigint NOT NULL,
    format text NOT NULL,
    filters json NOT NULL,
    all_users boolean DEFAULT false NOT NULL,
    object text,
    etag text,
    bytes bigint,
    rows bigint DEFAULT 0 NOT NULL,
    attempts smallint DEFAULT 0 NOT NULL,
    lease_owner text,
    lease_until timestamp with time zone,
    expires_at timestamp with time zone,
    turn_at timestamp with time zone,
    bom boolean DEFAULT false NOT NULL,
    CONSTRAINT exports_format_check CHECK ((format = ANY (ARRAY['csv'::text, 'ndjson'::text, 'json'::text, 'ics'::text])))
);

CREATE TABLE public.fan_outs (
    id bigint NOT NULL,
    user_id bigint NOT NULL,
    event_ids bigint[] NOT NULL,
    channel_ids bigint[] NOT NULL,
    is_void boolean DEFAULT false NOT NULL
);

ALTER TABLE public.fan_outs ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.fan_outs_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.import_errors (
    import_id uuid NOT NULL,
    user_id bigint NOT NULL,
    "row" bigint NOT NULL,
    number smallint NOT NULL,
    "column" text,
    message text NOT NULL,
    "values" json,
    source text
);

CREATE TABLE public.import_undos (
    id uuid NOT NULL,
    user_id bigint NOT NULL,
    import_id uuid NOT NULL,
    deleted bigint DEFAULT 0 NOT NULL,
    changed bigint DEFAULT 0 NOT NULL,
    gone bigint DEFAULT 0 NOT NULL,
    is_ended boolean DEFAULT false NOT NULL,
    attempts smallint DEFAULT 0 NOT NULL,
    lease_owner text,
    lease_until timestamp with time zone,
    turn_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE public.import_warnings (
    import_id uuid NOT NULL,
    user_id bigint NOT NULL,
    "row" bigint NOT NULL,
    number smallint NOT NULL,
    "column" text,
    message text NOT NULL
);

CREATE TABLE public.imported_chunks (
    import_id uuid NOT NULL,
    rows_read bigint NOT NULL,
    task_ids bigint[] NOT NULL
);

CREATE TABLE public.imported_tasks (
    user_id bigint NOT NULL,
    key uuid NOT NULL,
    task_id bigint NOT NULL,
    import_id uuid NOT NULL
);

CREATE TABLE public.imports (
    id uuid NOT NULL,
    user_id bigint NOT NULL,
    format text,
    filename text,
    dry_run boolean DEFAULT false NOT NULL,
    options json NOT NULL,
    object text,
    digest text NOT NULL,
    bytes bigint NOT NULL,
    bytes_read bigint DEFAULT 0 NOT NULL,
    columns json,
    report json,
    rows_read bigint DEFAULT 0 NOT NULL,
    rows_created bigint DEFAULT 0 NOT NULL,
    rows_updated bigint DEFAULT 0 NOT NULL,
    rows_skipped bigint DEFAULT 0 NOT NULL,
    rows_failed bigint DEFAULT 0 NOT NULL,
    errors_kept integer DEFAULT 0 NOT NULL,
    error_bytes bigint DEFAULT 0 NOT NULL,
    busy_seconds double precision DEFAULT 0 NOT NULL,
    attempts smallint DEFAULT 0 NOT NULL,
    is_unwanted boolean DEFAULT false NOT NULL,
    lease_owner text,
    lease_until timestamp with time zone,
    turn_at timestamp with time zone DEFAULT now() NOT NULL,
    rows_warned bigint DEFAULT 0 NOT NULL,
    warnings_kept integer DEFAULT 0 NOT NULL,
    frame json,
    preview json[]
);

CREATE TABLE public.jobs (
    id uuid NOT NULL,
    user_id bigint NOT NULL,
    kind text NOT NULL,
    state text NOT NULL,
    status_code smallint,
    task_id bigint,
    result json,
    error json,
    progress json,
    fingerprint text,
    request_id text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    CONSTRAINT jobs_state_check CHECK ((state = ANY (ARRAY['queued'::text, 'processing'::text, 'succeeded'::text, 'rejected'::text, 'failed'::text, 'cancelled'::text])))
);

CREATE VIEW public.labelled_tasks AS
 SELECT id,
    user_id,
    title,
    description,
    priority,
    status,
    due_date,
    labels,
    created_at,
    updated_at,
    completed_at,
    version,
    recurrence,
    recurrence_from,
    public.task_json(tasks.*) AS task
   FROM public.tasks
  WHERE ((labels <> '{}'::text[]) AND ( SELECT public.current_app_user_is_admin() AS current_app_user_is_admin));

CREATE TABLE public.lanes (
    name text NOT NULL,
    token bigint NOT NULL,
    claimed_by text NOT NULL,
    claimed_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE public.locks (
    kind text NOT NULL,
    number smallint NOT NULL
);

CREATE TABLE public.maintenance_runs (
    id bigint NOT NULL,
    name text NOT NULL,
    tick timestamp with time zone NOT NULL,
    state text NOT NULL,
    job_id uuid,
    attempts smallint DEFAULT 0 NOT NULL,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    arguments json NOT NULL,
    rows bigint DEFAULT 0 NOT NULL,
    error text,
    lease_owner text,
    lease_until timestamp with time zone,
    CONSTRAINT maintenance_runs_state_check CHECK ((state = ANY (ARRAY['queued'::text, 'running'::text, 'succeeded'::text, 'failed'::text])))
);

ALTER TABLE public.maintenance_runs ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.maintenance_runs_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.notifications (
    id bigint NOT NULL,
    user_id bigint NOT NULL,
    event text NOT NULL,
    task_id bigint,
    text text NOT NULL,
    read_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE public.notifications ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.notifications_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.reminders (
    id bigint NOT NULL,
    user_id bigint NOT NULL,
    task_id bigint NOT NULL,
    rule text NOT NULL,
    is_own boolean DEFAULT false NOT NULL,
    due_at timestamp with time zone,
    state text DEFAULT 'pending'::text NOT NULL,
    sent_at timestamp with time zone,
    event_id bigint,
    CONSTRAINT reminders_state_check CHECK ((state = ANY (ARRAY['pending'::text, 'sent'::text, 'cancelled'::text])))
);

ALTER TABLE public.reminders ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.reminders_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.sessions (
    id uuid NOT NULL,
    user_id bigint NOT NULL,
    generation integer DEFAULT 0 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    refreshed_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    revoked_at timestamp with time zone
);

CREATE SEQUENCE public.task_id_sequence
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

CREATE VIEW public.task_partitions AS
 SELECT (c.relname)::text AS name,
    (b.bounds[1])::bigint AS low,
    (b.bounds[2])::bigint AS high,
    public.task_id_moment((b.bounds[1])::bigint) AS lower,
    public.task_id_moment((b.bounds[2])::bigint) AS upper,
    c.relispartition AS is_attached,
    COALESCE(NULLIF(pg_stat_get_live_tuples(c.oid), 0), (GREATEST(c.reltuples, (0)::real))::bigint) AS rows,
    COALESCE(pg_total_relation_size((c.oid)::regclass), (0)::bigint) AS bytes
   FROM ((pg_class c
     LEFT JOIN pg_inherits i ON (((i.inhrelid = c.oid) AND (i.inhparent = ('public.tasks'::regclass)::oid))))
     CROSS JOIN LATERAL regexp_match(
        CASE
            WHEN (i.inhrelid IS NOT NULL) THEN pg_get_expr(c.relpartbound, c.oid)
            WHEN (NOT c.relispartition) THEN obj_description(c.oid, 'pg_class'::name)
            ELSE NULL::text
        END, '^FOR VALUES FROM \(''(-?\d+)''\) TO \(''(-?\d+)''\)'::text) b(bounds))
  WHERE ((c.relkind = 'r'::"char") AND (c.relnamespace = ('public'::regnamespace)::oid) AND (c.relname ~~ 'tasks\_%'::text) AND (b.bounds IS NOT NULL));

ALTER TABLE public.users ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.users_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE ONLY public.batch_slices
    ADD CONSTRAINT batch_slices_pkey PRIMARY KEY (job_id, "position");

ALTER TABLE ONLY public.channels
    ADD CONSTRAINT channels_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.deliveries
    ADD CONSTRAINT deliveries_event_id_channel_id_key UNIQUE (event_id, channel_id);

ALTER TABLE ONLY public.deliveries
    ADD CONSTRAINT deliveries_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.events
    ADD CONSTRAINT events_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.exports
    ADD CONSTRAINT exports_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.fan_outs
    ADD CONSTRAINT fan_outs_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.identity_keys
    ADD CONSTRAINT identity_keys_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.import_errors
    ADD CONSTRAINT import_errors_pkey PRIMARY KEY (import_id, "row", number);

ALTER TABLE ONLY public.import_undos
    ADD CONSTRAINT import_undos_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.import_warnings
    ADD CONSTRAINT import_warnings_pkey PRIMARY KEY (import_id, "row", number);

ALTER TABLE ONLY public.imported_chunks
    ADD CONSTRAINT imported_chunks_pkey PRIMARY KEY (import_id, rows_read);

ALTER TABLE ONLY public.imported_tasks
    ADD CONSTRAINT imported_tasks_pkey PRIMARY KEY (user_id, key);

ALTER TABLE ONLY public.imports
    ADD CONSTRAINT imports_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT jobs_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.lanes
    ADD CONSTRAINT lanes_pkey PRIMARY KEY (name);

ALTER TABLE ONLY public.locks
    ADD CONSTRAINT locks_pkey PRIMARY KEY (kind, number);

ALTER TABLE ONLY public.login_places
    ADD CONSTRAINT login_places_pkey PRIMARY KEY (user_id, place);

ALTER TABLE ONLY public.maintenance_runs
    ADD CONSTRAINT maintenance_runs_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.notifications
    ADD CONSTRAINT notifications_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.reminders
    ADD CONSTRAINT reminders_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.reminders
    ADD CONSTRAINT reminders_user_id_task_id_rule_key UNIQUE (user_id, task_id, rule);

ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.tasks
    ADD CONSTRAINT tasks_pkey PRIMARY KEY (user_id, id);

ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (id);

CREATE INDEX batch_slices_created_at_idx ON public.batch_slices USING brin (created_at) WITH (autosummarize='on');

CREATE INDEX channels_user_id_id_idx ON public.channels USING btree (user_id, id);

CREATE INDEX deliveries_channel_id_idx ON public.deliveries USING btree (channel_id);

CREATE INDEX deliveries_channel_id_next_attempt_at_idx ON public.deliveries USING btree (channel_id, next_attempt_at) WHERE (state = ANY (ARRAY['pending'::text, 'failed'::text]));

CREATE INDEX deliveries_user_id_id_idx ON public.deliveries USING btree (user_id, id);

CREATE INDEX events_created_at_idx ON public.events USING brin (created_at) WITH (autosummarize='on');

CREATE INDEX exports_expires_at_idx ON public.exports USING btree (expires_at) WHERE (object IS NOT NULL);

CREATE INDEX exports_user_id_id_idx ON public.exports USING btree (user_id, id);

CREATE INDEX exports_user_id_idx ON public.exports USING btree (user_id) WHERE ((object IS NOT NULL) OR (expires_at IS NULL));

CREATE INDEX fan_outs_user_id_id_idx ON public.fan_outs USING btree (user_id, id);

CREATE INDEX import_undos_turn_at_idx ON public.import_undos USING btree (turn_at) WHERE (NOT is_ended);

CREATE INDEX imports_turn_at_idx ON public.imports USING btree (turn_at) WHERE (object IS NOT NULL);

CREATE INDEX imports_user_id_id_idx ON public.imports USING btree (user_id, id);

CREATE INDEX imports_user_id_idx ON public.imports USING btree (user_id) WHERE (object IS NOT NULL);

CREATE INDEX jobs_created_at_idx ON public.jobs USING brin (created_at) WITH (autosummarize='on');

CREATE INDEX jobs_user_id_created_at_id_idx ON public.jobs USING btree (user_id, created_at, id);

CREATE INDEX maintenance_runs_name_id_idx ON public.maintenance_runs USING btree (name, id);

CREATE UNIQUE INDEX maintenance_runs_name_tick_key ON public.maintenance_runs USING btree (name, tick) WHERE (job_id IS NULL);

CREATE INDEX notifications_user_id_id_idx ON public.notifications USING btree (user_id, id);

CREATE INDEX reminders_due_at_idx ON public.reminders USING btree (due_at) WHERE (state = 'pending'::text);

CREATE INDEX reminders_user_id_due_at_idx ON public.reminders USING btree (user_id, due_at) WHERE (state = 'pending'::text);

CREATE INDEX sessions_expires_at_idx ON public.sessions USING btree (expires_at);

CREATE INDEX sessions_user_id_idx ON public.sessions USING btree (user_id);

CREATE INDEX tasks_id_idx ON ONLY public.tasks USING btree (id) WHERE (user_id > 0);

CREATE INDEX tasks_labels_idx ON ONLY public.tasks USING gin (labels) WHERE (labels <> '{}'::text[]);

CREATE INDEX tasks_priority_id_idx ON ONLY public.tasks USING btree (priority, id) WHERE (user_id > 0);

CREATE INDEX tasks_user_id_due_date_idx ON ONLY public.tasks USING btree (user_id, due_date) WHERE (status = ANY (ARRAY['pending'::text, 'in_progress'::text, 'blocked'::text]));

CREATE INDEX tasks_user_id_priority_id_idx ON ONLY public.tasks USING btree (user_id, priority, id);

CREATE INDEX tasks_user_id_status_priority_id_idx ON ONLY public.tasks USING btree (user_id, status, priority, id);

CREATE INDEX users_days_moved_to_idx ON public.users USING btree (id) WHERE (days_moved_to IS NOT NULL);

CREATE INDEX users_reminders_planned_to_idx ON public.users USING btree (id) WHERE (reminders_planned_to IS NOT NULL);

CREATE UNIQUE INDEX users_username_key ON public.users USING btree (lower(username));

CREATE TRIGGER fan_out_events AFTER INSERT ON public.events REFERENCING NEW TABLE AS new_events FOR EACH STATEMENT EXECUTE FUNCTION public.fan_out_events();

CREATE TRIGGER follow_changed_tasks AFTER UPDATE ON public.tasks REFERENCING OLD TABLE AS old_tasks NEW TABLE AS new_tasks FOR EACH STATEMENT EXECUTE FUNCTION public.follow_changed_tasks();

CREATE TRIGGER follow_deleted_tasks AFTER DELETE ON public.tasks REFERENCING OLD TABLE AS old_tasks FOR EACH STATEMENT EXECUTE FUNCTION public.follow_deleted_tasks();

CREATE TRIGGER follow_ended_import AFTER UPDATE OF state ON public.jobs FOR EACH ROW WHEN (((new.kind = 'import'::text) AND (new.state = ANY (ARRAY['succeeded'::text, 'failed'::text])) AND (old.state = ANY (ARRAY['queued'::text, 'processing'::text])))) EXECUTE FUNCTION public.follow_ended_import();

CREATE TRIGGER follow_new_tasks AFTER INSERT ON public.tasks REFERENCING NEW TABLE AS new_tasks FOR EACH STATEMENT EXECUTE FUNCTION public.follow_new_tasks();

ALTER TABLE ONLY public.channels
    ADD CONSTRAINT channels_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.deliveries
    ADD CONSTRAINT deliveries_channel_id_fkey FOREIGN KEY (channel_id) REFERENCES public.channels(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.deliveries
    ADD CONSTRAINT deliveries_event_id_fkey FOREIGN KEY (event_id) REFERENCES public.events(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.exports
    ADD CONSTRAINT exports_id_fkey FOREIGN KEY (id) REFERENCES public.jobs(id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED;

ALTER TABLE ONLY public.import_errors
    ADD CONSTRAINT import_errors_import_id_fkey FOREIGN KEY (import_id) REFERENCES public.imports(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.import_undos
    ADD CONSTRAINT import_undos_id_fkey FOREIGN KEY (id) REFERENCES public.jobs(id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED;

ALTER TABLE ONLY public.import_warnings
    ADD CONSTRAINT import_warnings_import_id_fkey FOREIGN KEY (import_id) REFERENCES public.imports(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.imported_chunks
    ADD CONSTRAINT imported_chunks_import_id_fkey FOREIGN KEY (import_id) REFERENCES public.imports(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.imports
    ADD CONSTRAINT imports_id_fkey FOREIGN KEY (id) REFERENCES public.jobs(id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED;

ALTER TABLE ONLY public.login_places
    ADD CONSTRAINT login_places_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.notifications
    ADD CONSTRAINT notifications_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;

ALTER TABLE public.tasks
    ADD CONSTRAINT tasks_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;

ALTER TABLE public.batch_slices ENABLE ROW LEVEL SECURITY;

CREATE POLICY batch_slices_worker ON public.batch_slices TO tenfold_worker USING (true) WITH CHECK (true);

ALTER TABLE public.channels ENABLE ROW LEVEL SECURITY;

CREATE POLICY channels_of_caller ON public.channels FOR SELECT TO tenfold_api USING ((user_id = ( SELECT public.current_app_user() AS current_app_user)));

CREATE POLICY channels_worker ON public.channels TO tenfold_worker USING (true) WITH CHECK (true);

ALTER TABLE public.deliveries ENABLE ROW LEVEL SECURITY;

CREATE POLICY deliveries_of_caller ON public.deliveries FOR SELECT TO tenfold_api USING ((user_id = ( SELECT public.current_app_user() AS current_app_user)));

CREATE POLICY deliveries_worker ON public.deliveries TO tenfold_worker USING (true) WITH CHECK (true);

ALTER TABLE public.events ENABLE ROW LEVEL SECURITY;

CREATE POLICY events_of_caller ON public.events FOR SELECT TO tenfold_api USING ((user_id = ( SELECT public.current_app_user() AS current_app_user)));

CREATE POLICY events_worker ON public.events TO tenfold_worker USING (true) WITH CHECK (true);

ALTER TABLE public.exports ENABLE ROW LEVEL SECURITY;

CREATE POLICY exports_of_caller ON public.exports FOR SELECT TO tenfold_api USING ((user_id = ( SELECT public.current_app_user() AS current_app_user)));

CREATE POLICY exports_worker ON public.exports TO tenfold_worker USING (true) WITH CHECK (true);

ALTER TABLE public.fan_outs ENABLE ROW LEVEL SECURITY;

CREATE POLICY fan_outs_worker ON public.fan_outs TO tenfold_worker USING (true) WITH CHECK (true);

ALTER TABLE public.import_errors ENABLE ROW LEVEL SECURITY;

CREATE POLICY import_errors_of_caller ON public.import_errors FOR SELECT TO tenfold_api USING ((user_id = ( SELECT public.current_app_user() AS current_app_user)));

CREATE POLICY import_errors_worker ON public.import_errors TO tenfold_worker USING (true) WITH CHECK (true);

ALTER TABLE public.import_undos ENABLE ROW LEVEL SECURITY;

CREATE POLICY import_undos_worker ON public.import_undos TO tenfold_worker USING (true) WITH CHECK (true);

ALTER TABLE public.import_warnings ENABLE ROW LEVEL SECURITY;

CREATE POLICY import_warnings_of_caller ON public.import_warnings FOR SELECT TO tenfold_api USING ((user_id = ( SELECT public.current_app_user() AS current_app_user)));

CREATE POLICY import_warnings_worker ON public.import_warnings TO tenfold_worker USING (true) WITH CHECK (true);

ALTER TABLE public.imported_chunks ENABLE ROW LEVEL SECURITY;

CREATE POLICY imported_chunks_worker ON public.imported_chunks TO tenfold_worker USING (true) WITH CHECK (true);

ALTER TABLE public.imported_tasks ENABLE ROW LEVEL SECURITY;

CREATE POLICY imported_tasks_worker ON public.imported_tasks TO tenfold_worker USING (true) WITH CHECK (true);

ALTER TABLE public.imports ENABLE ROW LEVEL SECURITY;

CREATE POLICY imports_of_caller ON public.imports FOR SELECT TO tenfold_api USING ((user_id = ( SELECT public.current_app_user() AS current_app_user)));

CREATE POLICY imports_worker ON public.imports TO tenfold_worker USING (true) WITH CHECK (true);

ALTER TABLE public.jobs ENABLE ROW LEVEL SECURITY;

CREATE POLICY jobs_of_caller ON public.jobs FOR SELECT TO tenfold_api USING ((user_id = ( SELECT public.current_app_user() AS current_app_user)));

CREATE POLICY jobs_worker ON public.jobs TO tenfold_worker USING (true) WITH CHECK (true);

ALTER TABLE public.lanes ENABLE ROW LEVEL SECURITY;

CREATE POLICY lanes_worker ON public.lanes TO tenfold_worker USING (true) WITH CHECK (true);

ALTER TABLE public.login_places ENABLE ROW LEVEL SECURITY;

CREATE POLICY login_places_worker ON public.login_places TO tenfold_worker USING (true) WITH CHECK (true);

ALTER TABLE public.maintenance_runs ENABLE ROW LEVEL SECURITY;

CREATE POLICY maintenance_runs_of_admins ON public.maintenance_runs FOR SELECT TO tenfold_api USING (( SELECT public.current_app_user_is_admin() AS current_app_user_is_admin));

CREATE POLICY maintenance_runs_worker ON public.maintenance_runs TO tenfold_worker USING (true) WITH CHECK (true);

ALTER TABLE public.notifications ENABLE ROW LEVEL SECURITY;

CREATE POLICY notifications_of_caller ON public.notifications FOR SELECT TO tenfold_api USING ((user_id = ( SELECT public.current_app_user() AS current_app_user)));

CREATE POLICY notifications_worker ON public.notifications TO tenfold_worker USING (true) WITH CHECK (true);

ALTER TABLE public.reminders ENABLE ROW LEVEL SECURITY;

CREATE POLICY reminders_of_caller ON public.reminders FOR SELECT TO tenfold_api USING (((user_id = ( SELECT public.current_app_user() AS current_app_user)) OR ( SELECT public.current_app_user_is_admin() AS current_app_user_is_admin)));

CREATE POLICY reminders_worker ON public.reminders TO tenfold_worker USING (true) WITH CHECK (true);

ALTER TABLE public.sessions ENABLE ROW LEVEL SECURITY;

CREATE POLICY sessions_worker ON public.sessions TO tenfold_worker USING (true) WITH CHECK (true);

ALTER TABLE public.tasks ENABLE ROW LEVEL SECURITY;

CREATE POLICY tasks_of_caller ON public.tasks FOR SELECT TO tenfold_api USING (((user_id = ( SELECT public.current_app_user() AS current_app_user)) OR ( SELECT public.current_app_user_is_admin() AS current_app_user_is_admin)));

CREATE POLICY tasks_worker ON public.tasks TO tenfold_worker USING (true) WITH CHECK (true);

ALTER TABLE public.users ENABLE ROW LEVEL SECURITY;

CREATE POLICY users_of_caller ON public.users FOR SELECT TO tenfold_api USING (((id = ( SELECT public.current_app_user() AS current_app_user)) OR ( SELECT public.current_app_user_is_admin() AS current_app_user_is_admin)));

CREATE POLICY users_worker ON public.users TO tenfold_worker USING (true) WITH CHECK (true);

GRANT USAGE ON SCHEMA public TO tenfold_api;
GRANT USAGE ON SCHEMA public TO tenfold_worker;

REVOKE ALL ON FUNCTION public.add_task_partition(low bigint, high bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.agreed_due_date(of_day timestamp with time zone, given timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION public.agreed_due_date(of_day timestamp with time zone, given timestamp with time zone) TO tenfold_worker;

REVOKE ALL ON FUNCTION public.analyze_tasks() FROM PUBLIC;
GRANT ALL ON FUNCTION public.analyze_tasks() TO tenfold_worker;

REVOKE ALL ON FUNCTION public.attach_task_partition(wanted text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.attach_task_partition(wanted text) TO tenfold_worker;

REVOKE ALL ON FUNCTION public.refused_identity(given text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.refused_identity(given text) TO tenfold_api;

REVOKE ALL ON FUNCTION public.verified_identity(given text, of_login boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION public.verified_identity(given text, of_login boolean) TO tenfold_api;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.users TO tenfold_worker;

GRANT SELECT(id) ON TABLE public.users TO tenfold_api;

GRANT SELECT(username) ON TABLE public.users TO tenfold_api;

GRANT SELECT(email) ON TABLE public.users TO tenfold_api;

GRANT SELECT(role) ON TABLE public.users TO tenfold_api;

GRANT SELECT(time_zone) ON TABLE public.users TO tenfold_api;

GRANT SELECT(created_at) ON TABLE public.users TO tenfold_api;

GRANT SELECT(updated_at) ON TABLE public.users TO tenfold_api;

GRANT SELECT(reminder_offsets) ON TABLE public.users TO tenfold_api;

GRANT SELECT(all_day_reminder_time) ON TABLE public.users TO tenfold_api;

REVOKE ALL ON FUNCTION public.caller_is_admin_now() FROM PUBLIC;
GRANT ALL ON FUNCTION public.caller_is_admin_now() TO tenfold_api;

REVOKE ALL ON FUNCTION public.create_task_partition(lower timestamp with time zone, upper timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION public.create_task_partition(lower timestamp with time zone, upper timestamp with time zone) TO tenfold_worker;

REVOKE ALL ON FUNCTION public.credentials_of(name text, given text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.credentials_of(name text, given text) TO tenfold_api;

REVOKE ALL ON FUNCTION public.current_app_user() FROM PUBLIC;
GRANT ALL ON FUNCTION public.current_app_user() TO tenfold_api;

REVOKE ALL ON FUNCTION public.current_app_user_is_admin() FROM PUBLIC;
GRANT ALL ON FUNCTION public.current_app_user_is_admin() TO tenfold_api;

REVOKE ALL ON FUNCTION public.day_start(day date, zone text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.day_start(day date, zone text) TO tenfold_worker;
GRANT ALL ON FUNCTION public.day_start(day date, zone text) TO tenfold_api;

REVOKE ALL ON FUNCTION public.day_end(day date, zone text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.day_end(day date, zone text) TO tenfold_worker;

REVOKE ALL ON FUNCTION public.detach_task_partition(wanted text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.detach_task_partition(wanted text) TO tenfold_worker;

REVOKE ALL ON FUNCTION public.drop_reminders(of_users bigint[], of_tasks bigint[], due_dates timestamp with time zone[], own_rules text[], are_open boolean[]) FROM PUBLIC;
GRANT ALL ON FUNCTION public.drop_reminders(of_users bigint[], of_tasks bigint[], due_dates timestamp with time zone[], own_rules text[], are_open boolean[]) TO tenfold_worker;

REVOKE ALL ON FUNCTION public.ensure_task_partitions(ahead integer, unit text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.ensure_task_partitions(ahead integer, unit text) TO tenfold_worker;

REVOKE ALL ON FUNCTION public.fan_out_events() FROM PUBLIC;
GRANT ALL ON FUNCTION public.fan_out_events() TO tenfold_worker;

REVOKE ALL ON FUNCTION public.follow_changed_tasks() FROM PUBLIC;
GRANT ALL ON FUNCTION public.follow_changed_tasks() TO tenfold_worker;

REVOKE ALL ON FUNCTION public.follow_deleted_tasks() FROM PUBLIC;
GRANT ALL ON FUNCTION public.follow_deleted_tasks() TO tenfold_worker;

REVOKE ALL ON FUNCTION public.follow_ended_import() FROM PUBLIC;
GRANT ALL ON FUNCTION public.follow_ended_import() TO tenfold_worker;

REVOKE ALL ON FUNCTION public.follow_new_tasks() FROM PUBLIC;
GRANT ALL ON FUNCTION public.follow_new_tasks() TO tenfold_worker;

REVOKE ALL ON FUNCTION public.held_time_zone(of_user bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION public.held_time_zone(of_user bigint) TO tenfold_worker;

REVOKE ALL ON FUNCTION public.hold_lane(lane text, drain_token bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION public.hold_lane(lane text, drain_token bigint) TO tenfold_worker;

REVOKE ALL ON FUNCTION public.identity_fault(given text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.identity_fault(given text) TO tenfold_api;

REVOKE ALL ON FUNCTION public.json_moment(moment timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION public.json_moment(moment timestamp with time zone) TO tenfold_api;
GRANT ALL ON FUNCTION public.json_moment(moment timestamp with time zone) TO tenfold_worker;

REVOKE ALL ON FUNCTION public.known_time_zone(name text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.known_time_zone(name text) TO tenfold_worker;
GRANT ALL ON FUNCTION public.known_time_zone(name text) TO tenfold_api;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.login_places TO tenfold_worker;

REVOKE ALL ON FUNCTION public.logged_in_from(name text, asked_place text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.logged_in_from(name text, asked_place text) TO tenfold_api;

REVOKE ALL ON FUNCTION public.next_task_id() FROM PUBLIC;
GRANT ALL ON FUNCTION public.next_task_id() TO tenfold_worker;

REVOKE ALL ON FUNCTION public.own_password_hash(user_id bigint, given text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.own_password_hash(user_id bigint, given text) TO tenfold_api;

REVOKE ALL ON FUNCTION public.plan_reminders(of_users bigint[], of_tasks bigint[], due_dates timestamp with time zone[], own_rules text[], are_open boolean[]) FROM PUBLIC;
GRANT ALL ON FUNCTION public.plan_reminders(of_users bigint[], of_tasks bigint[], due_dates timestamp with time zone[], own_rules text[], are_open boolean[]) TO tenfold_worker;

REVOKE ALL ON FUNCTION public.plan_reminders(of_users bigint[], of_tasks bigint[], due_dates timestamp with time zone[], due_days date[], own_rules text[], are_open boolean[]) FROM PUBLIC;
GRANT ALL ON FUNCTION public.plan_reminders(of_users bigint[], of_tasks bigint[], due_dates timestamp with time zone[], due_days date[], own_rules text[], are_open boolean[]) TO tenfold_worker;

REVOKE ALL ON FUNCTION public.reminder_moment(rule text, due_date timestamp with time zone, zone text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.reminder_moment(rule text, due_date timestamp with time zone, zone text) TO tenfold_worker;

REVOKE ALL ON FUNCTION public.reminder_moment(rule text, due_date timestamp with time zone, due_day date, day_time text, zone text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.reminder_moment(rule text, due_date timestamp with time zone, due_day date, day_time text, zone text) TO tenfold_worker;

REVOKE ALL ON FUNCTION public.require_login(given text, subject text) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.task_id_floor(moment timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION public.task_id_floor(moment timestamp with time zone) TO tenfold_worker;

REVOKE ALL ON FUNCTION public.task_id_moment(task_id bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION public.task_id_moment(task_id bigint) TO tenfold_worker;
GRANT ALL ON FUNCTION public.task_id_moment(task_id bigint) TO tenfold_api;

GRANT SELECT ON TABLE public.tasks TO tenfold_api;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.tasks TO tenfold_worker;

REVOKE ALL ON FUNCTION public.task_json(t public.tasks) FROM PUBLIC;
GRANT ALL ON FUNCTION public.task_json(t public.tasks) TO tenfold_api;
GRANT ALL ON FUNCTION public.task_json(t public.tasks) TO tenfold_worker;

REVOKE ALL ON FUNCTION public.void_reminders(of_users bigint[], of_tasks bigint[], are_void boolean[]) FROM PUBLIC;
GRANT ALL ON FUNCTION public.void_reminders(of_users bigint[], of_tasks bigint[], are_void boolean[]) TO tenfold_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.batch_slices TO tenfold_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.channels TO tenfold_worker;

GRANT SELECT(id) ON TABLE public.channels TO tenfold_api;

GRANT SELECT(user_id) ON TABLE public.channels TO tenfold_api;

GRANT SELECT(kind) ON TABLE public.channels TO tenfold_api;

GRANT SELECT(url_masked) ON TABLE public.channels TO tenfold_api;

GRANT SELECT(events) ON TABLE public.channels TO tenfold_api;

GRANT SELECT(quiet_hours) ON TABLE public.channels TO tenfold_api;

GRANT SELECT(state) ON TABLE public.channels TO tenfold_api;

GRANT SELECT(failing_since) ON TABLE public.channels TO tenfold_api;

GRANT SELECT(created_at) ON TABLE public.channels TO tenfold_api;

GRANT SELECT(name) ON TABLE public.channels TO tenfold_api;

GRANT SELECT ON TABLE public.deliveries TO tenfold_api;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.deliveries TO tenfold_worker;

GRANT SELECT ON TABLE public.events TO tenfold_api;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.events TO tenfold_worker;

GRANT USAGE ON SEQUENCE public.events_id_seq TO tenfold_worker;

GRANT SELECT ON TABLE public.exports TO tenfold_api;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.exports TO tenfold_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.fan_outs TO tenfold_worker;

GRANT SELECT ON TABLE public.import_errors TO tenfold_api;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.import_errors TO tenfold_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.import_undos TO tenfold_worker;

GRANT SELECT ON TABLE public.import_warnings TO tenfold_api;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.import_warnings TO tenfold_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.imported_chunks TO tenfold_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.imported_tasks TO tenfold_worker;

GRANT SELECT ON TABLE public.imports TO tenfold_api;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.imports TO tenfold_worker;

GRANT SELECT ON TABLE public.jobs TO tenfold_api;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.jobs TO tenfold_worker;

GRANT SELECT ON TABLE public.labelled_tasks TO tenfold_api;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.lanes TO tenfold_worker;

GRANT SELECT ON TABLE public.locks TO tenfold_worker;

GRANT UPDATE(kind) ON TABLE public.locks TO tenfold_worker;

GRANT SELECT ON TABLE public.maintenance_runs TO tenfold_api;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.maintenance_runs TO tenfold_worker;

GRANT SELECT ON TABLE public.notifications TO tenfold_api;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.notifications TO tenfold_worker;

GRANT SELECT ON TABLE public.reminders TO tenfold_api;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.reminders TO tenfold_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.sessions TO tenfold_worker;

GRANT USAGE ON SEQUENCE public.task_id_sequence TO tenfold_worker;

GRANT SELECT ON TABLE public.task_partitions TO tenfold_api;
GRANT SELECT ON TABLE public.task_partitions TO tenfold_worker;

-- No index and no check: the table may be large, and workers of the version before clear due dates without this.
ALTER TABLE tasks ADD COLUMN due_day date;

-- `days_moved_to`: where the time zone has changed, the last task that was looked at for a day to be moved. Null: all were.
ALTER TABLE users
    ADD COLUMN all_day_reminder_time text NOT NULL DEFAULT '09:00'
        CONSTRAINT users_all_day_reminder_time_check CHECK (all_day_reminder_time ~ '^([01][0-9]|2[0-3]):[0-5][0-9]$'),
    ADD COLUMN days_moved_to bigint;
CREATE INDEX users_days_moved_to_idx ON users (id) WHERE days_moved_to IS NOT NULL;
GRANT SELECT (all_day_reminder_time) ON users TO tenfold_api;

-- When a day begins in a zone: where the clocks skip midnight, the moment in which they do.
CREATE FUNCTION day_start(day date, zone text) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
RETURN day::timestamp AT TIME ZONE zone;

-- The last second of a day. Not 23:59:59 by the clocks, which may skip it or show it twice. Python knows no year 10000.
CREATE FUNCTION day_end(day date, zone text) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
RETURN least(day_start(day + 1, zone) - interval '1 second', '9999-12-31 23:59:59+00');

-- The time zone of a user, which stays as it is until the transaction ends: whoever changes it waits for the same lock.
-- So all that is written by a zone is there when tasks are moved to the next one.
CREATE FUNCTION held_time_zone(of_user bigint) RETURNS text
LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM FROM locks WHERE kind = 'time zones' AND number = of_user % 1024 FOR SHARE;
    RETURN (SELECT known_time_zone(time_zone) FROM users WHERE id = of_user);
END
$$;

INSERT INTO locks (kind, number) SELECT 'time zones', n FROM generate_series(0, 1023) AS n;

-- The due date of a day, where a client gave both. Class 22: the data is to blame.
CREATE FUNCTION agreed_due_date(of_day timestamptz, given timestamptz) RETURNS timestamptz
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
BEGIN
    IF given <> of_day THEN
        RAISE EXCEPTION 'the due date is not the end of the day' USING ERRCODE = '22T01';
    END IF;
    RETURN of_day;
END
$$;

-- Offsets of whole days, before a day, count from the user's time of day for it; all others from the due date.
CREATE FUNCTION reminder_moment(rule text, due_date timestamptz, due_day date, day_time text, zone text)
RETURNS timestamptz
LANGUAGE sql STABLE
RETURN CASE WHEN due_day IS NOT NULL AND due_date IS NOT NULL AND rule LIKE 'P%' AND rule NOT LIKE '%T%'
            THEN greatest(((due_day - rule::interval)::date + day_time::time) AT TIME ZONE zone,
                          '0001-01-01 00:00:00+00')
            ELSE reminder_moment(rule, due_date, zone)
       END;

-- As the one with five parameters, which workers of the version before call until they are replaced.
CREATE FUNCTION plan_reminders(
    of_users bigint[], of_tasks bigint[], due_dates timestamptz[], due_days date[], own_rules text[], are_open boolean[]
) RETURNS void
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

REVOKE ALL ON FUNCTION day_start(date, text), day_end(date, text), held_time_zone(bigint),
    agreed_due_date(timestamptz, timestamptz), reminder_moment(text, timestamptz, date, text, text),
    plan_reminders(bigint[], bigint[], timestamptz[], date[], text[], boolean[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION day_start(date, text), day_end(date, text), held_time_zone(bigint),
    agreed_due_date(timestamptz, timestamptz), reminder_moment(text, timestamptz, date, text, text),
    plan_reminders(bigint[], bigint[], timestamptz[], date[], text[], boolean[]) TO tenfold_worker;
GRANT EXECUTE ON FUNCTION day_start(date, text), known_time_zone(text) TO tenfold_api;

CREATE OR REPLACE FUNCTION task_json(t tasks) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
RETURN concat(
    '{"id":', t.id,
    ',"user_id":', t.user_id,
    ',"title":', to_json(t.title),
    ',"description":', coalesce(to_json(t.description), 'null'),
    ',"priority":', t.priority,
    ',"status":"', t.status,
    '","due_date":', json_moment(t.due_date),
    ',"labels":', to_json(t.labels),
    ',"created_at":', json_moment(t.created_at),
    ',"updated_at":', json_moment(t.updated_at),
    ',"completed_at":', json_moment(t.completed_at),
    ',"version":', t.version,
    ',"recurrence":', coalesce(to_json(t.recurrence), 'null'),
    ',"recurrence_from":"', t.recurrence_from, '"',
    ',"due_day":', coalesce(to_json(t.due_day), 'null'),
    '}'
);

CREATE OR REPLACE FUNCTION public.follow_new_tasks() RETURNS trigger
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

CREATE OR REPLACE FUNCTION public.follow_changed_tasks() RETURNS trigger
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


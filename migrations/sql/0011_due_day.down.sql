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
    '}'
);

CREATE OR REPLACE FUNCTION public.follow_new_tasks() RETURNS trigger
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

DROP FUNCTION plan_reminders(bigint[], bigint[], timestamptz[], date[], text[], boolean[]);
DROP FUNCTION reminder_moment(text, timestamptz, date, text, text);
DROP FUNCTION agreed_due_date(timestamptz, timestamptz);
DROP FUNCTION held_time_zone(bigint);
DROP FUNCTION day_end(date, text);
DROP FUNCTION day_start(date, text);

DELETE FROM locks WHERE kind = 'time zones';

REVOKE EXECUTE ON FUNCTION known_time_zone(text) FROM tenfold_api;

ALTER TABLE users DROP COLUMN all_day_reminder_time, DROP COLUMN days_moved_to;

ALTER TABLE tasks DROP COLUMN due_day;

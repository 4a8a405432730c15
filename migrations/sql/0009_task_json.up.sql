-- Both functions are one expression each, so that they become part of the statement that calls them: a page of tasks
-- costs no calls. Whoever reads tasks needs EXECUTE for that.

-- A moment as JSON: in UTC, with a Z. `to_json` has the T between date and time, and an offset for what has a zone.
CREATE FUNCTION json_moment(moment timestamptz) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
RETURN coalesce(left(to_json(moment AT TIME ZONE 'UTC')::text, -1) || 'Z"', 'null');

-- A task as it is answered, told to channels and exported. To join texts takes less than `row_to_json` does.
CREATE FUNCTION task_json(t tasks) RETURNS text
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

REVOKE ALL ON FUNCTION json_moment(timestamptz), task_json(tasks) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION json_moment(timestamptz), task_json(tasks) TO tenfold_api, tenfold_worker;

-- With the JSON, since a row of the view is no row of `tasks`. Of new fields only those that lists are narrowed or
-- ordered by need a column here.
CREATE OR REPLACE VIEW labelled_tasks AS
SELECT id, user_id, title, description, priority, status, due_date, labels, created_at, updated_at, completed_at,
       version, recurrence, recurrence_from, task_json(tasks) AS task
FROM   tasks
WHERE  labels <> '{}' AND (SELECT current_app_user_is_admin());

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

CREATE OR REPLACE FUNCTION public.follow_deleted_tasks() RETURNS trigger
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

CREATE OR REPLACE FUNCTION public.follow_ended_import() RETURNS trigger
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
               concat('{"import":', row_to_json(ended), '}')::json
        FROM   (SELECT NEW.id, NEW.state, import.format, import.filename, import.dry_run, import.rows_read AS read,
                       import.rows_created AS created, import.rows_updated AS updated, import.rows_skipped AS skipped,
                       import.rows_failed AS failed) AS ended
        WHERE  EXISTS (SELECT FROM channels AS c
                       WHERE  c.user_id = NEW.user_id AND c.state = 'active' AND 'import.finished' = ANY (c.events));
        RETURN NULL;
    END
    $$;


DROP VIEW labelled_tasks;

CREATE VIEW labelled_tasks AS
SELECT id, user_id, title, description, priority, status, due_date, labels, created_at, updated_at, completed_at,
       version, recurrence, recurrence_from
FROM   tasks
WHERE  labels <> '{}' AND (SELECT current_app_user_is_admin());

GRANT SELECT ON labelled_tasks TO tenfold_api;

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
        json_build_object('task', (SELECT row_to_json(task) FROM (
            SELECT n.id, n.user_id, n.title, n.description, n.priority, n.status, n.due_date, n.labels,
                   n.created_at, n.updated_at, n.completed_at, n.version, n.recurrence, n.recurrence_from
        ) AS task))

            FROM   new_tasks AS n, 
        LATERAL (SELECT FROM channels AS c
                 WHERE  c.user_id = n.user_id AND c.state = 'active' AND 'task.created' = ANY (c.events) LIMIT 1) AS wanted

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
        json_build_object('task', (SELECT row_to_json(task) FROM (
            SELECT n.id, n.user_id, n.title, n.description, n.priority, n.status, n.due_date, n.labels,
                   n.created_at, n.updated_at, n.completed_at, n.version, n.recurrence, n.recurrence_from
        ) AS task))

            FROM   new_tasks AS n
                   JOIN old_tasks AS o USING (user_id, id),
                   LATERAL (SELECT CASE WHEN n.status = 'completed' AND o.status <> 'completed'
                                        THEN 'task.completed' ELSE 'task.updated' END AS type OFFSET 0) AS k,
                   
        LATERAL (SELECT FROM channels AS c
                 WHERE  c.user_id = n.user_id AND c.state = 'active' AND k.type = ANY (c.events) LIMIT 1) AS wanted

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
        json_build_object('task', (SELECT row_to_json(task) FROM (
            SELECT o.id, o.user_id, o.title, o.description, o.priority, o.status, o.due_date, o.labels,
                   o.created_at, o.updated_at, o.completed_at, o.version, o.recurrence, o.recurrence_from
        ) AS task))

            FROM   old_tasks AS o, 
        LATERAL (SELECT FROM channels AS c
                 WHERE  c.user_id = o.user_id AND c.state = 'active' AND 'task.deleted' = ANY (c.events) LIMIT 1) AS wanted

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
               json_build_object('import', json_build_object(
                   'id', NEW.id, 'state', NEW.state, 'format', import.format, 'filename', import.filename,
                   'dry_run', import.dry_run, 'read', import.rows_read, 'created', import.rows_created,
                   'updated', import.rows_updated, 'skipped', import.rows_skipped, 'failed', import.rows_failed))
        WHERE  EXISTS (SELECT FROM channels AS c
                       WHERE  c.user_id = NEW.user_id AND c.state = 'active' AND 'import.finished' = ANY (c.events));
        RETURN NULL;
    END
    $$;

DROP FUNCTION task_json(tasks);

DROP FUNCTION json_moment(timestamptz);

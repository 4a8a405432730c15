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

DROP TABLE import_undos, imported_chunks, import_warnings;

ALTER TABLE imports
    DROP COLUMN rows_warned, DROP COLUMN warnings_kept, DROP COLUMN frame, DROP COLUMN preview;

ALTER TABLE import_errors DROP COLUMN source;

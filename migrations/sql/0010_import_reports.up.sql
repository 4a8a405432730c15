-- Of the rows that failed, the text that they had, and what stands around it in the file; and the first tasks that came
-- of the file.
ALTER TABLE import_errors ADD COLUMN source text;

ALTER TABLE imports
    ADD COLUMN rows_warned   bigint NOT NULL DEFAULT 0,
    ADD COLUMN warnings_kept integer NOT NULL DEFAULT 0,
    ADD COLUMN frame         json,
    ADD COLUMN preview       json[];

CREATE TABLE import_warnings (
    import_id uuid NOT NULL CONSTRAINT import_warnings_import_id_fkey REFERENCES imports ON DELETE CASCADE,
    user_id   bigint NOT NULL,
    row       bigint NOT NULL,
    number    smallint NOT NULL,
    "column"  text,
    message   text NOT NULL,
    CONSTRAINT import_warnings_pkey PRIMARY KEY (import_id, row, number)
);

ALTER TABLE import_warnings ENABLE ROW LEVEL SECURITY;
CREATE POLICY import_warnings_of_caller ON import_warnings FOR SELECT TO tenfold_api
    USING (user_id = (SELECT current_app_user()));
CREATE POLICY import_warnings_worker ON import_warnings TO tenfold_worker USING (true) WITH CHECK (true);
GRANT SELECT ON import_warnings TO tenfold_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON import_warnings TO tenfold_worker;

-- What an import has made and not taken back: a row for each of its chunks, since one for each task would cost as much
-- as a task.
CREATE TABLE imported_chunks (
    import_id uuid NOT NULL CONSTRAINT imported_chunks_import_id_fkey REFERENCES imports ON DELETE CASCADE,
    rows_read bigint NOT NULL,
    task_ids  bigint[] NOT NULL,
    CONSTRAINT imported_chunks_pkey PRIMARY KEY (import_id, rows_read)
);

ALTER TABLE imported_chunks ENABLE ROW LEVEL SECURITY;
CREATE POLICY imported_chunks_worker ON imported_chunks TO tenfold_worker USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON imported_chunks TO tenfold_worker;

-- An import that is taken back, by a job that goes on from transaction to transaction.
CREATE TABLE import_undos (
    id          uuid NOT NULL CONSTRAINT import_undos_id_fkey REFERENCES jobs ON DELETE CASCADE
                              DEFERRABLE INITIALLY DEFERRED,
    user_id     bigint NOT NULL,
    import_id   uuid NOT NULL,
    deleted     bigint NOT NULL DEFAULT 0,
    changed     bigint NOT NULL DEFAULT 0,
    gone        bigint NOT NULL DEFAULT 0,
    is_ended    boolean NOT NULL DEFAULT false,
    attempts    smallint NOT NULL DEFAULT 0,
    lease_owner text,
    lease_until timestamptz,
    turn_at     timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT import_undos_pkey PRIMARY KEY (id)
);

CREATE INDEX import_undos_turn_at_idx ON import_undos (turn_at) WHERE NOT is_ended;

ALTER TABLE import_undos ENABLE ROW LEVEL SECURITY;
CREATE POLICY import_undos_worker ON import_undos TO tenfold_worker USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON import_undos TO tenfold_worker;

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

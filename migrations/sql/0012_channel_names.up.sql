ALTER TABLE channels ADD COLUMN name text
    CONSTRAINT channels_name_check CHECK (char_length(name) BETWEEN 1 AND 100);

GRANT SELECT (name) ON channels TO tenfold_api;

ALTER TABLE exports ADD COLUMN bom boolean DEFAULT false NOT NULL;


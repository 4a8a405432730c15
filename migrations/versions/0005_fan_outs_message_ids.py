"""Events that many channels want are fanned out later, in small steps; messages of webhooks get ids of their own.

Revision ID: 0005
Revises: 0004
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

MESSAGE_IDS = [
    # In two steps: a default that comes with the column would rewrite every row. What is on its way keeps the id that
    # its receiver may have seen already, so its rows have none.
    "ALTER TABLE deliveries ADD COLUMN message_id uuid",
    "ALTER TABLE deliveries ALTER COLUMN message_id SET DEFAULT gen_random_uuid()",
]

FAN_OUTS = [
    # Events whose deliveries are still to be made, and the channels that wanted them when they happened; or, void, to
    # be ended. No foreign keys: what is gone is passed over.
    """
    CREATE TABLE fan_outs (
        id          bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT fan_outs_pkey PRIMARY KEY,
        user_id     bigint NOT NULL,
        event_ids   bigint[] NOT NULL,
        channel_ids bigint[] NOT NULL,
        is_void     boolean NOT NULL DEFAULT false
    )
    """,
    "CREATE INDEX fan_outs_user_id_id_idx ON fan_outs (user_id, id)",
    "ALTER TABLE fan_outs ENABLE ROW LEVEL SECURITY",
    "CREATE POLICY fan_outs_worker ON fan_outs TO tenfold_worker USING (true) WITH CHECK (true)",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON fan_outs TO tenfold_worker",
    # Whoever writes an event has seen to its deliveries. Of one user who has many in one statement they are made later:
    # they would take longer than all else that the statement does, and others wait for it.
    """
    CREATE OR REPLACE FUNCTION fan_out_events() RETURNS trigger
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
    $$
    """,
    # First what has no deliveries yet: that waits for whoever is making them, and the next statement sees them. Each
    # event may have as many as its user has channels: those of many are ended later, and not sent until then.
    """
    CREATE OR REPLACE FUNCTION void_reminders(of_users bigint[], of_tasks bigint[], are_void boolean[]) RETURNS void
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
    $$
    """,
]

# As 0003 made them.
FORMER = [
    """
    CREATE OR REPLACE FUNCTION fan_out_events() RETURNS trigger
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
    CREATE OR REPLACE FUNCTION void_reminders(of_users bigint[], of_tasks bigint[], are_void boolean[]) RETURNS void
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
    """
    INSERT INTO deliveries (event_id, channel_id, user_id)
    SELECT e.id, c.id, f.user_id
    FROM   fan_outs AS f
           CROSS JOIN unnest(f.event_ids) AS wanted (id)
           JOIN events   AS e ON e.id = wanted.id
           JOIN channels AS c ON c.id = ANY (f.channel_ids)
    WHERE  NOT f.is_void
    ORDER  BY e.id, c.id
    ON     CONFLICT (event_id, channel_id) DO NOTHING
    """,
    """
    UPDATE deliveries
    SET    state = 'dead', next_attempt_at = NULL, lease_owner = NULL, lease_until = NULL,
           last_error = 'cancelled: the task was closed, deleted or moved'
    WHERE  state IN ('pending', 'failed') AND event_id IN (SELECT unnest(event_ids) FROM fan_outs WHERE is_void)
    """,
    "DROP TABLE fan_outs",
    "ALTER TABLE deliveries DROP COLUMN message_id",
]


def upgrade() -> None:
    for statement in [*MESSAGE_IDS, *FAN_OUTS]:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    for statement in FORMER:
        op.get_bind().exec_driver_sql(statement)

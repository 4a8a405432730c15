"""Who drains a lane, and what the slices of a large batch came to.

Revision ID: 0004
Revises: 0003
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

STATEMENTS = [
    # A row and no advisory lock: locking it needs a grant, and the API has none. The token tells the newest drain.
    """
    CREATE TABLE lanes (
        name       text CONSTRAINT lanes_pkey PRIMARY KEY,
        token      bigint NOT NULL,
        claimed_by text NOT NULL,
        claimed_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    # Raised where another drain has claimed the lane since: what the caller is about to write was taken over.
    """
    CREATE FUNCTION hold_lane(lane text, drain_token bigint) RETURNS void
    LANGUAGE plpgsql
    AS $$
    BEGIN
        PERFORM FROM lanes WHERE name = lane AND token = drain_token FOR NO KEY UPDATE;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'the lane % was claimed by another drain', lane USING ERRCODE = 'TF001';
        END IF;
    END
    $$
    """,
    "REVOKE ALL ON FUNCTION hold_lane(text, bigint) FROM PUBLIC",
    # A batch is not one transaction: each slice is, and leaves here what it came to until the last one is done.
    """
    CREATE TABLE batch_slices (
        job_id     uuid NOT NULL,
        position   integer NOT NULL,
        operations integer NOT NULL,
        results    text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT batch_slices_pkey PRIMARY KEY (job_id, position)
    )
    """,
    "CREATE INDEX batch_slices_created_at_idx ON batch_slices USING brin (created_at) WITH (autosummarize = on)",
    *(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY" for table in ("lanes", "batch_slices")),
    *(
        f"CREATE POLICY {table}_worker ON {table} TO tenfold_worker USING (true) WITH CHECK (true)"
        for table in ("lanes", "batch_slices")
    ),
    "GRANT SELECT, INSERT, UPDATE, DELETE ON lanes, batch_slices TO tenfold_worker",
    "GRANT EXECUTE ON FUNCTION hold_lane(text, bigint) TO tenfold_worker",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    for statement in ["DROP TABLE batch_slices", "DROP FUNCTION hold_lane(text, bigint)", "DROP TABLE lanes"]:
        op.get_bind().exec_driver_sql(statement)

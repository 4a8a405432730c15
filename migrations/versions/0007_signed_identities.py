"""Identities that are signed, locks that are rows, and nothing for PUBLIC.

Until here a statement said who asks by a plain number, which whoever could run SQL as the API could set. API processes
from before this migration are refused from here on.

Revision ID: 0007
Revises: 0006
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

KEYS = [
    # What verifies the texts that the API signs. Written by `tenfold migrate` alone; no tier may read it.
    """
    CREATE TABLE identity_keys (
        id        text CONSTRAINT identity_keys_pkey PRIMARY KEY,
        inner_pad bytea NOT NULL CONSTRAINT identity_keys_inner_pad_check CHECK (length(inner_pad) = 64),
        outer_pad bytea NOT NULL CONSTRAINT identity_keys_outer_pad_check CHECK (length(outer_pad) = 64),
        made_at   timestamptz NOT NULL DEFAULT now()
    )
    """,
    "REVOKE ALL ON identity_keys FROM PUBLIC, tenfold_api, tenfold_worker",
]

# A text is v1.<key id>.<subject>.<role>.<projects or *>.<hour>.<HMAC-SHA256 of all before the last dot, in hex digits>.
# Nothing of one that is not verified may be cast: a custom plan folds the cast before a CASE could prevent it. BEGIN
# ATOMIC binds every name now; the search path is for what a function may call one day.
IDENTITY = [
    # The text itself where it is genuine and of this hour, the last or the next; else null. A login's text is nobody's
    # identity, and the other way round.
    """
    CREATE FUNCTION verified_identity(given text, of_login boolean DEFAULT false) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        SELECT given
        FROM   public.identity_keys AS k, (SELECT floor(date_part('epoch', now()) / 3600)::integer AS hour) AS t
        WHERE  k.id = split_part(given, '.', 2)
        AND    split_part(given, '.', 6) IN (t.hour::text, (t.hour - 1)::text, (t.hour + 1)::text)
        AND    (split_part(given, '.', 4) = 'login') = of_login
        AND    encode(sha256(k.outer_pad || sha256(k.inner_pad || convert_to(left(given, -65), 'UTF8'))), 'hex')
               = right(given, 64);
    END
    """,
    # Called where nothing was verified. No text means no sight; a bad one is an error and not an empty list, else a
    # wrong key or clock would turn everything into 404. 28000 is invalid_authorization_specification.
    """
    CREATE FUNCTION refused_identity(given text) RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
    AS $$
    BEGIN
        IF given <> '' THEN
            RAISE EXCEPTION 'the identity is not valid, or not any more' USING ERRCODE = '28000';
        END IF;
        RETURN NULL;
    END
    $$
    """,
    # The policies stay as they are. An expression and no query, so that it becomes part of the statement: to start one
    # more function would cost as much again.
    """
    CREATE OR REPLACE FUNCTION current_app_user() RETURNS bigint
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN split_part(coalesce(verified_identity(current_setting('app.identity', true)),
                               refused_identity(current_setting('app.identity', true))), '.', 3)::bigint
    """,
    # An admin is who says so in an identity and is one now, all of it found out by verifying once.
    """
    CREATE OR REPLACE FUNCTION caller_is_admin_now() RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        SELECT EXISTS (
            SELECT FROM (SELECT coalesce(public.verified_identity(current_setting('app.identity', true)),
                                         public.refused_identity(current_setting('app.identity', true))) AS verified
                         OFFSET 0) AS i
                   JOIN public.users AS u ON u.id = split_part(i.verified, '.', 3)::bigint
            WHERE  split_part(i.verified, '.', 4) = 'admin' AND u.role = 'admin'
        );
    END
    """,
    """
    CREATE OR REPLACE FUNCTION current_app_user_is_admin() RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN caller_is_admin_now()
    """,
    # Why a text is refused, for operators; null where it is not.
    """
    CREATE FUNCTION identity_fault(given text) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
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
    $$
    """,
    # Whoever has a caller's text finds no hashes with it: these two want one that was signed for a login, and for that
    # very name or user.
    "DROP FUNCTION credentials_of(text)",
    "DROP FUNCTION own_password_hash()",
    """
    CREATE FUNCTION require_login(given text, subject text) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    DECLARE
        verified text := public.verified_identity(given, true);
    BEGIN
        IF verified IS NULL OR split_part(verified, '.', 3) <> subject THEN
            RAISE EXCEPTION 'the identity is not valid, or not any more' USING ERRCODE = '28000';
        END IF;
    END
    $$
    """,
    """
    CREATE FUNCTION credentials_of(name text, given text)
    RETURNS TABLE (id bigint, username text, role text, password_hash text)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
    BEGIN
        PERFORM public.require_login(given, coalesce(encode(sha256(convert_to(name, 'UTF8')), 'hex'), ''));
        RETURN QUERY SELECT u.id, u.username, u.role, u.password_hash
                     FROM   public.users AS u
                     WHERE  lower(u.username) = lower(name)
                     AND    name ~ '^[A-Za-z0-9._-]+$';  -- lower() makes some other letters one of these
    END
    $$
    """,
    """
    CREATE FUNCTION own_password_hash(user_id bigint, given text) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
    BEGIN
        PERFORM public.require_login(given, coalesce(user_id::text, ''));
        RETURN (SELECT u.password_hash FROM public.users AS u WHERE u.id = user_id);
    END
    $$
    """,
]

# Advisory locks can be taken by whoever may run SQL at all; a row can be locked by those who may change it.
LOCKS = [
    """
    CREATE TABLE locks (
        kind   text NOT NULL,
        number smallint NOT NULL,
        CONSTRAINT locks_pkey PRIMARY KEY (kind, number)
    )
    """,
    """
    INSERT INTO locks (kind, number)
    SELECT 'import chunks', n FROM generate_series(0, 1023) AS n
    UNION ALL
    SELECT 'reminders', n FROM generate_series(0, 1023) AS n
    UNION ALL
    SELECT kind, 0 FROM unnest(ARRAY['import claims', 'partitions']) AS kind
    """,
    "REVOKE ALL ON locks FROM PUBLIC, tenfold_api, tenfold_worker",
    # To lock a row needs UPDATE on some column of the table.
    "GRANT SELECT, UPDATE (kind) ON locks TO tenfold_worker",
]

PARTITION_FUNCTIONS = (
    "ensure_task_partitions(integer, text)",
    "create_task_partition(timestamptz, timestamptz)",
    "detach_task_partition(text)",
    "attach_task_partition(text)",
)
ADVISORY_LOCK = "PERFORM pg_advisory_xact_lock(hashtext(''ensure_task_partitions''));"
ROW_LOCK = "PERFORM FROM locks WHERE kind = ''partitions'' FOR UPDATE;"


def in_partition_functions(old: str, new: str) -> list[str]:
    """Each is made anew from what the database has, with one statement in it replaced."""
    return [
        f"""
        DO $$
        DECLARE
            definition text := pg_get_functiondef('{function}'::regprocedure);
            changed    text := replace(definition, '{old}', '{new}');
        BEGIN
            IF changed = definition THEN
                RAISE EXCEPTION '% takes no such lock', '{function}';
            END IF;
            EXECUTE changed;
        END
        $$
        """
        for function in PARTITION_FUNCTIONS
    ]


OURS = """
    SELECT p.oid::regprocedure AS name
    FROM   pg_proc AS p
    WHERE  p.pronamespace = 'public'::regnamespace
    AND    pg_get_userbyid(p.proowner) = current_user
    AND    NOT EXISTS (SELECT FROM pg_depend AS d
                       WHERE  d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
"""

RIGHTS = [
    # What everybody could execute until here, workers still can.
    f"""
    DO $$
    DECLARE
        function record;
    BEGIN
        FOR function IN {OURS}
            AND (p.proacl IS NULL OR EXISTS (SELECT FROM aclexplode(p.proacl) AS a WHERE a.grantee = 0))
        LOOP
            EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', function.name);
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO tenfold_worker', function.name);
        END LOOP;
    END
    $$
    """,  # noqa: S608
    """
    REVOKE ALL ON FUNCTION verified_identity(text, boolean), refused_identity(text), identity_fault(text),
        require_login(text, text), credentials_of(text, text), own_password_hash(bigint, text),
        current_app_user(), current_app_user_is_admin() FROM PUBLIC, tenfold_worker
    """,
    """
    GRANT EXECUTE ON FUNCTION verified_identity(text, boolean), refused_identity(text), identity_fault(text),
        credentials_of(text, text), own_password_hash(bigint, text), current_app_user(),
        current_app_user_is_admin(), task_id_moment(bigint) TO tenfold_api
    """,
]


def upgrade() -> None:
    partitions = in_partition_functions(ADVISORY_LOCK, ROW_LOCK)
    for statement in [*KEYS, *IDENTITY, *LOCKS, *partitions, *RIGHTS]:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    for statement in [
        *in_partition_functions(ROW_LOCK, ADVISORY_LOCK),
        "DROP TABLE locks",
        "DROP FUNCTION credentials_of(text, text), own_password_hash(bigint, text), identity_fault(text)",
        "DROP FUNCTION require_login(text, text)",
        """
        CREATE OR REPLACE FUNCTION current_app_user() RETURNS bigint
        LANGUAGE sql STABLE PARALLEL SAFE
        RETURN nullif(current_setting('app.user_id', true), '')::bigint
        """,
        """
        CREATE OR REPLACE FUNCTION caller_is_admin_now() RETURNS boolean
        LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = public, pg_temp
        BEGIN ATOMIC
            SELECT EXISTS (SELECT FROM users AS u WHERE u.id = current_app_user() AND u.role = 'admin');
        END
        """,
        """
        CREATE OR REPLACE FUNCTION current_app_user_is_admin() RETURNS boolean
        LANGUAGE sql STABLE PARALLEL SAFE
        RETURN coalesce(current_setting('app.role', true), '') = 'admin' AND caller_is_admin_now()
        """,
        "DROP FUNCTION verified_identity(text, boolean), refused_identity(text)",
        "DROP TABLE identity_keys",
        """
        CREATE FUNCTION credentials_of(name text)
        RETURNS TABLE (id bigint, username text, role text, password_hash text)
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
        BEGIN ATOMIC
            SELECT u.id, u.username, u.role, u.password_hash FROM users u WHERE lower(u.username) = lower(name);
        END
        """,
        """
        CREATE FUNCTION own_password_hash() RETURNS text
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
        BEGIN ATOMIC
            SELECT u.password_hash FROM users u WHERE u.id = current_app_user();
        END
        """,
        "REVOKE ALL ON FUNCTION credentials_of(text), own_password_hash() FROM PUBLIC",
        "GRANT EXECUTE ON FUNCTION credentials_of(text), own_password_hash() TO tenfold_api",
        f"""
        DO $$
        DECLARE
            function record;
        BEGIN
            FOR function IN {OURS} AND NOT p.prosecdef LOOP
                EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO PUBLIC', function.name);
            END LOOP;
        END
        $$
        """,
        "REVOKE ALL ON FUNCTION add_task_partition(bigint, bigint) FROM PUBLIC",
    ]:
        op.get_bind().exec_driver_sql(statement)

"""Rule 1 in the database itself: the API can write nothing, and each tier has the rights that it needs and no more."""

import asyncpg
import pytest

from core.database.pools import API_ROLE, WORKER_ROLE, Pool
from core.database.rights import NOBODYS, ONLY_WORKERS
from core.database.schema import applied_revision
from core.identity import Identities
from tests.core.conftest import Cast
from tests.core.database.harness import is_refused

TABLES = ("users", "sessions", "tasks", "jobs")


async def relations(owner: asyncpg.Connection, kinds: str) -> list[str]:
    found = await owner.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = ANY ($1::text[])",
        list(kinds),
    )
    assert found
    return sorted(row["relname"] for row in found)


# -- the API writes nothing


async def test_the_api_has_no_right_but_select_on_any_relation(owner: asyncpg.Connection) -> None:
    rights = ("INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER", "MAINTAIN")
    for table in await relations(owner, "rpvmf"):
        for right in rights:
            assert not await owner.fetchval("SELECT has_table_privilege($1, $2, $3)", API_ROLE, table, right), table
        for right in ("INSERT", "UPDATE", "REFERENCES"):
            assert not await owner.fetchval("SELECT has_any_column_privilege($1, $2, $3)", API_ROLE, table, right)
    for sequence in await relations(owner, "S"):
        for right in ("USAGE", "SELECT", "UPDATE"):
            assert not await owner.fetchval("SELECT has_sequence_privilege($1, $2, $3)", API_ROLE, sequence, right)


async def test_the_api_owns_nothing_and_is_member_of_nothing(owner: asyncpg.Connection) -> None:
    role = await owner.fetchrow("SELECT * FROM pg_roles WHERE rolname = $1", API_ROLE)
    assert role is not None
    assert not any(role[name] for name in ("rolsuper", "rolcreaterole", "rolcreatedb", "rolbypassrls", "rolcanlogin"))
    assert not await owner.fetchval("SELECT count(*) FROM pg_auth_members WHERE member = $1", role["oid"])
    assert not await owner.fetchval("SELECT count(*) FROM pg_class WHERE relowner = $1", role["oid"])
    assert not await owner.fetchval("SELECT count(*) FROM pg_proc WHERE proowner = $1", role["oid"])


async def test_every_write_of_the_api_is_refused_even_with_an_admins_identity(
    api: Pool, owner: asyncpg.Connection, cast: Cast, identities: Identities
) -> None:
    tables, sequences = await relations(owner, "rp"), await relations(owner, "S")
    async with api.acquire() as connection:
        await connection.execute("SET default_transaction_read_only = off")  # as whoever has got so far would
        await connection.execute("SELECT set_config('app.identity', $1, false)", identities.admin(cast.admin))
        for table in tables:
            for statement in (
                f"INSERT INTO {table} DEFAULT VALUES",
                f"DELETE FROM {table}",
                f"TRUNCATE {table} CASCADE",
                f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY",
                f"ALTER TABLE {table} ADD COLUMN more int",
                f"CREATE INDEX ON {table} ((1))",
                f"DROP TABLE {table} CASCADE",
            ):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(statement)
        for statement in (
            "UPDATE users SET role = 'admin'",
            "UPDATE tasks SET title = 'mine'",
            "UPDATE sessions SET revoked_at = NULL",
            "UPDATE jobs SET state = 'queued'",
            "UPDATE alembic_version SET version_num = '0'",
            "SELECT * FROM tasks FOR UPDATE",
            "CREATE TABLE mine (id int)",
            "CREATE SCHEMA mine",
            "CREATE FUNCTION mine() RETURNS int LANGUAGE sql RETURN 1",
            "ALTER POLICY tasks_of_caller ON tasks USING (true)",
            "DROP POLICY tasks_of_caller ON tasks",
            "ALTER FUNCTION current_app_user() OWNER TO tenfold_api",
            "SELECT ensure_task_partitions(20)",
            "SELECT next_task_id()",
            "ALTER ROLE tenfold_api SUPERUSER",
            *(f"SELECT setval('{sequence}', 1)" for sequence in sequences),
            *(f"SELECT nextval('{sequence}')" for sequence in sequences),
            *(f"SELECT * FROM {sequence}" for sequence in sequences),
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)


async def test_the_api_can_grant_itself_nothing(api: Pool, owner: asyncpg.Connection) -> None:
    async with api.acquire() as connection:
        await connection.execute("SET default_transaction_read_only = off")
        await connection.execute("GRANT ALL ON tasks TO tenfold_api, PUBLIC")  # a warning: nothing was granted
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("GRANT SELECT (password_hash) ON users TO tenfold_api")
    assert not await owner.fetchval("SELECT has_table_privilege($1, 'tasks', 'INSERT')", API_ROLE)


async def test_only_the_readable_functions_are_granted(owner: asyncpg.Connection) -> None:
    found = await owner.fetch("""
        SELECT proname, has_function_privilege('tenfold_api', oid, 'EXECUTE') AS api,
               has_function_privilege('tenfold_worker', oid, 'EXECUTE') AS worker
        FROM   pg_proc WHERE pronamespace = 'public'::regnamespace AND prosecdef
    """)
    assert {row["proname"]: (row["api"], row["worker"]) for row in found} == {
        "verified_identity": (True, False),
        "identity_fault": (True, False),
        "credentials_of": (True, False),
        "own_password_hash": (True, False),
        "caller_is_admin_now": (True, False),
        "logged_in_from": (True, False),
        "ensure_task_partitions": (False, True),
        "create_task_partition": (False, True),
        "detach_task_partition": (False, True),
        "attach_task_partition": (False, True),
        "analyze_tasks": (False, True),
    }


async def test_functions_with_the_owners_rights_find_nothing_that_a_caller_put_in_the_way(
    owner: asyncpg.Connection,
) -> None:
    found = await owner.fetch(
        "SELECT proname, proconfig FROM pg_proc WHERE prosecdef AND pronamespace = $1::regnamespace", "public"
    )
    for row in found:
        assert any(setting.startswith("search_path=") for setting in row["proconfig"] or ()), row["proname"]


# -- all that a login may do


LOGINS = {"api": f"{API_ROLE}_login", "worker": f"{WORKER_ROLE}_login"}
READ_BY_THE_API = {
    "alembic_version", "deliveries", "events", "exports", "import_errors", "import_warnings", "imports", "jobs",
    "labelled_tasks", "maintenance_runs", "notifications", "reminders", "task_partitions", "tasks",
}  # fmt: skip
"""Whole; of users and channels some columns."""
CALLED_BY_THE_API = {
    "caller_is_admin_now", "credentials_of", "current_app_user", "current_app_user_is_admin", "day_start",
    "identity_fault", "json_moment", "known_time_zone", "logged_in_from",
    "own_password_hash", "refused_identity", "task_id_moment", "task_json",
    "verified_identity",
}  # fmt: skip
NOT_FOR_WORKERS = {
    "add_task_partition", "caller_is_admin_now", "credentials_of", "current_app_user", "current_app_user_is_admin",
    "identity_fault", "logged_in_from", "own_password_hash", "refused_identity", "require_login", "verified_identity",
}  # fmt: skip


async def test_the_api_s_login_reads_what_it_should_and_nothing_else(owner: asyncpg.Connection) -> None:
    found = await owner.fetch(
        """
        SELECT relname, has_table_privilege($1, oid, 'SELECT') AS whole,
               has_any_column_privilege($1, oid, 'SELECT') AS partly
        FROM   pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
        """,
        LOGINS["api"],
    )
    assert {row["relname"] for row in found if row["whole"]} == READ_BY_THE_API
    partly = {row["relname"] for row in found if row["partly"]} - READ_BY_THE_API
    assert partly == {"users", "channels"}, "without hashes, without addresses"


@pytest.mark.parametrize("tier", LOGINS)
async def test_a_login_is_a_member_of_its_tier_and_of_nothing_else(owner: asyncpg.Connection, tier: str) -> None:
    role = await owner.fetchrow("SELECT * FROM pg_roles WHERE rolname = $1", LOGINS[tier])
    assert role is not None
    assert role["rolcanlogin"]
    assert not any(
        role[name] for name in ("rolsuper", "rolcreaterole", "rolcreatedb", "rolbypassrls", "rolreplication")
    )
    member_of = await owner.fetch(
        "SELECT rolname FROM pg_roles WHERE rolname <> $1 AND pg_has_role($1, oid, 'MEMBER')", LOGINS[tier]
    )
    assert [row["rolname"] for row in member_of] == [f"tenfold_{tier}"]
    for table in ("pg_class", "pg_proc", "pg_database", "pg_namespace"):
        column = {"pg_class": "relowner", "pg_proc": "proowner", "pg_database": "datdba", "pg_namespace": "nspowner"}
        assert not await owner.fetchval(f"SELECT count(*) FROM {table} WHERE {column[table]} = $1", role["oid"]), table


async def test_each_function_of_ours_is_for_those_who_need_it(owner: asyncpg.Connection) -> None:
    found = await owner.fetch(
        """
        SELECT proname, has_function_privilege($1, oid, 'EXECUTE') AS api,
               has_function_privilege($2, oid, 'EXECUTE') AS worker,
               proacl IS NULL OR EXISTS (SELECT FROM aclexplode(proacl) AS a WHERE a.grantee = 0) AS everybody
        FROM   pg_proc WHERE pronamespace = 'public'::regnamespace
        """,
        *LOGINS.values(),
    )
    assert not [row["proname"] for row in found if row["everybody"]]
    assert {row["proname"] for row in found if row["api"]} == CALLED_BY_THE_API
    assert {row["proname"] for row in found if not row["worker"]} == NOT_FOR_WORKERS


@pytest.mark.parametrize(
    ("tier", "temporary", "advisory"), [("api", False, False), ("worker", True, True)], ids=["api", "worker"]
)
async def test_what_a_login_may_do_besides(
    owner: asyncpg.Connection, tier: str, temporary: bool, advisory: bool
) -> None:
    login = LOGINS[tier]
    database = "SELECT has_database_privilege($1, current_database(), $2)"
    assert await owner.fetchval(database, login, "CONNECT")
    assert not await owner.fetchval(database, login, "CREATE")
    assert await owner.fetchval(database, login, "TEMPORARY") is temporary
    assert not await owner.fetchval("SELECT has_schema_privilege($1, 'public', 'CREATE')", login)
    executable = "SELECT count(*) FROM pg_proc WHERE proname ~ $2 AND has_function_privilege($1, oid, 'EXECUTE')"
    assert not await owner.fetchval(executable, login, NOBODYS)
    assert bool(await owner.fetchval(executable, login, ONLY_WORKERS)) is advisory


@pytest.mark.parametrize(
    "statement",
    [
        "SET ROLE tenfold",
        "SET ROLE postgres",
        "SET ROLE tenfold_worker",
        "SET ROLE tenfold_worker_login",
        "SET SESSION AUTHORIZATION tenfold",
        "SELECT set_config('role', 'tenfold', false)",
        "SELECT set_config('session_authorization', 'postgres', false)",
        "CREATE TEMPORARY TABLE tasks (id int)",
        "CREATE TEMPORARY VIEW tasks AS SELECT 1",
        "SELECT lo_creat(-1)",
        "SELECT lo_create(0)",
        "SELECT lo_from_bytea(0, 'x')",
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_try_advisory_xact_lock(1, 2)",
        "SELECT pg_advisory_xact_lock_shared(1)",
        "SELECT pg_terminate_backend(1)",
        "SELECT pg_cancel_backend(pg_backend_pid())",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "COPY (SELECT 1) TO '/tmp/x'",
        "SELECT pg_read_file('PG_VERSION')",
        "SELECT FROM locks FOR UPDATE",
        "BEGIN; LOCK TABLE tasks IN EXCLUSIVE MODE",
        "BEGIN; LOCK TABLE locks IN ACCESS SHARE MODE",
        "COPY identity_keys TO STDOUT",
        "SELECT query_to_xml('SELECT * FROM identity_keys', true, true, '')",
        "SELECT * FROM pg_authid",
    ],
)
async def test_the_api_s_login_is_refused(api: Pool, statement: str) -> None:
    async with api.acquire() as connection:
        await connection.execute("SET default_transaction_read_only = off")
        with pytest.raises(
            (asyncpg.InsufficientPrivilegeError, asyncpg.InvalidParameterValueError), match=r"denied|must be|cannot"
        ):
            await connection.execute(statement)


async def test_what_the_api_says_is_read_only_unless_it_is_told_otherwise(api: Pool) -> None:
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await api.execute("CREATE TABLE mine (id int)")


async def test_to_leave_the_role_leads_nowhere(api: Pool) -> None:
    async with api.acquire() as connection:
        for statement in ("SET ROLE NONE", "RESET ROLE", "SELECT set_config('role', 'none', false)"):
            await connection.execute(statement)
            assert await connection.fetchval("SELECT current_user") == LOGINS["api"]
        assert await connection.fetchval("SELECT count(*) FROM tasks") == 0


async def test_statistics_tell_nothing_of_the_key(api: Pool, owner: asyncpg.Connection) -> None:
    await owner.execute("ANALYZE identity_keys")
    assert await api.fetchval("SELECT count(*) FROM pg_stats WHERE tablename = 'identity_keys'") == 0


# -- the workers


async def test_a_worker_changes_rows(workers: Pool, cast: Cast) -> None:
    task = await workers.fetchval("INSERT INTO tasks (user_id, title) VALUES ($1, 'x') RETURNING id", cast.alice)
    assert await workers.fetchval("UPDATE tasks SET title = 'y' WHERE id = $1 RETURNING title", task) == "y"
    assert await workers.execute("DELETE FROM tasks WHERE id = $1", task) == "DELETE 1"
    assert await workers.execute("UPDATE users SET email = 'a@b.c' WHERE id = $1", cast.bob) == "UPDATE 1"


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE mine (id int)",
        "CREATE SCHEMA mine",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql RETURN 1",
        "CREATE INDEX ON tasks (title)",
        "ALTER TABLE tasks ADD COLUMN more int",
        "ALTER TABLE tasks DISABLE ROW LEVEL SECURITY",
        "DROP TABLE jobs",
        "TRUNCATE jobs",
        "DROP POLICY tasks_of_caller ON tasks",
        "UPDATE alembic_version SET version_num = '0'",
        "SELECT credentials_of('alice', '')",
        "SELECT own_password_hash(1, '')",
        "SELECT * FROM identity_keys",
        "INSERT INTO identity_keys (id) VALUES ('mine')",
        "DELETE FROM locks",
        "INSERT INTO locks VALUES ('mine', 1)",
    ],
)
async def test_a_worker_cannot_change_the_schema(workers: Pool, statement: str) -> None:
    assert await is_refused(workers, statement)


async def test_a_worker_makes_partitions_through_the_function_alone(workers: Pool) -> None:
    assert await workers.fetchval("SELECT ensure_task_partitions(2)") == 0
    assert await is_refused(workers, "CREATE TABLE tasks_2099 PARTITION OF tasks FOR VALUES FROM (1) TO (2)")


async def test_the_revision_is_readable_to_both_tiers(api: Pool, workers: Pool) -> None:
    assert await applied_revision(api) == await applied_revision(workers) is not None

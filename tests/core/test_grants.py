"""Rule 1 in the database itself: the API can write nothing, and sees only what the identity in its statement allows."""

import re
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from core.commands import Command
from core.database.pools import API_ROLE, WORKER_ROLE, Pool
from core.database.read_pool import ReadPool
from core.database.rights import NOBODYS, ONLY_WORKERS
from core.database.schema import applied_revision
from core.identity import ME, Identities
from core.jobs.queries import find_outcome, list_jobs, read_job
from core.tasks.queries import Caller, TaskFilter, TaskQuery, list_tasks, read_task
from core.users.queries import credentials_of, current_role, own_password_hash, read_profile
from tests.core.conftest import Cast
from tests.harness import PASSWORD_HASH

TABLES = ("users", "sessions", "tasks", "jobs")
OWNED = {
    "users": "id",
    **dict.fromkeys(("tasks", "jobs", "imports", "import_errors", "exports"), "user_id"),
}
"""What the API may read → the column that says whose a row is."""
READABLE = tuple(OWNED)
COLUMNS_OF_USERS = "id, username, email, role, time_zone, created_at, updated_at"


@pytest.fixture
async def rows(owner: asyncpg.Connection, cast: Cast) -> dict[int, dict[str, Any]]:
    """A task, a session and a job of alice's and of bob's: user id → their ids."""
    made: dict[int, dict[str, Any]] = {}
    for user_id in (cast.alice, cast.bob):
        task = await owner.fetchval("INSERT INTO tasks (user_id, title) VALUES ($1, 'a title') RETURNING id", user_id)
        session, job = uuid.uuid4(), uuid.uuid4()
        await owner.execute("INSERT INTO sessions (id, user_id, expires_at) VALUES ($1, $2, now())", session, user_id)
        await owner.execute(
            "INSERT INTO jobs (id, user_id, kind, state, status_code) VALUES ($1, $2, 'x', 'succeeded', 200)",
            job,
            user_id,
        )
        await owner.execute(
            "INSERT INTO imports (id, user_id, options, digest, bytes) VALUES ($1, $2, '{}', '', 0)", job, user_id
        )
        await owner.execute(
            "INSERT INTO import_errors (import_id, user_id, row, number, message) VALUES ($1, $2, 1, 1, 'wrong')",
            job,
            user_id,
        )
        await owner.execute(
            "INSERT INTO imported_tasks (user_id, key, task_id, import_id) VALUES ($1, $2, $3, $2)", user_id, job, task
        )
        await owner.execute(
            "INSERT INTO exports (id, user_id, format, filters) VALUES ($1, $2, 'csv', '{}')", job, user_id
        )
        made[user_id] = {"task": task, "session": session, "job": job}
    return made


async def relations(owner: asyncpg.Connection, kinds: str) -> list[str]:
    found = await owner.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = ANY ($1::text[])",
        list(kinds),
    )
    assert found
    return sorted(row["relname"] for row in found)


async def is_refused(pool: Pool, sql: str, *arguments: Any) -> bool:
    try:
        await pool.fetch(sql, *arguments)
    except asyncpg.InsufficientPrivilegeError:
        return True
    return False


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
    "alembic_version", "deliveries", "events", "exports", "import_errors", "imports", "jobs",
    "labelled_tasks", "maintenance_runs", "notifications", "reminders", "task_partitions", "tasks",
}  # fmt: skip
"""Whole; of users and channels some columns."""
CALLED_BY_THE_API = {
    "caller_is_admin_now", "credentials_of", "current_app_user", "current_app_user_is_admin", "identity_fault",
    "logged_in_from", "own_password_hash", "refused_identity", "task_id_moment", "verified_identity",
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


# -- what the API sees


@pytest.mark.parametrize("table", READABLE)
async def test_without_an_identity_nothing_is_visible(api: Pool, rows: dict[int, Any], table: str) -> None:
    assert await api.fetchval(f"SELECT count(*) FROM {table}") == 0
    for empty in ("", None):
        seen = await api.fetchval(
            f"SELECT count(*) FROM {ME}, LATERAL (SELECT 1 FROM {table} WHERE me IS NOT NULL OR me IS NULL) t",
            empty,
        )
        assert seen == 0


async def test_the_settings_of_before_are_no_identity(api: Pool, cast: Cast, rows: dict[int, Any]) -> None:
    for table in READABLE:
        seen = await api.fetchval(
            "SELECT count(*) FROM set_config('app.user_id', $1, true) AS me,"
            " set_config('app.role', 'admin', true) AS my_role,"
            f" LATERAL (SELECT 1 FROM {table} WHERE (me || my_role) IS NOT NULL LIMIT 100) t",
            str(cast.admin),
        )
        assert seen == 0, table


async def test_an_identity_shows_ones_own_rows_alone(
    api: Pool, cast: Cast, rows: dict[int, Any], identities: Identities
) -> None:
    for table, column in OWNED.items():
        seen = await api.fetch(
            f"SELECT t.whose FROM {ME},"
            f" LATERAL (SELECT {column} AS whose FROM {table} WHERE me IS NOT NULL LIMIT 100) t",
            identities.user(cast.alice),
        )
        assert [row["whose"] for row in seen] == [cast.alice], table


async def test_only_an_admin_sees_anything_through_the_view_that_reads_as_its_owner(
    api: Pool, owner: asyncpg.Connection, cast: Cast, rows: dict[int, Any], identities: Identities
) -> None:
    await owner.execute("UPDATE tasks SET labels = '{red}'")
    seen = "LATERAL (SELECT user_id FROM labelled_tasks WHERE me IS NOT NULL LIMIT 100) t"
    assert await api.fetchval("SELECT count(*) FROM labelled_tasks") == 0
    for identity in ("", None, identities.user(0), identities.user(cast.alice), identities.user(cast.admin)):
        assert await api.fetchval(f"SELECT count(*) FROM {ME}, {seen}", identity) == 0, identity
    found = await api.fetch(f"SELECT t.user_id FROM {ME}, {seen}", identities.admin(cast.admin))
    assert {row["user_id"] for row in found} == set(rows)


async def test_a_predicate_that_names_another_user_finds_nothing(
    api: Pool, cast: Cast, rows: dict[int, Any], identities: Identities
) -> None:
    for table, column in OWNED.items():
        sql = (
            f"SELECT count(*) FROM {ME},"
            f" LATERAL (SELECT 1 FROM {table} WHERE {column} = $2 AND me IS NOT NULL LIMIT 100) t"
        )
        assert await api.fetchval(sql, identities.user(cast.alice), cast.bob) == 0, table
        assert await api.fetchval(sql, identities.user(cast.bob), cast.bob) == 1, table


@pytest.mark.parametrize("user_id", [0, -1, 9223372036854775807])
async def test_an_identity_that_nobody_has_shows_nothing(
    api: Pool, rows: dict[int, Any], identities: Identities, user_id: int
) -> None:
    sql = f"SELECT count(*) FROM {ME}, LATERAL (SELECT 1 FROM tasks WHERE me IS NOT NULL LIMIT 100) t"
    assert await api.fetchval(sql, identities.user(user_id)) == 0


async def test_a_password_hash_is_not_readable_as_a_column(api: Pool, cast: Cast, identities: Identities) -> None:
    for sql in (
        f"SELECT t.password_hash FROM {ME}, LATERAL (SELECT password_hash FROM users WHERE me IS NOT NULL) t",
        f"SELECT t.* FROM {ME}, LATERAL (SELECT * FROM users WHERE me IS NOT NULL) t",
        f"SELECT row_to_json(u) FROM {ME}, users u",
        f"SELECT 1 FROM {ME}, users u WHERE u.password_hash LIKE '$argon2%'",
    ):
        assert await is_refused(api, sql, identities.admin(cast.admin)), sql


async def test_what_is_no_business_of_the_api_is_not_readable(
    api: Pool, cast: Cast, rows: dict[int, Any], identities: Identities
) -> None:
    for table in ("sessions", "imported_tasks", "identity_keys", "locks"):
        assert await is_refused(api, f"SELECT 1 FROM {ME}, {table}", identities.admin(cast.admin)), table


async def test_partitions_which_have_no_policies_are_not_readable(
    api: Pool, owner: asyncpg.Connection, cast: Cast, identities: Identities
) -> None:
    names = [row[0] for row in await owner.fetch("SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r'")]
    assert len(names) == 3
    for name in names:
        assert await is_refused(api, f"SELECT 1 FROM {ME}, {name}", identities.admin(cast.admin)), name


async def test_a_new_partition_is_no_hole(api: Pool, owner: asyncpg.Connection, cast: Cast) -> None:
    transaction = owner.transaction()
    await transaction.start()
    try:
        assert await owner.fetchval("SELECT ensure_task_partitions(3)") == 1
        [name] = await owner.fetchrow("SELECT max(relname) FROM pg_class WHERE relispartition AND relkind = 'r'") or ()
        for right in ("SELECT", "INSERT", "UPDATE", "DELETE"):
            assert not await owner.fetchval("SELECT has_table_privilege($1, $2, $3)", API_ROLE, name, right)
    finally:
        await transaction.rollback()


async def test_a_login_finds_its_credentials_in_any_case(reads: ReadPool, cast: Cast) -> None:
    found = await credentials_of(reads, "ALICE")
    assert found is not None
    assert (found.user_id, found.username, found.role, found.password_hash) == (
        cast.alice,
        "alice",
        "user",
        PASSWORD_HASH,
    )
    assert await credentials_of(reads, "alic") is None
    assert await credentials_of(reads, "%") is None


async def test_ones_own_hash_is_that_of_the_identity(reads: ReadPool, owner: asyncpg.Connection, cast: Cast) -> None:
    await owner.execute("UPDATE users SET password_hash = 'hash of ' || username")
    assert await own_password_hash(reads, cast.bob) == "hash of bob"
    assert await own_password_hash(reads, 0) is None


async def test_an_admin_sees_all_tasks_and_users_but_only_own_jobs(
    api: Pool, cast: Cast, rows: dict[int, Any], identities: Identities
) -> None:
    for table, number in (("tasks", 2), ("users", 3), ("jobs", 0)):
        sql = f"SELECT count(*) FROM {ME}, LATERAL (SELECT 1 FROM {table} WHERE me IS NOT NULL LIMIT 100) t"
        assert await api.fetchval(sql, identities.admin(cast.admin)) == number, table


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


# -- identity travels inside the statement


Read = Callable[[ReadPool, Cast, dict[int, Any]], Awaitable[Any]]


def _listing(sort: str, *, whose: str = "alice", cursor: bool = False, task_filter: TaskFilter | None = None) -> Read:
    async def read(api: ReadPool, cast: Cast, rows: dict[int, Any]) -> Any:
        caller = Caller(getattr(cast, whose), whose == "admin")
        last_id = None
        if cursor:
            # Sorted downwards everything that is visible to all, and to alice nothing, comes behind the last task.
            owner = cast.bob if whose == "admin" else cast.alice
            last_id = rows[owner]["task"]
        query = TaskQuery(task_filter or TaskFilter(), sort=sort, last_id=last_id)
        page = await list_tasks(api, caller, query)
        return page.items.count('"id"')

    return read


FULL_FILTER = TaskFilter(
    priority=(5,), priority_min=1, priority_max=10, status=("pending",), words=("title",), due_after=None
)

# Name → the read, and what it gives to alice (or the admin).
READS: dict[str, tuple[Read, Any]] = {
    "a profile": (lambda api, cast, rows: _found(read_profile(api, cast.alice)), True),
    "a role": (lambda api, cast, rows: current_role(api, cast.alice), "user"),
    "an own hash": (lambda api, cast, rows: own_password_hash(api, cast.alice), PASSWORD_HASH),
    "an own task": (lambda api, cast, rows: _found(read_task(api, Caller(cast.alice), rows[cast.alice]["task"])), True),
    "a foreign task": (
        lambda api, cast, rows: _found(read_task(api, Caller(cast.alice), rows[cast.bob]["task"])),
        False,
    ),
    "any task": (
        lambda api, cast, rows: _found(read_task(api, Caller(cast.admin, True), rows[cast.bob]["task"])),
        True,
    ),
    "an own job": (lambda api, cast, rows: _found(read_job(api, cast.alice, str(rows[cast.alice]["job"]))), True),
    "a foreign job": (lambda api, cast, rows: _found(read_job(api, cast.alice, str(rows[cast.bob]["job"]))), False),
    "an outcome": (lambda api, cast, rows: _found(find_outcome(api, _command(cast.alice, rows))), True),
    "jobs": (lambda api, cast, rows: _count_jobs(api, cast.alice), 1),
    "filtered tasks": (_listing("priority", task_filter=FULL_FILTER), 1),
    "filtered tasks of all": (_listing("priority", whose="admin", task_filter=FULL_FILTER), 2),
    **{f"tasks by {sort}": (_listing(sort), 1) for sort in ("id", "-id", "priority", "due_date", "-updated_at")},
    **{f"all tasks by {sort}": (_listing(sort, whose="admin"), 2) for sort in ("id", "-id", "priority", "due_date")},
    "tasks behind one": (_listing("id", cursor=True), 0),
    "all tasks behind one": (_listing("-id", whose="admin", cursor=True), 1),
}


async def _found(read: Awaitable[Any]) -> bool:
    return await read is not None


async def _count_jobs(api: ReadPool, user_id: int) -> int:
    return len(await list_jobs(api, user_id, kinds=None, states=None, after=None, limit=10))


def _command(user_id: int, rows: dict[int, Any]) -> Command:
    return Command(str(rows[user_id]["job"]), "x", user_id, {}, "2026-01-01T00:00:00+00:00")


@pytest.mark.parametrize("plans", ["auto", "force_generic_plan", "force_custom_plan"])
async def test_each_read_has_its_identity_however_it_is_planned(
    api: Pool, reads: ReadPool, cast: Cast, rows: dict[int, Any], plans: str
) -> None:
    async with api.acquire() as connection:
        await connection.execute(f"SET plan_cache_mode = {plans}")
    for name, (read, expected) in READS.items():
        # From the sixth execution of a prepared statement on PostgreSQL may choose a generic plan.
        for execution in range(8):
            assert await read(reads, cast, rows) == expected, f"{name}, execution {execution + 1}"
    assert api.get_size() == 1, "all of it went through the connection with this plan_cache_mode"


async def test_no_statement_leaves_its_identity_behind(reads: ReadPool, cast: Cast, rows: dict[int, Any]) -> None:
    for read, _ in READS.values():
        await read(reads, cast, rows)
        [left] = await reads.fetch("SELECT current_setting('app.identity', true) AS me, (SELECT count(*) FROM tasks)")
        assert (left["me"] or "", left["count"]) == ("", 0)
    assert reads.get_size() == 1


def test_every_read_that_core_declares_is_tried_here() -> None:
    from core.jobs import queries as job_queries
    from core.tasks import queries as task_queries
    from core.users import queries as user_queries

    declared = {
        name
        for module in (job_queries, task_queries, user_queries)
        for name, thing in vars(module).items()
        if re.match(r"(read|list|find|current|own|credentials)_", name)
        and getattr(thing, "__module__", "") == module.__name__
    }
    assert declared == {
        "read_profile", "current_role", "own_password_hash", "credentials_of", "read_task", "list_tasks", "read_job",
        "list_jobs", "find_outcome",
    }  # fmt: skip


async def test_the_revision_is_readable_to_both_tiers(api: Pool, workers: Pool) -> None:
    assert await applied_revision(api) == await applied_revision(workers) is not None

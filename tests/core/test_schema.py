"""The migrated database is what the tables in core say, and migrations go up, down and up again.

Long because the rows of each revision, which the ways down and up again meet, stand beside the test of these ways.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import asyncpg
import orjson
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

import core.batches.tables
import core.channels.tables
import core.database.locks
import core.database.rights
import core.deliveries.tables
import core.exports.tables
import core.imports.tables
import core.jobs.tables
import core.lanes.tables
import core.maintenance.tables
import core.notifications.tables
import core.reminders.tables
import core.tasks.tables
import core.users.tables  # noqa: F401
from core.database.schema import SCHEMA_REVISION, metadata
from core.jobs.tables import STATES
from core.settings import Settings
from core.tasks.columns import TASK_COLUMNS
from core.tasks.fields import FIELDS, STATUSES
from migrations import run
from tests.harness import Servers, connection

TABLES = sorted(metadata.tables)


async def in_sqlalchemy(url: str, act: Callable[[sa.Connection], Any]) -> Any:
    async def connect() -> asyncpg.Connection:
        return await asyncpg.connect(url, server_settings={"timezone": "UTC"})

    engine = create_async_engine("postgresql+asyncpg://", poolclass=NullPool, async_creator=connect)
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(act)
    finally:
        await engine.dispose()


async def in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    """Migrations bring an event loop of their own."""
    return await asyncio.to_thread(function, *arguments)


def of_a_partition(_object: Any, name: str | None, kind: str, reflected: bool, _other: Any) -> bool:
    table = name if kind == "table" else getattr(getattr(_object, "table", None), "name", None)
    return not (reflected and table is not None and (table.startswith("tasks_") or table == "alembic_version"))


# -- tables = database


async def test_alembic_finds_no_difference_between_tables_and_database(settings: Settings) -> None:
    def differences(connection: sa.Connection) -> list[Any]:
        options = {"compare_type": True, "compare_server_default": True, "include_object": of_a_partition}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))

    assert await in_sqlalchemy(settings.database_url, differences) == []


async def test_no_table_is_missing_on_either_side(owner: asyncpg.Connection) -> None:
    found = await owner.fetch("""
        SELECT relname FROM pg_class
        WHERE  relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
        AND    relname <> 'alembic_version'
    """)
    assert sorted(row["relname"] for row in found) == TABLES


# Alembic looks at none of: check constraints, expressions and predicates of indexes, access methods, orders of
# primary keys, actions of foreign keys, and how a table is partitioned. The same is therefore made from the tables
# in another schema, and the catalogues are compared.

CATALOGUE = {
    "columns": r"""
        SELECT a.attrelid::regclass::text AS on_table, a.attname AS name,
               format_type(a.atttypid, a.atttypmod) || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END
               || ' ' || a.attidentity::text || ' '
               || coalesce(regexp_replace(pg_get_expr(d.adbin, d.adrelid), '^''(.*)''::.*$', '\1'), '') AS definition
        FROM   pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE  a.attrelid = ANY ($1::regclass[]) AND a.attnum > 0 AND NOT a.attisdropped
    """,
    "constraints": """
        SELECT conrelid::regclass::text AS on_table, conname AS name, pg_get_constraintdef(oid) AS definition
        FROM   pg_constraint WHERE conrelid = ANY ($1::regclass[])
    """,
    "indexes": """
        SELECT indrelid::regclass::text AS on_table, indexrelid::regclass::text AS name,
               pg_get_indexdef(indexrelid) AS definition
        FROM   pg_index WHERE indrelid = ANY ($1::regclass[])
    """,
    "partitioning": """
        SELECT partrelid::regclass::text AS on_table, '' AS name, pg_get_partkeydef(partrelid) AS definition
        FROM   pg_partitioned_table WHERE partrelid = ANY ($1::regclass[])
    """,
}


def without_schema(text: str) -> str:
    return text.replace("public.", "").replace("declared.", "").replace(" ONLY ", " ")


async def catalogue(owner: asyncpg.Connection, schema: str, what: str) -> set[tuple[str, str, str]]:
    rows = await owner.fetch(CATALOGUE[what], [f"{schema}.{table}" for table in TABLES])
    return {tuple(without_schema(value) for value in row.values()) for row in rows}


@pytest.fixture
async def declared(settings: Settings, owner: asyncpg.Connection) -> AsyncIterator[str]:
    """A schema with what SQLAlchemy makes of the tables."""
    await owner.execute("CREATE SCHEMA declared")

    def create(connection: sa.Connection) -> None:
        connection.execute(sa.text("SET search_path = declared, public"))
        metadata.create_all(connection, checkfirst=False)
        connection.commit()

    await in_sqlalchemy(settings.database_url, create)
    yield "declared"
    await owner.execute("DROP SCHEMA declared CASCADE")


@pytest.mark.parametrize("what", CATALOGUE)
async def test_the_catalogue_is_what_the_tables_say(owner: asyncpg.Connection, declared: str, what: str) -> None:
    expected = await catalogue(owner, declared, what)
    assert await catalogue(owner, "public", what) == expected
    assert expected, "nothing was compared"


@pytest.mark.parametrize("what", ["constraints", "indexes"])
async def test_every_partition_has_what_the_parent_has(owner: asyncpg.Connection, what: str) -> None:
    kinds = {
        "constraints": "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = $1::text::regclass",
        "indexes": "SELECT regexp_replace(pg_get_indexdef(indexrelid), '^.* USING', '') FROM pg_index"
        " WHERE indrelid = $1::text::regclass AND indisvalid",
    }
    parent = {row[0] for row in await owner.fetch(kinds[what], "tasks")}
    for name in await partition_names(owner):
        assert {row[0] for row in await owner.fetch(kinds[what], name)} == parent, name


async def partition_names(owner: asyncpg.Connection) -> list[str]:
    rows = await owner.fetch("SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r' ORDER BY relname")
    return [row["relname"] for row in rows]


async def test_states_and_statuses_in_code_are_those_that_the_database_takes(owner: asyncpg.Connection) -> None:
    async def taken(constraint: str) -> set[str]:
        text = await owner.fetchval(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = $1", constraint
        )
        return {part.split("'")[1] for part in text.split(",")}

    assert await taken("jobs_state_check") == set(STATES)
    assert await taken("tasks_status_check") == set(STATUSES)


def test_a_task_is_answered_with_every_column_that_it_has() -> None:
    hidden = {"recurrence_local", "reminder_rules"}
    assert set(TASK_COLUMNS) == set(metadata.tables["tasks"].columns.keys()) - hidden


async def test_lists_by_label_and_events_have_every_field_of_a_task(owner: asyncpg.Connection) -> None:
    await owner.execute("""
        INSERT INTO users (username, email, password_hash) VALUES ('alice', 'alice@example.org', '');
        INSERT INTO channels (user_id, kind, url_encrypted, url_masked, events)
        SELECT id, 'json', '', '', '{task.created}' FROM users;
        INSERT INTO tasks (user_id, title) SELECT id, 'x' FROM users;
    """)
    event = orjson.loads(await owner.fetchval("SELECT e.data FROM events AS e JOIN tasks AS t ON t.id = e.task_id"))
    assert list(event["task"]) == list(TASK_COLUMNS)
    view = await owner.fetchval("SELECT pg_get_viewdef('labelled_tasks'::regclass)")
    assert "task_json(tasks.*) AS task" in view


def test_what_a_new_task_must_have_is_given_or_has_a_default() -> None:
    for field in FIELDS:
        is_there = field.is_required or field.default is not None or field.made is not None or field.name == "user_id"
        assert is_there != field.is_nullable, field.name


# -- migrations


def test_there_is_one_newest_migration_and_the_code_needs_it() -> None:
    assert run.heads() == [SCHEMA_REVISION]


@pytest.fixture
async def empty_database(servers: Servers) -> AsyncIterator[str]:
    async with servers.database("tenfold_never_migrated") as url:
        yield url


OBJECTS = """
    SELECT 'relation ' || relname FROM pg_class
    WHERE  relnamespace = 'public'::regnamespace AND relname NOT LIKE 'alembic_version%'
    UNION ALL SELECT 'function ' || proname FROM pg_proc      WHERE pronamespace = 'public'::regnamespace
    UNION ALL SELECT 'type '     || typname FROM pg_type      WHERE typnamespace = 'public'::regnamespace
                                                              AND typname NOT LIKE '%alembic_version'
    UNION ALL SELECT 'schema '   || nspname FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema|public$)'
    UNION ALL SELECT 'policy '   || polname FROM pg_policy
    UNION ALL SELECT 'default '  || oid     FROM pg_default_acl
"""
ACCESS = """
    SELECT relname || coalesce(relacl::text, '') FROM pg_class WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT proname || coalesce(proacl::text, '') FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL SELECT polname || polcmd::text || coalesce(pg_get_expr(polqual, polrelid), '') FROM pg_policy
"""


async def column(url: str, sql: str) -> set[str]:
    async with connection(url) as owner:
        return {row[0] for row in await owner.fetch(sql)}


async def test_up_down_and_up_again_gives_the_same_and_down_leaves_nothing_behind(empty_database: str) -> None:
    await in_thread(run.upgrade, empty_database)
    objects, access = await column(empty_database, OBJECTS), await column(empty_database, ACCESS)
    assert objects
    await in_thread(run.downgrade, empty_database, "base")
    assert await column(empty_database, OBJECTS) == set()
    assert not [grant for grant in await column(empty_database, ACCESS) if "tenfold_" in grant.partition("{")[2]]
    assert await column(empty_database, "SELECT version_num FROM alembic_version") == set()
    await in_thread(run.upgrade, empty_database)
    assert await column(empty_database, OBJECTS) == objects
    assert await column(empty_database, ACCESS) == access


# A row in every table that the second revision has; the user's tasks are due at all times.
OF_0002 = """
INSERT INTO users (username, email, password_hash, time_zone) VALUES ('alice', 'a@example.com', 'x', 'Europe/Berlin');
INSERT INTO sessions (id, user_id, expires_at) SELECT gen_random_uuid(), id, now() FROM users;
INSERT INTO tasks (user_id, title, due_date, status, completed_at, labels)
SELECT u.id, 'task ' || n, now() + (n - 500) * interval '1 hour',
       CASE WHEN n % 3 = 0 THEN 'completed' ELSE 'pending' END, CASE WHEN n % 3 = 0 THEN now() END, '{one}'
FROM   users AS u, generate_series(1, 1000) AS n;
INSERT INTO tasks (user_id, title) SELECT id, 'not due' FROM users;
INSERT INTO jobs (id, user_id, kind, state) SELECT gen_random_uuid(), u.id, k.kind, k.state FROM users AS u,
    (VALUES ('import', 'processing'), ('export', 'succeeded'), ('task.create', 'succeeded')) AS k (kind, state);
INSERT INTO imports (id, user_id, options, digest, bytes)
SELECT id, user_id, '{}', '', 1 FROM jobs WHERE kind = 'import';
INSERT INTO import_errors (import_id, user_id, row, number, message) SELECT id, user_id, 1, 1, 'x' FROM imports;
INSERT INTO imported_tasks (user_id, key, task_id, import_id)
SELECT i.user_id, gen_random_uuid(), t.id, i.id FROM imports AS i, tasks AS t;
INSERT INTO exports (id, user_id, format, filters) SELECT id, user_id, 'csv', '{}' FROM jobs WHERE kind = 'export'
"""
# And in every table that the third adds, with what it can do to partitions.
OF_0003 = """
UPDATE users SET reminder_offsets = '{P1D,PT1H}';
INSERT INTO channels (user_id, kind, url_encrypted, url_masked, events)
SELECT id, 'webhook', '', '', '{task.created,task.updated,task.completed,task.deleted,import.finished}' FROM users;
INSERT INTO tasks (user_id, title, due_date, recurrence, reminder_rules)
SELECT id, 'every day', now() + interval '2 days', 'FREQ=DAILY', '{PT5M,PT6M}' FROM users;
UPDATE tasks SET title = title || '!', due_date = due_date + interval '1 day', version = version + 1;
UPDATE jobs SET state = 'succeeded' WHERE kind = 'import';
INSERT INTO maintenance_runs (name, tick, state, arguments) VALUES ('keep_partitions', now(), 'queued', '{}');
SELECT create_task_partition('2021-01-01', '2022-01-01'), create_task_partition('2022-02-01', '2022-03-01'),
       ensure_task_partitions(40, 'month');
INSERT INTO tasks (id, user_id, title) SELECT task_id_floor('2021-05-01'), id, 'of old' FROM users;
SELECT detach_task_partition('tasks_2021');
INSERT INTO identity_keys (id, inner_pad, outer_pad)
SELECT '0badcafe', decode(repeat('36', 64), 'hex'), decode(repeat('5c', 64), 'hex')
"""
OF_0004 = """
INSERT INTO lanes (name, token, claimed_by) VALUES ('0', 1, 'somebody');
INSERT INTO batch_slices (job_id, position, operations, results) SELECT id, 0, 0, '' FROM jobs LIMIT 1
"""
OF_0008 = "INSERT INTO login_places (user_id, place) SELECT id, 'home' FROM users"
OF_0010 = """
INSERT INTO import_warnings (import_id, user_id, row, number, message) SELECT id, user_id, 1, 1, 'x' FROM imports;
INSERT INTO imported_chunks (import_id, rows_read, task_ids) SELECT id, 0, '{1}' FROM imports;
INSERT INTO import_undos (id, user_id, import_id) SELECT id, user_id, id FROM imports;
UPDATE imports SET frame = '["", ""]', preview = '{null}'
"""


async def rows_in(url: str) -> dict[str, int]:
    """Of each table, as far as the second revision knows it."""
    async with connection(url) as owner:
        tables = ("users", "sessions", "tasks", "jobs", "imports", "import_errors", "imported_tasks", "exports")
        return {table: await owner.fetchval(f"SELECT count(*) FROM {table}") for table in tables}


async def test_the_third_revision_comes_to_a_database_in_use_and_does_nothing_to_its_users(empty_database: str) -> None:
    await in_thread(run.upgrade, empty_database, "0002")
    async with connection(empty_database) as owner:
        await owner.execute(OF_0002)
        before = [tuple(row) for row in await owner.fetch("SELECT id, title, due_date, version FROM tasks ORDER BY id")]
        await in_thread(run.upgrade, empty_database, "0003")
        after = await owner.fetch("SELECT id, title, due_date, version FROM tasks ORDER BY id")
        assert [tuple(row) for row in after] == before
        assert await owner.fetchval("SELECT count(*) FROM tasks WHERE recurrence_from = 'due_date'") == len(before)
        # Nobody is reminded who has not asked for it, of what was due before it was possible least of all.
        assert await owner.fetchval("SELECT reminder_offsets FROM users") == []
        for table in ("reminders", "events", "deliveries", "notifications"):
            assert await owner.fetchval(f"SELECT count(*) FROM {table}") == 0
        await owner.execute("UPDATE tasks SET due_date = due_date + interval '1 day', version = version + 1")
        for table in ("reminders", "events", "deliveries", "notifications"):
            assert await owner.fetchval(f"SELECT count(*) FROM {table}") == 0


async def test_up_down_and_up_again_goes_well_with_rows_in_every_table(empty_database: str) -> None:
    await in_thread(run.upgrade, empty_database, "0002")
    async with connection(empty_database) as owner:
        await owner.execute(OF_0002)
    await in_thread(run.upgrade, empty_database)
    async with connection(empty_database) as owner:
        await owner.execute(OF_0003)
        await owner.execute(OF_0004)
        await owner.execute(OF_0008)
        await owner.execute(OF_0010)
        for table in TABLES:
            assert await owner.fetchval(f"SELECT count(*) FROM {table}") > 0, table
    before = await rows_in(empty_database)
    await in_thread(run.downgrade, empty_database, "0002")
    assert await rows_in(empty_database) == before
    await in_thread(run.upgrade, empty_database)
    assert await rows_in(empty_database) == before
    async with connection(empty_database) as owner:
        assert await owner.fetchval("SELECT attach_task_partition('tasks_2021')") == "done", "it outlives both ways"
        assert await owner.fetchval("SELECT count(*) FROM tasks WHERE title = 'of old'") == 1
        assert await owner.fetchval("SELECT count(*) FROM tasks") == before["tasks"] + 1


async def test_a_second_upgrade_changes_nothing(empty_database: str) -> None:
    await in_thread(run.upgrade, empty_database)
    before = await column(empty_database, OBJECTS)
    await in_thread(run.upgrade, empty_database)
    assert await column(empty_database, OBJECTS) == before


async def test_pending_names_what_is_to_be_applied(empty_database: str) -> None:
    assert SCHEMA_REVISION in await in_thread(run.pending, empty_database)
    await in_thread(run.upgrade, empty_database)
    assert await in_thread(run.pending, empty_database) == []


async def test_two_migrations_of_one_database_at_a_time_do_not_race(empty_database: str) -> None:
    with ThreadPoolExecutor(2) as threads:
        for attempt in [threads.submit(run.upgrade, empty_database) for _ in range(2)]:
            await asyncio.wrap_future(attempt)
    assert await in_thread(run.pending, empty_database) == []

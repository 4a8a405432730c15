"""Rule 1 in the database itself: the API sees only what the identity in its statement allows."""

from typing import Any

import asyncpg
import pytest

from core.database.pools import API_ROLE, Pool
from core.database.read_pool import ReadPool
from core.identity import ME, Identities
from core.users.queries import credentials_of, own_password_hash
from tests.core.conftest import Cast
from tests.core.database.harness import OWNED, READABLE, is_refused
from tests.harness import PASSWORD_HASH

COLUMNS_OF_USERS = "id, username, email, role, time_zone, created_at, updated_at"


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
    for table in ("sessions", "imported_tasks", "imported_chunks", "import_undos", "identity_keys", "locks"):
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

"""Transactions under a lock leave nothing behind where they fail, and savepoints what stood before them."""

import asyncio
import contextlib
from typing import Any

import asyncpg
import pytest

from core.database.locks import Lock, locked, statement
from core.database.pools import Pool
from core.database.transactions import BOUNDED, delete_in_chunks, savepoint
from tests.harness import eventually

LOCK = Lock.import_claims


async def lock_is_free(owner: asyncpg.Connection) -> bool:
    return len(await owner.fetch(f"{statement(LOCK)} SKIP LOCKED")) == 1


async def count_users(owner: asyncpg.Connection) -> int:
    return int(await owner.fetchval("SELECT count(*) FROM users"))


INSERT = "INSERT INTO users (username, email, password_hash) VALUES ('ada', 'a@b.c', 'h')"


async def test_a_locked_transaction_holds_its_lock_and_keeps_what_was_done(
    workers: Pool, owner: asyncpg.Connection
) -> None:
    async with workers.acquire() as connection, locked(connection, LOCK):
        assert not await lock_is_free(owner)
        await connection.execute(INSERT)
        assert await count_users(owner) == 0
    assert await lock_is_free(owner)
    assert await count_users(owner) == 1


async def test_where_rows_are_locked_no_partitions_are_chosen_at_run_time(workers: Pool) -> None:
    async with workers.acquire() as connection:
        async with locked(connection, LOCK):
            assert await connection.fetchval("SHOW enable_partition_pruning") == "off"
        assert await connection.fetchval("SHOW enable_partition_pruning") == "on"


AS_WITH_MANY_TASKS = "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off"


async def test_a_locked_row_that_was_just_changed_does_not_crash_the_server(
    owner: asyncpg.Connection, workers: Pool
) -> None:
    """PostgreSQL 18.6 crashes otherwise: a row to lock was changed meanwhile and is looked at again; the memory of that
    look is used for something else; and then a partition is chosen for the row.
    """
    await owner.execute(INSERT)
    await owner.execute("""
        CREATE FUNCTION use_memory(depth integer) RETURNS bigint LANGUAGE plpgsql AS $$
        BEGIN
            RETURN CASE WHEN depth = 0 THEN 1 ELSE
                        (SELECT sum(use_memory(depth - 1)) FROM generate_series(1, 2) AS n GROUP BY n > 0) END;
        END
        $$
    """)
    change = owner.transaction()
    await change.start()
    await owner.execute("UPDATE users SET time_zone = 'Asia/Tokyo'")
    async with workers.acquire() as connection, connection.transaction():
        await connection.execute(f"{BOUNDED}; {AS_WITH_MANY_TASKS}")
        backend = connection.get_server_pid()
        locking = asyncio.create_task(
            connection.fetch("""
                SELECT use_memory(3),
                       EXISTS (SELECT FROM tasks AS t
                               WHERE  t.user_id = u.id AND t.id = u.id AND t.status = 'pending')
                FROM   (SELECT id FROM (SELECT id FROM users WHERE id > 0 LIMIT 2 FOR UPDATE) AS locked
                        ORDER BY -id OFFSET 0) AS u
            """)
        )

        async def waits_for_the_lock() -> bool:
            return bool(await owner.fetchval("SELECT cardinality(pg_blocking_pids($1))", backend))

        await eventually(waits_for_the_lock)
        await change.commit()
        assert [tuple(row) for row in await locking] == [(8, False)]
    await owner.execute("DROP FUNCTION use_memory")


async def insert_and_raise(connection: Any, error: BaseException) -> None:
    async with locked(connection, LOCK):
        await connection.execute(INSERT)
        raise error


@pytest.mark.parametrize("error", [ValueError("x"), asyncio.CancelledError()])
async def test_a_locked_transaction_that_raises_leaves_nothing_behind(
    workers: Pool, owner: asyncpg.Connection, error: BaseException
) -> None:
    async with workers.acquire() as connection:
        with pytest.raises(type(error)):
            await insert_and_raise(connection, error)
        assert not connection.is_in_transaction()
    assert await lock_is_free(owner)
    assert await count_users(owner) == 0


async def insert_and_swallow(connection: Any) -> None:
    async with locked(connection, LOCK):
        await connection.execute(INSERT)
        with contextlib.suppress(asyncpg.UndefinedTableError):
            await connection.execute("SELECT * FROM nowhere")


async def test_a_failed_statement_that_was_swallowed_does_not_pass_for_a_commit(
    workers: Pool, owner: asyncpg.Connection
) -> None:
    async with workers.acquire() as connection:
        with pytest.raises(asyncpg.InFailedSQLTransactionError):
            await insert_and_swallow(connection)
        assert not connection.is_in_transaction()
    assert await count_users(owner) == 0


async def test_what_waits_for_the_lock_and_is_cut_off_leaves_no_transaction(
    workers: Pool, owner: asyncpg.Connection
) -> None:
    async with owner.transaction():
        await owner.execute(statement(LOCK))

        async def wait() -> None:
            async with workers.acquire() as connection, locked(connection, LOCK):
                raise AssertionError("it must not have the lock")

        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0.1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    async with workers.acquire() as connection:
        assert not connection.is_in_transaction()
        assert await connection.fetchval("SELECT 1") == 1
    assert await lock_is_free(owner)


async def change_and_fail(connection: Any) -> None:
    async with savepoint(connection):
        await connection.execute("UPDATE users SET email = 'changed'")
        await connection.execute(INSERT)


async def test_a_savepoint_undoes_what_failed_inside_it_alone(workers: Pool, owner: asyncpg.Connection) -> None:
    async with workers.acquire() as connection, locked(connection, LOCK):
        await connection.execute(INSERT)
        for _ in range(3):
            with pytest.raises(asyncpg.UniqueViolationError):
                await change_and_fail(connection)
        async with savepoint(connection):
            await connection.execute("UPDATE users SET time_zone = 'Europe/Berlin'")
    [row] = await owner.fetch("SELECT email, time_zone FROM users")
    assert tuple(row) == ("a@b.c", "Europe/Berlin")


@pytest.mark.parametrize("rows", [0, 9, 10, 11, 30])
async def test_deleting_in_chunks_ends_and_tells_how_many(workers: Pool, owner: asyncpg.Connection, rows: int) -> None:
    await owner.execute(
        "INSERT INTO users (username, email, password_hash) SELECT 'u-' || n, 'x', 'x' FROM generate_series(1, $1) n",
        rows,
    )
    sql = "DELETE FROM users WHERE id = ANY (ARRAY(SELECT id FROM users WHERE email = $1 LIMIT $2))"
    assert await delete_in_chunks(workers, sql, "x", chunk=10) == rows
    assert await count_users(owner) == 0

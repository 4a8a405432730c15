"""Transactions that change rows: bounded in time, some begun with a lock; and deletions in small ones."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import asyncpg

from core.database.pools import Connection, Pool

LONGEST_TRANSACTION_SECONDS = 10
LOCK_SECONDS = 5
_UNPRUNED = "SET LOCAL enable_partition_pruning = off"
"""For transactions that lock rows and look into `tasks`.

A row to lock that another transaction has just changed is looked at again, with a second copy of the plan. In
PostgreSQL 18 (18.6 at least) the copy takes over what the statement needs to choose partitions while it runs. When the
last row is locked the copy is freed, and whatever chooses a partition after that crashes the server ("use after free
in run-time partition pruning during EvalPlanQual rechecks"): the claim of deliveries, which asks at its end whether a
task is still open. Without pruning a row is looked for in every partition's index, which costs some microseconds.
"""

BOUNDED = (
    f"SET LOCAL transaction_timeout = '{LONGEST_TRANSACTION_SECONDS:d}s'; "
    f"SET LOCAL lock_timeout = '{LOCK_SECONDS:d}s'; {_UNPRUNED}"
)
"""The beginning of a transaction that takes locks: a process that is frozen in the middle of it does not keep them."""

_FRESH_PLANS = "SET LOCAL plan_cache_mode = 'force_custom_plan'"
"""For transactions whose statements are planned each time that they are executed.

A connection keeps a statement's plan until its tables are analyzed. That of a queue would mostly be one for an empty
table, and from one moment to the next there are a hundred thousand rows.
"""


@contextlib.asynccontextmanager
async def bounded_transaction(pool: Pool, *, fresh_plans: bool = False) -> AsyncIterator[Connection]:
    """A transaction that takes locks: the server ends it when it lasts too long.

    Args:
        pool: of workers.
        fresh_plans: whether its statements are planned anew, for tables that are empty now and large a moment later.
    """
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(f"{BOUNDED}; {_FRESH_PLANS}" if fresh_plans else BOUNDED)
        yield connection


@contextlib.asynccontextmanager
async def transaction_begun_with(connection: Connection, lock: str, *, longest_seconds: float) -> AsyncIterator[str]:
    """A transaction whose first statement takes a lock, begun in one round trip; yields that statement's status.

    A process that is frozen in the middle of it would keep the lock for as long as it stays so: the server ends
    such a transaction, and whoever waited goes on. (Not by the timeout for idle transactions: between the messages
    of one statement a session does not count as idle.)

    Args:
        connection: not in a transaction.
        lock: SQL, without parameters.
        longest_seconds: when the server ends the transaction. It waits for a lock half as long at the most, so that
            who waits for somebody else is told from who takes long himself.
    """
    try:
        yield await connection.execute(
            f"BEGIN; SET LOCAL transaction_timeout = '{longest_seconds * 1000:.0f}ms'; "
            f"SET LOCAL lock_timeout = '{min(LOCK_SECONDS, longest_seconds / 2) * 1000:.0f}ms'; {_UNPRUNED}; {lock}"
        )
        status = await connection.execute("COMMIT")
        if status != "COMMIT":  # a statement had failed: the server has rolled back, and calls that a success
            raise asyncpg.InFailedSQLTransactionError("the transaction was rolled back")
    except BaseException:
        await _roll_back(connection)
        raise


async def _roll_back(connection: Connection) -> None:
    """Ends a transaction of which it is not known how far it came, be it that BEGIN itself was interrupted.

    A connection on which that fails is closed, so that no transaction, with its lock, outlives its user.
    """
    try:
        await connection.execute("ROLLBACK")
    except BaseException as error:
        with contextlib.suppress(asyncpg.InterfaceError):  # it was broken, and the pool has dropped it already
            connection.terminate()
        if not isinstance(error, Exception):
            raise  # a cancellation; else the first error says more


@contextlib.asynccontextmanager
async def savepoint(connection: Connection) -> AsyncIterator[None]:
    """Within a transaction: what is done inside is undone alone if it raises."""
    await connection.execute("SAVEPOINT one")
    try:
        yield
    except Exception:
        if not connection.is_closed():
            await connection.execute("ROLLBACK TO SAVEPOINT one; RELEASE SAVEPOINT one")
        raise
    await connection.execute("RELEASE SAVEPOINT one")


async def delete_in_chunks(pool: Pool, sql: str, *arguments: Any, chunk: int) -> int:
    """Repeats a DELETE whose last parameter is its LIMIT until it finds less than a chunk; returns the rows deleted.

    Small transactions, so that nothing is locked for long and vacuum keeps up.
    """
    total = 0
    while True:
        status = await pool.execute(sql, *arguments, chunk)
        deleted = int(status.rpartition(" ")[2])
        total += deleted
        if deleted < chunk:
            return total

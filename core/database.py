"""PostgreSQL: tables' metadata, pools by role, statements compiled once, and which faults will pass.

SQLAlchemy Core declares and composes; asyncpg executes. Nothing here keeps session state, so every statement
is safe behind a transaction pooler.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import MetaData

from core.errors import DatabaseUnavailable, IdentityRefused, SchemaUnready
from core.readpool import ReadPool
from core.settings import Settings, SettingsError, Tier, missing_login

SCHEMA_REVISION = "0008"
"""The Alembic revision that this code needs; a test holds it to the newest migration."""

API_ROLE = "tenfold_api"
WORKER_ROLE = "tenfold_worker"

CONNECT_SECONDS = 5.0
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

FRESH_PLANS = "SET LOCAL plan_cache_mode = 'force_custom_plan'"
"""The beginning of a transaction whose statements are planned each time that they are executed.

A connection keeps a statement's plan until its tables are analyzed. That of a queue would mostly be one for an empty
table, and from one moment to the next there are a hundred thousand rows.
"""

metadata = MetaData(
    naming_convention={
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "pk": "%(table_name)s_pkey",
    }
)

T = TypeVar("T")

Pool = asyncpg.Pool
Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy

# SQLSTATE classes that pass by themselves: 08 connection, 40 rollback (deadlock, serialization),
# 53 insufficient resources, 57 operator intervention (shutdown, cancel), 58 system error (disk, I/O).
_TRANSIENT_CLASSES = ("08", "40", "53", "57", "58")
# Read-only after a failover; a lock that was not to be had in time; a transaction that took too long and was ended.
_TRANSIENT_STATES = frozenset({"25006", "55P03", "25P03", "25P04"})
# A table, column or function that is not there, or may not be used.
_SCHEMA_STATES = frozenset({"42P01", "42703", "42883", "42501"})
# A login that is refused, and a database that does not exist.
_REFUSAL_CLASSES = ("28", "3D")


def is_transient(error: BaseException) -> bool:
    """Whether the same statement may succeed later: the server was away, busy, or in the middle of a failover."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        return state.startswith(_TRANSIENT_CLASSES) or state in _TRANSIENT_STATES
    # InterfaceError: asyncpg's word for a connection or pool that was closed under the statement; those that are
    # ValueErrors are about arguments. InternalClientError: the server has said farewell, but not hung up yet.
    if isinstance(error, asyncpg.InterfaceError):
        return not isinstance(error, ValueError)
    if isinstance(error, RuntimeError):
        return _tells_closed_transport(error)
    return isinstance(error, asyncpg.InternalClientError | OSError | TimeoutError | asyncio.IncompleteReadError)


def _tells_closed_transport(error: BaseException) -> bool:
    """Whether it is uvloop's word for a write to a transport that the server closed a moment ago."""
    return isinstance(error, RuntimeError) and "handler is closed" in str(error)


def is_data_fault(error: BaseException) -> bool:
    """Whether the data is to blame: class 22 (data exception) or 23 (constraint violation), or refused unsent."""
    if isinstance(error, asyncpg.InterfaceError):
        return isinstance(error, ValueError)
    return isinstance(error, asyncpg.PostgresError) and (error.sqlstate or "").startswith(("22", "23"))


def is_schema_fault(error: BaseException) -> bool:
    """Whether the schema is not what the code needs: its migration is still to come."""
    if isinstance(error, asyncpg.InvalidParameterValueError):
        # Said while connecting: the role that the pool assumes does not exist yet.
        return getattr(error, "severity_en", None) == "FATAL"
    return isinstance(error, asyncpg.PostgresError) and (error.sqlstate or "") in _SCHEMA_STATES


def is_refused_login(error: BaseException) -> bool:
    """Whether the server lets this process in at no time, until somebody corrects its login."""
    return isinstance(error, asyncpg.PostgresError) and (error.sqlstate or "").startswith(_REFUSAL_CLASSES)


def is_unavailable(error: BaseException) -> bool:
    """Whether the database cannot do its work yet: the fault passes by itself, or waits for a login or a migration.

    What was accepted waits with it.
    """
    return (
        is_transient(error)
        or is_schema_fault(error)
        or is_refused_login(error)
        or isinstance(error, DatabaseUnavailable)
    )


def is_missing_reference(error: BaseException) -> bool:
    """Whether a row refers to one that does not exist (any more)."""
    return isinstance(error, asyncpg.ForeignKeyViolationError)


async def _no_reset(_connection: Connection) -> None:
    """Nothing leaves session state, so asyncpg's reset query, a fourth of the throughput, is not needed."""


async def create_pool(
    url: str,
    settings: Settings,
    *,
    role: str | None,
    application: str,
    size: int | None = None,
    seconds: float | None = None,
) -> Pool:
    """A lazy pool: it connects at the first use, so that a service starts while PostgreSQL is away.

    Args:
        url: the server; a login of its own (then `role` is None) or the owner's.
        settings: `database_pool_size`, `database_timeout_seconds`.
        role: assumed at connection start, so that nothing is ever done with the owner's rights.
        application: shown in `pg_stat_activity`.
        size: most connections; `database_pool_size` unless given.
        seconds: the longest that a statement may take; `database_timeout_seconds` unless given.
    """
    server_settings = {"application_name": application, "timezone": "UTC"}
    if role is not None:
        server_settings["role"] = role
    return await asyncpg.create_pool(
        url,
        min_size=0,
        max_size=size or settings.database_pool_size,
        max_inactive_connection_lifetime=0,  # a timer for each use costs more than an idle connection
        timeout=min(CONNECT_SECONDS, seconds or CONNECT_SECONDS),
        command_timeout=seconds or settings.database_timeout_seconds,
        server_settings=server_settings,
        reset=_no_reset,
    )


async def api_pool(settings: Settings) -> Pool:
    """The API's pool: `tenfold_api` may only SELECT, under row-level security.

    Raises:
        SettingsError: in production, where it has no login of its own.
    """
    seconds = settings.read_timeout_seconds
    if settings.api_database_url:
        return await create_pool(
            settings.api_database_url, settings, role=None, application="tenfold api", seconds=seconds
        )
    _require_development(settings, "API")
    return await create_pool(settings.owner_url, settings, role=API_ROLE, application="tenfold api", seconds=seconds)


async def worker_pool(settings: Settings, *, size: int | None = None) -> Pool:
    """The workers' pool: `tenfold_worker` may change rows, not the schema.

    Raises:
        SettingsError: in production, where they have no login of their own.
    """
    if settings.worker_database_url:
        return await create_pool(
            settings.worker_database_url, settings, role=None, application="tenfold worker", size=size
        )
    _require_development(settings, "WORKER")
    return await create_pool(settings.owner_url, settings, role=WORKER_ROLE, application="tenfold worker", size=size)


def _require_development(settings: Settings, tier: Tier) -> None:
    """A role that is assumed can be left again: whoever gets a statement of his own in is the owner then."""
    if not settings.in_development:
        raise SettingsError([missing_login(tier)])


AnyPool = Pool | ReadPool


_BROKEN_CONNECTION = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    OSError,
)


async def fetch_rows(pool: AnyPool, sql: str, *arguments: Any) -> list[asyncpg.Record]:
    """The rows of one statement in autocommit; once more on a fresh connection if the first was broken.

    Raises:
        DatabaseUnavailable: the server is away, or did not answer in time; `SchemaUnready`: it has not been migrated;
            `IdentityRefused`: it accepts neither keys nor clock of this process, or not its login.
    """
    try:
        try:
            return await pool.fetch(sql, *arguments)
        except Exception as error:
            if isinstance(error, TimeoutError):  # an OSError, too; who has waited for long does not wait twice
                raise
            if not (isinstance(error, _BROKEN_CONNECTION) or _tells_closed_transport(error)):
                raise
            # After a restart of the server every pooled connection is broken, and says so only when used.
            await pool.expire_connections()
            return await pool.fetch(sql, *arguments)
    except Exception as error:
        if is_transient(error):
            raise DatabaseUnavailable("the database cannot answer just now") from error
        if is_refused_login(error):
            # What the policies say of a text that they cannot verify; or the login is refused.
            raise IdentityRefused("the database does not accept who this service says it is") from error
        if is_schema_fault(error):
            raise SchemaUnready("the database is being brought up to date") from error
        raise


async def fetch_row(pool: AnyPool, sql: str, *arguments: Any) -> asyncpg.Record | None:
    """The first row of what `fetch_rows` finds."""
    rows = await fetch_rows(pool, sql, *arguments)
    return rows[0] if rows else None


async def within(seconds: float, question: Coroutine[Any, Any, T]) -> T:
    """The answer to a question that can be done without.

    Of a pool of asyncpg, its own timeout does not bound the wait: when it has passed, the cancelling is waited for as
    long again, and a connection of an exhausted pool for ever. That goes on here by itself.

    Raises:
        DatabaseUnavailable: there was none in time.
    """
    asking = asyncio.create_task(question)
    try:
        await asyncio.wait({asking}, timeout=seconds)
    finally:
        if not asking.done():
            asking.add_done_callback(lambda task: task.cancelled() or task.exception())  # which is no news
            asking.cancel()
    if asking.done():
        return asking.result()
    raise DatabaseUnavailable("the database does not answer")


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


async def applied_revision(pool: AnyPool) -> str | None:
    """The Alembic revision of the database; None where it was never migrated.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    try:
        row = await fetch_row(pool, "SELECT version_num FROM alembic_version")
    except SchemaUnready:
        return None
    return None if row is None else row["version_num"]


def pool_counts(pool: AnyPool) -> dict[str, int]:
    """Connections by state: `idle`, `busy`, and `limit`, the most there may be."""
    idle = pool.get_idle_size()
    return {"idle": idle, "busy": pool.get_size() - idle, "limit": pool.get_max_size()}


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

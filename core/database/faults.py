"""Which faults of PostgreSQL pass by themselves, and who is to blame for the others."""

import asyncio

import asyncpg

from core.errors import DatabaseUnavailable

# SQLSTATE classes that pass by themselves: 08 connection, 40 rollback (deadlock, serialization),
# 53 insufficient resources, 57 operator intervention (shutdown, cancel), 58 system error (disk, I/O).
_TRANSIENT_CLASSES = ("08", "40", "53", "57", "58")
# Read-only after a failover; a lock that was not to be had in time; a transaction that took too long and was ended.
_TRANSIENT_STATES = frozenset({"25006", "55P03", "25P03", "25P04"})
# A table, column or function that is not there, or may not be used.
_SCHEMA_STATES = frozenset({"42P01", "42703", "42883", "42501"})
# A login that is refused, and a database that does not exist.
_REFUSAL_CLASSES = ("28", "3D")

_BROKEN_CONNECTION = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    OSError,
)


def is_transient(error: BaseException) -> bool:
    """Whether the same statement may succeed later: the server was away, busy, or in the middle of a failover."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        return state.startswith(_TRANSIENT_CLASSES) or state in _TRANSIENT_STATES
    # InterfaceError: asyncpg raises it where a connection or pool was closed under the statement; as a ValueError it is
    # about arguments. InternalClientError: the server has ended the session, but not closed the connection yet.
    if isinstance(error, asyncpg.InterfaceError):
        return not isinstance(error, ValueError)
    if isinstance(error, RuntimeError):
        return _tells_closed_transport(error)
    return isinstance(error, asyncpg.InternalClientError | OSError | TimeoutError | asyncio.IncompleteReadError)


def _tells_closed_transport(error: BaseException) -> bool:
    """Whether it is what uvloop raises for a write to a transport that the server has just closed."""
    return isinstance(error, RuntimeError) and "handler is closed" in str(error)


def is_broken_connection(error: BaseException) -> bool:
    """Whether only this connection may be to blame: another may get an answer at once."""
    return isinstance(error, _BROKEN_CONNECTION) or _tells_closed_transport(error)


def may_be_stale(error: BaseException) -> bool:
    """Whether the session may be what the database knows no more, while a new one would be let in.

    A session stays whom it was made for: of a role that was dropped and made again, it is still the one that is gone.
    """
    return is_schema_fault(error) or is_refused_login(error)


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
    """Whether the server refuses this process until somebody corrects its login."""
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

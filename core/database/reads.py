"""Reads: one statement in autocommit, with the faults that callers know."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import asyncpg

from core.database.faults import is_broken_connection, is_refused_login, is_schema_fault, is_transient, may_be_stale
from core.database.pools import AnyPool
from core.database.read_pool import ReadPool
from core.errors import DatabaseUnavailable, IdentityRefused, SchemaUnready

T = TypeVar("T")


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
            # After a restart of the server every pooled connection is broken, and says so only when used; likewise
            # after roles were made anew. While the schema is missing, a read a second finds out.
            if not is_broken_connection(error) and not (may_be_stale(error) and _renewal_is_due(pool)):
                raise
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


def _renewal_is_due(pool: AnyPool) -> bool:
    return not isinstance(pool, ReadPool) or pool.renewal_is_due()


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

"""Applies migrations: `tenfold migrate`, the tests and the development server all come through here."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

# Any fixed number: two migrations of one database at a time would race.
_MIGRATION_LOCK = 7_310_261_120

T = TypeVar("T")

OLDEST_POSTGRESQL = 17  # transaction_timeout


def configuration() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    return config


def heads() -> list[str]:
    """The newest revisions that the code knows; more than one is a mistake that a test finds."""
    return list(ScriptDirectory.from_config(configuration()).get_heads())


def upgrade(database_url: str, revision: str = "head") -> None:
    """Brings the database to `revision`; waits for another migration of it to end first.

    Args:
        database_url: `postgresql://…` of the owner, who must be allowed to create roles.
    """
    _with_config(database_url, lambda config: command.upgrade(config, revision))


def downgrade(database_url: str, revision: str) -> None:
    """Takes the database back to `revision`; `base` removes everything."""
    _with_config(database_url, lambda config: command.downgrade(config, revision))


def pending(database_url: str) -> list[str]:
    """The revisions that are still to be applied, oldest first."""

    def missing(connection: Connection) -> list[str]:
        context = MigrationContext.configure(connection)
        scripts = ScriptDirectory.from_config(configuration())
        applied = set(context.get_current_heads())
        done = {script.revision for head in applied for script in scripts.iterate_revisions(head, "base")}
        ahead = [script.revision for script in scripts.walk_revisions() if script.revision not in done]
        return ahead[::-1]

    return asyncio.run(_in_connection(database_url, missing))


def revisions(database_url: str) -> list[tuple[str, str, bool]]:
    """Every revision that the code knows, oldest first: its name, what it adds, whether it is applied."""
    left = set(pending(database_url))
    scripts = list(ScriptDirectory.from_config(configuration()).walk_revisions())[::-1]
    return [(script.revision, script.doc.splitlines()[0], script.revision not in left) for script in scripts]


def connected_tiers(database_url: str, logins: Sequence[str]) -> list[tuple[str, str, int]]:
    """Who works on the database now: application, login, how many connections.

    Args:
        logins: of tiers. A pooler's connections may have no other sign.
    """

    async def ask(owner: asyncpg.Connection) -> list[tuple[str, str, int]]:
        rows = await owner.fetch(_CONNECTED, list(logins))
        return [(row["application"], row["login"], row["connections"]) for row in rows]

    return asyncio.run(_asked(database_url, ask))


def require_version(database_url: str) -> None:
    """
    Raises:
        ValueError: the server is older than what the migrations need.
    """

    async def ask(owner: asyncpg.Connection) -> None:
        version = owner.get_server_version()
        if version.major < OLDEST_POSTGRESQL:
            raise ValueError(
                f"this is PostgreSQL {version.major}, and Tenfold needs {OLDEST_POSTGRESQL} or later. "
                "Nothing was done: upgrade the server, or name another one in DATABASE_URL"
            )

    asyncio.run(_asked(database_url, ask))


async def _asked(database_url: str, question: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
    owner = await asyncpg.connect(database_url, server_settings={"application_name": "tenfold migrate"})
    try:
        return await question(owner)
    finally:
        await owner.close()


_CONNECTED = """
SELECT application_name AS application, usename::text AS login, count(*) AS connections
FROM   pg_stat_activity
WHERE  datname = current_database()
AND    (application_name IN ('tenfold api', 'tenfold worker') OR usename = ANY ($1::text[]))
GROUP  BY 1, 2
ORDER  BY 1, 2
"""


def _with_config(database_url: str, act: Callable[[Config], None]) -> None:
    def locked(connection: Connection) -> None:
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
        config = configuration()
        config.attributes["connection"] = connection
        act(config)

    asyncio.run(_in_connection(database_url, locked))


async def _in_connection(database_url: str, act: Callable[[Connection], T]) -> T:
    async def connect() -> asyncpg.Connection:
        # asyncpg reads the URL itself, with every option of libpq's form that SQLAlchemy would stumble over.
        return await asyncpg.connect(
            database_url, server_settings={"application_name": "tenfold migrate", "timezone": "UTC"}
        )

    engine = create_async_engine("postgresql+asyncpg://", poolclass=NullPool, async_creator=connect)
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(act)
    finally:
        await engine.dispose()

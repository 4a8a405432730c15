"""Pools of connections, one for each tier's login.

Nothing keeps session state, so every statement is safe behind a transaction pooler.
"""

import asyncpg

from core.database.read_pool import ReadPool
from core.settings import Settings, SettingsError, Tier, missing_login

API_ROLE = "tenfold_api"
WORKER_ROLE = "tenfold_worker"

CONNECT_SECONDS = 5.0

Pool = asyncpg.Pool
Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy
AnyPool = Pool | ReadPool


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


def pool_counts(pool: AnyPool) -> dict[str, int]:
    """Connections by state: `idle`, `busy`, and `limit`, the most there may be."""
    idle = pool.get_idle_size()
    return {"idle": idle, "busy": pool.get_size() - idle, "limit": pool.get_max_size()}

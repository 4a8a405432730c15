"""Connections with the rights of each tier, on one database that each test finds empty."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg
import pytest
from arq.connections import ArqRedis

from core.database.pools import Pool, api_pool, worker_pool
from core.database.read_pool import ReadPool
from core.identity import Identities
from core.redis.clients import queue_client
from core.settings import Settings
from tests.harness import EMPTY_TABLES, Servers, connection, flush, insert_user


@dataclass(frozen=True)
class Cast:
    """User ids."""

    alice: int
    bob: int
    admin: int


@pytest.fixture(scope="session")
async def _core_settings(servers: Servers) -> AsyncIterator[Settings]:
    async with servers.fresh_settings({}) as settings:
        yield settings


@pytest.fixture
async def settings(_core_settings: Settings) -> Settings:
    """Not a database for each test, as elsewhere: most tests here take less time than making one."""
    async with connection(_core_settings.database_url) as owner:
        await owner.execute(EMPTY_TABLES)
    await flush(_core_settings.queue_redis_url)
    await flush(_core_settings.redis_url)
    return _core_settings


@pytest.fixture
async def owner(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    """Whom row-level security does not bind."""
    async with connection(settings.database_url) as owner:
        yield owner


@pytest.fixture
async def superuser(settings: Settings, servers: Servers) -> AsyncIterator[asyncpg.Connection]:
    """Who may end what others do."""
    async with connection(servers.postgres.superuser_url(settings.database_url.rpartition("/")[2])) as superuser:
        yield superuser


@pytest.fixture
async def cast(owner: asyncpg.Connection) -> Cast:
    return Cast(
        alice=await insert_user(owner, "alice"),
        bob=await insert_user(owner, "bob"),
        admin=await insert_user(owner, "admin", role="admin"),
    )


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[Pool]:
    """The API's pool."""
    pool = await api_pool(settings)
    yield pool
    await pool.close()


@pytest.fixture
def identities(settings: Settings) -> Identities:
    """What the API signs."""
    return Identities.of(settings)


@pytest.fixture
async def reads(api: Pool, identities: Identities) -> AsyncIterator[ReadPool]:
    """The API's pool as its reads want it."""
    pool = ReadPool(api, identities)
    yield pool
    await pool.close()


@pytest.fixture
async def workers(settings: Settings) -> AsyncIterator[Pool]:
    """The workers' pool."""
    pool = await worker_pool(settings)
    yield pool
    await pool.close()


@pytest.fixture
async def queue(settings: Settings) -> AsyncIterator[ArqRedis]:
    """A client of the queue server."""
    client = queue_client(settings.queue_redis_url)
    yield client
    await client.aclose(close_connection_pool=True)

"""What jobs work with, on one database that each test finds empty."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
import structlog

from core.settings import Settings
from core.storage import Storage
from tests.harness import EMPTY_TABLES, Servers, connection, flush
from tests.worker.commands import new_user
from worker.main import connected
from worker.runner import Services


@pytest.fixture(autouse=True)
def _plain_logs() -> Iterator[None]:
    """Refusals are what is tested here, and structlog's own form of a traceback takes longer than any of them."""
    before = structlog.get_config()
    structlog.configure(processors=[structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()])
    yield
    structlog.configure(**before)


@pytest.fixture(scope="session")
async def _worker_settings(servers: Servers) -> AsyncIterator[Settings]:
    async with servers.fresh_settings({}) as settings:
        yield settings


@pytest.fixture
async def settings(_worker_settings: Settings) -> Settings:
    """Not a database for each test, as elsewhere: most tests here take less time than making one."""
    async with connection(_worker_settings.database_url) as owner:
        await owner.execute(EMPTY_TABLES)
    await flush(_worker_settings.queue_redis_url)
    await flush(_worker_settings.redis_url)
    return _worker_settings


@pytest.fixture
async def services(settings: Settings, tmp_path: Path) -> AsyncIterator[Services]:
    """As a worker process has them, with a store of the test's own; no worker runs."""
    async with connected(settings, asyncio.Event()) as services:
        yield replace(services, storage=Storage(tmp_path.as_uri()))


@pytest.fixture
async def owner(services: Services) -> AsyncIterator[asyncpg.Connection]:
    async with connection(services.settings.database_url) as owner:
        yield owner


@pytest.fixture
async def alice(owner: asyncpg.Connection) -> int:
    return await new_user(owner)


@pytest.fixture
async def bob(owner: asyncpg.Connection) -> int:
    return await new_user(owner)

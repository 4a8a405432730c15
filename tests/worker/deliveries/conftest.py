"""Deliveries may go to this machine; no event has happened yet."""

from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest

from tests.harness import connection
from worker.runner import Services


@pytest.fixture
async def services(services: Services) -> Services:
    """Whose deliveries may go to this machine."""
    return replace(services, settings=replace(services.settings, allow_private_targets=True))


@pytest.fixture
async def owner(services: Services) -> AsyncIterator[asyncpg.Connection]:
    async with connection(services.settings.database_url) as owner:
        await owner.execute("DELETE FROM fan_outs; DELETE FROM events")
        yield owner

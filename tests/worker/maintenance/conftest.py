"""No run of maintenance is on record yet."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.harness import connection
from worker.runner import Services


@pytest.fixture
async def owner(services: Services) -> AsyncIterator[asyncpg.Connection]:
    async with connection(services.settings.database_url) as owner:
        await owner.execute("DELETE FROM maintenance_runs")
        yield owner

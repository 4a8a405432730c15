"""Nobody has reminders yet, and alice's offsets make two for each task."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.harness import connection
from tests.worker.commands import new_user
from worker.runner import Services


@pytest.fixture
async def owner(services: Services) -> AsyncIterator[asyncpg.Connection]:
    async with connection(services.settings.database_url) as owner:
        await owner.execute("DELETE FROM events; DELETE FROM reminders")
        yield owner


@pytest.fixture
async def alice(owner: asyncpg.Connection) -> int:
    """Is reminded a day and an hour before."""
    user_id = await new_user(owner)
    await owner.execute("UPDATE users SET reminder_offsets = '{P1D,PT1H}' WHERE id = $1", user_id)
    return user_id

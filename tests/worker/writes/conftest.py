"""A user who was deleted before their command is carried out."""

import asyncpg
import pytest

from tests.worker.commands import new_user


@pytest.fixture
async def gone(owner: asyncpg.Connection) -> int:
    """A user who was deleted."""
    user_id = await new_user(owner)
    await owner.execute("DELETE FROM users WHERE id = $1", user_id)
    return user_id

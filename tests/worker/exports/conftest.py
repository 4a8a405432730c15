"""Tasks whose texts programs stumble over, and a store that waits where a test says."""

from dataclasses import replace
from datetime import UTC, datetime

import asyncpg
import pytest

from tests.worker.commands import insert_task
from tests.worker.exports.harness import TRICKY, HeldStorage
from worker.runner import Services


@pytest.fixture
async def tricky(owner: asyncpg.Connection, alice: int) -> list[int]:
    """Alice's tasks, whose texts are what programs stumble over."""
    moment = datetime(2026, 3, 29, 1, 30, 0, 123456, UTC)
    return [
        await insert_task(
            owner,
            alice,
            title=text,
            description=text * 2,
            priority=number % 10 + 1,
            status=("pending", "completed", "blocked", "in_progress", "cancelled")[number % 5],
            completed_at=moment if number % 5 == 1 else None,
            due_date=moment if number % 2 else None,
            labels=[text.replace(",", ""), "plain", "=sum"][: number % 4] if text != "," else [],
        )
        for number, text in enumerate(TRICKY)
    ]


@pytest.fixture
def held(services: Services) -> Services:
    return replace(services, storage=HeldStorage(services.storage.url))

"""Runs of maintenance: on record, and ordered."""

from typing import Any

import asyncpg

from tests.worker.commands import TAKEN_AT, apply, command
from worker.runner import Services


async def runs(owner: asyncpg.Connection, name: str) -> list[asyncpg.Record]:
    return list(await owner.fetch("SELECT * FROM maintenance_runs WHERE name = $1 ORDER BY id", name))


async def order(services: Services, user_id: int, name: str, arguments: dict[str, Any] | None = None) -> str:
    """Has a user, who becomes an admin, order maintenance."""
    await services.pool.execute("UPDATE users SET role = 'admin' WHERE id = $1", user_id)
    ordered = command("maintenance", user_id, {"name": name, "arguments": arguments or {}}, created_at=TAKEN_AT)
    [outcome] = await apply(services, ordered)
    assert outcome["status_code"] == 202
    return ordered.id

"""Channels and events with their deliveries, and what has become of them."""

from typing import Any

import asyncpg

from core import clock
from core.channels.signatures import Secret
from core.encryption import SecretBox
from worker.runner import Services


async def channel(services: Services, owner: asyncpg.Connection, user_id: int, url: str, **columns: Any) -> int:
    """A webhook's row, as a command would have made it."""
    box = SecretBox.of(services.settings)
    secret = Secret.of(b"k" * 32, clock.now())
    values = {
        "user_id": user_id,
        "kind": "webhook",
        "url_encrypted": box.seal(url, user_id=user_id, purpose="url"),
        "url_masked": "http://masked/***",
        "secrets_encrypted": [box.seal(secret.dump(), user_id=user_id, purpose="secret")],
        **columns,
    }
    places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
    made: int = await owner.fetchval(
        f"INSERT INTO channels ({', '.join(values)}) VALUES ({places}) RETURNING id", *values.values()
    )
    return made


async def events(
    owner: asyncpg.Connection,
    user_id: int,
    channel_id: int,
    number: int = 1,
    event: str = "task.created",
    task_id: int | None = None,
) -> list[int]:
    """Events with a delivery each; returns the deliveries."""
    rows = await owner.fetch(
        """
        WITH e AS (
            INSERT INTO events (user_id, type, task_id, data)
            SELECT $1, $3, $5, '{"task": {"title": "a task"}}' FROM generate_series(1, $4) RETURNING id
        )
        INSERT INTO deliveries (event_id, channel_id, user_id, next_attempt_at)
        SELECT e.id, $2, $1, now() - interval '1 second' FROM e RETURNING id
        """,
        user_id,
        channel_id,
        event,
        number,
        task_id,
    )
    return [row["id"] for row in rows]


async def states(owner: asyncpg.Connection) -> dict[str, int]:
    rows = await owner.fetch("SELECT state, count(*) AS number FROM deliveries GROUP BY state")
    return {row["state"]: row["number"] for row in rows}


async def row_of(owner: asyncpg.Connection, delivery_id: int) -> dict[str, Any]:
    row = await owner.fetchrow("SELECT * FROM deliveries WHERE id = $1", delivery_id)
    assert row is not None
    return dict(row)


async def channel_row(owner: asyncpg.Connection, channel_id: int) -> dict[str, Any]:
    row = await owner.fetchrow("SELECT * FROM channels WHERE id = $1", channel_id)
    assert row is not None
    return dict(row)


async def make_due(owner: asyncpg.Connection) -> None:
    await owner.execute("UPDATE deliveries SET next_attempt_at = now() WHERE state IN ('pending', 'failed')")
    await owner.execute("UPDATE channels SET held_until = NULL")

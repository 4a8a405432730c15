"""Tasks and channels of users who want reminders, and several workers that send them at once."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from core.reminders.writes.sending import Sent, send_due
from tests.worker.commands import apply, command, update
from worker.runner import Services

DUE = datetime(2099, 3, 30, 12, tzinfo=UTC)
SENDERS = 3
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


async def channel(owner: asyncpg.Connection, user_id: int, *events: str) -> int:
    channel_id: int = await owner.fetchval(
        "INSERT INTO channels (user_id, kind, url_encrypted, url_masked, events)"
        " VALUES ($1, 'webhook', '', 'https://example.com', $2) RETURNING id",
        user_id,
        list(events),
    )
    return channel_id


async def new_task(services: Services, user_id: int, **fields: Any) -> int:
    fields = {"title": "Renew it", "due_date": DUE.isoformat(), **fields}
    [outcome] = await apply(services, command("task.create", user_id, {"fields": fields}))
    task_id: int = outcome["result"]["id"]
    return task_id


async def set_own(services: Services, user_id: int, task_id: int, *rules: str) -> dict[str, Any]:
    [outcome] = await apply(services, command("task.reminders", user_id, {"id": task_id, "reminders": list(rules)}))
    return outcome


async def reminders_of(owner: asyncpg.Connection, task_id: int) -> dict[str, tuple[datetime | None, str]]:
    rows = await owner.fetch("SELECT rule, due_at, state FROM reminders WHERE task_id = $1", task_id)
    return {row["rule"]: (row["due_at"], row["state"]) for row in rows}


async def change(services: Services, user_id: int, task_id: int, **fields: Any) -> None:
    [outcome] = await apply(services, update(user_id, task_id, fields))
    assert outcome["status_code"] == 200


async def send(services: Services, now: datetime, *, digest_over: int = 20) -> Sent:
    """Sends what is due, with three workers at once, until none finds any more."""
    total, is_all = Sent(), False
    while not is_all:
        ended = await asyncio.gather(
            *(send_due(services.pool, now, digest_over=digest_over) for _ in range(SENDERS)), return_exceptions=True
        )
        is_all = True
        for sent in ended:
            if isinstance(sent, BaseException):
                raise sent
            is_all = is_all and not sent.reminders
            total.lateness += sent.lateness
            total.digests += sent.digests
            total.cancelled += sent.cancelled
            total.calls_for_delivery |= sent.calls_for_delivery
    return total

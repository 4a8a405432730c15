"""As a user sees it: `tenfold dev` with two workers of each kind reminds by webhook and by mail, once each."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from standardwebhooks import Webhook

from ops.ports import free_port
from tests.harness import PASSWORD, eventually
from tests.ops.running import Running
from tests.receivers import mailbox, receiver

AHEAD = timedelta(minutes=1)
SOON = timedelta(seconds=5)
SECOND_LOOKS = 3.0
"""Seconds in which each worker looks for what is due at least once more."""


@asynccontextmanager
async def installation() -> AsyncIterator[str]:
    """Its address."""
    # Not pytest's folder, which other runs of it close to the user that PostgreSQL runs as when we are root.
    with tempfile.TemporaryDirectory(prefix="tenfold-dev-") as folder:
        async with installation_in(Path(folder)) as url:
            yield url


@asynccontextmanager
async def installation_in(folder: Path) -> AsyncIterator[str]:
    port = str(free_port())
    variables = {
        "PORT": port,
        "WORKER_METRICS_PORT": "0",
        "TENFOLD_HOME": str(folder / "home"),
        "ALLOW_PRIVATE_TARGETS": "true",
        "RATE_LIMIT_PER_MINUTE": "0",
    }
    run = Running("dev", "--workers", "2", cwd=folder, variables=variables)
    with run:
        try:
            await asyncio.to_thread(run.wait_for, "Tenfold is ready", timeout=120)
            await asyncio.to_thread(run.wait_for, "worker ready", times=6)
            yield f"http://127.0.0.1:{port}"
        finally:
            await asyncio.to_thread(run.stop)


async def ask(client: aiohttp.ClientSession, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
    async with client.request(method, path, json=body) as answer:
        assert answer.status == status, await answer.text()
        return await answer.json()


async def log_in(client: aiohttp.ClientSession) -> None:
    """Registers somebody, and goes on in their name."""
    name = {"username": "ada", "password": PASSWORD}
    await ask(client, "POST", "/auth/register", {**name, "email": "ada@example.com"}, status=201)
    token = (await ask(client, "POST", "/auth/login", name))["access_token"]
    client.headers["Authorization"] = f"Bearer {token}"


@pytest.mark.timeout(240)
async def test_a_reminder_a_minute_ahead_is_one_signed_webhook_one_mail_and_one_notification() -> None:
    async with receiver() as hook, installation() as url, aiohttp.ClientSession(url) as client:
        with mailbox() as box:
            await log_in(client)
            secret = (await ask(client, "POST", "/channels", {"url": f"{hook.url}/hook"}, status=201))["secret"]
            address = f"mailto://{box.address}/?to=ada@example.com&from=tenfold@example.com"
            await ask(client, "POST", "/channels", {"url": address}, status=201)
            due = (datetime.now(UTC) + AHEAD + SOON).replace(microsecond=0)
            wanted = {"title": "Take the cake out", "due_date": due.isoformat()}
            task = await ask(client, "POST", "/tasks", wanted, status=201)
            reminders = f"/tasks/{task['id']}/reminders"
            [planned] = (await ask(client, "PUT", reminders, {"reminders": ["PT1M"]}))["reminders"]
            assert datetime.fromisoformat(planned["due_at"]) == due - AHEAD

            async def delivered() -> Any:
                items = (await ask(client, "GET", "/deliveries?state=delivered"))["items"]
                return items if len(items) == 2 else None

            deliveries = await eventually(delivered, timeout=60)
            assert datetime.now(UTC) >= due - AHEAD
            await asyncio.sleep(SECOND_LOOKS)

        [webhook] = hook.received
        content = Webhook(secret).verify(webhook.body, webhook.headers)
        assert content["type"] == "task.reminder"
        told = content["data"]["task"]
        assert (told["id"], told["title"]) == (task["id"], "Take the cake out")
        assert content["data"]["reminder"] == {"due_at": planned["due_at"], "late_by": 0}
        [mail] = box.mails
        assert mail["To"] == "ada@example.com"
        assert "Take the cake out" in str(mail["Subject"])
        shown = [(one["event"], one["attempts"], one["last_error"]) for one in deliveries]
        assert shown == [("task.reminder", 1, None)] * 2
        [note] = (await ask(client, "GET", "/notifications"))["items"]
        assert (note["event"], note["task_id"]) == ("task.reminder", task["id"])
        [sent] = (await ask(client, "GET", reminders))["reminders"]
        assert sent["state"] == "sent"

"""Workers that are killed between the claim of reminders and its commit: each is sent once, and none is missing."""

import secrets
from pathlib import Path

import asyncpg
import psutil
import pytest

from core import clock
from core.channels.signatures import Secret
from core.encryption import SecretBox
from core.settings import Settings
from tests.conftest import MakeSettings
from tests.faults.harness import Tier, worker_for
from tests.harness import connection, eventually, insert_user
from tests.receivers import Receiver, message_ids, receiver

pytestmark = [pytest.mark.faults, pytest.mark.timeout(180)]

WORKERS = 3
USERS = 60
TASKS = 150
KILLS = 4
SENDING_SECONDS = 0.5

# The rows are locked by then, and nothing is committed.
SLOWLY = f"""
CREATE FUNCTION take_time() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_sleep({SENDING_SECONDS});
    RETURN NULL;
END $$;
CREATE TRIGGER take_time AFTER INSERT ON notifications FOR EACH STATEMENT EXECUTE FUNCTION take_time()
"""

SENDING = """
SELECT client_port FROM pg_stat_activity
WHERE  datname = current_database() AND state = 'active' AND query LIKE '%INSERT INTO notifications%'
AND    pid <> pg_backend_pid()
"""


async def fill(settings: Settings, owner: asyncpg.Connection, hook: Receiver) -> None:
    """Users with a channel each, and reminders that are due now."""
    box = SecretBox.of(settings)
    for number in range(USERS):
        user_id = await insert_user(owner, f"user-{number}")
        secret = Secret.of(secrets.token_bytes(32), clock.now())
        await owner.execute(
            "INSERT INTO channels (user_id, kind, url_encrypted, url_masked, secrets_encrypted, events)"
            " VALUES ($1, 'webhook', $2, '', $3, '{task.reminder}')",
            user_id,
            box.seal(hook.url, user_id=user_id, purpose="url"),
            [box.seal(secret.dump(), user_id=user_id, purpose="secret")],
        )
        await owner.execute("UPDATE users SET reminder_offsets = '{PT1H}' WHERE id = $1", user_id)
        await owner.execute(
            "INSERT INTO tasks (user_id, title, due_date)"
            " SELECT $1, n::text, now() + interval '1 day' FROM generate_series(1, $2::int) AS n",
            user_id,
            TASKS,
        )
    await owner.execute("UPDATE reminders SET due_at = now()")


async def one_that_sends(owner: asyncpg.Connection, workers: list[Tier]) -> Tier:
    """Waits until a worker has claimed reminders and not committed."""

    async def look() -> Tier | None:
        ports = {row["client_port"] for row in await owner.fetch(SENDING)}
        return next((worker for worker in workers if ports & ports_of(worker)), None)

    found: Tier = await eventually(look, timeout=30)
    return found


def ports_of(worker: Tier) -> set[int]:
    """From which it talks to servers."""
    return {one.laddr.port for one in psutil.Process(worker.pid).net_connections("tcp") if one.laddr}


async def test_killed_senders_lose_no_reminder_and_send_none_twice(make_settings: MakeSettings, tmp_path: Path) -> None:
    settings = await make_settings()
    variables = {"ALLOW_PRIVATE_TARGETS": "true", "REMINDER_DIGEST_OVER": str(TASKS)}
    workers = [worker_for(settings, tmp_path, f"worker-{number}", "time", **variables) for number in range(WORKERS)]
    async with connection(settings.database_url) as owner, receiver() as hook:
        await fill(settings, owner, hook)
        await owner.execute(SLOWLY)
        try:
            for worker in workers:
                worker.start()
            for _ in range(KILLS):
                victim = await one_that_sends(owner, workers)
                before = await owner.fetchval("SELECT count(*) FROM notifications")
                victim.kill()
                # Those of a worker that dies while it also delivers would be tried again in two minutes.
                await owner.execute(
                    "UPDATE deliveries SET next_attempt_at = now() WHERE lease_owner LIKE $1 AND state <> 'delivered'",
                    f"%-{victim.pid}-%",
                )
                assert before < USERS * TASKS, "all were sent before the last was killed"
                victim.start()

            async def done() -> bool:
                left: int = await owner.fetchval("SELECT count(*) FROM reminders WHERE state <> 'sent'")
                undelivered: int = await owner.fetchval("SELECT count(*) FROM deliveries WHERE state <> 'delivered'")
                return left == 0 and undelivered == 0

            await eventually(done, timeout=90)
        finally:
            for worker in workers:
                worker.kill()
        for table in ("notifications", "events"):
            counted = await owner.fetchrow(f"SELECT count(*), count(DISTINCT task_id) FROM {table}")
            assert counted is not None
            assert (table, *counted) == (table, USERS * TASKS, USERS * TASKS)
        wanted = await message_ids(owner)
        assert len(wanted) == USERS * TASKS
        assert {received.id for received in hook.received} == wanted

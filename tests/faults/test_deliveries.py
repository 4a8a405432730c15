"""Workers that are killed in the middle of deliveries, and a queue that is emptied: nothing is missing, nothing twice
on record."""

import os
import secrets
import sys
from collections import Counter
from pathlib import Path

import asyncpg
import pytest

from core import clock
from core.channels.signatures import Secret
from core.encryption import SecretBox
from core.settings import Settings
from tests.conftest import MakeSettings
from tests.faults.harness import Tier
from tests.harness import SECRET, connection, eventually, flush, insert_user
from tests.receivers import Receiver, receiver

pytestmark = pytest.mark.faults

DELIVERIES = 10_000
KILLS = 20
WORKERS = 2

RECORDING = """
CREATE TABLE recorded (id bigint);
GRANT INSERT ON recorded TO tenfold_worker;
CREATE FUNCTION record() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO recorded VALUES (NEW.id);
    RETURN NULL;
END $$;
CREATE TRIGGER record AFTER UPDATE ON deliveries FOR EACH ROW
    WHEN (NEW.state = 'delivered' AND OLD.state <> 'delivered') EXECUTE FUNCTION record()
"""


def worker(settings: Settings, folder: Path, number: int) -> Tier:
    environment = {
        **os.environ,
        "DATABASE_URL": settings.database_url,
        "QUEUE_REDIS_URL": settings.queue_redis_url,
        "REDIS_URL": settings.redis_url,
        "JWT_SECRET_KEY": SECRET,
        "SECRETS_KEY": SECRET[::-1],
        "ALLOW_PRIVATE_TARGETS": "true",
        "WORKER_METRICS_PORT": "0",
        "TENFOLD_HOME": str(folder),
    }
    command = [sys.executable, "-m", "worker", "--queue", "time"]
    return Tier(f"worker {number}", command, environment, folder / f"worker-{number}.log")


async def fill(settings: Settings, owner: asyncpg.Connection, hook: Receiver) -> None:
    """One channel, and what it is to be told of."""
    user_id = await insert_user(owner, "alice")
    box = SecretBox.of(settings)
    secret = Secret.of(secrets.token_bytes(32), clock.now())
    await owner.execute(
        "INSERT INTO channels (user_id, kind, url_encrypted, url_masked, secrets_encrypted, events)"
        " VALUES ($1, 'webhook', $2, '', $3, '{task.reminder}')",
        user_id,
        box.seal(hook.url, user_id=user_id, purpose="url"),
        [box.seal(secret.dump(), user_id=user_id, purpose="secret")],
    )
    await owner.execute(
        "INSERT INTO events (user_id, type, data) SELECT $1, 'task.reminder', '{}' FROM generate_series(1, $2::int)",
        user_id,
        DELIVERIES,
    )


async def test_killed_workers_lose_nothing_and_record_nothing_twice(
    make_settings: MakeSettings, tmp_path: Path
) -> None:
    settings = await make_settings()
    async with connection(settings.database_url) as owner, receiver() as hook:
        await fill(settings, owner, hook)
        # What is recorded as delivered, each time that it is.
        await owner.execute(RECORDING)
        workers = [worker(settings, tmp_path, number) for number in range(WORKERS)]
        try:
            for tier in workers:
                tier.start()
            for number in range(KILLS):
                goal = DELIVERIES * (number + 1) // (KILLS + 5)

                async def reached(goal: int = goal) -> bool:
                    return len(hook.received) >= goal

                await eventually(reached, timeout=60)
                victim = workers[number % WORKERS]
                victim.kill()
                # Its leases would lapse in two minutes.
                await owner.execute(
                    "UPDATE deliveries SET next_attempt_at = now() WHERE lease_owner LIKE $1", f"%-{victim.pid}-%"
                )
                if number == KILLS // 2:
                    await flush(settings.queue_redis_url)
                victim.start()

            async def done() -> bool:
                left: int = await owner.fetchval("SELECT count(*) FROM deliveries WHERE state <> 'delivered'")
                return left == 0

            await eventually(done, timeout=60)
        finally:
            for tier in workers:
                tier.kill()
        wanted = {f"msg_{row['id']}" for row in await owner.fetch("SELECT id FROM deliveries")}
        assert len(wanted) == DELIVERIES
        assert {received.id for received in hook.received} == wanted
        recorded = Counter(row["id"] for row in await owner.fetch("SELECT id FROM recorded"))
        assert len(recorded) == DELIVERIES
        assert set(recorded.values()) == {1}

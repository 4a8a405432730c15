"""Reminders and deliveries while workers are killed, the queue is emptied, and receivers do what they like: nothing is
missing, nothing twice on record, and nobody waits for others."""

import asyncio
import os
import secrets
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import asyncpg
import psutil
import pytest
from aiohttp import web

from core import clock
from core.channels.signatures import Secret
from core.encryption import SecretBox
from core.settings import Settings
from tests.conftest import MakeSettings
from tests.faults.conftest import Measure
from tests.faults.dying_worker import AFTER_DELIVERIES_RECORD, BEFORE_DELIVERIES_RECORD, BEFORE_REMINDERS_COMMIT
from tests.faults.harness import Tier
from tests.harness import SECRET, connection, eventually, flush, insert_user, tier_urls
from tests.receivers import Received, Receiver, message_ids, raw_receiver, receiver
from worker.deliveries.webhook import TIMEOUT_SECONDS

pytestmark = pytest.mark.faults

# Recorded each time that a delivery becomes delivered.
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


class Cast:
    """Workers of one database, and what they are to send."""

    def __init__(self, settings: Settings, owner: asyncpg.Connection, folder: Path) -> None:
        self.settings = settings
        self.owner = owner
        self._folder = folder
        self._users = 0

    def worker(self, name: str, *command: str) -> Tier:
        """A process that does what has come due, unless the command is another."""
        environment = {
            **os.environ,
            "DATABASE_URL": self.settings.database_url,
            **tier_urls(self.settings.database_url),
            "QUEUE_REDIS_URL": self.settings.queue_redis_url,
            "REDIS_URL": self.settings.redis_url,
            "JWT_SECRET_KEY": SECRET,
            "SECRETS_KEY": SECRET[::-1],
            "ALLOW_PRIVATE_TARGETS": "true",
            "REMINDER_DIGEST_OVER": "1000",
            "WORKER_METRICS_PORT": "0",
            "TENFOLD_HOME": str(self._folder),
        }
        arguments = command or ("worker", "--queue", "time")
        return Tier(name, [sys.executable, "-m", *arguments], environment, self._folder / f"{name}.log")

    async def channel(self, url: str) -> tuple[int, int]:
        """A user with a webhook; returns both ids."""
        self._users += 1
        user_id = await insert_user(self.owner, f"user-{self._users}")
        box = SecretBox.of(self.settings)
        secret = Secret.of(secrets.token_bytes(32), clock.now())
        channel_id: int = await self.owner.fetchval(
            "INSERT INTO channels (user_id, kind, url_encrypted, url_masked, secrets_encrypted, events)"
            " VALUES ($1, 'webhook', $2, '', $3, '{task.reminder}') RETURNING id",
            user_id,
            box.seal(url, user_id=user_id, purpose="url"),
            [box.seal(secret.dump(), user_id=user_id, purpose="secret")],
        )
        return user_id, channel_id

    async def remind(self, url: str, *, users: int, of_each: int) -> None:
        """Reminders that all come due in some seconds, of users with a webhook each."""
        made = [(await self.channel(url))[0] for _ in range(users)]
        await self.owner.execute(
            "UPDATE users SET reminder_offsets = '{PT1H}' WHERE id = ANY ($1::bigint[])",
            made,
        )
        await self.owner.execute(
            "INSERT INTO tasks (user_id, title, due_date)"
            " SELECT user_id, 'a task', now() + interval '1 hour 3 seconds'"
            " FROM unnest($1::bigint[]) AS user_id, generate_series(1, $2::int)",
            made,
            of_each,
        )
        assert await self.owner.fetchval("SELECT count(*) FROM reminders WHERE state = 'pending'") == users * of_each

    async def tell(self, url: str, number: int) -> int:
        """As many events of a new user with a webhook, whose id is returned."""
        user_id, channel_id = await self.channel(url)
        await self.owner.execute(
            "INSERT INTO events (user_id, type, data) SELECT $1, 'task.reminder', '{}'"
            " FROM generate_series(1, $2::int)",
            user_id,
            number,
        )
        return channel_id

    async def states(self, channel_id: int) -> Counter[str]:
        rows = await self.owner.fetch("SELECT state FROM deliveries WHERE channel_id = $1", channel_id)
        return Counter(row["state"] for row in rows)

    async def lapse(self, dead: Tier) -> None:
        """The leases of a dead worker, which would take two minutes to."""
        await self.owner.execute(
            "UPDATE deliveries SET next_attempt_at = now() WHERE lease_owner LIKE $1", f"%-{dead.pid}-%"
        )

    async def is_sending(self, tier: Tier) -> bool:
        return tier.is_running and await self.owner.fetchval(
            "SELECT EXISTS (SELECT FROM deliveries WHERE lease_owner LIKE $1)", f"%-{tier.pid}-%"
        )

    async def check(self, hook: Receiver, number: int) -> None:
        """Each reminder was sent and delivered, and is once on record."""
        sent = await self.owner.fetch("SELECT state, event_id FROM reminders")
        assert Counter(row["state"] for row in sent) == {"sent": number}
        assert len({row["event_id"] for row in sent}) == number
        assert await self.owner.fetchval("SELECT count(*) FROM notifications") == number
        wanted = await message_ids(self.owner)
        assert len(wanted) == number
        assert {received.id for received in hook.received} == wanted
        recorded = Counter(row["id"] for row in await self.owner.fetch("SELECT id FROM recorded"))
        assert len(recorded) == number
        assert set(recorded.values()) == {1}

    async def is_done(self) -> bool:
        counted: bool = await self.owner.fetchval(
            "SELECT NOT EXISTS (SELECT FROM reminders WHERE state = 'pending')"
            " AND NOT EXISTS (SELECT FROM deliveries WHERE state <> 'delivered')"
        )
        return counted


@pytest.fixture
async def cast(make_settings: MakeSettings, tmp_path: Path) -> AsyncIterator[Cast]:
    settings = await make_settings()
    async with connection(settings.database_url) as owner:
        await owner.execute(RECORDING)
        yield Cast(settings, owner, tmp_path)


@contextmanager
def running(*tiers: Tier) -> Iterator[None]:
    try:
        for tier in tiers:
            tier.start()
        yield
    finally:
        for tier in tiers:
            tier.kill()


def takes_a_second(hook: Receiver, number: int) -> None:
    """No more than so many: it is to last until all is over that shall happen meanwhile."""
    free_at = 0.0

    async def answer(_received: Received) -> web.StreamResponse:
        nonlocal free_at
        now = time.monotonic()
        free_at = max(now, free_at) + 1 / number
        await asyncio.sleep(free_at - now)
        return web.Response()

    hook.answer = answer


# -- killed


REMINDERS = 10_000
KILLS = 20
WORKERS = 4


async def test_killed_workers_and_an_emptied_queue_lose_nothing_and_record_nothing_twice(
    cast: Cast, measure: Measure
) -> None:
    async with receiver() as hook:
        takes_a_second(hook, 400)
        workers = [cast.worker(f"worker-{number}") for number in range(WORKERS)]
        await cast.remind(hook.url, users=100, of_each=REMINDERS // 100)
        with running(*workers):
            for number in range(KILLS):
                goal = REMINDERS * (number + 1) // (KILLS + 5)

                async def victim(goal: int = goal) -> Tier | None:
                    if len(hook.received) < goal:
                        return None
                    return next(iter([tier for tier in workers if await cast.is_sending(tier)]), None)

                killed = await eventually(victim, timeout=60)
                killed.kill()
                await cast.lapse(killed)
                workers.append(workers.pop(workers.index(killed)))  # the next time another
                if number == KILLS // 2:
                    await flush(cast.settings.queue_redis_url)
                killed.start()
            left = REMINDERS - len({received.id for received in hook.received})
            await eventually(cast.is_done, timeout=90)
        measure("not delivered yet at the last kill", left)
        measure("arrived more than once", len(hook.received) - REMINDERS)
        assert left > 0, "all was over before the last kill"
        await cast.check(hook, REMINDERS)


@pytest.mark.parametrize(
    ("point", "time"), [(BEFORE_REMINDERS_COMMIT, 1), (BEFORE_DELIVERIES_RECORD, 2), (AFTER_DELIVERIES_RECORD, 2)]
)
async def test_a_worker_that_dies_at_the_worst_moment_leaves_it_all_to_the_next(
    cast: Cast, point: str, time: int
) -> None:
    async with receiver() as hook:
        await cast.remind(hook.url, users=15, of_each=20)
        dying = cast.worker("dying", "tests.faults.dying_worker", point, str(time))
        with running(dying):
            assert await dying.ended(within=60) == -signal.SIGKILL
        known = len(hook.received)
        assert known == 0 or point != BEFORE_REMINDERS_COMMIT
        with running(cast.worker("next-1"), cast.worker("next-2")):
            await cast.lapse(dying)
            await eventually(cast.is_done, timeout=60)
        # What was received and is not on record comes a second time, by the same id.
        assert len(hook.received) <= 300 + known
        await cast.check(hook, 300)


# -- receivers that do what they like


async def _hang(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def _drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for letter in b"HTTP/1.1 200 OK\r\nX-Filler: " + b"x" * 1000:
        writer.write(bytes([letter]))
        await writer.drain()
        await asyncio.sleep(1)


async def _flood(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
    for _ in range(1024):
        writer.write(bytes(1 << 20))
        await writer.drain()


async def test_receivers_that_hang_drip_flood_or_redirect_delay_nobody_else(cast: Cast, measure: Measure) -> None:
    async with AsyncExitStack() as stack:
        # At an address each: places are shared out by host.
        hanging, dripping, flooding = [
            await stack.enter_async_context(raw_receiver(talk, host))
            for talk, host in ((_hang, "127.0.0.2"), (_drip, "127.0.0.3"), (_flood, "127.0.0.4"))
        ]
        good, redirecting, inside = [await stack.enter_async_context(receiver()) for _ in range(3)]
        redirecting.answers(307, Location=inside.url)
        hung = await cast.tell(hanging, 500)
        dripped = await cast.tell(dripping, 500)
        flooded = await cast.tell(flooding, 40)
        redirected = await cast.tell(redirecting.url.replace("127.0.0.1", "localhost"), 40)
        workers = [cast.worker(f"worker-{number}") for number in range(2)]
        with running(*workers):

            async def has_failed(channel_id: int) -> bool:
                return (await cast.states(channel_id))["failed"] > 0

            async def all_delivered(channel_id: int) -> bool:
                return set(await cast.states(channel_id)) == {"delivered"}

            await eventually(lambda: has_failed(redirected), timeout=60)  # so they are at work
            begun = time.monotonic()
            for number in range(10):
                channel_id = await cast.tell(good.url, 30)
                await eventually(lambda channel_id=channel_id: all_delivered(channel_id), timeout=TIMEOUT_SECONDS / 2)
                assert len(good.received) == 30 * (number + 1)
            measure("seconds for 10 × 30 beside them", round(time.monotonic() - begun, 2))
            await eventually(lambda: all_delivered(flooded), timeout=30)
            for channel_id in (hung, dripped):
                await eventually(lambda channel_id=channel_id: has_failed(channel_id), timeout=2 * TIMEOUT_SECONDS)
            memory = max(psutil.Process(tier.pid).memory_info().rss >> 20 for tier in workers)
            measure("memory of a worker in MB", memory)
            assert memory < 250
        assert inside.received == []
        errors = {
            channel_id: await cast.owner.fetchval(
                "SELECT last_error FROM deliveries WHERE channel_id = $1 AND state = 'failed' LIMIT 1", channel_id
            )
            for channel_id in (hung, dripped, redirected)
        }
        assert errors == {
            hung: "The receiver did not answer within 15 seconds.",
            dripped: "The receiver did not answer within 15 seconds.",
            redirected: "The receiver answered 307; redirects are not followed.",
        }

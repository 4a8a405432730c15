"""Workers and servers die in the middle of an export: it comes to its end by itself, with every task in its file."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import asyncpg
import pytest

from tests.faults.conftest import Measure
from tests.faults.harness import Installation, Tier

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

ROWS = 120_000
# The slowest form, so that there is time to disturb it.
FORMAT = "ics"
GOES_ON_WITHIN_SECONDS = 60.0
LOOK_SECONDS = 0.05

_FILL = """
INSERT INTO tasks (user_id, title, description)
SELECT $1, 'task ' || n, repeat('some words; of a description, ', 8) FROM generate_series(1, $2) AS n
"""


class Running:
    """An export that was ordered, as its owner follows it."""

    def __init__(self, system: Installation, session: aiohttp.ClientSession) -> None:
        self._system = system
        self._session = session
        self._user = system.users[0]
        self._headers = {"Authorization": f"Bearer {self._user.token}"}
        self.id = ""

    async def order(self) -> None:
        owner = await asyncpg.connect(self._system.postgres.superuser_url())
        try:
            await owner.execute(_FILL, self._user.id, ROWS)
        finally:
            await owner.close()
        url = f"{self._system.url}/exports"
        async with self._session.post(url, json={"format": FORMAT}, headers=self._headers) as answer:
            assert answer.status == 202, await answer.text()
            self.id = (await answer.json())["id"]

    async def until(self, reached: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + GOES_ON_WITHIN_SECONDS
        while True:
            async with self._session.get(f"{self._system.url}/exports/{self.id}", headers=self._headers) as answer:
                assert answer.status in (200, 503), await answer.text()
                found = await answer.json() if answer.status == 200 else None
            if found is not None and reached(found):
                return dict(found)
            assert time.monotonic() < deadline, f"{found}\n{self._system.logs()}"
            await asyncio.sleep(LOOK_SECONDS)

    async def in_the_middle(self) -> None:
        """Waits until some tasks are written."""
        found = await self.until(lambda one: one["rows"] > 0)
        assert found["finished_at"] is None, "it had ended before it was disturbed: there must be more tasks"

    async def check(self) -> None:
        """It ends by itself, and its file is whole."""
        done = await self.until(lambda one: one["finished_at"] is not None)
        assert (done["state"], done["rows"]) == ("succeeded", ROWS)
        async with self._session.get(self._system.url + done["file"], headers=self._headers) as answer:
            file = await answer.read()
        assert len(file) == done["bytes"]
        assert file.count(b"BEGIN:VTODO\r\n") == file.count(b"END:VTODO\r\n") == ROWS
        assert file.endswith(b"END:VCALENDAR\r\n")
        objects = (self._system.folder / "home" / "objects").rglob("exports/*/*")
        assert len([path for path in objects if "#" not in path.name]) == 1, "what a dead worker began is nowhere"


@pytest.fixture
async def running(system: Installation) -> AsyncIterator[Running]:
    await system.start_api()
    async with aiohttp.ClientSession() as session:
        yield Running(system, session)


async def disturbed(running: Running, disturb: Callable[[], Awaitable[None]], measure: Measure) -> None:
    await running.order()
    await running.in_the_middle()
    began = time.monotonic()
    await disturb()
    await running.check()
    measure("ended after", f"{time.monotonic() - began:.0f} s")


async def test_its_worker_is_killed(system: Installation, running: Running, measure: Measure) -> None:
    worker: Tier = await system.start_worker()

    async def disturb() -> None:
        worker.kill()
        await system.start_worker()

    await disturbed(running, disturb, measure)


async def test_its_worker_is_stopped(system: Installation, running: Running, measure: Measure) -> None:
    worker: Tier = await system.start_worker()

    async def disturb() -> None:
        await system.start_worker()
        assert await worker.end(within=30) == 0

    await disturbed(running, disturb, measure)
    assert system.errors_in_logs() == []


async def test_postgresql_is_killed(system: Installation, running: Running, measure: Measure) -> None:
    await system.start_worker()

    async def disturb() -> None:
        await asyncio.to_thread(system.postgres.kill)
        await asyncio.to_thread(system.postgres.start)

    await disturbed(running, disturb, measure)


async def test_the_queue_is_killed(system: Installation, running: Running, measure: Measure) -> None:
    await system.start_worker()

    async def disturb() -> None:
        await asyncio.to_thread(system.queue.kill)
        await asyncio.to_thread(system.queue.start)

    await disturbed(running, disturb, measure)


async def test_the_queue_forgets_everything_and_the_worker_is_killed(
    system: Installation, running: Running, measure: Measure
) -> None:
    worker: Tier = await system.start_worker()

    async def disturb() -> None:
        worker.kill()
        async with system.queue_client() as queue:
            await queue.flushall()
        await system.start_worker()

    await disturbed(running, disturb, measure)

"""Workers and servers die in the middle of an import: it comes to its end by itself, with exactly the right rows."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import asyncpg
import orjson
import pytest

from tests.faults.conftest import Measure
from tests.faults.harness import Installation, Tier

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]

ROWS = 150_000
EVERY_BAD = 1000
TIMES = 4
ENDS_WITHIN_SECONDS = 90.0
LOOK_SECONDS = 0.05


def content() -> bytes:
    """Rows with and without ids, equal ones among them, and some that are wrong."""
    rows = []
    for number in range(ROWS):
        row: dict[str, Any] = {"title": f"task {number}", "description": "x" * 200, "priority": number % 10 + 1}
        if number % EVERY_BAD == EVERY_BAD - 1:
            row["priority"] = 11
        elif number % 3 == 0:
            row["external_id"] = str(number)
        elif number % 7 == 0:
            row = {"title": "one of many"}
        rows.append(orjson.dumps(row))
    return b"\n".join(rows)


class Running:
    """An import that was sent, as its owner follows it."""

    def __init__(self, system: Installation, session: aiohttp.ClientSession) -> None:
        self._system = system
        self._session = session
        self._user = system.users[0]
        self._headers = {"Authorization": f"Bearer {self._user.token}"}
        self.id = ""

    async def send(self) -> None:
        address = f"{self._system.url}/imports?format=tenfold-ndjson"
        async with self._session.post(address, data=content(), headers=self._headers) as answer:
            assert answer.status == 202, await answer.text()
            self.id = (await answer.json())["id"]

    async def look(self) -> dict[str, Any] | None:
        """The import; None where it cannot be told just now."""
        async with self._session.get(f"{self._system.url}/imports/{self.id}", headers=self._headers) as answer:
            found: dict[str, Any] | None = await answer.json() if answer.status == 200 else None
            assert answer.status in (200, 503), await answer.text()
            return found

    async def until(self, reached: Callable[[dict[str, Any]], bool], *, within: float) -> dict[str, Any]:
        deadline = time.monotonic() + within
        while True:
            found = await self.look()
            if found is not None and reached(found):
                return found
            assert time.monotonic() < deadline, f"{found}\n{self._system.logs()}"
            await asyncio.sleep(LOOK_SECONDS)

    async def more_than(self, rows: int) -> int:
        """Waits until more rows were read; returns how many."""
        found = await self.until(lambda one: one["read"] > rows or one["finished_at"], within=ENDS_WITHIN_SECONDS)
        assert not found["finished_at"], "it had ended before it was disturbed: send a larger file"
        read: int = found["read"]
        return read

    async def check(self) -> None:
        """It ends by itself, and every row came once."""
        done = await self.until(lambda one: one["finished_at"] is not None, within=ENDS_WITHIN_SECONDS)
        bad = ROWS // EVERY_BAD
        assert (done["state"], done["read"], done["created"], done["failed"]) == ("succeeded", ROWS, ROWS - bad, bad)
        assert (done["updated"], done["skipped"]) == (0, 0)
        owner = await asyncpg.connect(self._system.postgres.superuser_url())
        try:
            titles = await owner.fetch("SELECT title FROM tasks WHERE user_id = $1 ORDER BY id", self._user.id)
            errors = await owner.fetch("SELECT row FROM import_errors WHERE import_id = $1::text::uuid", self.id)
        finally:
            await owner.close()
        expected = [row for row in map(orjson.loads, content().splitlines()) if row.get("priority") != 11]
        assert [row["title"] for row in titles] == [row["title"] for row in expected]
        assert sorted(row["row"] for row in errors) == [n for n in range(1, ROWS + 1) if n % EVERY_BAD == 0]
        assert not list((self._system.folder / "home" / "objects").rglob("imports/*-*")), "the upload is still there"

    async def take_back(self) -> str:
        """Orders it, and tells the job's address."""
        headers = self._headers | {"Prefer": "respond-async"}
        async with self._session.delete(f"{self._system.url}/imports/{self.id}/tasks", headers=headers) as answer:
            assert answer.status == 202, await answer.text()
            return f"{self._system.url}{answer.headers['Location']}"

    async def job(self, address: str) -> dict[str, Any] | None:
        """The job; None where it cannot be told just now."""
        async with self._session.get(address, headers=self._headers) as answer:
            assert answer.status in (200, 503), await answer.text()
            return await answer.json() if answer.status == 200 else None

    async def change(self, every: int) -> int:
        """Changes some of its tasks; returns how many."""
        owner = await asyncpg.connect(self._system.postgres.superuser_url())
        try:
            changed = await owner.execute(
                "UPDATE tasks SET priority = 1, version = version + 1 WHERE user_id = $1 AND id % $2 = 0",
                self._user.id,
                every,
            )
        finally:
            await owner.close()
        return int(changed.rpartition(" ")[2])

    async def tasks_left(self) -> int:
        owner = await asyncpg.connect(self._system.postgres.superuser_url())
        try:
            left: int = await owner.fetchval("SELECT count(*) FROM tasks WHERE user_id = $1", self._user.id)
        finally:
            await owner.close()
        return left


@pytest.fixture
async def running(system: Installation) -> AsyncIterator[Running]:
    await system.start_api()
    async with aiohttp.ClientSession() as session:
        made = Running(system, session)
        yield made


async def disturbed(running: Running, disturb: Callable[[], Awaitable[None]]) -> None:
    """Sends a file, disturbs its import several times, each after more rows have gone in, and checks the end."""
    await running.send()
    read = 0
    for _ in range(TIMES):
        read = await running.more_than(read)
        await disturb()
    await running.check()


async def test_workers_are_killed(system: Installation, running: Running, measure: Measure) -> None:
    worker: list[Tier] = [await system.start_worker()]

    async def disturb() -> None:
        worker[0].kill()
        worker[0] = await system.start_worker()

    began = time.monotonic()
    await disturbed(running, disturb)
    measure("seconds", round(time.monotonic() - began, 1))


async def test_workers_stop_in_order(system: Installation, running: Running) -> None:
    worker: list[Tier] = [await system.start_worker()]

    async def disturb() -> None:
        assert await worker[0].end(within=20) == 0
        worker[0] = await system.start_worker()

    began = time.monotonic()
    await disturbed(running, disturb)
    assert time.monotonic() - began < ENDS_WITHIN_SECONDS, "what was put down in order is taken up at once"


async def test_postgresql_is_killed(system: Installation, running: Running, measure: Measure) -> None:
    await system.start_worker()

    async def disturb() -> None:
        await asyncio.to_thread(system.postgres.kill)
        await asyncio.to_thread(system.postgres.start)

    began = time.monotonic()
    await disturbed(running, disturb)
    measure("seconds", round(time.monotonic() - began, 1))


async def test_the_queue_is_killed(system: Installation, running: Running) -> None:
    await system.start_worker()

    async def disturb() -> None:
        await asyncio.to_thread(system.queue.kill)
        await asyncio.to_thread(system.queue.start)

    await disturbed(running, disturb)


async def test_the_queue_is_emptied_and_the_workers_killed(system: Installation, running: Running) -> None:
    worker: list[Tier] = [await system.start_worker()]

    async def disturb() -> None:
        async with system.queue_client() as queue:
            await queue.flushall()
        worker[0].kill()
        worker[0] = await system.start_worker()

    await disturbed(running, disturb)


async def test_two_workers_share_imports_and_one_is_killed(system: Installation, running: Running) -> None:
    first, _ = await asyncio.gather(system.start_worker(), system.start_worker())
    await running.send()
    await running.more_than(0)
    first.kill()
    await running.check()


async def test_workers_are_killed_while_an_import_is_taken_back(system: Installation, running: Running) -> None:
    worker = await system.start_worker()
    await running.send()
    await running.check()
    changed = await running.change(every=97)
    address = await running.take_back()
    done = 0
    for _ in range(TIMES):
        done = await more_of(running, address, done)
        worker.kill()
        worker = await system.start_worker()
    job = await ended(running, address)
    made = ROWS - ROWS // EVERY_BAD
    assert (job["state"], job["status_code"]) == ("succeeded", 200)
    assert job["result"] == {
        "import_id": running.id, "deleted": made - changed, "changed": changed, "gone": 0, "updated": 0,
    }  # fmt: skip
    assert await running.tasks_left() == changed


async def more_of(running: Running, address: str, done: int) -> int:
    """Waits until more tasks were looked at; returns how many."""
    deadline = time.monotonic() + ENDS_WITHIN_SECONDS
    while True:
        job = await running.job(address)
        if job is not None:
            assert not job["finished_at"], "it had ended before it was disturbed: send a larger file"
            if job["progress"] is not None and job["progress"]["done"] > done:
                passed: int = job["progress"]["done"]
                return passed
        assert time.monotonic() < deadline, job
        await asyncio.sleep(LOOK_SECONDS)


async def ended(running: Running, address: str) -> dict[str, Any]:
    deadline = time.monotonic() + ENDS_WITHIN_SECONDS
    while True:
        job = await running.job(address)
        if job is not None and job["finished_at"]:
            return job
        assert time.monotonic() < deadline, job
        await asyncio.sleep(LOOK_SECONDS)

"""When a lane appends what waits: at once, with an answer, or with the company that is on its way."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from api import lanes as writers
from api.lanes import Company, LaneWriter, Submission
from core import lanes
from core.commands import Command, decode_entry
from core.ids import new_job_id
from core.redis import end_tasks, queue_client
from core.settings import Settings
from tests.harness import eventually

NEVER = 3600.0
"""Seconds: no timer releases what these tests wait for."""


class Lanes:
    """Two lanes of one process, appending to the real queue; nobody drains them."""

    def __init__(self, settings: Settings) -> None:
        self.queue = queue_client(settings.queue_redis_url)
        company = Company()
        self.writers = [LaneWriter(number, self.queue, settings, "here", company) for number in (0, 1)]
        self._tasks = [asyncio.create_task(writer.run()) for writer in self.writers]
        self._tokens = itertools.count(1)

    def add(self, lane: int, count: int = 1) -> list[int]:
        """Adds commands; returns their tokens."""
        tokens = list(itertools.islice(self._tokens, count))
        for token in tokens:
            command = Command(new_job_id(), "task.create", 1, {}, "2026-01-01T00:00:00.000000+00:00", token=token)
            answered = asyncio.get_running_loop().create_future()
            self.writers[lane].add(Submission(command, command.encode(), False, answered, NEVER, NEVER))
        return tokens

    def settle(self, lane: int, tokens: list[int]) -> None:
        for token in tokens:
            self.writers[lane].settled(token)

    def has(self, lane: int, *sizes: int) -> Callable[[], Awaitable[bool]]:
        """Whether the lane's entries are of these sizes."""

        async def look() -> bool:
            entries = await self.queue.xrange(lanes.stream(lane))
            return [len(decode_entry(*entry).commands) for entry in entries] == list(sizes)

        return look

    async def close(self) -> None:
        await end_tasks(self._tasks)
        await self.queue.aclose()


@pytest.fixture
async def two(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Lanes]:
    monkeypatch.setattr(writers, "GATHER_SECONDS", NEVER)
    monkeypatch.setattr(writers, "COMPANY_SECONDS", NEVER)
    both = Lanes(settings)
    yield both
    await both.close()


async def test_a_lone_command_goes_at_once_and_what_follows_waits_for_its_answer(two: Lanes) -> None:
    first = two.add(0)
    await eventually(two.has(0, 1))
    two.add(0, 3)
    await asyncio.sleep(0.05)
    assert await two.has(0, 1)()
    two.settle(0, first)
    await eventually(two.has(0, 1, 3))


async def _answer_sixteen(two: Lanes) -> None:
    """An entry of sixteen commands in lane 0 has just been answered, and nothing waits."""
    first = two.add(0)
    await eventually(two.has(0, 1))
    sixteen = two.add(0, 16)
    two.settle(0, first)
    await eventually(two.has(0, 1, 16))
    two.settle(0, sixteen)


async def test_the_next_entry_waits_until_nearly_as_many_have_come_as_were_answered(two: Lanes) -> None:
    await _answer_sixteen(two)
    two.add(0, 14)
    await asyncio.sleep(0.05)
    assert await two.has(0, 1, 16)()
    two.add(0, 1)
    await eventually(two.has(0, 1, 16, 15))


async def test_who_asks_on_another_lane_is_waited_for_no_longer(two: Lanes) -> None:
    await _answer_sixteen(two)
    two.add(0, 4)
    two.add(1, 10)
    await asyncio.sleep(0.05)
    assert await two.has(0, 1, 16)()
    two.add(1, 1)
    await eventually(two.has(0, 1, 16, 4))


async def test_who_does_not_come_is_not_waited_for_long(two: Lanes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "COMPANY_SECONDS", 0.01)
    await _answer_sixteen(two)
    two.add(0)
    await eventually(two.has(0, 1, 16, 1))


async def test_an_answer_that_does_not_come_holds_nobody_up(two: Lanes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "GATHER_SECONDS", 0.01)
    two.add(0)
    await eventually(two.has(0, 1))
    two.add(0, 2)
    await eventually(two.has(0, 1, 2))

"""When a lane of the real queue gets its entries: at once, with an answer, or with others who are on their way."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import redis

from api.writes.gathering import Bounds
from api.writes.lane_group import LaneGroup
from api.writes.lane_writer import LaneWriter, Submission
from core import lanes
from core.commands.wire import Command, decode_entry
from core.errors import QueueUnavailable
from core.ids import new_job_id
from core.redis.clients import end_tasks, queue_client
from core.redis.link import Link
from core.settings import Settings
from tests.harness import eventually

NEVER = 3600.0
"""Seconds: no timer releases what these tests wait for."""


class Lanes:
    """Lanes of one process, appending to the real queue; nobody drains them."""

    def __init__(self, settings: Settings, count: int, bounds: Bounds) -> None:
        self.url = settings.queue_redis_url
        self.queue = queue_client(self.url)
        self._link = Link(self.queue, timeout=10)
        names = map(str, range(count))
        lane_writers = [LaneWriter(name, self.queue, self._link, "here", maximum_entries=10_000) for name in names]
        self.group = LaneGroup(lane_writers, maximum_waiting=10_000, bounds=bounds)
        self._tokens = itertools.count(1)

    def add(self, lane: int, count: int = 1) -> list[int]:
        """Adds commands; returns their tokens."""
        submissions = [self.submission(lane) for _ in range(count)]
        for submission in submissions:
            self.put(submission)
        return [submission.token for submission in submissions]

    def put(self, submission: Submission) -> None:
        self.group.add(submission, time.monotonic())

    def submission(self, lane: int = 0) -> Submission:
        token = next(self._tokens)
        command = Command(new_job_id(), "task.create", 1, {}, "2026-01-01T00:00:00.000000+00:00", token=token)
        answered = asyncio.get_running_loop().create_future()
        return Submission(command, token, command.encode(), str(lane), False, answered, NEVER, NEVER)

    def settle(self, lane: int, tokens: list[int]) -> None:
        self.group.settled(str(lane), tokens, time.monotonic())

    def has(self, lane: int, *sizes: int) -> Callable[[], Awaitable[bool]]:
        """Whether the lane's entries are of these sizes."""

        async def look() -> bool:
            entries = await self.queue.xrange(lanes.stream(str(lane)))
            return [len(decode_entry(*entry).commands) for entry in entries] == list(sizes)

        return look

    async def stays(self, lane: int, *sizes: int) -> None:
        """The lane has entries of these sizes, and nothing more comes."""
        await eventually(self.has(lane, *sizes))
        await asyncio.sleep(0.05)
        assert await self.has(lane, *sizes)()

    async def answer(self, lane: int, size: int) -> None:
        """The lane's first entry, of this size, has just been answered, and nothing waits."""
        tokens = self.add(lane, size)
        await eventually(self.has(lane, size))
        self.settle(lane, tokens)

    async def close(self) -> None:
        await end_tasks(self.group.tasks())
        await self._link.close()
        await self.queue.aclose(close_connection_pool=True)


MakeLanes = Callable[..., Lanes]


@pytest.fixture
async def make_lanes(settings: Settings) -> AsyncIterator[MakeLanes]:
    """Makes so many lanes; no timer releases what waits unless a bound of the policy is given."""
    made: list[Lanes] = []

    def make(count: int = 1, **bounds: float) -> Lanes:
        made.append(Lanes(settings, count, Bounds(**{"overdue_seconds": NEVER, "return_seconds": NEVER, **bounds})))
        return made[-1]

    yield make
    for lanes_ in made:
        await lanes_.close()


@pytest.fixture
def one(make_lanes: MakeLanes) -> Lanes:
    return make_lanes()


@pytest.fixture
def two(make_lanes: MakeLanes) -> Lanes:
    return make_lanes(2)


async def test_two_entries_are_under_way_and_what_follows_waits_for_an_answer(one: Lanes) -> None:
    first = one.add(0)
    await eventually(one.has(0, 1))
    one.add(0)
    await eventually(one.has(0, 1, 1))
    one.add(0, 3)
    await one.stays(0, 1, 1)
    one.settle(0, first)
    await eventually(one.has(0, 1, 1, 3))


async def test_commands_of_one_turn_of_an_idle_lane_go_together(one: Lanes) -> None:
    for _ in range(5):
        one.add(0)
    await one.stays(0, 5)


async def test_what_was_taken_back_in_the_same_turn_does_not_go(one: Lanes) -> None:
    submission = one.submission()
    one.put(submission)
    one.group.withdraw(submission)
    await one.stays(0)
    one.add(0)
    await eventually(one.has(0, 1))


async def test_an_entry_goes_when_nearly_half_of_those_who_were_answered_have_come_again(one: Lanes) -> None:
    await one.answer(0, 32)
    one.add(0, 14)
    await one.stays(0, 32)
    one.add(0)
    await eventually(one.has(0, 32, 15))


async def test_of_a_large_crowd_an_entry_goes_before_half_have_come(make_lanes: MakeLanes) -> None:
    one = make_lanes(worthwhile_commands=8)
    await one.answer(0, 32)
    one.add(0, 7)
    await one.stays(0, 32)
    one.add(0)
    await eventually(one.has(0, 32, 8))


async def test_a_large_crowd_is_divided(make_lanes: MakeLanes) -> None:
    one = make_lanes(worthwhile_commands=4, entry_commands=8)
    tokens = one.add(0, 20)
    await one.stays(0, 8, 8)
    one.settle(0, tokens[:8])
    await eventually(one.has(0, 8, 8, 4))


async def test_halves_take_turns(one: Lanes) -> None:
    await one.answer(0, 32)
    halves = []
    for _ in range(2):
        halves.append(one.add(0, 15))
        await eventually(one.has(0, 32, *(15 for _ in halves)))
    one.add(0, 2)
    one.settle(0, halves[0])
    one.add(0, 12)
    await one.stays(0, 32, 15, 15)
    one.add(0)
    await eventually(one.has(0, 32, 15, 15, 15))


async def test_an_entry_is_on_its_way_in_the_turn_in_which_the_last_who_was_expected_came(one: Lanes) -> None:
    await one.answer(0, 32)
    one.add(0, 14)
    await asyncio.sleep(0)
    one.add(0)
    with redis.Redis.from_url(one.url) as meanwhile:  # the event loop has no turn
        deadline = time.monotonic() + 2
        while meanwhile.xlen(lanes.stream("0")) != 2:
            assert time.monotonic() < deadline


async def test_who_was_answered_is_expected_on_any_lane(two: Lanes) -> None:
    await two.answer(0, 32)
    two.add(0, 9)
    await two.stays(0, 32)
    two.add(0)
    await eventually(two.has(0, 32, 10))


async def test_who_asks_on_another_lane_is_waited_for_no_longer(two: Lanes) -> None:
    await two.answer(0, 32)
    two.add(1, 4)
    two.add(0, 8)
    await two.stays(0, 32)
    two.add(0)
    await eventually(two.has(0, 32, 9))
    await two.stays(1)


async def test_a_lone_client_is_not_waited_for(one: Lanes) -> None:
    await one.answer(0, 1)
    one.add(0)
    await eventually(one.has(0, 1, 1))


async def test_who_does_not_come_is_not_waited_for_long(make_lanes: MakeLanes) -> None:
    one = make_lanes(return_seconds=0.01)
    await one.answer(0, 32)
    one.add(0)
    await eventually(one.has(0, 32, 1))


async def test_who_did_not_come_is_forgotten(make_lanes: MakeLanes) -> None:
    one = make_lanes(return_seconds=0.01)
    await one.answer(0, 32)
    alone = one.add(0)
    await eventually(one.has(0, 32, 1))
    one.settle(0, alone)
    one.add(0)
    await eventually(one.has(0, 32, 1, 1))


async def test_an_answer_that_does_not_come_holds_nobody_up(make_lanes: MakeLanes) -> None:
    one = make_lanes(overdue_seconds=0.01)
    for _ in range(3):
        one.add(0)
        await asyncio.sleep(0.05)
    await eventually(one.has(0, 1, 1, 1))


async def test_after_one_answer_others_that_do_not_come_hold_nobody_up(make_lanes: MakeLanes) -> None:
    one = make_lanes(overdue_seconds=0.01)
    unanswered = []
    for _ in range(3):
        unanswered.append(one.add(0))
        await asyncio.sleep(0.05)
    await eventually(one.has(0, 1, 1, 1))
    one.settle(0, unanswered[0])
    one.add(0)
    await eventually(one.has(0, 1, 1, 1, 1))


async def test_who_went_away_before_a_refusal_is_not_counted_twice(one: Lanes) -> None:
    await one.queue.set(lanes.stream("0"), "not a stream")
    gone = one.submission()
    one.put(gone)
    await asyncio.sleep(0)
    one.settle(0, [gone.command.token])
    with pytest.raises(QueueUnavailable):
        await asyncio.wait_for(gone.answered, 5)
    await one.queue.delete(lanes.stream("0"))
    for sizes in ((1,), (1, 1)):
        one.add(0)
        await eventually(one.has(0, *sizes))
    one.add(0)
    await one.stays(0, 1, 1)


async def test_while_an_entry_is_not_in_the_queue_what_comes_is_gathered(make_lanes: MakeLanes) -> None:
    two = make_lanes(2, overdue_seconds=0.01)
    two.add(1)
    await eventually(two.has(1, 1))  # the link is open
    await two.queue.execute_command("CLIENT", "PAUSE", 5000, "WRITE")
    try:
        two.add(0)
        for count in (2, 3):
            await asyncio.sleep(0.05)
            two.add(0, count)
    finally:
        await two.queue.execute_command("CLIENT", "UNPAUSE")
    await eventually(two.has(0, 1, 5))


async def test_what_cannot_be_appended_is_refused_and_what_waited_behind_it_is_tried(two: Lanes) -> None:
    await two.queue.set(lanes.stream("0"), "not a stream")
    first, second = two.submission(), two.submission()
    two.put(first)
    await asyncio.sleep(0)
    two.put(second)
    for submission in (first, second):
        with pytest.raises(QueueUnavailable):
            await asyncio.wait_for(submission.answered, 5)
    await two.queue.delete(lanes.stream("0"))
    two.add(0)
    await eventually(two.has(0, 1))

"""What a 202 has promised is found by everybody, at every moment, whoever dies in between."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
from arq.connections import ArqRedis

from core.commands.wire import Command
from core.errors import DatabaseUnavailable, QueueUnavailable
from core.ids import new_job_id
from core.jobs.pending import PENDING, PendingJob, PendingJobs
from core.redis.clients import queue_client
from core.redis.link import Link

ALICE, BOB = 1, 2
CREATED_AT = "2026-01-01T00:00:00.000000+00:00"

Step = Callable[[], Awaitable[None]]


@pytest.fixture
async def link(queue: ArqRedis) -> AsyncIterator[Link]:
    link = Link(queue, timeout=10)
    yield link
    await link.close()


@pytest.fixture
def pending(queue: ArqRedis) -> PendingJobs:
    return PendingJobs(queue)


@pytest.fixture
async def nowhere() -> AsyncIterator[PendingJobs]:
    """On a server that cannot be reached."""
    client = queue_client("redis://127.0.0.1:1/0")
    yield PendingJobs(client)
    await client.aclose(close_connection_pool=True)


def command(kind: str = "task.create", *, fingerprint: str | None = None) -> Command:
    return Command(new_job_id(), kind, ALICE, {"a": 1}, CREATED_AT, fingerprint=fingerprint)


async def list_jobs(link: Link, *commands: Command) -> None:
    replies = await link.send(*PendingJobs.listing(commands))
    PendingJobs.require_on_disk(replies[-1])


class Write:
    """A write whose client is promised its job late, while a worker carries it out: each in steps."""

    def __init__(self, pending: PendingJobs, link: Link) -> None:
        self.pending = pending
        self.link = link
        self.command = command()
        self.has_row = False
        self.pages_are_forgotten = False
        self.is_promised = False

    def api(self) -> list[Step]:
        found = False

        async def list_it() -> None:
            await list_jobs(self.link, self.command)

        async def look_up() -> None:
            nonlocal found
            found = self.has_row

        async def answer() -> None:
            self.is_promised = not found
            if found:
                await self.pending.strike_off([(ALICE, self.command.id)])

        return [list_it, look_up, answer]

    def worker(self) -> list[Step]:
        async def commit() -> None:
            self.has_row = True

        async def forget_pages() -> None:
            self.pages_are_forgotten = True

        async def strike_off() -> None:
            await self.link.send(PendingJobs.striking([self.command.id]))
            await self.pending.strike_off([(ALICE, self.command.id)])

        return [commit, forget_pages, strike_off]

    async def is_listed(self) -> bool:
        return await self.pending.find(ALICE, self.command.id) is not None


def orders(first: list[Step], second: list[Step]) -> Iterator[list[Step]]:
    """Every order in which two processes may make their steps."""
    count = len(first) + len(second)
    for places in itertools.combinations(range(count), len(first)):
        ours, theirs = iter(first), iter(second)
        yield [next(ours if place in places else theirs) for place in range(count)]


async def test_at_every_moment_what_was_promised_is_found_and_pages_that_contradict_it_are_known(
    pending: PendingJobs, link: Link
) -> None:
    """Also if one of the two, or both, make no further step."""
    for number in range(20):
        write = Write(pending, link)
        for step in list(orders(write.api(), write.worker()))[number]:
            await step()
            listed = await write.is_listed()
            if write.is_promised:
                assert write.has_row or listed
                assert write.pages_are_forgotten or listed or not write.has_row
        assert write.has_row
        assert not await write.is_listed()


@pytest.mark.parametrize(("behind_row", "behind_list"), list(itertools.product(range(4), repeat=2)))
async def test_a_job_that_is_carried_out_while_it_is_looked_for_is_found(
    pending: PendingJobs, link: Link, behind_row: int, behind_list: int
) -> None:
    write = Write(pending, link)
    await list_jobs(link, write.command)
    steps = iter(write.worker())
    is_first = True

    async def read_row() -> str | None:
        """The first look is followed by steps of the worker, the second one comes after some."""
        nonlocal is_first
        seen = write.has_row
        for step in itertools.islice(steps, behind_row if is_first else behind_list):
            await step()
        row = seen if is_first else write.has_row
        is_first = False
        return "row" if row else None

    found = await pending.row_or_listed(ALICE, write.command.id, read_row, lambda job: f"listed {job.kind}")
    assert found in ("row", "listed task.create")


@pytest.mark.parametrize("steps", range(4))
async def test_of_all_jobs_none_falls_between_the_list_and_the_rows(
    pending: PendingJobs, link: Link, steps: int
) -> None:
    write = Write(pending, link)
    await list_jobs(link, write.command)
    listed = await pending.of_user(ALICE)
    for step in write.worker()[:steps]:
        await step()
    assert write.command.id in listed or write.has_row


async def test_a_listed_job_says_what_its_row_will_say(pending: PendingJobs, link: Link) -> None:
    single, long = command(fingerprint="f"), command("import")
    await list_jobs(link, single, long)
    assert await pending.find(ALICE, single.id) == PendingJob(single.id, ALICE, "task.create", CREATED_AT, None, "f")
    assert await pending.find(ALICE, long.id) == PendingJob(long.id, ALICE, "import", CREATED_AT, {"a": 1}, None)
    assert set(await pending.of_user(ALICE)) == {single.id, long.id}
    assert await link.send(PendingJobs.counting(ALICE)) == [2]


async def test_a_job_is_found_by_its_own_user_alone(pending: PendingJobs, link: Link) -> None:
    mine = command()
    await list_jobs(link, mine)
    assert await pending.find(BOB, mine.id) is None
    assert await pending.of_user(BOB) == {}


async def test_what_was_struck_off_leaves_nothing_behind(pending: PendingJobs, link: Link, queue: ArqRedis) -> None:
    one, other = command(), command()
    await list_jobs(link, one, other)
    assert await link.send(PendingJobs.striking([one.id, new_job_id()])) == [1]
    assert set(await pending.of_user(ALICE)) == {other.id}, "who reads takes away what was struck off in part"
    assert await link.send(PendingJobs.counting(ALICE)) == [1]
    await pending.strike_off([(ALICE, other.id)])
    assert await queue.keys(f"{PENDING}*") == []


async def test_another_request_under_the_same_key_is_told_apart(pending: PendingJobs, link: Link) -> None:
    first = command(fingerprint="first")
    await list_jobs(link, first)
    found = await pending.find(ALICE, first.id)
    assert found is not None
    assert found.is_of(first)
    first.fingerprint = "another"
    assert not found.is_of(first)


def test_a_disk_that_confirms_nothing_promises_nothing() -> None:
    PendingJobs.require_on_disk([1, 0])
    with pytest.raises(QueueUnavailable):
        PendingJobs.require_on_disk([0, 0])


async def test_without_the_list_nobody_says_that_there_is_no_such_job(nowhere: PendingJobs) -> None:
    async def no_row() -> None:
        return None

    async def no_database() -> None:
        raise DatabaseUnavailable("away")

    with pytest.raises(QueueUnavailable):
        await nowhere.row_or_listed(ALICE, new_job_id(), no_row, lambda job: None)
    with pytest.raises(DatabaseUnavailable):
        await nowhere.row_or_listed(ALICE, new_job_id(), no_database, lambda job: None)
    assert await nowhere.of_user(ALICE) == {}


async def test_without_the_database_a_listed_job_is_found(pending: PendingJobs, link: Link) -> None:
    mine = command()
    await list_jobs(link, mine)

    async def no_database() -> str:
        raise DatabaseUnavailable("away")

    assert await pending.row_or_listed(ALICE, mine.id, no_database, lambda job: job.id) == mine.id

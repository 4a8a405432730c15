"""A worker is woken and does not poll; what it runs outlives lost wakes, stops and the queue server's faults."""

import asyncio
import statistics
import time
from dataclasses import replace

from core import lanes
from core.redis.clients import queue_client
from tests.harness import answer_cut_off, connection
from tests.worker.commands import create, new_user
from tests.worker.runner.harness import TEST_QUEUE, Runs, counted, enqueue, serving, until
from worker.main import QUEUES_OF_JOBS
from worker.runner import QueueOfJobs, Services


async def test_a_woken_worker_starts_a_job_at_once(services: Services) -> None:
    runs = Runs()
    waits = []
    async with serving(services, runs.queue()):
        for number in range(15):
            started = await enqueue(services, number)
            await until(lambda n=number: len(runs.times) > n)
            waits.append(runs.times[-1] - started)
    # It would be a quarter of a second in the median if it polled twice a second.
    assert statistics.median(waits) < 0.12, waits


async def test_a_lost_wake_costs_half_a_second_and_no_job(services: Services) -> None:
    runs = Runs()
    async with serving(services, runs.queue()):
        await enqueue(services, wake=False)
        await until(lambda: runs.times, timeout=5)


async def test_an_idle_worker_leaves_the_queue_server_in_peace(services: Services) -> None:
    async def calls() -> int:
        stats = await services.queue.info("commandstats")
        return sum(int(stats.get(f"cmdstat_{name}", {}).get("calls", 0)) for name in ("zrangebyscore", "zrange"))

    async with serving(services, Runs().queue()):
        before = await calls()
        await asyncio.sleep(2)
        # The server is shared: workers of other tests may look for jobs, too.
        assert 1 <= await calls() - before < 60


async def test_a_job_that_ends_lets_the_next_one_in_at_once(services: Services) -> None:
    """With one place, the second of two jobs must not wait for the next poll."""
    times: list[float] = []

    async def noted(_: Services, number: int) -> None:
        times.append(time.monotonic())

    queue = QueueOfJobs(TEST_QUEUE, jobs=(noted,), timeout_seconds=5, max_jobs=1)
    async with serving(services, queue):
        for number in range(10):
            await enqueue(services, number, wake=number == 9)
        await until(lambda: len(times) == 10)
    assert times[-1] - times[0] < 2.5


async def test_what_a_stopped_worker_runs_is_finished(services: Services) -> None:
    finished = asyncio.Event()
    began = asyncio.Event()

    async def noted(_: Services) -> None:
        began.set()
        await asyncio.sleep(0.3)
        finished.set()

    async with serving(services, QueueOfJobs(TEST_QUEUE, jobs=(noted,), timeout_seconds=5, max_jobs=1)):
        await enqueue(services)
        async with asyncio.timeout(5):
            await began.wait()
    assert finished.is_set()


async def test_a_fault_that_passes_is_outlived_by_its_job(services: Services) -> None:
    attempts: list[float] = []

    async def noted(_: Services) -> None:
        attempts.append(time.monotonic())
        if len(attempts) < 4:
            raise ConnectionRefusedError("not yet")

    async with serving(services, QueueOfJobs(TEST_QUEUE, jobs=(noted,), timeout_seconds=5, max_jobs=1)):
        await enqueue(services)
        await until(lambda: len(attempts) == 4, timeout=15)
        await asyncio.sleep(0.7)
    assert len(attempts) == 4, "and once it has succeeded it is not run again"


async def test_a_drain_that_finds_no_schema_is_not_run_in_circles(services: Services) -> None:
    """A worker that is started before the schema is there must not take a processor for itself."""
    async with connection(services.settings.database_url) as owner:
        alice = await new_user(owner)
        await owner.execute("ALTER TABLE jobs RENAME TO jobs_hidden")
        try:
            body = b"[" + create(alice).encode() + b"]"
            await services.queue.xadd(lanes.stream("0"), {"origin": "x", "commands": body})
            async with serving(services, QUEUES_OF_JOBS["writes"]):
                before = counted("tenfold_job_retries_total", kind="drain_lane")
                await lanes.call_drain(services.queue, "0")
                await asyncio.sleep(1.5)
                after = counted("tenfold_job_retries_total", kind="drain_lane")
        finally:
            await owner.execute("ALTER TABLE jobs_hidden RENAME TO jobs")
    assert 1 <= after - before <= 8
    assert await services.queue.xlen(lanes.stream("0")) == 1, "and nothing is lost"


async def test_a_command_that_comes_in_a_drains_last_moment_is_carried_out_without_a_sweep(services: Services) -> None:
    """arq refuses to enqueue an id that still runs: the job's end looks at the lane again."""
    ended: list[str] = []

    async def after(_: Services, job_id: str) -> None:
        ended.append(job_id)

    runs = Runs()
    async with serving(services, runs.queue(after_job=after)):
        await enqueue(services, job_id="one-id")
        await until(lambda: ended == ["one-id"])
        # arq has let go of the id by now, so it can be enqueued again.
        await enqueue(services, job_id="one-id")
        await until(lambda: len(runs.times) == 2)


async def test_a_worker_starts_again_when_its_queue_server_closes_on_it(services: Services) -> None:
    runs = Runs()
    killer = queue_client(services.settings.queue_redis_url)
    async with serving(services, runs.queue()):
        await killer.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await killer.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await enqueue(services)
        await until(lambda: runs.times, timeout=10)
        await asyncio.sleep(0.6)
        await enqueue(services)
        await until(lambda: len(runs.times) == 2, timeout=10)
    await killer.aclose(close_connection_pool=True)


async def test_a_job_whose_beginning_was_recorded_but_not_confirmed_does_not_stand_as_running(
    services: Services,
) -> None:
    """The queue server dies, or the connection, between the transaction that begins a job and its answer."""
    runs = Runs()
    key_and_milliseconds = b"the only one\r\n$5\r\n10000\r\n"
    async with answer_cut_off(services.settings.queue_redis_url, key_and_milliseconds) as (way, cut):
        behind = replace(services, settings=replace(services.settings, queue_redis_url=way))
        async with serving(behind, runs.queue()):
            await enqueue(services, job_id="the only one")
            await asyncio.wait_for(cut.wait(), 5)
            await until(lambda: runs.times, timeout=5)  # it would stand as running for ten seconds

"""How a worker is set up: every queue and job is served, none is dropped, and each tick of the schedule runs once."""

import ast
import asyncio
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from arq import cron
from arq.cron import CronJob

from core.commands import kinds
from core.jobs.queues import DELIVER, QUEUES, RUN_EXPORTS, RUN_IMPORTS, RUN_MAINTENANCE, RUN_UNDOS
from tests.worker.runner.harness import TEST_QUEUE
from worker.main import QUEUES_OF_JOBS
from worker.maintenance.runs import ONCE_A_TICK
from worker.maintenance.sweeps import SWEEPS
from worker.runner import QueueOfJobs, Services, WokenWorker, build_worker, serve_queue
from worker.writes.table import WRITES

ROOT = Path(__file__).parents[3]


def test_a_worker_drops_no_job_and_runs_no_pickle(services: Services) -> None:
    for queue in QUEUES_OF_JOBS.values():
        worker = build_worker(queue, services, services.queue)
        assert worker.max_tries > 1_000_000
        assert worker.keep_result_s == 0
        assert worker.expires_extra_ms == 30 * 24 * 3600 * 1000
        assert worker.poll_delay_s == 0
        assert worker.retry_jobs
        for serialise, deserialise in ((worker.job_serializer, worker.job_deserializer),):
            assert serialise is not None
            assert deserialise is not None
            assert deserialise(serialise({"a": [1, "é"], "error": ValueError("x")})) == {
                "a": [1, "é"],
                "error": "ValueError('x')",
            }
            with pytest.raises(ValueError):
                deserialise(b"\x80\x04cos\nsystem\n.")


async def test_a_job_under_a_lease_stands_as_running_as_long_as_its_worker_says_so_and_no_longer(
    services: Services,
) -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def last(_services: Services) -> None:
        begun.set()
        await may_end.wait()

    leased = QueueOfJobs("tenfold:leased", (last,), timeout_seconds=60, max_jobs=1, lease_seconds=0.4)
    stop = asyncio.Event()
    serving = asyncio.create_task(serve_queue(leased, services, stop, drain_seconds=5))
    await services.queue.enqueue_job("last", _job_id="last", _queue_name=leased.name)
    await begun.wait()
    for _ in range(12):
        await asyncio.sleep(0.1)
        left = await services.queue.pttl("arq:in-progress:last")
        assert 0 < left <= 400, "it is renewed all the time, and would lapse soon"
    may_end.set()
    stop.set()
    await serving


def test_a_killed_workers_lane_is_free_within_seconds(services: Services) -> None:
    writes = QUEUES_OF_JOBS["writes"]
    assert build_worker(writes, services, services.queue).in_progress_timeout_s <= 2


def test_every_queue_that_operators_name_is_served() -> None:
    assert {name: queue.name for name, queue in QUEUES_OF_JOBS.items()} == QUEUES
    assert len({queue.name for queue in QUEUES_OF_JOBS.values()}) == len(QUEUES_OF_JOBS)


def test_every_job_that_is_enqueued_by_name_has_a_function() -> None:
    functions = {job.__name__ for queue in QUEUES_OF_JOBS.values() for job in queue.jobs}
    functions |= {entry.name for entry in maintenance_schedule()}
    enqueued = set()
    for package in ("api", "core", "worker"):
        for file in (ROOT / package).rglob("*.py"):
            enqueued |= set(re.findall(r"enqueue_job\(\s*\"(\w+)\"", file.read_text()))
    assert enqueued
    assert enqueued <= functions


def test_the_api_asks_for_every_kind_of_command_that_is_declared() -> None:
    asked = {kind.name for kind in kinds.LONG_WORK.values()}  # as `DELETE /jobs/{id}` does
    for file in (ROOT / "api").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "of":
                name = ast.unparse(node.func.value)
                if isinstance(kind := getattr(kinds, name, None), kinds.Kind):
                    asked.add(kind.name)
    assert asked == set(kinds.KINDS)


def test_every_job_that_a_command_wakes_runs_on_the_queue_on_which_it_is_called() -> None:
    jobs = {(queue.name, job.__name__) for queue in QUEUES_OF_JOBS.values() for job in queue.jobs}
    wakes = {write.wakes for write in WRITES.values() if write.wakes is not None}
    assert {RUN_IMPORTS, RUN_UNDOS, RUN_EXPORTS, RUN_MAINTENANCE, DELIVER} == wakes
    assert {(call.queue, call.job) for call in wakes} <= jobs


def maintenance_schedule() -> list[CronJob]:
    queue = QUEUES_OF_JOBS["maintenance"]
    assert queue.cron is not None
    return list(queue.cron())


async def test_two_workers_run_a_tick_of_the_schedule_once_though_one_comes_late_to_it(services: Services) -> None:
    ticks: list[str] = []

    async def tick(ctx: dict[str, Any]) -> None:
        ticks.append(ctx["job_id"])

    def schedule() -> list[CronJob]:
        return [cron(tick, name="tick", month=1, day=1, **ONCE_A_TICK)]

    queue = QueueOfJobs(TEST_QUEUE, jobs=(), cron=schedule, timeout_seconds=5, max_jobs=4)
    due = datetime.now(UTC)
    # One after the other, the second when the first has long run what was due.
    for worker in [build_worker(queue, services, services.queue, burst=True) for _ in range(2)]:
        for entry in worker.cron_jobs or ():
            entry.next_run = due
        await worker.run_cron(due + timedelta(milliseconds=1), 0)
        await worker.async_run()
    assert len(ticks) == 1
    assert await services.queue.zcard(TEST_QUEUE) == 0, "and it does not wait to be run a second time"


def test_every_entry_of_the_schedule_runs_once_a_tick() -> None:
    assert ONCE_A_TICK["unique"]
    for entry in maintenance_schedule():
        assert entry.unique
        assert entry.keep_result_s == ONCE_A_TICK["keep_result"]


def test_each_entry_of_the_schedule_has_a_name_of_its_own() -> None:
    names = [entry.name for entry in maintenance_schedule()]
    assert sorted(names) == sorted({"run_due_maintenance", *SWEEPS})


def test_two_worker_processes_have_schedules_of_their_own() -> None:
    first, second = maintenance_schedule(), maintenance_schedule()
    assert not {id(entry) for entry in first} & {id(entry) for entry in second}


def test_the_worker_of_a_test_is_the_worker_of_production(services: Services) -> None:
    assert isinstance(build_worker(QUEUES_OF_JOBS["writes"], services, services.queue), WokenWorker)

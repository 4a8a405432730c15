"""Maintenance by the clock: each tick once by any number of workers, caught up with after downtime, on record."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from core import clock, metrics
from core.maintenance.schedule import NAMES, PARTITION_ORDERS, SCHEDULE, SWEEPS, Interval
from core.maintenance.writes.orders import note_ticks
from core.maintenance.writes.runs import ATTEMPTS_MAXIMUM, KEPT_RUNS, claim_run
from tests.worker.maintenance.harness import order, runs
from worker.gauges import _measure_maintenance
from worker.maintenance.runs import RUNS, run_due_maintenance, run_maintenance, schedule
from worker.maintenance.sweeps import SWEEPS as RUN_SWEEPS
from worker.runner import Services

NOON = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Any:
    def set_clock(moment: datetime) -> None:
        monkeypatch.setattr(clock, "now", lambda: moment)

    return set_clock


async def lapse(owner: asyncpg.Connection) -> None:
    await owner.execute("UPDATE maintenance_runs SET lease_until = now() - interval '1 second'")


# -- ticks


def test_a_tick_is_a_multiple_of_its_interval_moved_by_its_offset() -> None:
    interval = Interval(3600, 420)
    assert interval.tick(NOON) == datetime(2026, 6, 1, 11, 7, tzinfo=UTC)
    assert interval.tick(NOON + timedelta(minutes=7)) == datetime(2026, 6, 1, 12, 7, tzinfo=UTC)
    assert interval.next_tick(NOON) == datetime(2026, 6, 1, 12, 7, tzinfo=UTC)


def test_every_name_has_something_to_run_and_nothing_else_has_a_name() -> None:
    assert set(RUNS) == {*SCHEDULE, *PARTITION_ORDERS}
    assert set(RUN_SWEEPS) == set(SWEEPS)
    assert len(set(NAMES)) == len(NAMES)


async def test_four_workers_run_each_tick_once(
    services: Services, owner: asyncpg.Connection, at: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    def counting(name: str) -> Any:
        async def run(_services: Services, _arguments: dict[str, Any]) -> int:
            await asyncio.sleep(0.02)
            ran.append(name)
            return 0

        return run

    for name in SCHEDULE:
        monkeypatch.setitem(RUNS, name, counting(name))
    for seconds in (0, 1, 30):
        at(NOON + timedelta(seconds=seconds))
        await asyncio.gather(*(run_due_maintenance(services) for _ in range(4)))
    expected = {name: len({i.tick(NOON), i.tick(NOON + timedelta(seconds=30))}) for name, i in SCHEDULE.items()}
    assert {name: ran.count(name) for name in SCHEDULE} == expected


async def test_after_days_of_downtime_one_run_makes_up_for_all_ticks(
    services: Services, owner: asyncpg.Connection, at: Any
) -> None:
    at(NOON)
    await run_due_maintenance(services)
    at(NOON + timedelta(days=3))
    await run_due_maintenance(services)
    assert [run["state"] for run in await runs(owner, "keep_partitions")] == ["succeeded", "succeeded"]


async def test_a_clock_that_goes_back_repeats_no_tick(services: Services, owner: asyncpg.Connection, at: Any) -> None:
    at(NOON)
    await run_due_maintenance(services)
    at(NOON - timedelta(hours=5))
    await run_due_maintenance(services)
    assert len(await runs(owner, "keep_partitions")) == 1


async def test_a_clock_that_was_years_ahead_does_not_stop_maintenance_until_then(
    services: Services, owner: asyncpg.Connection, at: Any
) -> None:
    at(NOON + timedelta(days=1000))
    await run_due_maintenance(services)
    for hours in (0, 1, 2):
        at(NOON + timedelta(hours=hours))
        await run_due_maintenance(services)
        await run_due_maintenance(services)
    assert [run["tick"] for run in await runs(owner, "keep_partitions")] == [
        SCHEDULE["keep_partitions"].tick(NOON + after)
        for after in (timedelta(days=1000), timedelta(), timedelta(hours=1), timedelta(hours=2))
    ]


async def test_no_tick_is_noted_while_an_earlier_run_is_not_done(services: Services, owner: asyncpg.Connection) -> None:
    assert await note_ticks(services.pool, NOON) == len(SCHEDULE)
    assert await note_ticks(services.pool, NOON + timedelta(days=1)) == 0


async def test_a_run_is_on_record_with_its_time_and_rows(
    services: Services, owner: asyncpg.Connection, alice: int, at: Any
) -> None:
    await owner.execute(
        "INSERT INTO sessions (id, user_id, expires_at) VALUES ($1, $2, now() - interval '9 days')", uuid.uuid4(), alice
    )
    at(NOON)
    await run_due_maintenance(services)
    [run] = await runs(owner, "purge_ended_sessions")
    assert (run["state"], run["rows"], run["attempts"], run["error"]) == ("succeeded", 1, 1, None)
    assert run["tick"] == SCHEDULE["purge_ended_sessions"].tick(NOON)
    assert run["finished_at"] >= run["started_at"]


async def test_a_fault_that_passes_puts_the_run_back(
    services: Services, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def busy(_services: Services, _arguments: dict[str, Any]) -> int:
        raise asyncpg.LockNotAvailableError("busy")

    await owner.execute(
        "INSERT INTO maintenance_runs (name, tick, state, arguments) VALUES ('x', now(), 'queued', '{}')"
    )
    monkeypatch.setitem(RUNS, "x", busy)
    for _ in range(ATTEMPTS_MAXIMUM + 2):
        await run_maintenance(services)
        [run] = await runs(owner, "x")
        assert (run["state"], run["attempts"]) == ("queued", 0)
        assert await claim_run(services.pool, "another") is None, "it rests"
        await lapse(owner)


async def test_a_run_that_fails_is_on_record_and_the_next_tick_comes(
    services: Services, owner: asyncpg.Connection, at: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_services: Services, _arguments: dict[str, Any]) -> int:
        raise ValueError("a secret")

    monkeypatch.setitem(RUNS, "keep_partitions", broken)
    at(NOON)
    await run_due_maintenance(services)
    [run] = await runs(owner, "keep_partitions")
    assert run["state"] == "failed"
    assert "ValueError" in run["error"]
    assert "secret" not in run["error"]
    monkeypatch.undo()
    assert await note_ticks(services.pool, NOON + timedelta(hours=1)) >= 1


async def test_a_dead_workers_run_is_taken_over_and_given_up_in_the_end(
    services: Services, owner: asyncpg.Connection
) -> None:
    await owner.execute(
        "INSERT INTO maintenance_runs (name, tick, state, arguments) VALUES ('purge_events', now(), 'queued', '{}')"
    )
    for attempt in range(1, ATTEMPTS_MAXIMUM + 1):
        claim = await claim_run(services.pool, f"worker {attempt}")
        assert claim is not None
        assert claim.attempts == attempt
        assert await claim_run(services.pool, "another") is None
        await lapse(owner)
    await run_maintenance(services)
    [run] = await runs(owner, "purge_events")
    assert run["state"] == "failed"


async def test_the_newest_runs_of_each_job_are_kept(services: Services, owner: asyncpg.Connection, at: Any) -> None:
    await owner.execute(
        "INSERT INTO maintenance_runs (name, tick, state, arguments)"
        " SELECT 'keep_partitions', $1::timestamptz - n * interval '1 hour', 'succeeded', '{}'"
        " FROM generate_series(300, 2, -1) AS n",
        NOON,
    )
    at(NOON)
    await run_due_maintenance(services)
    found = await runs(owner, "keep_partitions")
    assert len(found) == KEPT_RUNS
    assert found[-1]["tick"] == SCHEDULE["keep_partitions"].tick(NOON)


# -- orders


async def job(owner: asyncpg.Connection, job_id: str) -> asyncpg.Record:
    found = await owner.fetchrow(
        "SELECT state, status_code, result::text, error ->> 'type' AS type FROM jobs WHERE id = $1", uuid.UUID(job_id)
    )
    assert found is not None
    return found


async def test_an_ordered_run_is_a_job_that_tells_how_it_went(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    job_id = await order(services, alice, "purge_finished_jobs")
    assert (await job(owner, job_id))["state"] == "queued"
    await run_maintenance(services)
    found = await job(owner, job_id)
    assert (found["state"], found["status_code"], found["result"]) == ("succeeded", 200, '{"rows":0}')


async def test_an_order_calls_a_worker(services: Services, owner: asyncpg.Connection, alice: int) -> None:
    await order(services, alice, "sweep_lanes")
    [run] = await runs(owner, "sweep_lanes")
    assert run["state"] == "queued"


async def test_an_order_that_cannot_be_carried_out_is_rejected(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    year = datetime.now(UTC).year
    overlapping = await order(services, alice, "create_partition", {"from": f"{year}-02-01", "to": f"{year}-03-01"})
    unknown = await order(services, alice, "detach_partition", {"name": "users"})
    await run_maintenance(services)
    found = await job(owner, overlapping)
    assert (found["state"], found["status_code"], found["type"]) == ("rejected", 409, "/problems/partition-conflict")
    assert (await job(owner, unknown))["status_code"] == 404


async def test_a_partition_is_made_detached_and_attached_by_order_and_no_page_outlives_it(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    made = await order(services, alice, "create_partition", {"from": "2022-01-01", "to": "2023-01-01"})
    await run_maintenance(services)
    assert (await job(owner, made))["state"] == "succeeded"
    for name, attached in (("detach_partition", False), ("attach_partition", True)):
        job_id = await order(services, alice, name, {"name": "tasks_2022"})
        await run_maintenance(services)
        assert (await job(owner, job_id))["state"] == "succeeded"
        sql = "SELECT is_attached FROM task_partitions WHERE name = 'tasks_2022'"
        assert await owner.fetchval(sql) is attached
    await owner.execute("DROP TABLE tasks_2022")


# -- sweeps and metrics


async def test_a_sweep_is_on_record_once_however_often_it_is_run(services: Services, owner: asyncpg.Connection) -> None:
    [entry] = [entry for entry in schedule() if entry.name == "sweep_lanes"]
    for _ in range(3):
        await entry.coroutine({"services": services, "job_id": "x", "job_try": 1})
    [run] = await runs(owner, "sweep_lanes")
    assert (run["state"], run["error"]) == ("succeeded", None)


async def test_a_sweep_that_fails_for_a_fault_that_passes_is_on_record_and_not_repeated(
    services: Services, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_services: Services) -> int:
        raise asyncpg.CannotConnectNowError("starting up")

    monkeypatch.setitem(RUN_SWEEPS, "sweep_lanes", away)
    [entry] = [entry for entry in schedule() if entry.name == "sweep_lanes"]
    await entry.coroutine({"services": services, "job_id": "x", "job_try": 1})  # and raises no Retry
    [run] = await runs(owner, "sweep_lanes")
    assert (run["state"], run["error"]) == ("failed", "CannotConnectNowError")


async def test_workers_tell_when_each_job_last_succeeded_and_how_long_partitions_last(
    services: Services, owner: asyncpg.Connection, at: Any
) -> None:
    await run_due_maintenance(services)
    metrics.MAINTENANCE_LAST_SUCCESS.labels("keep_partitions").set(0)
    await _measure_maintenance(services)
    last = metrics.MAINTENANCE_LAST_SUCCESS.labels("keep_partitions")._value.get()
    assert abs(last - datetime.now(UTC).timestamp()) < 60
    assert 730 < metrics.PARTITIONS_LEFT.labels("tasks")._value.get() / 86_400 < 1097

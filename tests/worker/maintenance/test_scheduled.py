"""Scheduled work: lanes nobody called, a suspect cache, partitions ahead, and rows past their retention."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from core import lanes
from core.cache import SUSPECT_FLAG
from core.commands.wire import encode_batch
from core.jobs.queues import WRITES_QUEUE
from core.jobs.tables import FINAL_STATES
from core.jobs.writes import purge_jobs
from core.users.writes.sessions import purge_login_places, purge_sessions
from tests.harness import eventually
from tests.worker.commands import create
from worker.gauges import _measure_queue_server
from worker.main import QUEUES_OF_JOBS
from worker.maintenance.scheduled import keep_partitions, purge_ended_sessions, purge_finished_jobs
from worker.maintenance.sweeps import empty_suspect_cache, sweep_lanes
from worker.runner import Services, build_worker


async def queued(services: Services) -> set[str]:
    return {job_id.decode() for job_id in await services.queue.zrange(WRITES_QUEUE, 0, -1)}


async def append(services: Services, lane: str, user_id: int) -> None:
    body = encode_batch([create(user_id).encode()])
    await services.queue.xadd(lanes.stream(lane), {"origin": "x", "commands": body})


async def test_a_sweep_calls_the_drain_of_every_lane_in_which_something_lies_and_of_no_other(
    services: Services, alice: int
) -> None:
    for lane in ("0", "2", "200", "batches-7"):  # the last is of a time when WRITE_LANES was higher
        await append(services, lane, alice)
    await services.queue.xadd(lanes.stream("3"), {"gone": "x"})
    await services.queue.xtrim(lanes.stream("3"), maxlen=0)
    await services.queue.xadd(lanes.DEAD_LETTERS, {"dead": "x"})
    await sweep_lanes(services)
    assert await queued(services) == {"lane:0", "lane:2", "lane:200", "lane:batches-7"}


async def test_a_lane_that_nobody_called_is_drained_after_a_sweep(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    await append(services, "1", alice)
    await sweep_lanes(services)
    await build_worker(QUEUES_OF_JOBS["writes"], services, services.queue, burst=True).async_run()
    assert await owner.fetchval("SELECT count(*) FROM tasks WHERE user_id = $1", alice) == 1
    assert await services.queue.xlen(lanes.stream("1")) == 0


async def test_a_suspect_cache_is_emptied_and_given_free(services: Services) -> None:
    await services.cache.hset("tenfold:cache:user:1", "page", "old")
    await services.cache.set("tenfold:limit:x", "7")
    await services.invalidator.distrust_everything()
    await empty_suspect_cache(services)
    assert not await services.cache.exists("tenfold:cache:user:1")
    assert await services.cache.get("tenfold:limit:x") == b"7", "counters of limits are not suspect"
    assert not await services.queue.exists(SUSPECT_FLAG)


async def test_a_cache_that_nobody_suspects_is_left_alone(services: Services) -> None:
    await services.cache.hset("tenfold:cache:user:1", "page", "good")
    await empty_suspect_cache(services)
    assert await services.cache.exists("tenfold:cache:user:1")


async def test_partitions_are_kept_ahead(services: Services, owner: asyncpg.Connection) -> None:
    newest = datetime.now(UTC).year + services.settings.partitions_ahead
    await owner.execute(f"DROP TABLE tasks_{newest}")
    await keep_partitions(services, {})
    assert await owner.fetchval("SELECT to_regclass($1) IS NOT NULL", f"tasks_{newest}")


# -- rows past their retention


async def insert_job(owner: asyncpg.Connection, user_id: int, state: str, age: timedelta) -> uuid.UUID:
    job_id = uuid.uuid4()
    await owner.execute(
        "INSERT INTO jobs (id, user_id, kind, state, created_at) VALUES ($1, $2, 'x', $3, now() - $4::interval)",
        job_id,
        user_id,
        state,
        age,
    )
    return job_id


async def remaining(owner: asyncpg.Connection) -> set[uuid.UUID]:
    return {row["id"] for row in await owner.fetch("SELECT id FROM jobs")}


@pytest.mark.parametrize("state", sorted(FINAL_STATES))
async def test_finished_jobs_are_purged_past_their_retention_and_not_before(
    services: Services, owner: asyncpg.Connection, alice: int, state: str
) -> None:
    hours = services.settings.job_retention_hours
    await insert_job(owner, alice, state, timedelta(hours=hours, minutes=1))
    young = await insert_job(owner, alice, state, timedelta(hours=hours, minutes=-1))
    await purge_finished_jobs(services, {})
    assert await remaining(owner) == {young}


@pytest.mark.parametrize("state", ["queued", "processing"])
async def test_unfinished_jobs_are_never_purged(
    services: Services, owner: asyncpg.Connection, alice: int, state: str
) -> None:
    old = await insert_job(owner, alice, state, timedelta(days=400))
    await purge_finished_jobs(services, {})
    assert await remaining(owner) == {old}


async def test_a_purge_goes_in_chunks_and_reaches_the_end(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    for _ in range(25):
        await insert_job(owner, alice, "succeeded", timedelta(days=2))
    assert await purge_jobs(services.pool, retention_hours=24, chunk=10) == 25
    assert await purge_jobs(services.pool, retention_hours=24, chunk=10) == 0


async def test_sessions_are_purged_a_day_after_their_end(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    kept = []
    for age in (timedelta(days=-1), timedelta(hours=23), timedelta(hours=25)):
        session = uuid.uuid4()
        await owner.execute(
            "INSERT INTO sessions (id, user_id, expires_at) VALUES ($1, $2, now() - $3::interval)", session, alice, age
        )
        kept.append(session)
    await purge_ended_sessions(services, {})
    assert {row["id"] for row in await owner.fetch("SELECT id FROM sessions")} == set(kept[:2])
    assert await purge_sessions(services.pool) == 0


async def test_where_users_logged_in_from_is_forgotten_after_30_days(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    for place, age in (("home", 0), ("work", 29), ("hotel", 31), ("station", 400)):
        await owner.execute(
            "INSERT INTO login_places VALUES ($1, $2, now() - make_interval(days => $3))", alice, place, age
        )
    assert await purge_login_places(services.pool, chunk=1) == 2
    await purge_ended_sessions(services, {})
    assert {row["place"] for row in await owner.fetch("SELECT place FROM login_places")} == {"home", "work"}


# -- what the worker tells of the queue server


async def test_lanes_and_queues_are_measured(services: Services, alice: int) -> None:
    from prometheus_client import REGISTRY

    def value(name: str, **labels: Any) -> float | None:
        return REGISTRY.get_sample_value(name, labels)

    services = replace(services, settings=replace(services.settings, write_lanes=2))
    await append(services, "0", alice)
    await append(services, "0", alice)
    await lanes.call_drain(services.queue, "0")
    await services.queue.xadd(lanes.DEAD_LETTERS, {"dead": "x"})

    async def aged() -> bool:
        await _measure_queue_server(services)
        return (value("tenfold_lane_oldest_entry_age_seconds", lane="0") or 0) > 0.05

    await eventually(aged)
    assert value("tenfold_lane_entries", lane="0") == 2
    assert value("tenfold_lane_entries", lane="1") == 0
    assert value("tenfold_lane_oldest_entry_age_seconds", lane="1") == 0
    assert value("tenfold_queue_jobs", queue="writes") == 1
    assert value("tenfold_dead_letter_entries") == 1
    oldest = value("tenfold_queue_oldest_job_age_seconds", queue="writes")
    assert oldest is not None
    assert 0 < oldest < 60

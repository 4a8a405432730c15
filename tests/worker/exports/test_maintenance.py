"""Exports that nobody carries out are called for again, and files that have expired are deleted."""

import asyncpg
import pytest

from core.exports.writes.work import claim_export
from core.jobs.queues import BULK_QUEUE
from core.jobs.writes import purge_jobs
from tests.worker.exports.harness import objects, order, row_of
from worker.exports import run_exports
from worker.maintenance.scheduled import delete_expired_exports, delete_orphaned_exports
from worker.maintenance.sweeps import CALLS_MAXIMUM, sweep_exports
from worker.runner import Services


async def test_a_sweep_calls_a_worker_for_what_nobody_carries_out_and_only_then(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    await sweep_exports(services)
    assert await services.queue.zcard(BULK_QUEUE) == 0
    await order(services, alice)
    await sweep_exports(services)
    assert await services.queue.zcard(BULK_QUEUE) == 1
    await claim_export(services.pool, "somebody")
    await sweep_exports(services)
    assert await services.queue.zcard(BULK_QUEUE) == 1
    await owner.execute("UPDATE exports SET lease_until = now() - interval '1 second'")
    await sweep_exports(services)
    assert await services.queue.zcard(BULK_QUEUE) == 2


async def test_calls_do_not_pile_up_while_no_worker_is_there(services: Services, alice: int) -> None:
    await order(services, alice)
    for _ in range(CALLS_MAXIMUM + 5):
        await sweep_exports(services)
    assert await services.queue.zcard(BULK_QUEUE) == CALLS_MAXIMUM


async def test_an_expired_file_is_deleted_and_its_export_told_of_for_some_days_more(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    export_id = await order(services, alice)
    await run_exports(services)
    await delete_expired_exports(services, {})
    assert len(await objects(services)) == 1
    await owner.execute("UPDATE exports SET expires_at = now()")
    await delete_expired_exports(services, {})
    assert await objects(services) == []
    assert (await row_of(owner, export_id))["object"] is None
    await owner.execute("UPDATE exports SET expires_at = now() - interval '8 days'")
    await delete_expired_exports(services, {})
    assert await owner.fetchval("SELECT count(*) FROM jobs WHERE kind = 'export'") == 0


async def test_the_purge_of_jobs_leaves_exports_alone(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    await order(services, alice)
    await run_exports(services)
    await owner.execute("UPDATE jobs SET created_at = now() - interval '1 year'")
    await purge_jobs(services.pool, retention_hours=1)
    assert await owner.fetchval("SELECT count(*) FROM jobs WHERE kind = 'export'") == 1


async def test_a_file_that_nobody_knows_of_is_deleted_when_it_cannot_belong_to_a_running_export(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with services.storage.writer("exports/orphan/1") as writer:
        await writer.write(b"x")
        await writer.commit()
    await delete_orphaned_exports(services, {})
    assert await objects(services) == ["exports/orphan/1"]
    monkeypatch.setattr("worker.maintenance.scheduled.LONGEST_EXPORT_SECONDS", -25 * 3600)
    await delete_orphaned_exports(services, {})
    assert await objects(services) == []

"""An export runs once and ends: done, cancelled, failed, or carried on by another worker."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import pytest

from core import lanes
from core.commands.wire import encode_batch
from core.database.pools import worker_pool
from core.exports.writes.work import claim_export, renew_export
from core.jobs.queues import BULK_QUEUE
from core.storage import Storage
from tests.harness import eventually
from tests.worker.commands import apply, command, insert_task, new_user
from tests.worker.exports.harness import HeldStorage, objects, order, ordered, row_of
from worker import exports
from worker.exports import EXPORTS_AT_ONCE, run_exports
from worker.maintenance.sweeps import sweep_exports
from worker.runner import Services
from worker.writes.lanes import drain_lane


async def test_an_export_is_queued_then_done_and_its_file_expires(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    export_id = await order(services, alice)
    row = await row_of(owner, export_id)
    assert (row["kind"], row["state"], row["started_at"], row["finished_at"], row["status_code"]) == (
        *("export", "queued"),
        *(None, None, None),
    )
    await run_exports(services)
    row = await row_of(owner, export_id)
    assert (row["state"], row["status_code"], row["attempts"], row["lease_owner"]) == ("succeeded", 200, 1, None)
    assert (row["expires_at"] - row["finished_at"]).total_seconds() == pytest.approx(24 * 3600, abs=5)


async def test_a_command_that_arrives_twice_begins_one_export(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    ordering = ordered(alice)
    outcomes = [*await apply(services, ordering), *await apply(services, ordering)]
    assert [outcome["status_code"] for outcome in outcomes] == [202, 202]
    assert await owner.fetchval("SELECT count(*) FROM exports") == 1


async def test_a_new_export_calls_a_worker(services: Services, alice: int) -> None:
    body = encode_batch([ordered(alice).encode()])
    await services.queue.xadd(lanes.stream("0"), {"origin": "x", "commands": body})
    await drain_lane(services, "0")
    assert await services.queue.zcard(BULK_QUEUE) == 1


async def test_a_cancelled_export_stops_in_a_moment_and_leaves_nothing(
    services: Services, held: Services, owner: asyncpg.Connection, alice: int, tricky: list[int]
) -> None:
    export_id = await order(services, alice)
    running = asyncio.create_task(run_exports(held))
    await held.storage.reached.wait()  # type: ignore[attr-defined]
    [outcome] = await apply(services, command("export.cancel", alice, {"id": export_id}))
    assert outcome["status_code"] == 204
    await asyncio.wait_for(running, 5)
    assert (await row_of(owner, export_id))["state"] == "cancelled"
    assert await objects(services) == []


async def test_a_cancellation_in_the_last_moment_deletes_the_file(
    services: Services, owner: asyncpg.Connection, alice: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_id = await order(services, alice)
    finish = exports.finish_export

    async def cancelled_first(*arguments: Any, **more: Any) -> bool:
        await apply(services, command("export.cancel", alice, {"id": export_id}))
        assert len(await objects(services)) == 1
        return await finish(*arguments, **more)

    monkeypatch.setattr(exports, "finish_export", cancelled_first)
    await run_exports(services)
    row = await row_of(owner, export_id)
    assert (row["state"], row["object"]) == ("cancelled", None)
    assert await objects(services) == []


async def test_only_an_own_export_that_has_not_ended_can_be_cancelled(
    services: Services, owner: asyncpg.Connection, alice: int, bob: int
) -> None:
    export_id = await order(services, alice)

    async def cancel(user_id: int, target: str, **more: Any) -> int:
        [outcome] = await apply(services, command("export.cancel", user_id, {"id": target, **more}))
        return int(outcome["status_code"])

    assert await cancel(bob, export_id, with_file=True) == 404
    assert await cancel(alice, "00000000-0000-7000-8000-000000000000") == 404
    assert (await row_of(owner, export_id))["state"] == "queued"
    await run_exports(services)
    assert await cancel(alice, export_id) == 409
    assert await cancel(alice, export_id, with_file=True) == 204
    assert await cancel(alice, export_id, with_file=True) == 409
    row = await row_of(owner, export_id)
    assert row["state"] == "succeeded"
    assert row["expires_at"] <= datetime.now(UTC)


async def test_a_cancelled_export_is_not_taken_up(services: Services, owner: asyncpg.Connection, alice: int) -> None:
    export_id = await order(services, alice)
    await apply(services, command("export.cancel", alice, {"id": export_id}))
    await run_exports(services)
    row = await row_of(owner, export_id)
    assert (row["state"], row["started_at"], row["attempts"]) == ("cancelled", None, 0)


async def test_an_export_that_is_cancelled_in_the_batch_that_begins_it_ends_as_cancelled(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    ordering, unknown = ordered(alice), "00000000-0000-7000-8000-000000000000"
    outcomes = await apply(
        services,
        command("export.cancel", alice, {"id": unknown}),
        ordering,
        command("export.cancel", alice, {"id": ordering.id}),
    )
    assert [outcome["status_code"] for outcome in outcomes] == [404, 202, 204]
    await sweep_exports(services)
    assert await services.queue.zcard(BULK_QUEUE) == 1
    await run_exports(services)
    row = await row_of(owner, ordering.id)
    assert (row["state"], row["started_at"], row["object"]) == ("cancelled", None, None)
    assert row["finished_at"] is not None
    await sweep_exports(services)
    assert await services.queue.zcard(BULK_QUEUE) == 1


async def test_two_workers_write_an_export_once(
    services: Services, held: Services, owner: asyncpg.Connection, alice: int, tricky: list[int]
) -> None:
    export_id = await order(services, alice)
    running = asyncio.create_task(run_exports(held))
    await held.storage.reached.wait()  # type: ignore[attr-defined]
    await run_exports(services)
    assert (await row_of(owner, export_id))["state"] == "processing"
    held.storage.go_on.set()  # type: ignore[attr-defined]
    await running
    row = await row_of(owner, export_id)
    assert (row["state"], row["attempts"]) == ("succeeded", 1)
    assert len(await objects(services)) == 1


async def test_of_a_user_one_export_runs_at_a_time_and_another_users_goes_first(
    services: Services, alice: int, bob: int
) -> None:
    firsts = [await order(services, alice) for _ in range(2)]
    bobs = await order(services, bob)
    claimed = [await claim_export(services.pool, f"owner-{number}") for number in range(3)]
    assert [one.id if one else None for one in claimed] == [firsts[0], bobs, None]


async def test_a_killed_workers_export_is_begun_anew_and_the_dead_one_can_end_nothing(
    services: Services, held: Services, owner: asyncpg.Connection, alice: int, tricky: list[int]
) -> None:
    export_id = await order(services, alice)
    frozen = asyncio.create_task(run_exports(held))
    await held.storage.reached.wait()  # type: ignore[attr-defined]
    before = await row_of(owner, export_id)
    await owner.execute("UPDATE exports SET lease_until = now() - interval '1 second'")
    await run_exports(services)
    row = await row_of(owner, export_id)
    assert (row["state"], row["attempts"]) == ("succeeded", 2)
    assert row["object"] != f"exports/{export_id}/{before['lease_owner'].rpartition('-')[2]}"
    held.storage.go_on.set()  # type: ignore[attr-defined]
    await frozen
    after = await row_of(owner, export_id)
    assert (after["object"], after["etag"]) == (row["object"], row["etag"])
    assert await objects(services) == [row["object"]]


async def test_a_stopping_workers_export_is_free_at_once_and_counts_no_attempt(
    services: Services, held: Services, owner: asyncpg.Connection, alice: int, tricky: list[int]
) -> None:
    export_id = await order(services, alice)
    stopping = asyncio.create_task(run_exports(held))
    await held.storage.reached.wait()  # type: ignore[attr-defined]
    stopping.cancel()
    await asyncio.wait({stopping})
    await run_exports(services)
    row = await row_of(owner, export_id)
    assert (row["state"], row["attempts"]) == ("succeeded", 1)


async def test_progress_is_told_while_it_runs(
    services: Services, held: Services, owner: asyncpg.Connection, alice: int, tricky: list[int]
) -> None:
    export_id = await order(services, alice)
    running = asyncio.create_task(run_exports(held))

    async def told() -> Any:
        return (await row_of(owner, export_id))["progress"]

    assert orjson.loads(await eventually(told)) == {"done": len(tricky), "total": len(tricky), "failed": 0}
    held.storage.go_on.set()  # type: ignore[attr-defined]
    await running


async def test_a_lease_that_was_taken_over_cannot_be_renewed(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    await order(services, alice)
    first = await claim_export(services.pool, "first")
    assert first is not None
    assert await renew_export(services.pool, first, rows=1, size=1, total=2)
    await owner.execute("UPDATE exports SET lease_until = now() - interval '1 second'")
    assert await claim_export(services.pool, "second") is not None
    assert not await renew_export(services.pool, first, rows=1, size=1, total=2)


async def test_an_export_that_fails_for_good_says_so_and_is_not_tried_again(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    export_id = await order(services, alice, filters={"sort": "nonsense"})
    await run_exports(services)
    row = await row_of(owner, export_id)
    assert (row["state"], row["status_code"], row["attempts"]) == ("failed", 500, 1)
    assert orjson.loads(row["error"])["type"] == "/problems/internal-error"
    assert "nonsense" not in row["error"]


async def test_an_export_that_kills_its_workers_is_given_up_in_the_end(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    export_id = await order(services, alice)
    await owner.execute("UPDATE exports SET attempts = $1", exports.ATTEMPTS_MAXIMUM)
    await run_exports(services)
    assert (await row_of(owner, export_id))["state"] == "failed"


async def test_an_export_waits_for_a_store_that_cannot_be_used(
    services: Services, owner: asyncpg.Connection, alice: int, tmp_path: Path
) -> None:
    export_id = await order(services, alice)
    (tmp_path / "file").write_text("no folder")
    await run_exports(replace(services, storage=Storage((tmp_path / "file").as_uri())))
    row = await row_of(owner, export_id)
    assert (row["state"], row["attempts"]) == ("processing", 0)
    await run_exports(services)
    assert (await row_of(owner, export_id))["state"] == "succeeded"


async def test_exports_take_no_more_than_their_places(
    services: Services, held: Services, owner: asyncpg.Connection
) -> None:
    users = [await new_user(owner) for _ in range(EXPORTS_AT_ONCE + 1)]
    for user in users:
        await insert_task(owner, user)
        await order(services, user)
    running = [asyncio.create_task(run_exports(held)) for _ in range(EXPORTS_AT_ONCE + 2)]
    states = "SELECT state, count(*) FROM jobs GROUP BY 1"

    async def begun() -> bool:
        return dict(await owner.fetch(states)).get("processing") == EXPORTS_AT_ONCE

    await eventually(begun)
    await asyncio.sleep(0.1)
    assert dict(await owner.fetch(states)) == {"processing": EXPORTS_AT_ONCE, "queued": 1}
    held.storage.go_on.set()  # type: ignore[attr-defined]
    await asyncio.gather(*running)
    assert dict(await owner.fetch(states)) == {"succeeded": EXPORTS_AT_ONCE + 1}, "a place that is free is taken again"


async def test_an_export_keeps_its_lease_where_a_process_may_have_one_connection(
    services: Services, owner: asyncpg.Connection, alice: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "RENEW_SECONDS", 0.01)
    await insert_task(owner, alice)
    export_id = await order(services, alice)
    single = await worker_pool(services.settings, size=1)
    storage = HeldStorage(services.storage.url)
    running = asyncio.create_task(run_exports(replace(services, pool=single, storage=storage)))

    async def told() -> Any:
        return (await row_of(owner, export_id))["progress"]

    await eventually(told)
    storage.go_on.set()
    await running
    await single.close()
    assert (await row_of(owner, export_id))["state"] == "succeeded"

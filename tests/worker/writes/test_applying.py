"""A batch is one transaction: its rows, its few statements, the faults that undo it, and whom it concerns."""

import asyncio
import uuid
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from core.database.pools import worker_pool
from core.lanes.writes import LaneLease, claim_lane
from tests.worker.commands import LANE, apply, create, delete, insert_task, new_user, update
from tests.worker.writes.harness import titles
from worker.runner import Services
from worker.writes.applying import apply_batch


async def test_a_job_row_holds_what_the_command_was_and_came_to(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    one = create(alice, "x", request_id="r-1", fingerprint="f")
    [outcome] = await apply(services, one)
    row = await owner.fetchrow("SELECT * FROM jobs WHERE id = $1", uuid.UUID(one.id))
    assert row is not None
    assert (row["kind"], row["user_id"], row["state"], row["status_code"]) == ("task.create", alice, "succeeded", 201)
    assert (row["request_id"], row["fingerprint"]) == ("r-1", "f")
    assert row["task_id"] == outcome["result"]["id"]
    assert row["created_at"].isoformat(timespec="microseconds") == one.created_at


async def test_a_failed_transaction_changes_nothing_and_can_be_repeated(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    one = create(alice, "once")
    pool = await worker_pool(services.settings, size=1)
    crippled = replace(services, pool=pool)
    async with pool.acquire() as connection:
        await connection.execute("SET statement_timeout = '1ms'")
    try:
        async with owner.transaction():
            await owner.execute("LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(asyncpg.QueryCanceledError):
                await apply_batch(crippled, LaneLease(LANE, 0), [one])
        assert await titles(owner, alice) == []
        assert await owner.fetchval("SELECT count(*) FROM jobs WHERE user_id = $1", alice) == 0
        async with pool.acquire() as connection:
            assert not connection.is_in_transaction()
            await connection.execute("SET statement_timeout = 0")
        [outcome] = await apply(crippled, one)
        assert outcome["status_code"] == 201
    finally:
        await pool.close()


async def test_a_cancelled_batch_leaves_its_connection_fit_and_the_lane_free(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    async with owner.transaction():
        await owner.execute("LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE")
        stuck = asyncio.create_task(apply(services, create(alice)))
        await asyncio.sleep(0.1)
        stuck.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stuck
    [outcome] = await apply(services, create(alice))
    assert outcome["status_code"] == 201
    assert services.pool.get_size() == services.pool.get_idle_size()


async def test_the_statements_of_a_clean_batch_do_not_grow_with_it(services: Services, alice: int) -> None:
    seen: list[str] = []
    pool = await worker_pool(services.settings, size=1)
    lease = await claim_lane(services.pool, LANE)
    try:
        async with pool.acquire() as connection:
            lent = _Lent(connection)
            counted = replace(services, pool=lent)  # type: ignore[arg-type]
            await apply(
                counted, create(alice), delete(alice, 1), lease=lease
            )  # asyncpg asks for the types that it meets first
            connection.add_query_logger(lambda record: seen.append(record.query))
            for count in (2, 200):
                seen.clear()
                await apply(counted, *(create(alice) for _ in range(count)), lease=lease)
                await asyncio.sleep(0)  # asyncpg tells of a statement a little later
                assert len(seen) == 1, "tasks and jobs together"
                seen.clear()
                await apply(counted, *(create(alice) for _ in range(count)), delete(alice, 1), lease=lease)
                await asyncio.sleep(0)
                assert len(seen) == 5, "begin and lock, one insert of tasks, one delete, one insert of jobs, commit"
    finally:
        await pool.close()


class _Lent:
    """A pool of one connection that somebody watches."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def acquire(self) -> "_Lent":
        return self

    async def __aenter__(self) -> Any:
        return self._connection

    async def __aexit__(self, *_: object) -> None:
        return None


async def test_those_whose_rows_changed_are_told(
    services: Services, owner: asyncpg.Connection, alice: int, bob: int
) -> None:
    task, admin = await insert_task(owner, bob), await new_user(owner, role="admin")
    applied = await apply_batch(
        services,
        await claim_lane(services.pool, LANE),
        [create(alice), update(admin, task, {"title": "x"}, any_owner=True)],
    )
    assert [one.owners for one in applied] == [{alice}, {bob}]
    # Carried out before: whose task it was cannot be told any more if it is gone, so nothing cached may be trusted.
    [again] = await apply_batch(services, await claim_lane(services.pool, LANE), [applied[1].command])
    assert again.owners is None
    [again] = await apply_batch(services, await claim_lane(services.pool, LANE), [applied[0].command])
    assert again.owners == {alice}


async def test_writes_wait_for_a_schema_that_is_behind_the_code(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    wanted = create(alice, "patient")
    await owner.execute("ALTER TABLE tasks RENAME COLUMN description TO details")
    try:
        with pytest.raises(asyncpg.UndefinedColumnError):
            await apply(services, wanted)
        assert await owner.fetchval("SELECT count(*) FROM jobs") == 0
    finally:
        await owner.execute("ALTER TABLE tasks RENAME COLUMN details TO description")
    [outcome] = await apply(services, wanted)
    assert (outcome["status_code"], await titles(owner, alice)) == (201, ["patient"])

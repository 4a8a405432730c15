"""The quota of tasks in a worker, exact near it and free far from it; exports that are forbidden, large, or many."""

import asyncio
import resource
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import asyncpg
import orjson
import pytest

from core.database.pools import worker_pool
from core.exports.writes.work import claim_export, end_if_forbidden, finish_export, renew_export
from core.quotas import tasks as task_quotas
from core.quotas.checks import Quotas
from core.quotas.tasks import TaskQuota
from tests.harness import eventually
from tests.worker.commands import apply, command, create, insert_task, new_user
from tests.worker.imports.harness import begin, lines
from worker.exports import run_exports
from worker.imports import run_imports
from worker.maintenance.sweeps import sweep_exports
from worker.runner import Services


@pytest.fixture
def limited(services: Services) -> Services:
    """Services of a worker whose users may have 100 tasks; more than 10 are not counted within a write."""
    return with_quota(services, 100, counted_at_once=10)


def with_quota(services: Services, limit: int, *, counted_at_once: int) -> Services:
    quotas = Quotas(services.settings, services.pool)
    quotas.tasks = TaskQuota(services.pool, limit, counted_at_once=counted_at_once)
    return replace(services, quotas=quotas)


async def insert_tasks(owner: asyncpg.Connection, user_id: int, count: int) -> None:
    await owner.execute(
        "INSERT INTO tasks (user_id, title) SELECT $1, 'task ' || n FROM generate_series(1, $2::int) AS n",
        user_id,
        count,
    )


async def statuses(services: Services, *user_ids: int) -> list[int]:
    return [outcome["status_code"] for outcome in await apply(services, *map(create, user_ids))]


async def settled(services: Services) -> None:
    """Waits until nobody is being counted in the background."""

    async def done() -> bool:
        return not services.quotas.tasks._counting

    await eventually(done)


# -- the quota of tasks


async def test_who_is_far_from_the_quota_is_counted_once_and_not_again_for_a_while(
    services: Services, owner: asyncpg.Connection, alice: int, bob: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    quota = with_quota(services, 1000, counted_at_once=10).quotas.tasks
    async with services.pool.acquire() as connection:
        statements: list[str] = []
        with connection.query_logger(lambda record: statements.append(record.query)):
            for _ in range(50):
                assert await quota.refuse(connection, [alice, bob, alice]) == {}
            await asyncio.sleep(0)  # asyncpg logs a moment later
            assert statements.count(task_quotas._COUNT) == 1
            monkeypatch.setattr(task_quotas, "FRESH_SECONDS", 0.0)
            await quota.refuse(connection, [alice])
            await asyncio.sleep(0)
            assert statements.count(task_quotas._COUNT) == 2


async def test_what_a_process_has_created_counts_though_it_does_not_look(
    services: Services, owner: asyncpg.Connection, alice: int, bob: int
) -> None:
    limited = with_quota(services, 30, counted_at_once=20)
    made: list[int] = []
    for _ in range(8):
        made += await statuses(limited, *[alice] * 5)
    assert made.count(201) >= 30 - 5
    await settled(limited)
    while 201 in (now := await statuses(limited, alice)):
        made += now
    assert await owner.fetchval("SELECT count(*) FROM tasks WHERE user_id = $1", alice) <= 30 + 5
    assert await statuses(limited, bob) == [201]


async def test_who_has_many_tasks_is_counted_in_the_background(
    limited: Services, owner: asyncpg.Connection, alice: int, bob: int
) -> None:
    await insert_tasks(owner, alice, 100)
    await insert_tasks(owner, bob, 99)
    assert await statuses(limited, alice, bob) == [201, 201], "nobody knew yet, and nobody was held up"
    await settled(limited)
    assert await statuses(limited, alice, bob) == [409, 409]
    [refused] = await apply(limited, create(alice))
    assert {name: refused["error"][name] for name in ("quota", "limit", "used")} == {
        "quota": "tasks", "limit": 100, "used": 101,
    }  # fmt: skip


async def test_who_has_deleted_some_of_many_tasks_may_create_again_a_moment_later(
    limited: Services, owner: asyncpg.Connection, alice: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_quotas, "RECOUNT_SECONDS", 0.2)
    monkeypatch.setattr(task_quotas, "RECOUNT_FACTOR", 1)  # on a busy machine a count may take long
    await insert_tasks(owner, alice, 100)
    await statuses(limited, alice)
    await settled(limited)
    assert await statuses(limited, alice) == [409]
    await owner.execute("DELETE FROM tasks WHERE user_id = $1 AND id % 2 = 0", alice)

    async def created() -> bool:
        return await statuses(limited, alice) == [201]

    await eventually(created)


async def test_a_user_at_the_quota_is_not_counted_at_every_attempt(
    limited: Services, owner: asyncpg.Connection, alice: int
) -> None:
    await insert_tasks(owner, alice, 100)
    await statuses(limited, alice)
    await settled(limited)
    quota = limited.quotas.tasks
    async with limited.pool.acquire() as connection:
        statements: list[str] = []
        with connection.query_logger(lambda record: statements.append(record.query)):
            for _ in range(50):
                assert list(await quota.refuse(connection, [alice])) == [0]
            await asyncio.sleep(0)  # asyncpg logs a moment later
        assert statements == []
        assert quota._counting == {}


async def test_a_count_that_fails_is_repeated_later(limited: Services, owner: asyncpg.Connection, alice: int) -> None:
    await insert_tasks(owner, alice, 100)
    broken = await worker_pool(limited.settings, size=1)
    await broken.close()
    working, limited.quotas.tasks._pool = limited.quotas.tasks._pool, broken
    assert await statuses(limited, alice) == [201]
    await settled(limited)
    limited.quotas.tasks._pool = working
    limited.quotas.tasks._known.clear()
    assert await statuses(limited, alice) == [201]
    await settled(limited)
    assert await statuses(limited, alice) == [409]


async def test_many_users_are_forgotten_again(
    services: Services, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_quotas, "USERS_REMEMBERED", 3)
    limited = with_quota(services, 1000, counted_at_once=10)
    users = [await new_user(owner) for _ in range(5)]
    for user in users:
        assert await statuses(limited, user) == [201]
    assert list(limited.quotas.tasks._known) == users[-3:]


async def test_an_import_stops_at_the_chunk_that_would_pass_the_quota(
    limited: Services, owner: asyncpg.Connection, alice: int
) -> None:
    await insert_tasks(owner, alice, 95)
    import_id = await begin(limited, alice, lines(*({"title": f"new {number}"} for number in range(6))))
    await statuses(limited, alice)  # has alice counted
    await settled(limited)
    await run_imports(limited)
    row = await owner.fetchrow("SELECT state, status_code, error::text FROM jobs WHERE id = $1::text::uuid", import_id)
    assert row is not None
    assert (row["state"], row["status_code"]) == ("failed", 409)
    error = orjson.loads(row["error"])
    assert (error["quota"], error["limit"], error["used"]) == ("tasks", 100, 96)
    assert await owner.fetchval("SELECT count(*) FROM tasks WHERE user_id = $1", alice) == 96


# -- authority of exports


async def order_all(services: Services, owner: asyncpg.Connection, user_id: int) -> str:
    await owner.execute("UPDATE users SET role = 'admin' WHERE id = $1", user_id)
    ordering = command("export", user_id, {"format": "ndjson", "filters": {}, "all_users": True})
    [outcome] = await apply(services, ordering)
    assert outcome["status_code"] == 202
    return ordering.id


async def demote(owner: asyncpg.Connection, user_id: int) -> None:
    await owner.execute("UPDATE users SET role = 'user' WHERE id = $1", user_id)


async def job_of(owner: asyncpg.Connection, job_id: str) -> dict[str, Any]:
    row = await owner.fetchrow(
        "SELECT j.state, j.status_code, j.error::text, e.object, e.lease_owner"
        " FROM jobs AS j JOIN exports AS e USING (id) WHERE id = $1::text::uuid",
        job_id,
    )
    assert row is not None
    return {**row, "error": None if row["error"] is None else orjson.loads(row["error"])["type"]}


FORBIDDEN = {"state": "failed", "status_code": 403, "error": "/problems/forbidden", "object": None, "lease_owner": None}


async def test_an_export_of_everybodys_tasks_is_not_begun_for_a_demoted_admin(
    services: Services, owner: asyncpg.Connection, alice: int, bob: int
) -> None:
    await insert_task(owner, bob)
    export_id = await order_all(services, owner, alice)
    await demote(owner, alice)
    await run_exports(services)
    assert await job_of(owner, export_id) == FORBIDDEN


async def test_an_export_of_everybodys_tasks_that_runs_is_ended_when_its_admin_is_demoted(
    services: Services, owner: asyncpg.Connection, alice: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.exports.RENEW_SECONDS", 0.05)
    await insert_tasks(owner, alice, 10)
    export_id = await order_all(services, owner, alice)
    async with services.pool.acquire() as blocker:
        transaction = blocker.transaction()
        await transaction.start()
        async with asyncio.timeout(10):
            await owner.execute("BEGIN; LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE")  # nobody reads a task
            running = asyncio.create_task(run_exports(services))
            try:
                await asyncio.sleep(0.3)
            finally:
                await services.pool.execute("UPDATE users SET role = 'user' WHERE id = $1", alice)
            await running
            await owner.execute("COMMIT")
        await transaction.rollback()
    assert await job_of(owner, export_id) == FORBIDDEN


async def test_an_export_of_everybodys_tasks_is_not_recorded_for_a_demoted_admin(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    export_id = await order_all(services, owner, alice)
    export = await claim_export(services.pool, "me")
    assert export is not None
    assert await renew_export(services.pool, export, rows=0, size=0, total=0)
    assert not await end_if_forbidden(services.pool, export)
    await demote(owner, alice)
    assert not await renew_export(services.pool, export, rows=0, size=0, total=0)
    recorded = await finish_export(
        services.pool, export, name="exports/x", etag='"x"', size=1, rows=1, retention_hours=1
    )
    assert not recorded
    assert await end_if_forbidden(services.pool, export)
    assert await job_of(owner, export_id) == FORBIDDEN


async def test_an_admins_export_that_was_taken_over_or_is_allowed_is_not_ended(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    await order_all(services, owner, alice)
    export = await claim_export(services.pool, "me")
    assert export is not None
    await demote(owner, alice)
    assert not await end_if_forbidden(services.pool, replace(export, owner="somebody else"))
    assert await renew_export(services.pool, replace(export, owner="me"), rows=0, size=0, total=0) is False


# -- exports of many


async def order(services: Services, user_id: int) -> str:
    ordering = command("export", user_id, {"format": "ndjson", "filters": {}, "all_users": False})
    [outcome] = await apply(services, ordering)
    assert outcome["status_code"] == 202
    return ordering.id


async def claimed(services: Services) -> int | None:
    """Whose export is claimed next; it is ended at once."""
    export = await claim_export(services.pool, "me")
    if export is None:
        return None
    assert await finish_export(services.pool, export, name="x", etag='"x"', size=1, rows=1, retention_hours=1)
    return export.user_id


async def test_who_has_ordered_many_exports_waits_for_himself_and_nobody_for_him(
    services: Services, owner: asyncpg.Connection, alice: int, bob: int
) -> None:
    charlie = await new_user(owner)
    for user in [alice] * 5 + [bob] * 5:
        await order(services, user)
    assert [await claimed(services) for _ in range(2)] == [alice, bob]
    await order(services, charlie)
    assert [await claimed(services) for _ in range(2)] == [charlie, alice]
    assert sorted([await claimed(services) for _ in range(7)]) == sorted([alice] * 3 + [bob] * 4)
    assert await claimed(services) is None


# -- a full disk


@pytest.fixture
def small_files() -> Iterator[None]:
    """The system lets this process write no file of more than a megabyte."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_an_export_that_finds_the_disk_full_ends_with_that_and_is_not_begun_again(
    services: Services, owner: asyncpg.Connection, alice: int, bob: int, small_files: None
) -> None:
    await owner.execute(
        "INSERT INTO tasks (user_id, title, description) SELECT $1, 'large', repeat('x', 20000)"
        " FROM generate_series(1, 600)",
        alice,
    )
    large, small = await order(services, alice), await order(services, bob)
    await run_exports(services)
    job = await job_of(owner, large)
    assert (job["state"], job["status_code"], job["error"]) == ("failed", 507, "/problems/storage-full")
    assert (await job_of(owner, small))["state"] == "succeeded"
    assert await owner.fetchval("SELECT attempts FROM exports WHERE id = $1::text::uuid", large) == 1


async def test_a_file_that_was_given_up_counts_until_it_is_deleted(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    limited = replace(services, quotas=Quotas(replace(services.settings, quota_stored_bytes=1000), services.pool))
    await insert_tasks(owner, alice, 2)
    export_id = await order(limited, alice)
    await run_exports(limited)
    size = await owner.fetchval("SELECT bytes FROM exports WHERE id = $1::text::uuid", export_id)
    assert await limited.quotas.bytes_left(alice, export_id=export_id) == 1000
    other = await order(limited, alice)
    assert await limited.quotas.bytes_left(alice, export_id=other) == 1000 - size
    await apply(limited, command("export.cancel", alice, {"id": export_id, "with_file": True}))
    assert await limited.quotas.bytes_left(alice, export_id=other) == 1000 - size
    await sweep_exports(limited)
    assert await limited.quotas.bytes_left(alice, export_id=other) == 1000

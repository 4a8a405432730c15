"""A partition that is missing is made by whoever writes, and partitions come and go while others write."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from core.database.faults import is_transient
from core.imports import reading
from core.partitions.queries import partition_bounds, time_left
from core.partitions.writes import attach_partition, create_partition, detach_partition
from tests.harness import connection
from tests.worker.commands import apply, batch, create, update
from tests.worker.imports.harness import counts, imported, lines
from worker.maintenance.scheduled import keep_partitions
from worker.runner import Services

THIS_YEAR = datetime.now(UTC).year


@pytest.fixture
async def owner(services: Services) -> AsyncIterator[asyncpg.Connection]:
    """Whom nothing binds; leaves behind the partitions that every database begins with."""
    async with connection(services.settings.database_url) as owner:
        yield owner
        await owner.execute("DELETE FROM tasks")
        for row in await owner.fetch("SELECT name FROM task_partitions"):
            await owner.execute(f"DROP TABLE {row['name']}")
        await owner.execute("SELECT ensure_task_partitions(2)")


async def names(owner: asyncpg.Connection, *, attached: bool = True) -> list[str]:
    rows = await owner.fetch("SELECT name FROM task_partitions WHERE is_attached = $1 ORDER BY low", attached)
    return [row["name"] for row in rows]


async def drop_current(owner: asyncpg.Connection) -> None:
    await owner.execute(f"DROP TABLE tasks_{THIS_YEAR}")


@contextlib.asynccontextmanager
async def ids_of_2020(owner: asyncpg.Connection) -> AsyncIterator[None]:
    """For which nobody makes a partition."""
    original = await owner.fetchval("SELECT pg_get_functiondef('next_task_id'::regproc)")
    of_2020 = "CREATE OR REPLACE FUNCTION next_task_id() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN 5; END'"
    await owner.execute(of_2020)
    try:
        yield
    finally:
        await owner.execute(original)


async def count(owner: asyncpg.Connection, user_id: int) -> int:
    return int(await owner.fetchval("SELECT count(*) FROM tasks WHERE user_id = $1", user_id))


# -- made on the spot


async def test_new_tasks_without_a_partition_have_it_made_and_are_written(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    await drop_current(owner)
    outcomes = await apply(services, create(alice), create(alice))
    assert [outcome["status_code"] for outcome in outcomes] == [201, 201]
    assert f"tasks_{THIS_YEAR}" in await names(owner)


async def test_a_batch_of_many_kinds_without_a_partition_is_applied_once(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    await drop_current(owner)
    poisonous = {"op": "create", "fields": {"title": "x" * 300}}
    outcomes = await apply(
        services,
        update(alice, 4711, {"title": "no such task"}),
        batch(alice, {"op": "create", "fields": {"title": "one"}}, poisonous),
        create(alice, "two"),
    )
    assert [outcome["status_code"] for outcome in outcomes] == [404, 207, 201]
    assert [result["status"] for result in outcomes[1]["result"]["results"]] == [201, 422]
    assert await count(owner, alice) == 2


@pytest.mark.parametrize("known", [0, 2])
async def test_an_import_that_finds_no_partition_has_it_made_and_brings_every_row_once(
    services: Services, owner: asyncpg.Connection, alice: int, monkeypatch: pytest.MonkeyPatch, known: int
) -> None:
    """Also the rows that are written with care, because an earlier import has brought some of them."""
    monkeypatch.setattr(reading, "CHUNK_ROWS", 3)
    rows = [{"title": f"task {number}", "external_id": str(number)} for number in range(10)]
    if known:
        await imported(services, owner, alice, lines(*rows[:known]))
    await drop_current(owner)  # with the tasks that were known
    done = await imported(services, owner, alice, lines(*rows))
    assert (done["state"], counts(done)) == ("succeeded", (10, 10, 0, 0, 0))
    assert await count(owner, alice) == 10
    assert f"tasks_{THIS_YEAR}" in await names(owner)


async def test_an_import_that_finds_no_partition_even_then_fails_and_is_told(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    async with ids_of_2020(owner):
        done = await imported(services, owner, alice, lines({"title": "x"}))
    assert (done["state"], done["rows_created"]) == ("failed", 0)
    assert "internal-error" in done["error"]


async def test_what_finds_no_partition_even_then_is_refused_and_stops_no_lane(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    async with ids_of_2020(owner):
        [outcome] = await apply(services, create(alice))
    assert outcome["status_code"] == 422


# -- kept ahead


@pytest.mark.parametrize(("interval", "number"), [("month", 12), ("quarter", 4)])
async def test_shorter_partitions_follow_where_the_longer_ones_end(
    services: Services, owner: asyncpg.Connection, interval: str, number: int
) -> None:
    """The years that there are stay as they are."""
    ahead = 3 * number + 1
    await owner.execute("SELECT ensure_task_partitions($1, $2)", ahead, interval)
    found = await names(owner)
    assert found[:3] == [f"tasks_{THIS_YEAR + year}" for year in range(3)]
    assert f"tasks_{THIS_YEAR + 3}{interval[0]}{'01' if interval == 'month' else '1'}" == found[3]
    assert_without_gaps(await partition_bounds(services.pool))


async def test_a_year_is_made_of_what_shorter_partitions_leave_of_it(
    services: Services, owner: asyncpg.Connection
) -> None:
    year = THIS_YEAR + 3
    assert await create_partition(services.pool, date(year, 4, 1), date(year, 7, 1)) == "done"
    assert await owner.fetchval("SELECT ensure_task_partitions(3)") == 2
    assert (await names(owner))[3:] == [f"tasks_{year}q1", f"tasks_{year}q2", f"tasks_{year}0701_{year + 1}0101"]
    assert_without_gaps(await partition_bounds(services.pool))


def assert_without_gaps(partitions: Any) -> None:
    for earlier, later in itertools.pairwise(partitions):
        assert earlier.upper == later.lower


async def test_maintenance_makes_as_many_partitions_as_are_wanted(
    services: Services, owner: asyncpg.Connection
) -> None:
    await owner.execute(f"DROP TABLE tasks_{THIS_YEAR + 1}, tasks_{THIS_YEAR + 2}")
    assert await keep_partitions(services, {}) == 2
    assert await keep_partitions(services, {}) == 0


async def test_the_time_left_ends_at_the_first_gap(services: Services, owner: asyncpg.Connection) -> None:
    now = datetime(THIS_YEAR, 12, 1, tzinfo=UTC)
    assert time_left(await partition_bounds(services.pool), now) == datetime(THIS_YEAR + 3, 1, 1, tzinfo=UTC) - now
    await owner.execute(f"DROP TABLE tasks_{THIS_YEAR + 1}")
    assert time_left(await partition_bounds(services.pool), now) == timedelta(days=31)
    await owner.execute(f"DROP TABLE tasks_{THIS_YEAR}")
    assert time_left(await partition_bounds(services.pool), now) == timedelta(0)


async def test_a_partition_that_overlaps_another_is_not_made(services: Services, owner: asyncpg.Connection) -> None:
    before = await names(owner)
    assert await create_partition(services.pool, date(THIS_YEAR, 6, 1), date(THIS_YEAR, 7, 1)) == "overlaps"
    assert await names(owner) == before


# -- detached and attached


async def test_a_detached_partitions_tasks_are_gone_until_it_is_attached_again(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    assert await create_partition(services.pool, date(2021, 1, 1), date(2022, 1, 1)) == "done"
    await owner.execute(
        "INSERT INTO tasks (id, user_id, title) SELECT task_id_floor('2021-05-01') + n, $1, 'old'"
        " FROM generate_series(1, 50) AS n",
        alice,
    )
    assert await detach_partition(services.pool, "tasks_2021") == "done"
    assert await count(owner, alice) == 0
    assert "tasks_2021" in await names(owner, attached=False)
    assert await detach_partition(services.pool, "tasks_2021") == "done already"
    assert await create_partition(services.pool, date(2021, 1, 1), date(2022, 1, 1)) == "overlaps"
    assert await attach_partition(services.pool, "tasks_2021") == "done"
    assert await attach_partition(services.pool, "tasks_2021") == "done already"
    assert await count(owner, alice) == 50
    assert "tasks_2021" in await names(owner)
    assert await owner.fetchval("SELECT obj_description('tasks_2021'::regclass)") is None
    for kind in ("pg_constraint WHERE conrelid", "pg_index WHERE indrelid"):
        partition, parent = [
            await owner.fetchval(f"SELECT count(*) FROM {kind} = $1::text::regclass", table)
            for table in ("tasks_2021", "tasks")
        ]
        assert partition == parent, "what the attaching needed for itself is gone, and nothing else is"


async def test_no_tier_reads_a_detached_partition(services: Services, owner: asyncpg.Connection) -> None:
    await create_partition(services.pool, date(2021, 1, 1), date(2022, 1, 1))
    await detach_partition(services.pool, "tasks_2021")
    for role in ("tenfold_api", "tenfold_worker"):
        assert not await owner.fetchval("SELECT has_table_privilege($1, 'tasks_2021', 'SELECT')", role)


@pytest.mark.parametrize("year", [THIS_YEAR, THIS_YEAR + 1])
async def test_partitions_that_new_tasks_go_into_stay_attached(
    services: Services, owner: asyncpg.Connection, year: int
) -> None:
    assert await detach_partition(services.pool, f"tasks_{year}") == "in use"
    assert f"tasks_{year}" in await names(owner)


@pytest.mark.parametrize("name", ["users", "tasks_1999", "tasks_2026; DROP TABLE users", ""])
async def test_nothing_but_a_partition_is_detached_or_attached(services: Services, name: str) -> None:
    assert await detach_partition(services.pool, name) == "unknown"
    assert await attach_partition(services.pool, name) == "unknown"


async def test_a_detached_table_that_does_not_fit_any_more_stays_as_it_is(
    services: Services, owner: asyncpg.Connection
) -> None:
    await create_partition(services.pool, date(2021, 1, 1), date(2022, 1, 1))
    await detach_partition(services.pool, "tasks_2021")
    await owner.execute("ALTER TABLE tasks_2021 DROP COLUMN labels")
    assert await attach_partition(services.pool, "tasks_2021") == "does not fit"
    assert "tasks_2021" in await names(owner, attached=False)


async def test_a_detaching_gives_way_to_a_transaction_that_reads_tasks(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    await create_partition(services.pool, date(2021, 1, 1), date(2022, 1, 1))
    async with owner.transaction():
        await owner.fetch("SELECT FROM tasks LIMIT 1")
        started = time.monotonic()
        with pytest.raises(asyncpg.LockNotAvailableError) as refusal:
            await detach_partition(services.pool, "tasks_2021")
        assert time.monotonic() - started < 0.4
        assert is_transient(refusal.value)
    assert await detach_partition(services.pool, "tasks_2021") == "done"


async def test_no_create_waits_for_partitions_that_come_and_go(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    slowest = 0.0
    stop = asyncio.Event()

    async def write() -> int:
        nonlocal slowest
        written = 0
        while not stop.is_set():
            started = time.monotonic()
            await apply(services, create(alice))
            slowest = max(slowest, time.monotonic() - started)
            written += 1
        return written

    writers = [asyncio.create_task(write()) for _ in range(4)]
    for _ in range(5):
        await asyncio.sleep(0.05)
        for act in (
            lambda: create_partition(services.pool, date(2021, 1, 1), date(2022, 1, 1)),
            lambda: detach_partition(services.pool, "tasks_2021"),
            lambda: attach_partition(services.pool, "tasks_2021"),
            lambda: detach_partition(services.pool, "tasks_2021"),
        ):
            async with asyncio.timeout(10):
                while True:
                    try:
                        assert await act() in {"done", "overlaps", "done already"}
                        break
                    except asyncpg.LockNotAvailableError:
                        await asyncio.sleep(0.02)
    stop.set()
    written = await asyncio.gather(*writers)
    assert min(written) > 10
    assert slowest < 0.5
    assert await count(owner, alice) == sum(written)

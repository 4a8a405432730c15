"""An import whose worker stops or dies is carried on by another, and nothing is written twice."""

import asyncio

import asyncpg
import pytest

from core.formats.rows import FileReport
from core.imports import reading
from core.imports.chunk_builder import Chunk
from core.imports.claims import ClaimedImport
from core.imports.writes import chunks
from core.imports.writes.work import claim_import
from core.leases import LeaseLost
from tests.harness import eventually
from tests.worker.imports.harness import Paused, begin, counts, has_read, numbered, state_of, titles
from worker import imports
from worker.imports import run_imports
from worker.runner import Services


async def test_an_import_goes_on_behind_the_last_whole_chunk(
    services: Services, owner: asyncpg.Connection, alice: int, small_chunks: None, paused: Paused
) -> None:
    import_id = await begin(services, alice, b"x", format="paused")
    running = asyncio.create_task(run_imports(services))
    await paused.reached(8)
    await eventually(lambda: has_read(owner, import_id, 6))
    running.cancel()
    await asyncio.wait({running})
    paused.go_on()
    left = await state_of(owner, import_id)
    assert (left["rows_read"], left["lease_owner"], left["attempts"]) == (6, None, 0)
    await run_imports(services)
    done = await state_of(owner, import_id)
    assert done["state"] == "succeeded"
    assert counts(done) == (10, 10, 0, 0, 0)
    assert await titles(owner, alice) == [f"task {number}" for number in range(1, 11)]


async def test_of_a_dead_worker_an_import_is_taken_over_when_its_lease_has_lapsed(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    import_id = await begin(services, alice, numbered(3))
    assert await claim_import(services.pool, "the dead") is not None
    await run_imports(services)
    assert (await state_of(owner, import_id))["rows_read"] == 0
    await owner.execute("UPDATE imports SET lease_until = now() - interval '1 second'")
    await run_imports(services)
    assert (await state_of(owner, import_id))["state"] == "succeeded"


async def test_who_was_presumed_dead_writes_nothing_more(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    await begin(services, alice, numbered(3))
    sleeper = await claim_import(services.pool, "sleeper")
    assert sleeper is not None
    await owner.execute("UPDATE imports SET lease_until = now() - interval '1 second'")
    assert await claim_import(services.pool, "heir") is not None
    with pytest.raises(LeaseLost):
        await chunks.write_chunk(
            services.pool,
            sleeper,
            sleeper.counts,
            await read_whole(services, sleeper),
            FileReport(),
            seconds=0,
            quota=services.quotas.tasks,
        )
    assert await titles(owner, alice) == []


async def test_a_chunk_that_was_committed_before_its_answer_was_lost_is_not_written_twice(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    await begin(services, alice, numbered(3))
    claim = await claim_import(services.pool, "me")
    assert claim is not None
    chunk = await read_whole(services, claim)
    written = (services.pool, claim, claim.counts, chunk, FileReport())
    first = await chunks.write_chunk(*written, seconds=0, quota=services.quotas.tasks)
    assert await chunks.write_chunk(*written, seconds=0, quota=services.quotas.tasks) == first
    assert len(await titles(owner, alice)) == 3


async def test_an_import_that_always_kills_its_worker_is_given_up(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    import_id = await begin(services, alice, numbered(1))
    await owner.execute("UPDATE imports SET attempts = $1", imports.ATTEMPTS_MAXIMUM)
    await run_imports(services)
    done = await state_of(owner, import_id)
    assert (done["state"], done["status_code"], done["object"]) == ("failed", 500, None)


async def test_a_worker_that_is_told_to_stop_leaves_the_import_at_a_checkpoint(
    services: Services, owner: asyncpg.Connection, alice: int, small_chunks: None, paused: Paused
) -> None:
    import_id = await begin(services, alice, b"x", format="paused")
    running = asyncio.create_task(run_imports(services))
    await paused.reached(4)
    services.stopping.set()
    paused.go_on()
    await running
    left = await state_of(owner, import_id)
    assert (left["state"], left["lease_owner"]) == ("processing", None)
    assert left["rows_read"] in (3, 6)


# -- parts


async def read_whole(services: Services, claim: ClaimedImport) -> Chunk:
    reader = reading.ImportReader(
        lambda: services.storage.open(claim.object),
        claim.format,
        reading.read_options(claim.options, users_time_zone="UTC"),
        on_conflict=claim.on_conflict,
        maximum_bytes=1 << 20,
    )
    return await asyncio.to_thread(reader.read_chunk)

"""Imports take turns: by user, by how long ago each was served, and by the time that rows cost."""

import asyncio
import time
from typing import Any

import asyncpg
import pytest

from core.imports import reading
from core.imports.chunk_builder import Chunk
from core.imports.writes import chunks
from core.imports.writes.work import claim_import, release_import
from tests.harness import eventually
from tests.worker.imports.harness import Paused, begin, claimed, counts, imported, numbered, state_of, titles
from worker import imports
from worker.imports import run_imports
from worker.runner import Services


async def test_the_imports_of_one_user_run_one_after_the_other(
    services: Services, owner: asyncpg.Connection, alice: int, bob: int
) -> None:
    first, _, third = [await begin(services, user, numbered(1)) for user in (alice, alice, bob)]
    claims = [await claim_import(services.pool, f"worker {n}") for n in range(3)]
    assert [claim.id for claim in claims if claim is not None] == [first, third]


async def test_who_was_served_least_recently_is_next(
    services: Services, owner: asyncpg.Connection, alice: int, bob: int
) -> None:
    first, second = [await begin(services, user, numbered(1)) for user in (alice, bob)]
    claim = await claim_import(services.pool, "me")
    assert claim is not None
    assert claim.id == first
    await release_import(services.pool, claim)
    following = await claim_import(services.pool, "me")
    assert following is not None
    assert following.id == second


async def test_a_small_import_does_not_wait_for_a_large_one(
    services: Services, owner: asyncpg.Connection, alice: int, bob: int, small_chunks: None, paused: Paused
) -> None:
    paused.rows = 150
    large = await begin(services, alice, b"x", format="paused")
    running = asyncio.create_task(run_imports(services))
    await paused.reached(4)
    small = await begin(services, bob, numbered(5))
    also_running = asyncio.create_task(run_imports(services))
    await eventually(lambda: claimed(owner, small))
    paused.go_on()
    await asyncio.gather(running, also_running)
    ended = {key: (await state_of(owner, key))["finished_at"] for key in (large, small)}
    assert ended[small] < ended[large]


async def test_an_import_gives_its_place_up_when_its_turn_is_over_and_another_waits(
    services: Services, owner: asyncpg.Connection, alice: int, bob: int, small_chunks: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(imports, "TURN_SECONDS", 0.0)
    large, small = await begin(services, alice, numbered(30)), await begin(services, bob, numbered(1))
    await run_imports(services)
    first, second = await state_of(owner, large), await state_of(owner, small)
    assert second["finished_at"] < first["finished_at"]
    assert counts(first) == (30, 30, 0, 0, 0)
    assert len(await titles(owner, alice)) == 30


def dear_to_dos(count: int) -> bytes:
    """Each with a rule of its own, which is refused when all that it may cost is used up."""
    to_dos = (
        f"BEGIN:VTODO\r\nUID:{number}\r\nSUMMARY:x\r\nDUE:20310301T{number % 24:02}{number // 24 % 60:02}00Z\r\n"
        f"RRULE:FREQ=DAILY;INTERVAL={601 + 7 * (number // 1440)};BYMONTH=2;BYMONTHDAY=29;BYDAY=MO\r\nEND:VTODO\r\n"
        for number in range(count)
    )
    return "".join(["BEGIN:VCALENDAR\r\n", *to_dos, "END:VCALENDAR\r\n"]).encode()


async def test_rows_that_cost_much_keep_no_other_import_waiting(
    services: Services, owner: asyncpg.Connection, alice: int, bob: int
) -> None:
    large = await begin(services, alice, dear_to_dos(9000), format="icalendar")
    running = asyncio.create_task(run_imports(services))
    await eventually(lambda: claimed(owner, large))
    used = time.process_time()
    small = await begin(services, bob, numbered(1))
    other = asyncio.create_task(run_imports(services))

    async def is_done() -> bool:
        return bool((await state_of(owner, small))["finished_at"])

    await eventually(is_done, timeout=30)
    assert time.process_time() - used < 2, "one turn of the other, and a little for itself"
    assert (await state_of(owner, large))["finished_at"] is None
    services.stopping.set()
    await asyncio.gather(running, other)
    done = await state_of(owner, large)
    assert 0 < done["rows_read"] == done["rows_created"]
    assert "Repeats: FREQ=DAILY" in await owner.fetchval("SELECT max(description) FROM tasks WHERE user_id = $1", alice)


async def test_a_chunk_of_rows_that_cost_much_ends_early(
    services: Services, owner: asyncpg.Connection, alice: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "CHUNK_SECONDS", 0.0)
    sizes = []

    async def noted(pool: Any, claim: Any, before: Any, chunk: Chunk, *more: Any, **named: Any) -> Any:
        sizes.append(chunk.read)
        return await chunks.write_chunk(pool, claim, before, chunk, *more, **named)

    monkeypatch.setattr(imports, "write_chunk", noted)
    assert counts(await imported(services, owner, alice, numbered(30))) == (30, 30, 0, 0, 0)
    assert sizes == [8, 8, 8, 6]
    assert await titles(owner, alice) == [f"task {number}" for number in range(30)]

"""A dry run tells what an import would do, and leaves nothing of it."""

import asyncio

import asyncpg
import pytest

from tests.harness import eventually
from tests.worker.commands import apply, command
from tests.worker.imports.harness import Paused, begin, counts, errors, has_read, imported, lines, titles
from worker.imports import run_imports
from worker.runner import Services


@pytest.mark.parametrize("on_conflict", ["skip", "update", "error"])
async def test_a_dry_run_tells_the_same_and_writes_nothing(
    services: Services, owner: asyncpg.Connection, alice: int, small_chunks: None, on_conflict: str
) -> None:
    await imported(services, owner, alice, lines({"title": "old", "external_id": "1"}, *[{"title": "same"}] * 4))
    content = lines(
        {"title": "new", "external_id": "1"},
        *[{"title": "same"}] * 6,
        {"title": ""},
        {"title": "x", "external_id": "2"},
        {"title": "y", "external_id": "2"},
    )
    before = await titles(owner, alice)
    tried = await imported(services, owner, alice, content, dry_run=True, on_conflict=on_conflict)
    assert await titles(owner, alice) == before
    assert await owner.fetchval("SELECT count(*) FROM imported_tasks WHERE user_id < 0") == 0
    again = await imported(services, owner, alice, content, dry_run=True, on_conflict=on_conflict)
    done = await imported(services, owner, alice, content, on_conflict=on_conflict)
    assert tried["state"] == done["state"] == "succeeded"
    assert counts(tried) == counts(again) == counts(done)
    told = [[(row, column) for row, column, _ in await errors(owner, str(one["id"]))] for one in (tried, again, done)]
    assert told[0] == told[1] == told[2]


async def test_what_a_cancelled_dry_run_has_noted_misleads_no_other(
    services: Services, owner: asyncpg.Connection, alice: int, small_chunks: None, paused: Paused
) -> None:
    content = lines(*({"title": f"task {n}"} for n in range(1, 11)))
    import_id = await begin(services, alice, content, format="paused", dry_run=True)
    running = asyncio.create_task(run_imports(services))
    await paused.reached(7)
    await eventually(lambda: has_read(owner, import_id, 6))
    await apply(services, command("import.cancel", alice, {"id": import_id}))
    noted = await owner.fetch("SELECT * FROM imported_tasks WHERE user_id = -$1::bigint", alice)
    assert noted
    paused.go_on()
    await running
    assert await owner.fetchval("SELECT count(*) FROM imported_tasks WHERE user_id < 0") == 0
    await owner.copy_records_to_table("imported_tasks", records=noted)
    assert counts(await imported(services, owner, alice, content, format="paused", dry_run=True))[1] == 10

"""How imports end: done, failed, or cancelled; and what is told and left then."""

import asyncio
from pathlib import Path
from typing import Any

import asyncpg
import orjson

from core.formats.rows import ImportRefused, Row
from tests.harness import eventually
from tests.worker.commands import apply, command
from tests.worker.imports.harness import (
    Paused,
    begin,
    counts,
    has_read,
    imported,
    lines,
    numbered,
    ordered,
    state_of,
    titles,
)
from worker import imports
from worker.imports import run_imports
from worker.runner import Services

# -- ends


async def test_a_file_that_cannot_be_read_on_ends_as_failed_and_what_came_before_stays(
    services: Services, owner: asyncpg.Connection, alice: int, odd_format: list[Any]
) -> None:
    odd_format[:] = [Row(1, {"title": "a"}, {}), ImportRefused("import-unreadable", "It breaks off in line 2.")]
    done = await imported(services, owner, alice, b"x", format="odd")
    assert (done["state"], done["status_code"]) == ("failed", 422)
    assert orjson.loads(done["error"])["type"] == "/problems/import-unreadable"
    assert orjson.loads(done["error"])["detail"] == "It breaks off in line 2."
    assert counts(done) == (1, 1, 0, 0, 0)


async def test_an_empty_file_fails(services: Services, owner: asyncpg.Connection, alice: int) -> None:
    done = await imported(services, owner, alice, b"")
    assert orjson.loads(done["error"])["type"] == "/problems/import-empty"


async def test_more_errors_than_allowed_end_it(
    services: Services, owner: asyncpg.Connection, alice: int, small_chunks: None
) -> None:
    content = lines({"title": "a"}, {"title": ""}, {"title": "b"}, {"title": ""}, {"title": "never"})
    done = await imported(services, owner, alice, content, max_errors=1)
    assert orjson.loads(done["error"])["type"] == "/problems/import-too-many-errors"
    assert counts(done) == (4, 2, 0, 0, 2)
    fine = await imported(services, owner, alice, content, max_errors=2)
    assert fine["state"] == "succeeded"


async def test_a_format_that_breaks_ends_the_import_and_not_the_worker(
    services: Services, owner: asyncpg.Connection, alice: int, odd_format: list[Any]
) -> None:
    odd_format[:] = [Row(1, {"title": "a"}, {}), ZeroDivisionError()]
    done = await imported(services, owner, alice, b"x", format="odd")
    assert (done["state"], done["status_code"]) == ("failed", 500)
    assert "ZeroDivision" not in done["error"]


async def test_an_upload_that_is_gone_ends_the_import(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    import_id = await begin(services, alice, numbered(1))
    await services.storage.delete((await state_of(owner, import_id))["object"])
    await run_imports(services)
    done = await state_of(owner, import_id)
    assert done["state"] == "failed"
    assert orjson.loads(done["error"])["type"] == "/problems/import-unreadable"


async def test_the_upload_is_deleted_when_the_import_has_ended(
    services: Services, owner: asyncpg.Connection, alice: int, tmp_path: Path
) -> None:
    await imported(services, owner, alice, numbered(1))
    await imported(services, owner, alice, b"")
    assert files_in(tmp_path) == []


async def test_an_end_tells_counts_progress_and_times(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    done = await imported(services, owner, alice, lines({"title": "a"}, {"title": ""}))
    assert orjson.loads(done["result"]) == {
        "read": 2,
        "created": 1,
        "updated": 0,
        "skipped": 0,
        "failed": 1,
        "warned": 0,
    }
    assert orjson.loads(done["progress"]) == {"done": 2, "total": 2, "failed": 1}
    assert done["started_at"] <= done["finished_at"]
    assert done["bytes_read"] == done["bytes"]
    assert done["busy_seconds"] > 0


# -- cancelling


async def test_a_queued_import_is_cancelled(
    services: Services, owner: asyncpg.Connection, alice: int, bob: int
) -> None:
    import_id = await begin(services, alice, numbered(3))
    [foreign] = await apply(services, command("import.cancel", bob, {"id": import_id}))
    assert foreign["status_code"] == 404
    [cancelled] = await apply(services, command("import.cancel", alice, {"id": import_id}))
    assert cancelled["status_code"] == 204
    await run_imports(services)
    await imports.clean_up_imports(services)
    done = await state_of(owner, import_id)
    assert (done["state"], done["object"]) == ("cancelled", None)
    assert await titles(owner, alice) == []
    [again] = await apply(services, command("import.cancel", alice, {"id": import_id}))
    assert again["status_code"] == 409


async def test_an_import_that_is_cancelled_in_the_batch_that_begins_it_is_cancelled(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    order = await ordered(services, alice, numbered(3))
    outcomes = await apply(services, order, command("import.cancel", alice, {"id": order.id}))
    assert [outcome["status_code"] for outcome in outcomes] == [202, 204]
    await run_imports(services)
    assert (await state_of(owner, order.id))["state"] == "cancelled"
    assert await titles(owner, alice) == []


async def test_a_running_import_stops_within_a_chunk(
    services: Services, owner: asyncpg.Connection, alice: int, small_chunks: None, paused: Paused
) -> None:
    import_id = await begin(services, alice, b"x", format="paused")
    running = asyncio.create_task(run_imports(services))
    await paused.reached(4)
    await eventually(lambda: has_read(owner, import_id, 3))
    [cancelled] = await apply(services, command("import.cancel", alice, {"id": import_id}))
    paused.go_on()
    await running
    assert cancelled["status_code"] == 204
    done = await state_of(owner, import_id)
    assert (done["state"], done["rows_read"], done["object"]) == ("cancelled", 3, None)
    assert len(await titles(owner, alice)) == 3


# -- parts


def files_in(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file()]

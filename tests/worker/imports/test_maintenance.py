"""Imports that nobody carries out are called for again, old uploads are purged, and what waits is measured."""

import asyncpg
import pytest

from core.imports.waiting import unfinished_imports
from core.imports.writes.work import claim_import
from core.jobs.queues import BULK_QUEUE
from tests.worker.imports.harness import begin, numbered, state_of, upload
from worker.imports import run_imports
from worker.maintenance import scheduled, sweeps
from worker.runner import Services


async def test_a_forgotten_import_is_called_for_again(services: Services, alice: int) -> None:
    await begin(services, alice, numbered(1))
    await services.queue.flushdb()
    await sweeps.sweep_imports(services)
    assert await services.queue.zcard(BULK_QUEUE) == 1
    await run_imports(services)
    await services.queue.flushdb()
    await sweeps.sweep_imports(services)
    assert await services.queue.zcard(BULK_QUEUE) == 0


async def test_uploads_that_no_import_needs_are_purged_when_they_are_old(
    services: Services, owner: asyncpg.Connection, alice: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduled, "UPLOAD_KEPT_SECONDS", -1.0)
    orphan = await upload(services, b"nobody's")
    import_id = await begin(services, alice, numbered(1))
    await scheduled.purge_uploads(services, {})
    assert await services.storage.size((await state_of(owner, import_id))["object"])
    assert [name async for names in services.storage.names_older_than("imports", -1) for name in names] != [orphan]
    await run_imports(services)
    assert (await state_of(owner, import_id))["state"] == "succeeded"


async def test_how_many_wait_and_for_how_long_is_measured(
    services: Services, owner: asyncpg.Connection, alice: int, bob: int
) -> None:
    for user in (alice, alice, bob):
        await begin(services, user, numbered(1))
    await owner.execute("UPDATE imports SET turn_at = now() - interval '1 minute'")
    assert await claim_import(services.pool, "me") is not None
    found = await unfinished_imports(services.pool)
    assert {state: imports for state, (imports, _) in found.items()} == {"queued": 2, "processing": 1}
    assert 60 <= found["queued"][1] < 90
    await owner.execute("UPDATE imports SET lease_until = NULL")
    await run_imports(services)
    assert await unfinished_imports(services.pool) == {}

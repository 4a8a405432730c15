"""An import is taken back: what nobody has changed since goes, in small transactions, whoever dies meanwhile."""

import asyncio
from typing import Any

import asyncpg
import orjson
import pytest

from core.imports.writes import undos
from core.imports.writes.undos import claim_undo, take_back
from core.leases import LeaseLost
from tests.worker.commands import apply, command
from tests.worker.imports.harness import begin, imported, lines, numbered, state_of, titles
from worker import undos as work
from worker.maintenance.sweeps import sweep_imports
from worker.runner import Services
from worker.undos import run_undos


async def undone(services: Services, owner: asyncpg.Connection, user_id: int, import_id: Any) -> Any:
    """What came of taking an import back."""
    order = command("import.undo", user_id, {"id": str(import_id)})
    [outcome] = await apply(services, order)
    assert outcome["status_code"] == 202, outcome
    await run_undos(services)
    return await job_of(owner, order.id)


async def job_of(owner: asyncpg.Connection, job_id: str) -> Any:
    row = await owner.fetchrow("SELECT * FROM jobs WHERE id = $1::text::uuid", job_id)
    assert row is not None
    return dict(row) | {name: row[name] and orjson.loads(row[name]) for name in ("result", "error", "progress")}


def counts(job: Any) -> tuple[int, ...]:
    return tuple(job["result"][name] for name in ("deleted", "changed", "gone", "updated"))


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tasks a transaction."""
    monkeypatch.setattr(undos, "TASKS_AT_ONCE", 2)


async def test_what_an_import_made_is_taken_back_and_nothing_else(
    services: Services, owner: asyncpg.Connection, alice: int, bob: int, small_chunks: None, small_steps: None
) -> None:
    await imported(services, owner, alice, lines({"title": "before", "external_id": "1"}))
    await imported(services, owner, bob, numbered(3))
    content = lines({"title": "brought up to date", "external_id": "1"}, *({"title": f"t{n}"} for n in range(8)))
    done = await imported(services, owner, alice, content, on_conflict="update")
    assert (done["rows_created"], done["rows_updated"]) == (8, 1)
    await owner.execute("UPDATE tasks SET title = 'mine', version = version + 1 WHERE title = 't3'")
    await owner.execute("DELETE FROM tasks WHERE title = 't5'")
    job = await undone(services, owner, alice, done["id"])
    assert (job["state"], job["status_code"], counts(job)) == ("succeeded", 200, (6, 1, 1, 1))
    assert job["progress"] == {"done": 8, "total": 8, "failed": 0}
    assert await titles(owner, alice) == ["brought up to date", "mine"]
    assert len(await titles(owner, bob)) == 3


async def test_an_import_can_be_taken_back_again_and_then_imported_again(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    content = lines({"title": "a", "external_id": "1"}, {"title": "b"})
    done = await imported(services, owner, alice, content)
    assert counts(await undone(services, owner, alice, done["id"])) == (2, 0, 0, 0)
    assert counts(await undone(services, owner, alice, done["id"])) == (0, 0, 0, 0)
    assert (await imported(services, owner, alice, content))["rows_created"] == 2


@pytest.mark.parametrize("on_conflict", ["skip", "update"])
async def test_tasks_that_were_there_before_stay(
    services: Services, owner: asyncpg.Connection, alice: int, on_conflict: str
) -> None:
    await imported(services, owner, alice, lines({"title": "a", "external_id": "1"}, {"title": "b"}))
    again = lines({"title": "a", "external_id": "1"}, {"title": "b"}, {"title": "c"})
    second = await imported(services, owner, alice, again, on_conflict=on_conflict)
    await undone(services, owner, alice, second["id"])
    assert await titles(owner, alice) == ["a", "b"]


async def test_of_a_dry_run_there_is_nothing_to_take_back(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    done = await imported(services, owner, alice, numbered(3), dry_run=True)
    assert counts(await undone(services, owner, alice, done["id"])) == (0, 0, 0, 0)


async def test_reminders_go_and_events_are_told_as_of_any_deletion(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    await owner.execute("UPDATE users SET reminder_offsets = '{PT1H}' WHERE id = $1", alice)
    await owner.execute(
        "INSERT INTO channels (user_id, kind, url_encrypted, url_masked, events) "
        "VALUES ($1, 'webhook', '', '', '{task.created,task.deleted}')",
        alice,
    )
    done = await imported(services, owner, alice, lines({"title": "a", "due_date": "2035-01-01T00:00:00Z"}))
    assert await owner.fetchval("SELECT count(*) FROM reminders WHERE user_id = $1", alice) == 1
    await undone(services, owner, alice, done["id"])
    assert await owner.fetchval("SELECT count(*) FROM reminders WHERE user_id = $1", alice) == 0
    assert [row[0] for row in await owner.fetch("SELECT type FROM events WHERE user_id = $1", alice)] == [
        "task.deleted"
    ]


async def test_it_goes_on_where_a_dead_worker_left_it(
    services: Services, owner: asyncpg.Connection, alice: int, small_steps: None
) -> None:
    done = await imported(services, owner, alice, numbered(7))
    order = command("import.undo", alice, {"id": str(done["id"])})
    await apply(services, order)
    dead = await claim_undo(services.pool, "the dead")
    assert dead is not None
    assert await take_back(services.pool, dead)
    await run_undos(services)
    assert (await job_of(owner, order.id))["progress"]["done"] == 2, "its lease has not lapsed"
    await owner.execute("UPDATE import_undos SET lease_until = now() - interval '1 second'")
    assert await sweep_imports(services) == 0
    await run_undos(services)
    job = await job_of(owner, order.id)
    assert (job["state"], counts(job)) == ("succeeded", (7, 0, 0, 0))
    with pytest.raises(LeaseLost):
        await claimed_by_nobody(services, owner, dead, done["id"])
    assert await titles(owner, alice) == []


async def claimed_by_nobody(services: Services, owner: asyncpg.Connection, dead: Any, import_id: Any) -> None:
    """The dead worker wakes up and finds something to do."""
    await owner.execute("INSERT INTO imported_chunks (import_id, rows_read, task_ids) VALUES ($1, 0, '{1}')", import_id)
    await take_back(services.pool, dead)


async def test_a_worker_that_is_told_to_stop_lets_others_go_on(
    services: Services, owner: asyncpg.Connection, alice: int, small_steps: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = await imported(services, owner, alice, numbered(5))
    order = command("import.undo", alice, {"id": str(done["id"])})
    await apply(services, order)
    real = work.take_back

    async def one_step(*arguments: Any) -> bool:
        services.stopping.set()
        return await real(*arguments)

    monkeypatch.setattr(work, "take_back", one_step)
    await run_undos(services)
    assert len(await titles(owner, alice)) == 3
    services.stopping.clear()
    monkeypatch.setattr(work, "take_back", real)
    await run_undos(services)
    assert counts(await job_of(owner, order.id)) == (5, 0, 0, 0)


async def test_what_cannot_be_taken_back_is_refused(
    services: Services, owner: asyncpg.Connection, alice: int, bob: int
) -> None:
    import_id = await begin(services, alice, numbered(1))
    [running] = await apply(services, command("import.undo", alice, {"id": import_id}))
    assert running["error"]["type"] == "/problems/not-ready"
    [foreign] = await apply(services, command("import.undo", bob, {"id": import_id}))
    assert foreign["status_code"] == 404
    done = await imported(services, owner, bob, numbered(1))
    orders = [command("import.undo", bob, {"id": str(done["id"])}) for _ in range(2)]
    first, second = await apply(services, *orders)
    assert (first["status_code"], second["status_code"]) == (202, 409)


async def test_an_order_that_always_kills_its_worker_is_given_up(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    done = await imported(services, owner, alice, numbered(1))
    order = command("import.undo", alice, {"id": str(done["id"])})
    await apply(services, order)
    await owner.execute("UPDATE import_undos SET attempts = $1", work.ATTEMPTS_MAXIMUM)
    await run_undos(services)
    job = await job_of(owner, order.id)
    assert (job["state"], job["status_code"]) == ("failed", 500)
    assert len(await titles(owner, alice)) == 1


async def test_an_import_that_is_not_kept_any_more_is_told(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    done = await imported(services, owner, alice, numbered(2))
    order = command("import.undo", alice, {"id": str(done["id"])})
    await apply(services, order)
    await owner.execute("DELETE FROM jobs WHERE id = $1", done["id"])
    await run_undos(services)
    assert (await job_of(owner, order.id))["error"]["type"] == "/problems/not-found"


async def test_two_workers_take_back_each_task_once(
    services: Services, owner: asyncpg.Connection, alice: int, bob: int, small_steps: None
) -> None:
    made = [await imported(services, owner, user, numbered(9)) for user in (alice, bob, alice)]
    orders = [
        command("import.undo", user, {"id": str(done["id"])})
        for user, done in zip((alice, bob, alice), made, strict=True)
    ]
    await apply(services, *orders)
    await asyncio.gather(run_undos(services), run_undos(services))
    await run_undos(services)
    assert [counts(await job_of(owner, order.id))[0] for order in orders] == [9, 9, 0]
    assert (await state_of(owner, str(made[2]["id"])))["rows_skipped"] == 9

"""Who is told of what happens to tasks and imports: channels that want it, and nobody of nothing."""

import asyncpg
import orjson

from tests.worker.commands import apply, command, delete, insert_task, new_user, update
from tests.worker.imports.harness import begin, imported, lines
from tests.worker.reminders.harness import DUE, change, channel, new_task, send, set_own
from worker.runner import Services

# -- events of tasks


async def test_a_channel_is_told_of_what_it_wants_and_of_nothing_else(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    await channel(owner, alice, "task.created", "task.completed", "task.deleted")
    await channel(owner, await new_user(owner), "task.created", "task.updated")
    task_id = await new_task(services, alice)
    await change(services, alice, task_id, title="Another")
    await change(services, alice, task_id, status="completed")
    await change(services, alice, task_id, status="completed")
    await apply(services, delete(alice, task_id))
    events = await owner.fetch("SELECT * FROM events ORDER BY id")
    assert [event["type"] for event in events] == ["task.created", "task.completed", "task.deleted"]
    assert {event["task_id"] for event in events} == {task_id}
    assert orjson.loads(events[1]["data"])["task"]["title"] == "Another"
    assert await owner.fetchval("SELECT count(*) FROM deliveries WHERE user_id = $1", alice) == 3


async def test_a_write_that_changes_nothing_is_no_event(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    await channel(owner, alice, "task.updated")
    task_id = await new_task(services, alice)
    await change(services, alice, task_id)
    await set_own(services, alice, task_id, "PT5M")
    assert await owner.fetchval("SELECT count(*) FROM events") == 0
    await change(services, alice, task_id, priority=1)
    assert await owner.fetchval("SELECT count(*) FROM events") == 1


async def test_a_disabled_channel_is_told_of_nothing(services: Services, owner: asyncpg.Connection, alice: int) -> None:
    await channel(owner, alice, "task.created", "task.reminder")
    await owner.execute("UPDATE channels SET state = 'disabled'")
    await new_task(services, alice)
    await send(services, DUE)
    assert await owner.fetchval("SELECT count(*) FROM events") == 0
    assert await owner.fetchval("SELECT count(*) FROM notifications") == 2


async def test_a_refused_write_leaves_no_event(services: Services, owner: asyncpg.Connection, alice: int) -> None:
    await channel(owner, alice, "task.updated")
    task_id = await new_task(services, alice)
    await apply(services, update(alice, task_id, {"title": "x"}, if_versions=[9]))
    assert await owner.fetchval("SELECT count(*) FROM events") == 0


async def test_a_user_who_is_deleted_leaves_no_reminders_and_no_events(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    await channel(owner, alice, "task.deleted")
    await new_task(services, alice)
    await owner.execute("DELETE FROM users")
    assert await owner.fetchval("SELECT count(*) FROM reminders") == 0
    assert await owner.fetchval("SELECT count(*) FROM events") == 0


async def test_quiet_transactions_write_reminders_and_no_events(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    await channel(owner, alice, "task.created")
    async with owner.transaction():
        await owner.execute("SET LOCAL app.quiet_events = 'on'")
        await insert_task(owner, alice, due_date=DUE)
    assert await owner.fetchval("SELECT count(*) FROM events") == 0
    assert await owner.fetchval("SELECT count(*) FROM reminders") == 2
    await insert_task(owner, alice, due_date=DUE)
    assert await owner.fetchval("SELECT count(*) FROM events") == 1


# -- imports


async def test_an_import_is_one_event_and_one_notification_and_its_tasks_have_reminders(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    wanting = await channel(owner, alice, "task.created", "import.finished")
    rows = [{"title": f"Task {number}", "due_date": DUE.isoformat()} for number in range(3)]
    done = await imported(services, owner, alice, lines(*rows, {"title": ""}))
    [event] = await owner.fetch("SELECT * FROM events")
    assert (event["type"], event["user_id"]) == ("import.finished", alice)
    assert orjson.loads(event["data"])["import"] == {
        "id": str(done["id"]),
        "state": "succeeded",
        "format": "tenfold-ndjson",
        "filename": "tasks.ndjson",
        "dry_run": False,
        "read": 4,
        "created": 3,
        "updated": 0,
        "skipped": 0,
        "failed": 1,
        "warned": 0,
    }
    assert await owner.fetchval("SELECT channel_id FROM deliveries") == wanting
    [note] = await owner.fetch("SELECT event, text FROM notifications")
    assert tuple(note) == (
        "import.finished",
        "The import of tasks.ndjson is finished: 4 rows read, 3 created, 0 updated, 0 skipped, 1 failed",
    )
    assert await owner.fetchval("SELECT count(*) FROM reminders WHERE state = 'pending'") == 6


async def test_an_import_that_fails_says_so(services: Services, owner: asyncpg.Connection, alice: int) -> None:
    await imported(services, owner, alice, b"\xff\xfe\x00", format="tenfold-json")
    assert "has failed" in await owner.fetchval("SELECT text FROM notifications")


async def test_an_import_that_is_cancelled_tells_nobody(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    import_id = await begin(services, alice, lines({"title": "x"}))
    await apply(services, command("import.cancel", alice, {"id": import_id}))
    assert await owner.fetchval("SELECT count(*) FROM notifications") == 0

"""Reminders are sent once by however many workers, late ones marked, many of them as a digest."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import orjson
import pytest

from core import clock
from core.deliveries.writes.fan_outs import fan_out
from core.reminders.writes.sending import DIGEST_TASKS, DUE_AT_ONCE, send_due
from tests.harness import connection
from tests.worker.commands import apply, command, delete, new_user, update
from tests.worker.reminders.harness import DAY, DUE, HOUR, change, channel, new_task, reminders_of, send
from worker.main import QUEUES_OF_JOBS
from worker.reminders import send_due_reminders
from worker.runner import Services, build_worker


async def test_a_reminder_becomes_a_notification_an_event_and_a_delivery_when_it_is_due_and_not_before(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    wanting = await channel(owner, alice, "task.reminder")
    await channel(owner, alice, "task.updated")
    task_id = await new_task(services, alice)
    assert (await send(services, DUE - DAY - timedelta(seconds=1))).lateness == []
    assert (await send(services, DUE - DAY + timedelta(seconds=2))).lateness == [2.0]
    [note] = await owner.fetch("SELECT * FROM notifications")
    assert (note["user_id"], note["task_id"], note["event"]) == (alice, task_id, "task.reminder")
    assert note["text"] == "Renew it, due 2099-03-30 12:00 UTC"
    [event] = await owner.fetch("SELECT * FROM events WHERE type = 'task.reminder'")
    data = orjson.loads(event["data"])
    assert (data["task"]["id"], data["task"]["title"]) == (task_id, "Renew it")
    assert data["reminder"] == {"due_at": "2099-03-29T12:00:00Z", "late_by": 0}
    [delivery] = await owner.fetch("SELECT * FROM deliveries WHERE event_id = $1", event["id"])
    assert (delivery["channel_id"], delivery["user_id"], delivery["state"]) == (wanting, alice, "pending")
    assert (await send(services, DUE - DAY + timedelta(seconds=3))).reminders == 0


async def test_several_workers_at_once_send_each_reminder_once(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    users = [alice, *[await new_user(owner) for _ in range(9)]]
    await owner.execute("UPDATE users SET reminder_offsets = '{PT1H}'")
    for user_id in users:
        await channel(owner, user_id, "task.reminder")
        await owner.execute(
            "INSERT INTO tasks (user_id, title, due_date) SELECT $1, 'x', $2 FROM generate_series(1, 300)", user_id, DUE
        )

    async def work() -> int:
        sent, idle = 0, 0
        while idle < 20:
            found = (await send_due(services.pool, DUE - HOUR, digest_over=20)).reminders
            sent, idle = sent + found, 0 if found else idle + 1
            await asyncio.sleep(0.01 * (not found))
        return sent

    assert sum(await asyncio.gather(*(work() for _ in range(4)))) == 3000
    user_id = 0
    while done := await fan_out(services.pool, after_user=user_id):
        user_id = done.user_id
    counts = await owner.fetchrow(
        "SELECT count(*) AS events, count(DISTINCT task_id) AS tasks, (SELECT count(*) FROM deliveries) AS deliveries,"
        " (SELECT count(*) FROM notifications) AS notifications FROM events"
    )
    assert dict(counts) == {"events": 3000, "tasks": 3000, "deliveries": 3000, "notifications": 3000}


async def test_a_transaction_that_dies_has_sent_nothing_and_the_next_sends_all(
    services: Services, owner: asyncpg.Connection, alice: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    await channel(owner, alice, "task.reminder")
    await new_task(services, alice)
    monkeypatch.setattr("core.reminders.writes.sending._DONE", "SELECT 1 / 0 WHERE $1::bigint[] IS NOT NULL OR "
                        "$2::text[] IS NULL OR $3::bigint[] IS NULL OR $4::timestamptz IS NULL")  # fmt: skip
    with pytest.raises(asyncpg.DivisionByZeroError):
        await send(services, DUE)
    monkeypatch.undo()
    assert await owner.fetchval("SELECT count(*) FROM events") == 0
    assert len((await send(services, DUE)).lateness) == 2


async def test_after_downtime_a_few_come_marked_as_late(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    await channel(owner, alice, "task.reminder")
    for _ in range(10):
        await new_task(services, alice)
    sent = await send(services, DUE + HOUR)
    assert (len(sent.lateness), sent.digests) == (20, 0)
    rows = await owner.fetch("SELECT data FROM events WHERE type = 'task.reminder'")
    late = {orjson.loads(row["data"])["reminder"]["late_by"] for row in rows}
    assert late == {25 * 3600, 2 * 3600}
    assert await owner.fetchval("SELECT count(*) FROM notifications WHERE text LIKE '%is late)'") == 20


async def test_a_reminder_of_a_day_names_the_day(services: Services, owner: asyncpg.Connection, alice: int) -> None:
    await owner.execute("UPDATE users SET reminder_offsets = '{P1D}' WHERE id = $1", alice)
    await apply(services, command("task.create", alice, {"fields": {"title": "Renew it", "due_day": "2099-03-30"}}))
    assert (await send(services, datetime(2099, 3, 29, 9, tzinfo=UTC))).lateness == [0.0]
    assert await owner.fetchval("SELECT text FROM notifications") == "Renew it, due 2099-03-30"


async def test_after_downtime_many_of_one_user_are_one_digest_and_those_of_others_are_not(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    bob = await new_user(owner)
    await owner.execute("UPDATE users SET reminder_offsets = '{PT1H}' WHERE id = $1", bob)
    await channel(owner, alice, "task.reminder")
    await channel(owner, bob, "task.reminder")
    for number in range(11):
        await new_task(services, alice, title=f"Task {number}")
    await new_task(services, bob)
    sent = await send(services, DUE + HOUR)
    assert (len(sent.lateness), sent.digests) == (23, 1)
    [digest] = await owner.fetch("SELECT * FROM events WHERE user_id = $1", alice)
    data = orjson.loads(digest["data"])
    assert (data["total"], len(data["tasks"])) == (11, 11)
    assert data["reminder"] == {"due_at": "2099-03-29T12:00:00Z", "late_by": 25 * 3600}
    assert await owner.fetchval("SELECT count(*) FROM deliveries WHERE user_id = $1", alice) == 1
    [note] = await owner.fetch("SELECT text FROM notifications WHERE user_id = $1", alice)
    assert note["text"].startswith("11 tasks whose reminders are late: Task 0; Task 1;")
    assert note["text"].endswith("and 6 more")
    assert await owner.fetchval("SELECT count(*) FROM deliveries WHERE user_id = $1", bob) == 1


async def test_after_downtime_each_of_many_users_gets_one_digest_however_many_are_sent_at_once(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    users = [alice, *[await new_user(owner) for _ in range(79)]]
    await owner.execute("UPDATE users SET reminder_offsets = '{PT1H}'")
    for user_id in users:
        await channel(owner, user_id, "task.reminder")
        await owner.execute(
            "INSERT INTO tasks (user_id, title, due_date)"
            " SELECT $1, n::text, $2::timestamptz + n * interval '1 second' FROM generate_series(1, 60) AS n",
            user_id,
            DUE,
        )
    sent = await send(services, DUE + HOUR)
    assert (len(sent.lateness), sent.digests) == (80 * 60, 80)
    assert await owner.fetchval("SELECT count(*) FROM deliveries") == 80
    assert {row["text"] for row in await owner.fetch("SELECT text FROM notifications")} == {
        "60 tasks whose reminders are late: 1; 2; 3; 4; 5 and 55 more"
    }


@pytest.mark.parametrize(
    ("limit", "value", "expected"),
    [
        ("DIGEST_AT_ONCE", 100, [(2, 120), (1, 60), (0, 0)]),
        ("DIGESTING_SECONDS", 0.0, [(1, 60), (1, 60), (1, 60), (0, 0)]),
    ],
)
async def test_a_transaction_makes_no_more_digests_than_it_has_time_for(
    services: Services,
    owner: asyncpg.Connection,
    alice: int,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    value: float,
    expected: list[tuple[int, int]],
) -> None:
    users = [alice, await new_user(owner), await new_user(owner)]
    await owner.execute("UPDATE users SET reminder_offsets = '{PT1H}'")
    for user_id in users:
        await owner.execute(
            "INSERT INTO tasks (user_id, title, due_date) SELECT $1, 'x', $2 FROM generate_series(1, 60)", user_id, DUE
        )
    monkeypatch.setattr(f"core.reminders.writes.sending.{limit}", value)
    made = [await send_due(services.pool, DUE + HOUR, digest_over=20) for _ in expected]
    assert [(sent.digests, sent.reminders) for sent in made] == expected


async def test_more_late_reminders_of_one_user_than_are_sent_at_once_are_one_digest(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    await channel(owner, alice, "task.reminder")
    await owner.execute("UPDATE users SET reminder_offsets = '{PT1H}'")
    await owner.execute(
        "INSERT INTO tasks (user_id, title, due_date) SELECT $1, 'x', $2 FROM generate_series(1, $3)",
        alice,
        DUE,
        DUE_AT_ONCE + 500,
    )
    on_time = await new_task(services, alice, due_date=(DUE + 2 * HOUR).isoformat())
    sent = await send(services, DUE + HOUR)
    assert (len(sent.lateness), sent.digests) == (DUE_AT_ONCE + 501, 1)
    digest, single = [
        orjson.loads(row["data"]) for row in await owner.fetch("SELECT data FROM events ORDER BY task_id NULLS FIRST")
    ]
    assert (digest["total"], len(digest["tasks"])) == (DUE_AT_ONCE + 500, DIGEST_TASKS)
    assert (single["task"]["id"], single["reminder"]["late_by"]) == (on_time, 0)


async def test_a_due_date_in_the_first_year_of_all_stops_nobody(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    first, second = await new_task(services, alice), await new_task(services, alice)
    # As if its reminder were about to be sent when the due date is moved.
    await owner.execute("UPDATE reminders SET due_at = now() WHERE task_id = $1", first)
    await change(services, alice, first, due_date="0001-01-01T00:00:00+00:00")
    assert len((await send(services, DUE)).lateness) == 4
    assert {state for _, state in (await reminders_of(owner, second)).values()} == {"sent"}
    shown = await owner.fetch("SELECT due_at FROM reminders WHERE task_id = $1", first)
    assert {row["due_at"].year for row in shown} == {1}


async def test_many_that_are_due_in_the_same_moment_are_no_digest(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    for _ in range(25):
        await new_task(services, alice)
    sent = await send(services, DUE - DAY)
    assert (len(sent.lateness), sent.digests) == (25, 0)


@pytest.mark.parametrize(
    "end",
    [
        {"status": "completed"},
        {"due_date": None},
        {"due_date": (DUE + DAY).isoformat()},
        None,
    ],
)
async def test_what_was_cancelled_before_its_delivery_is_not_delivered(
    services: Services, owner: asyncpg.Connection, alice: int, end: dict[str, Any] | None
) -> None:
    await channel(owner, alice, "task.reminder")
    task_id = await new_task(services, alice)
    kept = await new_task(services, alice)
    await send(services, DUE - DAY)
    await apply(services, delete(alice, task_id) if end is None else update(alice, task_id, end))
    rows = await owner.fetch(
        "SELECT e.task_id, d.state, d.next_attempt_at FROM deliveries d JOIN events e ON e.id = d.event_id"
    )
    assert {row["task_id"]: row["state"] for row in rows} == {task_id: "dead", kept: "pending"}


async def test_a_completion_that_comes_while_a_reminder_is_being_sent_takes_it_back(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    await channel(owner, alice, "task.reminder")
    task_id = await new_task(services, alice)
    async with connection(services.settings.database_url) as sender:
        transaction = sender.transaction()
        await transaction.start()
        event_id = await sender.fetchval(
            "INSERT INTO events (user_id, type, task_id, data) VALUES ($1, 'task.reminder', $2, '{}') RETURNING id",
            alice,
            task_id,
        )
        await sender.execute("UPDATE reminders SET state = 'sent', event_id = $1 WHERE rule = 'P1D'", event_id)
        completing = asyncio.create_task(change(services, alice, task_id, status="completed"))
        await asyncio.sleep(0.3)
        assert not completing.done()
        await transaction.commit()
    await completing
    assert await owner.fetchval("SELECT state FROM deliveries") == "dead"


async def test_the_worker_sends_what_has_come_due_by_its_clock_and_calls_for_delivery(
    services: Services, owner: asyncpg.Connection, alice: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    await channel(owner, alice, "task.reminder")
    await new_task(services, alice)
    monkeypatch.setattr(clock, "now", lambda: DUE - HOUR)
    await send_due_reminders(services)
    assert await owner.fetchval("SELECT count(*) FROM reminders WHERE state = 'sent'") == 2
    assert await services.queue.zcard(QUEUES_OF_JOBS["time"].name) == 1


async def test_a_clock_that_is_set_back_sends_nothing_twice(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    await new_task(services, alice)
    for now in (DUE, DUE - 5 * HOUR, DUE - 2 * DAY, DUE + DAY):
        await send(services, now)
    assert await owner.fetchval("SELECT count(*) FROM notifications") == 2


async def test_the_time_queue_looks_for_reminders_every_few_seconds(services: Services) -> None:
    worker = build_worker(QUEUES_OF_JOBS["time"], services, services.queue)
    names = {job.name for job in worker.cron_jobs or ()}
    assert {"send_due_reminders", "plan_reminders"} <= names

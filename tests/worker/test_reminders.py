"""Reminders: in step with due dates, sent once by however many workers, late ones marked, many of them as a digest."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import orjson
import pytest

from core import clock
from core.database.locks import Lock, number_of, statement
from core.deliveries.writes.fan_outs import fan_out
from core.reminders.writes.planning import PLANNED_AT_ONCE, plan_for_changed_user
from core.reminders.writes.sending import DIGEST_TASKS, DUE_AT_ONCE, Sent, send_due
from tests.harness import connection
from tests.worker.commands import apply, batch, command, delete, insert_task, new_user, update
from tests.worker.imports.harness import begin, imported, lines
from worker.main import QUEUES_OF_JOBS
from worker.reminders import plan_reminders, send_due_reminders
from worker.runner import Services, build_worker

DUE = datetime(2099, 3, 30, 12, tzinfo=UTC)
SENDERS = 3
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture
async def owner(services: Services) -> AsyncIterator[asyncpg.Connection]:
    async with connection(services.settings.database_url) as owner:
        await owner.execute("DELETE FROM events; DELETE FROM reminders")
        yield owner


@pytest.fixture
async def alice(owner: asyncpg.Connection) -> int:
    """Is reminded a day and an hour before."""
    user_id = await new_user(owner)
    await owner.execute("UPDATE users SET reminder_offsets = '{P1D,PT1H}' WHERE id = $1", user_id)
    return user_id


async def channel(owner: asyncpg.Connection, user_id: int, *events: str) -> int:
    channel_id: int = await owner.fetchval(
        "INSERT INTO channels (user_id, kind, url_encrypted, url_masked, events)"
        " VALUES ($1, 'webhook', '', 'https://example.com', $2) RETURNING id",
        user_id,
        list(events),
    )
    return channel_id


async def new_task(services: Services, user_id: int, **fields: Any) -> int:
    fields = {"title": "Renew it", "due_date": DUE.isoformat(), **fields}
    [outcome] = await apply(services, command("task.create", user_id, {"fields": fields}))
    task_id: int = outcome["result"]["id"]
    return task_id


async def set_own(services: Services, user_id: int, task_id: int, *rules: str) -> dict[str, Any]:
    [outcome] = await apply(services, command("task.reminders", user_id, {"id": task_id, "reminders": list(rules)}))
    return outcome


async def reminders_of(owner: asyncpg.Connection, task_id: int) -> dict[str, tuple[datetime | None, str]]:
    rows = await owner.fetch("SELECT rule, due_at, state FROM reminders WHERE task_id = $1", task_id)
    return {row["rule"]: (row["due_at"], row["state"]) for row in rows}


async def change(services: Services, user_id: int, task_id: int, **fields: Any) -> None:
    [outcome] = await apply(services, update(user_id, task_id, fields))
    assert outcome["status_code"] == 200


async def send(services: Services, now: datetime, *, digest_over: int = 20) -> Sent:
    """Sends what is due, with three workers at once, until none finds any more."""
    total, is_all = Sent(), False
    while not is_all:
        ended = await asyncio.gather(
            *(send_due(services.pool, now, digest_over=digest_over) for _ in range(SENDERS)), return_exceptions=True
        )
        is_all = True
        for sent in ended:
            if isinstance(sent, BaseException):
                raise sent
            is_all = is_all and not sent.reminders
            total.lateness += sent.lateness
            total.digests += sent.digests
            total.cancelled += sent.cancelled
            total.calls_for_delivery |= sent.calls_for_delivery
    return total


# -- in step with the task


async def test_a_task_with_a_due_date_has_a_reminder_for_each_offset_of_its_user(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    task_id = await new_task(services, alice)
    assert await reminders_of(owner, task_id) == {"P1D": (DUE - DAY, "pending"), "PT1H": (DUE - HOUR, "pending")}


async def test_a_task_without_a_due_date_and_a_user_without_offsets_have_none(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    await new_task(services, alice, due_date=None)
    await new_task(services, await new_user(owner))
    assert await owner.fetchval("SELECT count(*) FROM reminders") == 0


async def test_a_reminder_whose_time_has_passed_is_not_sent_afterwards(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    soon = datetime.now(UTC) + 2 * HOUR
    task_id = await new_task(services, alice, due_date=soon.isoformat())
    assert {rule: state for rule, (_, state) in (await reminders_of(owner, task_id)).items()} == {
        "P1D": "cancelled",
        "PT1H": "pending",
    }


async def test_a_moved_due_date_moves_them(services: Services, owner: asyncpg.Connection, alice: int) -> None:
    task_id = await new_task(services, alice)
    await change(services, alice, task_id, due_date=(DUE + DAY).isoformat())
    assert await reminders_of(owner, task_id) == {"P1D": (DUE, "pending"), "PT1H": (DUE + DAY - HOUR, "pending")}


async def test_one_that_was_sent_comes_again_when_the_due_date_is_moved(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    task_id = await new_task(services, alice)
    await send(services, DUE - HOUR)
    assert {state for _, state in (await reminders_of(owner, task_id)).values()} == {"sent"}
    await change(services, alice, task_id, due_date=(DUE + DAY).isoformat())
    assert {state for _, state in (await reminders_of(owner, task_id)).values()} == {"pending"}


@pytest.mark.parametrize("status", ["completed", "cancelled"])
async def test_a_closed_task_sends_none_and_a_reopened_one_does_again(
    services: Services, owner: asyncpg.Connection, alice: int, status: str
) -> None:
    task_id = await new_task(services, alice)
    await change(services, alice, task_id, status=status)
    assert {state for _, state in (await reminders_of(owner, task_id)).values()} == {"cancelled"}
    await change(services, alice, task_id, status="in_progress")
    assert {state for _, state in (await reminders_of(owner, task_id)).values()} == {"pending"}


async def test_tasks_that_a_batch_completes_deletes_and_moves_are_followed(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    done, gone, moved, untouched = [await new_task(services, alice) for _ in range(4)]
    await apply(
        services,
        batch(
            alice,
            {"op": "update", "id": done, "fields": {"status": "completed"}},
            {"op": "delete", "id": gone},
            {"op": "update", "id": moved, "fields": {"due_date": (DUE + DAY).isoformat()}},
        ),
    )
    assert {state for _, state in (await reminders_of(owner, done)).values()} == {"cancelled"}
    assert await reminders_of(owner, gone) == {}
    assert (await reminders_of(owner, moved))["P1D"] == (DUE, "pending")
    assert (await reminders_of(owner, untouched))["P1D"] == (DUE - DAY, "pending")


async def test_a_deleted_task_and_one_without_a_due_date_any_more_have_none(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    first, second = await new_task(services, alice), await new_task(services, alice)
    await apply(services, delete(alice, first))
    await change(services, alice, second, due_date=None)
    assert await owner.fetchval("SELECT count(*) FROM reminders") == 0


async def test_a_change_of_something_else_touches_none(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    task_id = await new_task(services, alice)
    before = await owner.fetch("SELECT xmin::text, * FROM reminders ORDER BY id")
    await change(services, alice, task_id, title="Another", priority=1)
    assert await owner.fetch("SELECT xmin::text, * FROM reminders ORDER BY id") == before


async def test_a_day_is_a_day_of_the_users_calendar_when_the_clocks_change(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    await owner.execute("UPDATE users SET time_zone = 'Europe/Berlin'")
    # 2030-03-31 has 23 hours in Berlin.
    task_id = await new_task(services, alice, due_date="2030-03-31T18:00:00+02:00")
    found = await reminders_of(owner, task_id)
    assert found["P1D"][0] == datetime.fromisoformat("2030-03-30T18:00:00+01:00")
    assert found["PT1H"][0] == datetime.fromisoformat("2030-03-31T17:00:00+02:00")


@pytest.mark.parametrize(
    ("zone", "due", "day_before"),
    [
        # Clocks that go from 00:00 to 01:00, and from 00:00 back to 23:00.
        ("America/Sao_Paulo", "2018-11-04T18:00:00-02:00", "2018-11-03T18:00:00-03:00"),
        ("America/Sao_Paulo", "2018-11-05T00:00:00-02:00", "2018-11-04T01:00:00-02:00"),
        ("America/Sao_Paulo", "2018-02-18T12:00:00-03:00", "2018-02-17T12:00:00-02:00"),
        ("Europe/Berlin", "2030-10-27T18:00:00+01:00", "2030-10-26T18:00:00+02:00"),
        ("Europe/Berlin", "2030-04-01T02:30:00+02:00", "2030-03-31T03:30:00+02:00"),
        ("Mars/Olympus", "2030-03-31T18:00:00+02:00", "2030-03-30T18:00:00+02:00"),
    ],
)
async def test_a_day_before_is_right_in_nights_in_which_the_clocks_change_and_in_zones_that_are_none(
    services: Services, owner: asyncpg.Connection, alice: int, zone: str, due: str, day_before: str
) -> None:
    await owner.execute("UPDATE users SET time_zone = $1", zone)
    task_id = await new_task(services, alice, due_date=due)
    assert (await reminders_of(owner, task_id))["P1D"][0] == datetime.fromisoformat(day_before)


async def test_own_reminders_stand_instead_of_the_users(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    task_id = await new_task(services, alice)
    outcome = await set_own(services, alice, task_id, "PT30M", "2099-01-01T09:00:00+00:00")
    assert outcome["result"]["is_own"] is True
    assert [one["rule"] for one in outcome["result"]["reminders"]] == ["2099-01-01T09:00:00+00:00", "PT30M"]
    absolute = (datetime(2099, 1, 1, 9, tzinfo=UTC), "pending")
    assert await reminders_of(owner, task_id) == {
        "PT30M": (DUE - HOUR / 2, "pending"),
        "2099-01-01T09:00:00+00:00": absolute,
    }
    await change(services, alice, task_id, due_date=None)
    assert await reminders_of(owner, task_id) == {"PT30M": (None, "cancelled"), "2099-01-01T09:00:00+00:00": absolute}
    await set_own(services, alice, task_id)
    assert await reminders_of(owner, task_id) == {}
    await apply(services, command("task.reminders", alice, {"id": task_id, "reminders": None}))
    await change(services, alice, task_id, due_date=DUE.isoformat())
    assert set(await reminders_of(owner, task_id)) == {"P1D", "PT1H"}


async def test_nobody_sets_reminders_of_anothers_task(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    task_id = await new_task(services, alice)
    outcome = await set_own(services, await new_user(owner), task_id, "PT5M")
    assert outcome["status_code"] == 404
    assert set(await reminders_of(owner, task_id)) == {"P1D", "PT1H"}


async def test_new_offsets_and_a_new_time_zone_reach_every_open_task(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    await owner.execute(
        "INSERT INTO tasks (user_id, title, due_date) SELECT $1, 'x', $2 FROM generate_series(1, $3)",
        alice,
        DUE,
        PLANNED_AT_ONCE + 10,
    )
    own = await new_task(services, alice)
    await set_own(services, alice, own, "PT5M")
    await apply(services, command("user.update", alice, {"reminder_offsets": ["P2D", "PT1H"]}))
    await plan_reminders(services)
    rows = await owner.fetch("SELECT rule, count(*) FROM reminders GROUP BY rule ORDER BY rule")
    assert {row["rule"]: row["count"] for row in rows} == {
        "P2D": PLANNED_AT_ONCE + 10,
        "PT1H": PLANNED_AT_ONCE + 10,
        "PT5M": 1,
    }
    await apply(services, command("user.update", alice, {"time_zone": "Europe/Berlin"}))
    assert await plan_for_changed_user(services.pool) is not None
    await plan_reminders(services)
    # The clocks change on the 29th: two days of the calendar are 47 hours.
    assert await owner.fetchval("SELECT DISTINCT due_at FROM reminders WHERE rule = 'P2D'") == DUE - 47 * HOUR
    assert await plan_for_changed_user(services.pool) is None


async def test_new_offsets_reach_the_tasks_of_an_import_that_is_being_written(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    async with connection(services.settings.database_url) as importing:
        async with importing.transaction():
            await importing.execute(statement(Lock.import_chunks, number_of(alice)))
            await insert_task(importing, alice, due_date=DUE)
            await apply(services, command("user.update", alice, {"reminder_offsets": ["P7D"]}))
            planning = asyncio.create_task(plan_reminders(services))
            await asyncio.sleep(0.3)
            assert not planning.done()
        await planning
    rows = await owner.fetch("SELECT rule, due_at FROM reminders")
    assert [tuple(row) for row in rows] == [("P7D", DUE - 7 * DAY)]


# -- sending


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
    assert data["reminder"] == {"due_at": "2099-03-29T12:00:00+00:00", "late_by": 0}
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
    assert data["reminder"] == {"due_at": "2099-03-29T12:00:00+00:00", "late_by": 25 * 3600}
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

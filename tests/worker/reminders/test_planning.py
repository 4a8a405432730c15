"""Reminders are in step with their task: its due date, its status, its user's offsets and time zone."""

import asyncio
from datetime import UTC, datetime

import asyncpg
import pytest

from core.database.locks import Lock, number_of, statement
from core.reminders.writes.planning import PLANNED_AT_ONCE, plan_for_changed_user
from tests.harness import connection
from tests.worker.commands import apply, batch, command, delete, insert_task, new_user
from tests.worker.reminders.harness import DAY, DUE, HOUR, change, new_task, reminders_of, send, set_own
from worker.reminders import plan_reminders
from worker.runner import Services


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
    assert [one["rule"] for one in outcome["result"]["reminders"]] == ["2099-01-01T09:00:00Z", "PT30M"]
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

"""Recurring tasks: completing one makes the next, in the same transaction, once."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

import asyncpg

from tests.worker.commands import apply, batch, command, create, insert_task, new_user, update
from worker.runner import Services

DUE = "2099-03-02T09:00:00+00:00"
WEEKLY = {"recurrence": "FREQ=WEEKLY", "due_date": DUE}
COMPLETED = {"status": "completed"}


async def new_task(services: Services, user_id: int, **fields: Any) -> dict[str, Any]:
    [outcome] = await apply(
        services, command("task.create", user_id, {"fields": {"title": "Water the plants", **fields}})
    )
    task: dict[str, Any] = outcome["result"]
    return task


async def tasks_of(owner: asyncpg.Connection, user_id: int) -> list[dict[str, Any]]:
    rows = await owner.fetch("SELECT * FROM tasks WHERE user_id = $1 ORDER BY id", user_id)
    return [dict(row) for row in rows]


async def test_completing_a_recurring_task_makes_the_next_one_with_what_the_first_had(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    task = await new_task(services, alice, **WEEKLY, priority=2, labels=["home"], description="All of them")
    [outcome] = await apply(services, update(alice, task["id"], COMPLETED))
    assert (outcome["status_code"], outcome["result"]["recurrence"]) == (200, None)
    first, second = await tasks_of(owner, alice)
    assert (first["status"], first["id"]) == ("completed", task["id"])
    assert second["status"] == "pending"
    assert second["due_date"] == datetime(2099, 3, 9, 9, tzinfo=UTC)
    assert second["recurrence"] == "FREQ=WEEKLY"
    same = ("title", "description", "priority", "labels", "recurrence_from", "user_id")
    assert {name: first[name] for name in same} == {name: second[name] for name in same}


async def test_completing_it_again_after_it_was_reopened_makes_no_second_one(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    task = await new_task(services, alice, **WEEKLY)
    for fields in (COMPLETED, {"title": "again"}, {"status": "pending"}, COMPLETED, COMPLETED):
        await apply(services, update(alice, task["id"], fields))
    assert len(await tasks_of(owner, alice)) == 2


async def test_all_in_one_transaction_it_is_still_one(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    task = await new_task(services, alice, **WEEKLY)
    done = {"op": "update", "id": task["id"], "fields": COMPLETED}
    reopened = {"op": "update", "id": task["id"], "fields": {"status": "pending"}}
    await apply(services, batch(alice, done, done, reopened, done))
    assert len(await tasks_of(owner, alice)) == 2


async def test_a_command_that_is_delivered_twice_makes_one(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    task = await new_task(services, alice, **WEEKLY)
    again = update(alice, task["id"], COMPLETED)
    await asyncio.gather(*(apply(services, again, lane=lane) for lane in ("0", "1")), return_exceptions=True)
    assert len(await tasks_of(owner, alice)) == 2


async def test_two_commands_from_two_lanes_that_complete_one_task_make_one(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    for _ in range(5):
        await owner.execute("DELETE FROM tasks")
        task = await new_task(services, alice, **WEEKLY)
        await asyncio.gather(
            apply(services, update(alice, task["id"], COMPLETED), lane="0"),
            apply(services, update(alice, task["id"], COMPLETED), lane="1"),
        )
        assert len(await tasks_of(owner, alice)) == 2


async def test_a_completion_that_is_refused_for_its_version_makes_none(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    task = await new_task(services, alice, **WEEKLY)
    [outcome] = await apply(services, update(alice, task["id"], COMPLETED, if_versions=[7]))
    assert outcome["status_code"] == 412
    [only] = await tasks_of(owner, alice)
    assert only["recurrence"] == "FREQ=WEEKLY"


async def test_the_next_date_is_of_the_users_time_zone(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    await owner.execute("UPDATE users SET time_zone = 'Europe/Berlin' WHERE id = $1", alice)
    # In 2030 the clocks skip 02:30 on the 31st of March.
    task = await new_task(services, alice, recurrence="FREQ=DAILY", due_date="2030-03-30T01:30:00+00:00")
    await apply(services, update(alice, task["id"], COMPLETED))
    skipped = (await tasks_of(owner, alice))[-1]
    assert skipped["due_date"] == datetime(2030, 3, 31, 1, 30, tzinfo=UTC)  # 03:30
    await apply(services, update(alice, skipped["id"], COMPLETED))
    assert (await tasks_of(owner, alice))[-1]["due_date"] == datetime(2030, 4, 1, 0, 30, tzinfo=UTC)  # 02:30 again


async def test_a_time_zone_that_does_not_exist_any_more_stops_nobody(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    await owner.execute("UPDATE users SET time_zone = 'Mars/Olympus', reminder_offsets = '{P1D}'")
    task = await new_task(services, alice, **WEEKLY)
    [outcome] = await apply(services, update(alice, task["id"], COMPLETED))
    assert outcome["status_code"] == 200
    assert len(await tasks_of(owner, alice)) == 2


async def test_the_last_of_a_count_is_followed_by_nothing(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    await new_task(services, alice, recurrence="FREQ=DAILY;COUNT=3", due_date=DUE)
    for _ in range(4):
        for task in await tasks_of(owner, alice):
            await apply(services, update(alice, task["id"], COMPLETED))
    assert [task["due_date"].day for task in await tasks_of(owner, alice)] == [2, 3, 4]
    assert {task["recurrence"] for task in await tasks_of(owner, alice)} == {None}


async def test_a_rule_and_a_due_date_that_come_with_the_completion_count(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    task = await new_task(services, alice)
    fields = {**COMPLETED, "recurrence": "FREQ=MONTHLY", "due_date": DUE}
    await apply(services, update(alice, task["id"], fields))
    assert (await tasks_of(owner, alice))[-1]["due_date"] == datetime(2099, 4, 2, 9, tzinfo=UTC)


async def test_a_rule_that_ends_before_the_due_date_that_the_task_has_is_refused_and_its_neighbours_are_not(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    task = await new_task(services, alice, due_date=DUE)
    other = await new_task(services, alice, due_date=DUE)
    ended = {"recurrence": "FREQ=DAILY;UNTIL=20990302"}
    refused, changed = await apply(
        services, update(alice, task["id"], ended), update(alice, other["id"], {"recurrence": "FREQ=DAILY"})
    )
    assert (refused["status_code"], refused["error"]["errors"]) == (422, {"recurrence": ["The rule has no next date."]})
    assert (changed["status_code"], changed["result"]["recurrence"]) == (200, "FREQ=DAILY")
    [moved] = await apply(services, update(alice, task["id"], {**ended, "due_date": "2099-03-01T09:00:00+00:00"}))
    assert (moved["status_code"], moved["result"]["recurrence"]) == (200, ended["recurrence"])
    [unknown] = await apply(services, update(alice, 1, ended))
    assert unknown["status_code"] == 404


async def test_an_admin_who_completes_a_users_task_makes_the_next_one_of_that_user(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    admin = await new_user(owner, role="admin")
    task = await new_task(services, alice, **WEEKLY)
    await asyncio.gather(
        apply(services, update(admin, task["id"], COMPLETED, any_owner=True), lane="0"),
        apply(services, update(alice, task["id"], COMPLETED), lane="1"),
    )
    assert [one["status"] for one in await tasks_of(owner, alice)] == ["completed", "pending"]
    assert await tasks_of(owner, admin) == []


async def test_a_plain_task_is_followed_by_nothing(services: Services, owner: asyncpg.Connection, alice: int) -> None:
    [made] = await apply(services, create(alice))
    await apply(services, update(alice, made["result"]["id"], COMPLETED))
    assert len(await tasks_of(owner, alice)) == 1


# From a date on which there is nothing to look for near it. The API refuses this rule; a stored one may have become so.
DEAR = "FREQ=HOURLY;INTERVAL=9999;BYMONTH=2;BYMONTHDAY=29;BYHOUR=3"


async def insert_dear(owner: asyncpg.Connection, user_id: int) -> int:
    return await insert_task(owner, user_id, recurrence=DEAR, due_date=datetime(2026, 1, 1, tzinfo=UTC))


async def test_a_completion_whose_next_date_takes_too_long_to_find_is_refused_alone_and_loses_nothing(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    dear, plain = await insert_dear(owner, alice), await new_task(services, alice, **WEEKLY)
    refused, done = await apply(services, update(alice, dear, COMPLETED), update(alice, plain["id"], COMPLETED))
    assert (refused["status_code"], refused["error"]["type"]) == (422, "/problems/too-expensive")
    assert "null" in refused["error"]["detail"]
    assert done["status_code"] == 200
    [kept] = [task for task in await tasks_of(owner, alice) if task["id"] == dear]
    assert (kept["status"], kept["version"], kept["recurrence"]) == ("pending", 1, DEAR)
    assert len(await tasks_of(owner, alice)) == 3


async def test_a_task_whose_next_date_takes_too_long_to_find_is_completed_with_another_rule_or_none(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    for rule, tasks in ((None, 1), ("FREQ=YEARLY", 3)):
        dear = await insert_dear(owner, alice)
        [outcome] = await apply(services, update(alice, dear, {**COMPLETED, "recurrence": rule}))
        assert outcome["status_code"] == 200
        assert len(await tasks_of(owner, alice)) == tasks


async def test_a_completion_that_conflicts_is_told_so_whatever_its_next_date_would_cost(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    dear = await insert_dear(owner, alice)
    [outcome] = await apply(services, update(alice, dear, COMPLETED, if_versions=[7]))
    assert outcome["status_code"] == 412


async def test_a_hundred_completions_that_once_stopped_a_worker_cost_little(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    hours, days = ",".join(map(str, range(24))), "MO,TU,WE,TH,FR,SA,SU"
    rule = f"FREQ=YEARLY;BYDAY={days};BYHOUR={hours};BYSETPOS=-1;COUNT=10000"
    fields = {"title": "Wait", "due_date": "1901-01-01T00:00:00+00:00", "recurrence": rule}
    [made] = await apply(services, batch(alice, *({"op": "create", "fields": fields} for _ in range(100))))
    completions = [{"op": "update", "id": one["task"]["id"], "fields": COMPLETED} for one in made["result"]["results"]]
    began = time.thread_time()
    [outcome] = await apply(services, batch(alice, *completions))
    assert time.thread_time() - began < 1
    assert {one["status"] for one in outcome["result"]["results"]} == {200}
    assert len(await tasks_of(owner, alice)) == 200


async def test_among_several_changes_of_one_task_a_completion_that_takes_too_long_is_refused_alone(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    dear = await insert_dear(owner, alice)
    changes: list[dict[str, Any]] = [{"title": "before"}, COMPLETED, {"priority": 1}]
    operations = [{"op": "update", "id": dear, "fields": fields} for fields in changes]
    [outcome] = await apply(services, batch(alice, *operations))
    assert [one["status"] for one in outcome["result"]["results"]] == [200, 422, 200]
    assert outcome["result"]["results"][1]["error"]["type"] == "/problems/too-expensive"
    [kept] = await tasks_of(owner, alice)
    assert (kept["title"], kept["status"], kept["priority"]) == ("before", "pending", 1)
    assert (kept["recurrence"], kept["version"]) == (DEAR, 3)

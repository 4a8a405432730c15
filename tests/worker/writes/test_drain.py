"""A lane is drained: entries go exactly when they were applied, and nothing that lies in one stops it."""

import asyncio
from dataclasses import replace
from typing import Any

import asyncpg
import orjson
import pytest
import redis.asyncio

from core import lanes, metrics
from core.jobs.pending import PENDING
from core.jobs.queues import WRITES_QUEUE
from tests.harness import eventually
from tests.worker.commands import batch, create, insert_task, update
from tests.worker.writes.lane import LANE, ORIGIN, STREAM, append, listening, titles, waiting
from worker.runner import Services
from worker.writes.drain import BATCH_MAXIMUM_OPERATIONS
from worker.writes.lanes import drain_lane, look_again


async def test_entries_are_applied_told_and_removed(services: Services, owner: asyncpg.Connection, alice: int) -> None:
    await append(services, create(alice, "one", token=11), create(alice, "two", token=12))
    await append(services, create(alice, "three", token=13))
    async with listening(services) as heard:
        await drain_lane(services, LANE)
        assert await waiting(services) == 0
        await eventually(lambda: _true(len(heard.outcomes) == 3))
    assert await titles(owner) == ["one", "two", "three"]
    assert heard.lanes == {LANE}
    assert sorted(outcome.token for outcome in heard.outcomes) == [11, 12, 13]
    assert {orjson.loads(outcome.result or "")["title"] for outcome in heard.outcomes} == {"one", "two", "three"}


async def _true(value: Any) -> Any:
    return value


async def test_each_process_hears_of_its_own_commands_alone(services: Services, alice: int) -> None:
    await append(services, create(alice, token=1), origin="first")
    await append(services, create(alice, token=2), origin="second")
    async with listening(services, "first") as first, listening(services, "second") as second:
        await drain_lane(services, LANE)
        await eventually(lambda: _true(first.outcomes and second.outcomes))
    assert [[outcome.token for outcome in heard.outcomes] for heard in (first, second)] == [[1], [2]]


async def test_commands_of_one_task_in_several_entries_keep_their_order(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    task = await insert_task(owner, alice)
    for number in range(40):
        await append(services, update(alice, task, {"title": f"title {number}"}))
    await drain_lane(services, LANE)
    row = await owner.fetchrow("SELECT title, version FROM tasks WHERE id = $1", task)
    assert row is not None
    assert tuple(row) == ("title 39", 41)


async def test_a_drain_lingers_so_that_what_comes_a_moment_later_calls_nobody(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    draining = asyncio.create_task(drain_lane(services, LANE))
    await asyncio.sleep(0.03)
    await append(services, create(alice, "later"))
    await draining
    assert await titles(owner) == ["later"]
    assert await waiting(services) == 0


async def test_a_drain_of_an_empty_lane_ends_by_itself(services: Services) -> None:
    async with asyncio.timeout(5):
        await drain_lane(services, LANE)


async def test_other_lanes_are_left_alone(services: Services, owner: asyncpg.Connection, alice: int) -> None:
    await append(services, create(alice))
    await drain_lane(services, "4")
    assert await waiting(services) == 1
    assert await titles(owner) == []


async def test_many_small_and_great_entries_are_all_applied_whatever_fits_into_a_batch(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    item = {"op": "create", "fields": {"title": "x"}}
    await append(services, batch(alice, *[item] * BATCH_MAXIMUM_OPERATIONS))
    await append(services, *(create(alice) for _ in range(20)))
    await append(services, batch(alice, *[item] * 600), batch(alice, *[item] * 600))
    for _ in range(40):
        await append(services, create(alice))
    await drain_lane(services, LANE)
    assert await waiting(services) == 0
    assert await owner.fetchval("SELECT count(*) FROM tasks") == BATCH_MAXIMUM_OPERATIONS + 20 + 1200 + 40


# -- what cannot be read


UNREADABLE: dict[str, dict[str, str | bytes]] = {
    "no commands": {"origin": ORIGIN},
    "no origin": {"commands": "[]"},
    "no JSON": {"origin": ORIGIN, "commands": "{"},
    "no list": {"origin": ORIGIN, "commands": "5"},
    "no commands in the list": {"origin": ORIGIN, "commands": "[5]"},
    "a command that lacks parts": {"origin": ORIGIN, "commands": '[{"id": "x"}]'},
    "a command with parts that nobody knows": {"origin": ORIGIN, "commands": '[{"id": "x", "colour": "red"}]'},
    "bytes that are no text": {"origin": b"\xff", "commands": "[]"},
    "something else": {"hello": "world"},
}


@pytest.mark.parametrize("what", UNREADABLE)
async def test_an_unreadable_entry_becomes_a_dead_letter_and_its_neighbours_are_applied(
    services: Services, owner: asyncpg.Connection, alice: int, what: str
) -> None:
    before = metrics.DEAD_LETTERS._value.get()
    await append(services, create(alice, "before"))
    entry_id = await services.queue.xadd(STREAM, UNREADABLE[what])
    await append(services, create(alice, "after"))
    await drain_lane(services, LANE)
    assert await titles(owner) == ["before", "after"]
    assert await waiting(services) == 0
    [(_, letter)] = await services.queue.xrange(lanes.DEAD_LETTERS)
    assert (letter[b"lane"], letter[b"entry"]) == (str(LANE).encode(), entry_id)
    assert letter[b"error"]
    kept = {
        name.encode(): value.encode() if isinstance(value, str) else value for name, value in UNREADABLE[what].items()
    }
    assert kept.items() <= letter.items(), "nothing of the entry is lost"
    assert metrics.DEAD_LETTERS._value.get() == before + 1


UNSOUND: dict[str, dict[str, Any]] = {
    "an id that is no UUID": {"id": "x"},
    "an id in another form": {"id": "5D0F7B5E-9C7D-4C0A-8A35-0D8E4A1F6C10"},
    "a user beyond 64 bits": {"user_id": 1 << 63},
    "a negative user": {"user_id": -1},
    "a user that is a truth": {"user_id": True},
    "a time that is none": {"created_at": "yesterday"},
    "a time in another form": {"created_at": "2026-01-31T12:00:00Z"},
    "a time that is a number": {"created_at": 5},
    "a NUL in the kind": {"kind": "a\x00"},
    "a NUL in the request id": {"request_id": "a\x00"},
    "a fingerprint that is a number": {"fingerprint": 5},
    "a payload that is a list": {"payload": []},
}


@pytest.mark.parametrize("what", UNSOUND)
async def test_a_command_that_no_job_row_could_hold_does_not_stop_its_lane(
    services: Services, owner: asyncpg.Connection, alice: int, what: str
) -> None:
    await append(services, create(alice, "before"))
    await append(services, replace(create(alice, "unsound"), **UNSOUND[what]))
    await append(services, create(alice, "after"))
    await drain_lane(services, LANE)
    assert await titles(owner) == ["before", "after"]
    assert await waiting(services) == 0
    assert await services.queue.xlen(lanes.DEAD_LETTERS) == 1


async def test_a_lane_of_unreadable_entries_alone_is_emptied(services: Services) -> None:
    for _ in range(40):
        await services.queue.xadd(STREAM, {"nonsense": "x"})
    await drain_lane(services, LANE)
    assert await waiting(services) == 0
    assert await services.queue.xlen(lanes.DEAD_LETTERS) == 40


# -- when something is away


async def test_entries_stay_while_the_database_refuses_and_are_applied_once_afterwards(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    await append(services, create(alice, "once"))
    await owner.execute("ALTER TABLE tasks RENAME TO tasks_hidden; ALTER TABLE jobs RENAME TO jobs_hidden")
    try:
        async with listening(services) as heard:
            with pytest.raises(asyncpg.UndefinedTableError):
                await drain_lane(services, LANE)
        assert heard.outcomes == []
        assert await waiting(services) == 1
    finally:
        await owner.execute("ALTER TABLE tasks_hidden RENAME TO tasks; ALTER TABLE jobs_hidden RENAME TO jobs")
    await drain_lane(services, LANE)
    assert await titles(owner) == ["once"]
    assert await waiting(services) == 0


async def test_an_entry_that_was_applied_but_not_removed_is_told_again_and_not_applied_again(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    one = create(alice, "once", token=5)
    await append(services, one)
    await drain_lane(services, LANE)
    await append(services, one)  # as if the worker had died between the commit and the removal
    async with listening(services) as heard:
        await drain_lane(services, LANE)
        await eventually(lambda: _true(heard.outcomes))
    assert [(outcome.status_code, outcome.replayed, outcome.token) for outcome in heard.outcomes] == [(201, False, 5)]
    assert await titles(owner) == ["once"]
    assert await waiting(services) == 0


# -- jobs answered 202, and calls for a drain


async def test_a_finished_job_is_taken_off_the_list_of_queued_ones(services: Services, alice: int) -> None:
    one, other = create(alice), create(alice)
    await services.queue.hset(PENDING, mapping={one.id: "x", other.id: "y"})
    await append(services, one)
    await drain_lane(services, LANE)
    assert await services.queue.hkeys(PENDING) == [other.id.encode()]


async def queued_drains(services: Services) -> list[bytes]:
    found: list[bytes] = await services.queue.zrange(WRITES_QUEUE, 0, -1)
    return found


async def test_whoever_looks_again_calls_a_drain_for_what_came_in_the_last_moment(
    services: Services, alice: int
) -> None:
    await look_again(services, lanes.drain_job_id(LANE))
    assert await queued_drains(services) == []
    await append(services, create(alice))
    await look_again(services, lanes.drain_job_id(LANE))
    assert await queued_drains(services) == [f"lane:{LANE}".encode()]


async def test_a_drain_is_queued_once_however_often_it_is_called(services: Services) -> None:
    for _ in range(3):
        await lanes.call_drain(services.queue, LANE)
    assert await queued_drains(services) == [f"lane:{LANE}".encode()]


async def test_what_arq_keeps_of_a_job_is_json(services: Services) -> None:
    await lanes.call_drain(services.queue, LANE)
    client = redis.asyncio.Redis.from_url(services.settings.queue_redis_url)
    raw = await client.get(f"arq:job:lane:{LANE}")
    await client.aclose()
    assert raw is not None
    assert raw.startswith(b"{")
    assert b'"drain_lane"' in raw

"""A batch is carried out in slices: each once, whoever carries on, and in turns with those of others."""

import asyncio
from typing import Any

import asyncpg
import orjson
import pytest

from core import lanes
from core.commands.wire import Command, encode_batch
from core.lanes.writes import LaneLost, claim_lane
from tests.worker.commands import TAKEN_LATER, apply, as_heard, batch, create, insert_task, new_user, update
from worker.runner import Services
from worker.writes import slices
from worker.writes.lanes import drain_lane
from worker.writes.operations import Applied
from worker.writes.slices import BatchRun, begin_batches

LANE = "batches-0"


def creations(count: int, title: str = "one of many") -> list[dict[str, Any]]:
    return [{"op": "create", "fields": {"title": f"{title} {number}"}} for number in range(count)]


async def count(owner: asyncpg.Connection, table: str = "tasks") -> int:
    found: int = await owner.fetchval(f"SELECT count(*) FROM {table}")
    return found


async def begin(services: Services, command: Command) -> BatchRun:
    [run] = await begin_batches(services, await claim_lane(services.pool, LANE), [command])
    assert isinstance(run, BatchRun)
    return run


async def finish(run: BatchRun) -> Applied:
    while (done := await run.step()) is None:
        pass
    return done


async def test_what_a_dead_worker_left_in_the_middle_is_carried_on_and_nothing_is_done_twice(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    command = batch(alice, *creations(300))
    dead = await begin(services, command)
    assert await dead.step() is None
    assert await dead.step() is None
    begun = await count(owner)
    assert 0 < begun < 300
    assert await count(owner, "jobs") == 0, "the job is not told before its end"
    done = await finish(await begin(services, command))
    outcome = as_heard(done.outcome)
    titles = [result["task"]["title"] for result in outcome["result"]["results"]]
    assert titles == [f"one of many {number}" for number in range(300)]
    assert await count(owner) == 300
    assert await count(owner, "batch_slices") == 0
    assert await count(owner, "jobs") == 1


async def test_a_drain_that_wakes_up_in_the_middle_of_a_batch_changes_nothing(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    command = batch(alice, *creations(300))
    frozen = await begin(services, command)
    await frozen.step()
    successor = await begin(services, command)
    await successor.step()
    before = await count(owner)
    with pytest.raises(LaneLost):
        await frozen.step()
    assert await count(owner) == before
    await finish(successor)
    with pytest.raises(LaneLost):
        await frozen.step()
    assert await count(owner) == 300


async def test_a_batch_that_two_lanes_hold_is_carried_out_once_between_them(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    """Its lane may have changed with WRITE_LANES, and a client's repeat goes to the new one."""
    for size in (2, 60, 100, 400):
        before = await count(owner)
        command = batch(alice, *creations(size))
        repeat = batch(alice, *creations(size), id=command.id, created_at=TAKEN_LATER)
        outcomes = await asyncio.gather(apply(services, command, lane="0"), apply(services, repeat, lane="1"))
        first, second = (outcome["result"] for [outcome] in outcomes)
        assert first == second
        assert await count(owner) - before == size
        assert await count(owner, "batch_slices") == 0


async def test_the_last_slice_takes_its_place_so_that_another_drains_slice_cannot(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    command = batch(alice, *creations(30))
    [slow] = await begin_batches(services, await claim_lane(services.pool, "0"), [command])
    [quick] = await begin_batches(services, await claim_lane(services.pool, "1"), [command])
    assert isinstance(slow, BatchRun)
    assert isinstance(quick, BatchRun)
    slow._size = 10
    assert await slow.step() is None
    quick._size = 30  # all of it at once: it has not heard of the other's slice
    done = [await finish(quick), await finish(slow)]
    assert done[0].outcome["result"] == done[1].outcome["result"]
    assert await count(owner) == 30


async def test_a_repeat_of_a_batch_that_has_ended_changes_nothing(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    command = batch(alice, *creations(200))
    [first] = await apply(services, command)
    [again] = await apply(services, batch(alice, *creations(200), id=command.id, created_at=TAKEN_LATER))
    assert (again["result"], again["replayed"]) == (first["result"], True)
    assert await count(owner) == 200


async def test_operations_keep_their_order_over_the_slices(services: Services, alice: int, owner: Any) -> None:
    task = await insert_task(owner, alice)
    operations = [
        {"op": "update", "id": task, "fields": {"title": f"title {number}"}, "if_versions": [number + 1]}
        for number in range(150)
    ]
    [outcome] = await apply(services, batch(alice, *operations))
    versions = [result["task"]["version"] for result in outcome["result"]["results"]]
    assert versions == list(range(2, 152))


async def test_slices_are_as_long_as_their_time_allows(
    services: Services, alice: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "SLICE_SECONDS", 1e-6)
    run = await begin(services, batch(alice, *creations(100)))
    steps = 1
    while await run.step() is None:
        steps += 1
    assert steps > 50, "one operation each after the first slice"


# -- turns


async def append(services: Services, *commands: Command) -> None:
    for command in commands:
        entry = {"origin": "a-process", "commands": encode_batch([command.encode()])}
        await services.queue.xadd(lanes.stream(LANE), entry)


async def ends(owner: asyncpg.Connection) -> list[int]:
    """Whose batches have ended, in the order in which they did."""
    rows = await owner.fetch("SELECT user_id FROM jobs WHERE kind = 'task.batch' ORDER BY finished_at")
    return [row["user_id"] for row in rows]


async def test_users_take_turns_so_that_many_batches_of_one_do_not_hold_up_anothers(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    bob = await new_user(owner)
    await append(services, *(batch(alice, *creations(200)) for _ in range(6)), batch(bob, *creations(5)))
    await drain_lane(services, LANE)
    while await services.queue.xlen(lanes.stream(LANE)):
        await drain_lane(services, LANE)
    assert (await ends(owner))[0] == bob, "it waited for one slice of alice's, and not for six batches"
    assert await count(owner) == 6 * 200 + 5


async def test_batches_of_one_user_are_carried_out_in_the_order_in_which_they_came(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    task = await insert_task(owner, alice)
    rename = [
        [{"op": "update", "id": task, "fields": {"title": f"{letter}{number}"}} for number in range(90)]
        for letter in "abc"
    ]
    await append(services, *(batch(alice, *operations) for operations in rename))
    await drain_lane(services, LANE)
    while await services.queue.xlen(lanes.stream(LANE)):
        await drain_lane(services, LANE)
    rows = await owner.fetch("SELECT result FROM jobs ORDER BY finished_at")
    lasts = [orjson.loads(row["result"])["results"][-1]["task"]["title"] for row in rows]
    assert lasts == ["a89", "b89", "c89"]


async def test_whatever_else_lies_in_a_lane_of_batches_is_carried_out(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    task = await insert_task(owner, alice, title="before")
    entry = encode_batch([one.encode() for one in (create(alice, "x"), update(alice, task, {"title": "after"}))])
    await services.queue.xadd(lanes.stream(LANE), {"origin": "x", "commands": entry})
    await services.queue.xadd(lanes.stream(LANE), {"nonsense": "x"})
    await services.queue.xadd(lanes.stream(LANE), {"origin": "x", "commands": "[]"})
    await drain_lane(services, LANE)
    assert await services.queue.xlen(lanes.stream(LANE)) == 0
    assert sorted(row[0] for row in await owner.fetch("SELECT title FROM tasks")) == ["after", "x"]

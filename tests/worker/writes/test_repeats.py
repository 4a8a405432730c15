"""A command has one effect and one outcome: delivered twice, sent again, or in two lanes at a time."""

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg
import pytest

from core.jobs.queries import stored_outcomes
from core.lanes.writes import LaneLease, LaneLost, claim_lane, lane_transaction
from tests.worker.commands import (
    LANE,
    TAKEN_LATER,
    apply,
    as_heard,
    batch,
    command,
    create,
    delete,
    insert_task,
    update,
)
from tests.worker.writes.harness import problem_of, titles
from worker.runner import Services
from worker.writes.applying import apply_batch


async def test_a_command_delivered_twice_in_one_batch_has_one_effect_and_one_outcome(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    once = create(alice, "once")
    first, second = await apply(services, once, command(once.kind, alice, once.payload, id=once.id, token=2))
    assert first["result"] == second["result"]
    assert (first["replayed"], second["replayed"]) == (False, False)
    assert (first["token"], second["token"]) == (0, 2)
    assert await titles(owner, alice) == ["once"]


async def test_a_repeat_behind_other_commands_does_not_move_the_first(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    task = await insert_task(owner, alice)
    deletion = delete(alice, task)
    again = command(deletion.kind, alice, deletion.payload, id=deletion.id)
    outcomes = await apply(services, deletion, update(alice, task, {"title": "late"}), again)
    assert [outcome["status_code"] for outcome in outcomes] == [204, 404, 204]


async def test_a_clients_repeat_gets_the_first_outcome_and_is_told_so(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    first = create(alice, "first", fingerprint="f")
    repeat = command(first.kind, alice, first.payload, id=first.id, fingerprint="f", created_at=TAKEN_LATER)
    [one] = await apply(services, first)
    [two] = await apply(services, repeat)
    assert (one["replayed"], two["replayed"]) == (False, True)
    assert one["result"] == two["result"]
    assert await titles(owner, alice) == ["first"]


async def test_a_repeat_of_a_refused_command_is_refused_alike_though_it_would_now_succeed(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    task = await insert_task(owner, alice)
    refused = update(alice, task, {"title": "x"}, if_versions=[2])
    [one] = await apply(services, refused)
    await owner.execute("UPDATE tasks SET version = 2 WHERE id = $1", task)
    [two] = await apply(services, refused)
    assert one == two
    assert one["status_code"] == 412


async def test_a_key_used_for_another_request_is_refused_and_changes_nothing(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    first = create(alice, "first", fingerprint="f")
    other = create(alice, "other", id=first.id, fingerprint="g", created_at=TAKEN_LATER)
    one, two = await apply(services, first, other)
    [three] = await apply(services, other)
    assert one["status_code"] == 201
    for reuse in (two, three):
        assert (reuse["status_code"], problem_of(reuse)) == (422, "idempotency-key-reuse")
    assert await titles(owner, alice) == ["first"]
    [row] = await owner.fetch("SELECT fingerprint, status_code FROM jobs WHERE user_id = $1", alice)
    assert tuple(row) == ("f", 201)


async def test_one_command_in_two_lanes_at_a_time_has_one_effect(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    """Its lane may have changed with WRITE_LANES, or with a client's repeat while the first is still on its way."""
    for _ in range(5):
        once = create(alice, "once")
        outcomes = await asyncio.gather(*(apply(services, once, lane=lane) for lane in ("0", "1", "2", "accounts")))
        assert len({outcome["result"]["id"] for [outcome] in outcomes}) == 1
    assert await titles(owner, alice) == ["once"] * 5


async def test_whoever_claims_a_lane_waits_for_the_transaction_of_the_drain_before(
    services: Services, alice: int
) -> None:
    lease = await claim_lane(services.pool, LANE)
    async with services.pool.acquire() as other, lane_transaction(other, lease):
        blocked = asyncio.create_task(apply(services, delete(alice, 1)))
        await asyncio.sleep(0.1)
        assert not blocked.done()
        [free] = await apply(services, delete(alice, 1), lane="1")
        assert free["status_code"] == 404
    [outcome] = await blocked
    assert outcome["status_code"] == 404


async def test_a_drain_that_was_presumed_dead_finds_its_lane_claimed_and_changes_nothing(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    task = await insert_task(owner, alice, title="before")
    presumed_dead = await claim_lane(services.pool, LANE)
    await claim_lane(services.pool, LANE)
    for one in (update(alice, task, {"title": "x"}), batch(alice, {"op": "delete", "id": task})):
        with pytest.raises(LaneLost):
            await apply_batch(services, presumed_dead, [one])
    assert await titles(owner, alice) == ["before"]


async def test_new_tasks_alone_wait_for_no_turn_and_are_made_once_all_the_same(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    commands = [create(alice, "one"), create(alice, "two")]
    async with services.pool.acquire() as other, other.transaction():
        await other.execute("SELECT FROM lanes WHERE name = $1 FOR UPDATE", LANE)
        firsts = [as_heard(one.outcome) for one in await apply_batch(services, LaneLease(LANE, 0), commands)]
    repeats = await apply(services, *commands)
    assert [outcome["result"] for outcome in repeats] == [outcome["result"] for outcome in firsts]
    assert await titles(owner, alice) == ["one", "two"]


async def test_a_task_deleted_by_another_lane_meanwhile_is_not_found_and_not_a_conflict(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    task = await insert_task(owner, alice)
    async with owner.transaction():
        await owner.execute("DELETE FROM tasks WHERE id = $1", task)
        waiting = asyncio.create_task(apply(services, update(alice, task, {"title": "x"})))
        await asyncio.sleep(0.2)
        assert not waiting.done()
    [outcome] = await waiting
    assert outcome["status_code"] == 404


async def test_what_another_drain_records_in_between_is_found_at_the_second_look(
    services: Services, owner: asyncpg.Connection, alice: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = create(alice, "once")
    [first] = await apply_batch(services, await claim_lane(services.pool, LANE), [command])
    looks: list[int] = []

    async def too_early_at_first(connection: Any, ids: Sequence[str]) -> dict[str, Any]:
        looks.append(len(ids))
        return {} if len(looks) == 1 else await stored_outcomes(connection, ids)

    monkeypatch.setattr("worker.writes.applying.stored_outcomes", too_early_at_first)
    [again] = await apply_batch(services, await claim_lane(services.pool, LANE), [command])
    assert looks == [1, 1]
    assert again.outcome["status_code"] == first.outcome["status_code"] == 201
    assert await owner.fetchval("SELECT count(*) FROM tasks") == 1

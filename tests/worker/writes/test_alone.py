"""What takes too long, or kills its worker, is refused alone: its neighbours live, and nothing is tried for ever."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from core import lanes, metrics
from core.commands.wire import Command, encode_batch
from core.jobs.queries import stored_outcomes
from tests.worker.commands import batch, create, insert_task, new_user, update
from worker.runner import Services
from worker.writes import alone, applying, drain, transactions
from worker.writes.lanes import drain_lane
from worker.writes.slices import BatchRun

LANE = "0"
# Any row whose title says so takes longer than it may; what is in the trigger stands for whatever may be dear.
SLOW = """
CREATE FUNCTION be_slow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.title = 'slow' THEN PERFORM pg_sleep(5); END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER be_slow BEFORE INSERT OR UPDATE ON tasks FOR EACH ROW EXECUTE FUNCTION be_slow();
"""


@pytest.fixture(autouse=True)
def _short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alone, "ALONE_SECONDS", 0.5)
    for function in (transactions.carry_out, applying._apply_together, BatchRun._carry_out):
        defaults = function.__kwdefaults__ or {}
        monkeypatch.setitem(defaults, "longest_seconds", 0.5)


@pytest.fixture
async def slow(owner: asyncpg.Connection) -> AsyncIterator[None]:
    await owner.execute(SLOW)
    yield
    await owner.execute("DROP TRIGGER be_slow ON tasks; DROP FUNCTION be_slow()")


async def append(services: Services, *commands: Command, lane: str = LANE) -> bytes:
    entry_id: bytes = await services.queue.xadd(
        lanes.stream(lane), {"origin": "x", "commands": encode_batch([one.encode() for one in commands])}
    )
    return entry_id


async def state(owner: asyncpg.Connection, command: Command) -> tuple[str, int]:
    row = await owner.fetchrow("SELECT state, status_code FROM jobs WHERE id = $1::text::uuid", command.id)
    assert row is not None
    return tuple(row)


async def test_a_command_that_takes_too_long_is_refused_alone_and_its_neighbours_live(
    services: Services, owner: asyncpg.Connection, alice: int, slow: None
) -> None:
    bob = await new_user(owner)
    task = await insert_task(owner, alice)
    before = metrics.TOO_EXPENSIVE.labels("task.update")._value.get()
    neighbours = [create(bob, "first"), create(bob, "last")]
    dear = update(alice, task, {"title": "slow"})
    await append(services, neighbours[0], dear)
    await append(services, neighbours[1])
    await drain_lane(services, LANE)
    assert await services.queue.xlen(lanes.stream(LANE)) == 0, "the lane goes on"
    assert await state(owner, dear) == ("rejected", 422)
    assert [await state(owner, one) for one in neighbours] == [("succeeded", 201)] * 2
    [(_, letter)] = await services.queue.xrange(lanes.DEAD_LETTERS)
    assert letter[b"job"].decode() == dear.id
    assert dear.id.encode() in letter[b"commands"]
    assert metrics.TOO_EXPENSIVE.labels("task.update")._value.get() == before + 1
    async with services.pool.acquire() as connection:
        stored = (await stored_outcomes(connection, [dear.id]))[dear.id]
    assert stored.error is not None
    assert "/problems/too-expensive" in stored.error


async def test_a_new_task_that_takes_too_long_is_refused_alone(
    services: Services, owner: asyncpg.Connection, alice: int, slow: None
) -> None:
    dear, other = create(alice, "slow"), create(alice, "quick")
    await append(services, dear, other)
    await drain_lane(services, LANE)
    assert (await state(owner, dear), await state(owner, other)) == (("rejected", 422), ("succeeded", 201))


@pytest.mark.parametrize("lane", ["0", "batches-0"])
async def test_the_dear_operation_of_a_batch_is_refused_alone(
    services: Services, owner: asyncpg.Connection, alice: int, slow: None, lane: str
) -> None:
    titles = ["a", "slow", "b", "c"]
    many = batch(alice, *({"op": "create", "fields": {"title": title}} for title in titles))
    await append(services, many, lane=lane)
    while await services.queue.xlen(lanes.stream(lane)):
        await drain_lane(services, lane)
    results = await owner.fetchval(
        "SELECT jsonb_path_query_array(result::jsonb, '$.results[*].status')::text FROM jobs WHERE id = $1::text::uuid",
        many.id,
    )
    assert results == "[201, 422, 201, 201]"
    assert sorted(row[0] for row in await owner.fetch("SELECT title FROM tasks")) == ["a", "b", "c"]


async def test_a_batch_whose_slices_take_too_long_together_ends_and_the_rest_is_refused(
    services: Services, owner: asyncpg.Connection, alice: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.writes.slices.BATCH_SECONDS", 0.0)
    many = batch(alice, *({"op": "create", "fields": {"title": "x"}} for _ in range(100)))
    await append(services, many, lane="batches-0")
    await drain_lane(services, "batches-0")
    made = await owner.fetchval("SELECT count(*) FROM tasks")
    assert 0 < made < 100
    refused = await owner.fetchval(
        "SELECT count(*) FROM jobs, json_array_elements(result -> 'results') AS r WHERE r ->> 'status' = '422'"
    )
    assert made + refused == 100


async def test_nothing_is_refused_where_the_database_is_slow_and_not_the_command(
    services: Services, owner: asyncpg.Connection, alice: int, slow: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alone, "PROMPT_SECONDS", -1.0)  # so every transaction counts as slow
    dear = create(alice, "slow")
    await append(services, dear)
    with pytest.raises(TimeoutError):
        await drain_lane(services, LANE)
    assert await services.queue.xlen(lanes.stream(LANE)) == 1, "it is tried again"
    assert await owner.fetchval("SELECT count(*) FROM jobs") == 0
    assert await services.queue.exists(lanes.tries_key(LANE)) == 0, "and nobody died on it"


@pytest.mark.parametrize("what", ["new tasks", "a change", "a batch"])
async def test_nothing_is_refused_for_a_lock_that_somebody_else_holds(
    services: Services, owner: asyncpg.Connection, alice: int, what: str
) -> None:
    task = await insert_task(owner, alice)
    many = [{"op": "create", "fields": {"title": "x"}} for _ in range(3)]
    commands = {
        "new tasks": [create(alice), create(alice)],
        "a change": [update(alice, task, {"title": "x"})],
        "a batch": [batch(alice, *many)],
    }[what]
    await append(services, *commands)
    async with owner.transaction():
        await owner.execute("LOCK TABLE tasks IN SHARE MODE")  # as an index that is made by hand does, for minutes
        for _ in range(3):
            with pytest.raises(asyncpg.LockNotAvailableError):
                await drain_lane(services, LANE)
    await drain_lane(services, LANE)
    assert {await state(owner, one) for one in commands} <= {("succeeded", 201), ("succeeded", 200), ("succeeded", 207)}
    refused = "SELECT count(*) FROM jobs, json_array_elements(result -> 'results') AS r WHERE r ->> 'status' <> '201'"
    assert await owner.fetchval(f"{refused} AND kind = 'task.batch'") == 0
    assert await services.queue.xlen(lanes.DEAD_LETTERS) == 0


# -- workers that die


async def dies(services: Services, *names: str, alone_times: int = alone.DEATHS_ALONE) -> None:
    """As if workers had died: what they noted before stays."""
    [(head, _)] = await services.queue.xrange(lanes.stream(LANE), count=1)
    await services.queue.hset(lanes.tries_key(LANE), mapping={"head": head, "tries": alone.DEATHS_BORNE})
    for name in names:
        await services.queue.hset(lanes.tries_key(LANE), name, alone_times)


async def test_how_many_drains_died_on_an_entry_is_noted_beside_the_lane(
    services: Services, alice: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def be_killed(*_: object) -> None:
        raise KeyboardInterrupt  # no Exception: nothing is tidied up, as where the process is gone

    await append(services, create(alice))
    monkeypatch.setattr(drain, "claim_lane", be_killed)
    for times in (1, 2, 3):
        with pytest.raises(KeyboardInterrupt):
            await drain_lane(services, LANE)
        [one] = await lanes.lane_states(services.queue, [LANE])
        assert one.tries == times
    monkeypatch.undo()
    await drain_lane(services, LANE)
    assert await services.queue.exists(lanes.tries_key(LANE)) == 0


async def test_a_command_that_killed_its_workers_is_refused_and_its_neighbours_live(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    first, killer, last = create(alice, "first"), create(alice, "killer"), create(alice, "last")
    await append(services, first, killer, last)
    await dies(services, killer.id)
    await drain_lane(services, LANE)
    states = [await state(owner, one) for one in (first, killer, last)]
    assert states == [("succeeded", 201), ("rejected", 422), ("succeeded", 201)]
    assert await services.queue.exists(lanes.tries_key(LANE)) == 0


async def test_a_command_whose_workers_died_for_other_reasons_is_carried_out(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    many = batch(alice, *({"op": "create", "fields": {"title": "x"}} for _ in range(20)))
    one = create(alice)
    await append(services, one, many)
    await dies(services, one.id, f"{many.id}/0", alone_times=alone.DEATHS_ALONE - 1)
    await drain_lane(services, LANE)
    assert await owner.fetchval("SELECT count(*) FROM tasks") == 21


async def test_the_operation_of_a_batch_that_killed_its_workers_is_refused_alone(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    many = batch(alice, *({"op": "create", "fields": {"title": f"{number}"}} for number in range(5)))
    await append(services, many)
    await dies(services, f"{many.id}/2")
    await drain_lane(services, LANE)
    assert sorted(row[0] for row in await owner.fetch("SELECT title FROM tasks")) == ["0", "1", "3", "4"]

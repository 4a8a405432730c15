"""Events that many channels want: their deliveries are made later, a few at a time, each once."""

import asyncio
from typing import Any

import asyncpg
import pytest

from core import clock, metrics
from core.channels.signatures import Secret
from core.deliveries.writes.claims import claim_deliveries, still_wanted
from core.deliveries.writes.fan_outs import fan_out
from core.encryption import SecretBox
from core.maintenance.writes.purges import purge_events
from tests.harness import connection, eventually
from tests.receivers import message_ids, receiver
from tests.worker.commands import apply, batch, insert_task, update
from worker.deliveries.sender import deliver
from worker.gauges import _measure_deliveries
from worker.runner import Services
from worker.writes.slices import FIRST_SLICE_OPERATIONS

MANY = 200


async def channels(owner: asyncpg.Connection, user_id: int, number: int = 3, **columns: Any) -> list[int]:
    """Webhooks that want to hear of all that happens to tasks."""
    values = {
        "url_encrypted": b"",
        "secrets_encrypted": [],
        "events": ["task.created", "task.updated", "task.deleted", "task.reminder"],
        **columns,
    }
    places = ", ".join(f"${place}" for place in range(3, len(values) + 3))
    rows = await owner.fetch(
        f"INSERT INTO channels (user_id, kind, url_masked, {', '.join(values)})"
        f" SELECT $1, 'webhook', '', {places} FROM generate_series(1, $2) RETURNING id",
        user_id,
        number,
        *values.values(),
    )
    return [row["id"] for row in rows]


async def happen(owner: asyncpg.Connection, *events: tuple[int, int]) -> None:
    """So many events of each user, all in one statement."""
    await owner.execute(
        'INSERT INTO events (user_id, type, data) SELECT user_id, \'task.created\', \'{"task": {"title": "x"}}\''
        " FROM unnest($1::bigint[], $2::bigint[]) AS e (user_id, number), generate_series(1, number)",
        [user_id for user_id, _ in events],
        [number for _, number in events],
    )


async def made(owner: asyncpg.Connection) -> list[tuple[int, int]]:
    """(Event, channel) of each delivery."""
    rows = await owner.fetch("SELECT event_id, channel_id FROM deliveries ORDER BY event_id, channel_id")
    return [(row["event_id"], row["channel_id"]) for row in rows]


async def everything(owner: asyncpg.Connection, channel_ids: list[int]) -> list[tuple[int, int]]:
    """What is to be made for some channels."""
    return [(row["id"], one) for row in await owner.fetch("SELECT id FROM events ORDER BY id") for one in channel_ids]


async def fan_all_out(services: Services, at_once: int = 90) -> None:
    user_id = 0
    while done := await fan_out(services.pool, after_user=user_id, at_once=at_once):
        user_id = done.user_id


async def waiting(owner: asyncpg.Connection) -> int:
    """How many events are still to be fanned out."""
    number: int = await owner.fetchval("SELECT coalesce(sum(cardinality(event_ids)), 0)::bigint FROM fan_outs")
    return number


async def test_many_events_of_one_user_are_fanned_out_later_to_each_channel_once(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    mine = await channels(owner, alice)
    await happen(owner, (alice, MANY))
    assert (await made(owner), await waiting(owner)) == ([], MANY)
    await fan_all_out(services)
    assert await made(owner) == await everything(owner, mine)
    assert await owner.fetchval("SELECT count(*) FROM fan_outs") == 0


async def test_few_are_at_once_and_so_are_those_of_one_event(
    services: Services, owner: asyncpg.Connection, alice: int, bob: int
) -> None:
    await channels(owner, bob, 60)
    await happen(owner, (bob, 1))
    assert len(await made(owner)) == 60
    await owner.execute("DELETE FROM events")
    mine = await channels(owner, alice, 20)
    for number in (1, 2):
        await happen(owner, (alice, number))
    assert await made(owner) == await everything(owner, mine)
    assert await waiting(owner) == 0


async def test_who_has_many_does_not_put_off_those_of_others(
    services: Services, owner: asyncpg.Connection, alice: int, bob: int
) -> None:
    await channels(owner, alice)
    bobs = await channels(owner, bob, 1)
    await happen(owner, (alice, MANY), (bob, 3))
    assert [channel_id for _, channel_id in await made(owner)] == bobs * 3
    assert await waiting(owner) == MANY


async def test_metrics_tell_how_many_events_wait_and_how_many_deliveries_came_of_them(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    mine = await channels(owner, alice)

    async def told() -> tuple[float, ...]:
        await _measure_deliveries(services)
        deliveries = metrics.FAN_OUT_DELIVERIES
        return (
            metrics.FAN_OUT_EVENTS._value.get(),
            deliveries.labels("made")._value.get(),
            deliveries.labels("taken_back")._value.get(),
        )

    nothing, made_before, taken_before = await told()
    assert nothing == 0
    await happen(owner, (alice, MANY))
    assert await told() == (MANY, made_before, taken_before)
    await owner.execute("UPDATE channels SET state = 'disabled'")  # so that what was made is not delivered at once
    await deliver(services)
    assert await told() == (0, made_before + MANY * len(mine), taken_before)
    await owner.execute("UPDATE deliveries SET state = 'pending', next_attempt_at = now() + interval '1 day'")
    await owner.execute(
        "INSERT INTO fan_outs (user_id, event_ids, channel_ids, is_void)"
        " SELECT user_id, array_agg(id), '{}', true FROM events GROUP BY user_id"
    )
    await deliver(services)
    assert await told() == (0, made_before + MANY * len(mine), taken_before + MANY * len(mine))


async def test_users_take_turns(services: Services, owner: asyncpg.Connection, alice: int, bob: int) -> None:
    for user_id in (alice, bob):
        await channels(owner, user_id)
        await happen(owner, *[(user_id, MANY)] * 3)
    served, user_id = [], 0
    for _ in range(6):
        done = await fan_out(services.pool, after_user=user_id, at_once=30)
        assert done is not None
        assert done.deliveries == 30
        served.append(user_id := done.user_id)
    assert served == [alice, bob] * 3


async def test_a_channel_made_after_an_event_hears_nothing_of_it_nor_does_one_deleted_since(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    first, deleted, disabled, gone = await channels(owner, alice, 4)
    await happen(owner, (alice, MANY))
    await channels(owner, alice)
    await owner.execute("UPDATE channels SET state = 'deleted' WHERE id = $1", deleted)
    await owner.execute("UPDATE channels SET state = 'disabled' WHERE id = $1", disabled)
    await owner.execute("DELETE FROM channels WHERE id = $1", gone)
    await fan_all_out(services)
    # Of the disabled one they end as all that waits for it does.
    assert await made(owner) == await everything(owner, [first, disabled])


async def test_one_that_wants_other_events_is_none_of_them(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    mine = await channels(owner, alice)
    await channels(owner, alice, events=["task.deleted"])
    await happen(owner, (alice, MANY))
    await fan_all_out(services)
    assert await made(owner) == await everything(owner, mine)


async def test_several_workers_at_a_time_make_each_delivery_once(
    services: Services, owner: asyncpg.Connection, alice: int, bob: int
) -> None:
    mine = [*await channels(owner, alice), *await channels(owner, bob)]
    for _ in range(5):
        await happen(owner, (alice, MANY), (bob, MANY))
    await asyncio.gather(*(fan_all_out(services) for _ in range(4)))
    await fan_all_out(services)  # what one of them held is passed over by the others
    assert len(await made(owner)) == 5 * MANY * len(mine)
    assert await waiting(owner) == 0


async def test_whoever_dies_in_the_middle_has_lost_and_doubled_nothing(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    mine = await channels(owner, alice)
    await happen(owner, (alice, MANY))
    await fan_out(services.pool, after_user=0, at_once=30)
    async with connection(services.settings.database_url) as holding, holding.transaction():
        await holding.execute("SELECT FROM channels FOR UPDATE")
        dying = asyncio.create_task(fan_out(services.pool, after_user=0))

        async def is_stuck() -> bool:
            found: bool = await owner.fetchval(
                "SELECT count(pg_terminate_backend(pid)) > 0 FROM pg_stat_activity"
                " WHERE wait_event_type = 'Lock' AND query LIKE '%fan_outs%'"
            )
            return found

        await eventually(is_stuck)
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await dying
    assert len(await made(owner)) == 30
    await fan_all_out(services)
    assert await made(owner) == await everything(owner, mine)


async def test_events_that_are_still_to_be_fanned_out_outlive_their_retention(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    await channels(owner, alice)
    await happen(owner, (alice, MANY))
    await owner.execute("UPDATE events SET created_at = now() - interval '90 days'")
    assert await purge_events(services.pool, retention_days=30) == 0
    await fan_all_out(services)
    await owner.execute("UPDATE deliveries SET state = 'delivered'")
    assert await purge_events(services.pool, retention_days=30) == MANY


FIELDS = [{"due_date": "2099-05-01T00:00:00+00:00"}, {"status": "completed"}]


async def remind(owner: asyncpg.Connection, user_id: int) -> list[int]:
    """Tells of the reminders of `MANY` tasks, and returns the tasks."""
    await owner.execute("UPDATE users SET reminder_offsets = '{PT1H}' WHERE id = $1", user_id)
    tasks = [await insert_task(owner, user_id, due_date=clock.now()) for _ in range(MANY)]
    await owner.execute(
        """
        WITH told AS (
            INSERT INTO events (user_id, type, task_id, data)
            SELECT user_id, 'task.reminder', id, '{}' FROM tasks WHERE user_id = $1
            RETURNING id, task_id
        )
        UPDATE reminders AS r SET state = 'sent', event_id = told.id FROM told WHERE r.task_id = told.task_id
        """,
        user_id,
    )
    return tasks


@pytest.mark.parametrize("fields", FIELDS)
async def test_a_reminder_that_is_taken_back_before_it_was_fanned_out_is_not_sent(
    services: Services, owner: asyncpg.Connection, alice: int, fields: dict[str, Any]
) -> None:
    mine = await channels(owner, alice, events=["task.reminder"])
    tasks = await remind(owner, alice)
    assert await waiting(owner) == MANY
    await apply(services, batch(alice, {"op": "update", "id": tasks[0], "fields": fields}))
    await fan_all_out(services)
    told = {row[0] for row in await owner.fetch("SELECT id FROM events WHERE task_id <> $1", tasks[0])}
    assert {event_id for event_id, _ in await made(owner)} == told
    assert len(await made(owner)) == (MANY - 1) * len(mine)


@pytest.mark.parametrize("fields", FIELDS)
async def test_many_that_are_taken_back_together_are_ended_later_and_not_sent_until_then(
    services: Services, owner: asyncpg.Connection, alice: int, bob: int, fields: dict[str, Any]
) -> None:
    for user_id in (alice, bob):
        await channels(owner, user_id, events=["task.reminder"])
    tasks = await remind(owner, alice)
    await remind(owner, bob)
    await fan_all_out(services)
    await apply(services, *(update(alice, task, fields) for task in tasks))
    counted = "SELECT user_id, state, count(*) FROM deliveries GROUP BY user_id, state ORDER BY user_id"
    assert [tuple(row) for row in await owner.fetch(counted)] == [
        (alice, "pending", 3 * MANY),
        (bob, "pending", 3 * MANY),
    ]
    claim = await claim_deliveries(services.pool, "me", after_channel=0, limit=2000, a_channel=9, rooms={})
    assert {(delivery.user_id, delivery.is_void) for delivery in claim.deliveries} == {(alice, True), (bob, False)}
    wanted = await still_wanted(services.pool, "me", [delivery.id for delivery in claim.deliveries])
    assert wanted == {delivery.id for delivery in claim.deliveries if delivery.user_id == bob}
    await fan_all_out(services)
    assert [tuple(row) for row in await owner.fetch(counted)] == [
        (alice, "dead", 3 * MANY),
        (bob, "pending", 3 * MANY),
    ]
    assert await owner.fetchval("SELECT count(*) FROM fan_outs") == 0


async def test_a_large_batch_makes_no_delivery_itself_and_all_of_them_arrive(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    number = FIRST_SLICE_OPERATIONS
    box = SecretBox.of(services.settings)
    secret = box.seal(Secret.of(b"k" * 32, clock.now()).dump(), user_id=alice, purpose="secret")
    task = await insert_task(owner, alice)
    async with receiver() as hook:
        url = box.seal(hook.url, user_id=alice, purpose="url")
        await channels(owner, alice, 20, url_encrypted=url, secrets_encrypted=[secret])
        changes = [{"op": "update", "id": task, "fields": {"title": f"{n}"}} for n in range(number)]
        [outcome] = await apply(services, batch(alice, *changes))
        assert [one["status"] for one in outcome["result"]["results"]] == [200] * number
        assert (await made(owner), await waiting(owner)) == ([], number)
        await deliver(services)
        ids = [received.id for received in hook.received]
        assert len(ids) == 20 * number
        assert set(ids) == await message_ids(owner)
    assert await owner.fetchval("SELECT count(*) FROM deliveries WHERE state = 'delivered'") == 20 * number

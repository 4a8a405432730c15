"""Each delivery is made once by however many workers, and tried again as planned where it failed."""

import asyncio
import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import orjson
import pytest

from core import clock
from core.deliveries.schedule import RETRY_SECONDS
from core.deliveries.writes.claims import claim_deliveries
from core.deliveries.writes.results import Result as Recorded
from core.deliveries.writes.results import record_results
from tests.receivers import Receiver, message_ids
from tests.worker.commands import apply, command
from tests.worker.deliveries.harness import channel, channel_row, events, make_due, row_of, states
from worker.deliveries import sender as sending
from worker.deliveries.sender import DeliveryState, deliver
from worker.runner import Services

# -- once


async def test_each_delivery_is_made_once(
    services: Services, owner: asyncpg.Connection, alice: int, hook: Receiver
) -> None:
    made = await events(owner, alice, await channel(services, owner, alice, hook.url), 300)
    await deliver(services)
    assert len(hook.received) == 300
    assert sorted(received.id for received in hook.received) == sorted(await message_ids(owner))
    assert await states(owner) == {"delivered": 300}
    row = await row_of(owner, made[0])
    assert (row["attempts"], row["next_attempt_at"], row["lease_owner"], row["last_error"]) == (1, None, None, None)
    body = orjson.loads(hook.received[0].body)
    assert (body["type"], body["data"]) == ("task.created", {"task": {"title": "a task"}, "url": None})
    assert datetime.fromisoformat(body["timestamp"]).tzinfo is not None


async def test_a_webhook_is_told_where_people_see_the_task(
    services: Services, owner: asyncpg.Connection, alice: int, hook: Receiver
) -> None:
    at_home = replace(services, settings=replace(services.settings, public_url="https://example.com/tenfold"))
    await events(owner, alice, await channel(at_home, owner, alice, hook.url), task_id=7)
    await deliver(at_home)
    [received] = hook.received
    assert orjson.loads(received.body)["data"]["url"] == "https://example.com/tenfold/app/tasks/7"


async def test_four_workers_share_the_work_and_nothing_is_sent_twice(
    services: Services, owner: asyncpg.Connection, alice: int, hook: Receiver
) -> None:
    channels = [await channel(services, owner, alice, f"{hook.url}/{number}") for number in range(5)]
    for channel_id in channels:
        await events(owner, alice, channel_id, 100)
    await asyncio.gather(*(deliver(replace(services, states={})) for _ in range(4)))
    ids = [received.id for received in hook.received]
    assert len(ids) == len(set(ids)) == 500
    assert await states(owner) == {"delivered": 500}


async def test_a_message_has_one_id_for_ever_and_no_other_installation_has_it(
    services: Services, owner: asyncpg.Connection, alice: int, hook: Receiver
) -> None:
    channel_id = await channel(services, owner, alice, hook.url)
    [one] = await events(owner, alice, channel_id)
    hook.answers(500)
    await deliver(services)
    hook.answers(200)
    await make_due(owner)
    await deliver(services)
    await apply(services, command("delivery.redeliver", alice, {"id": one}))
    await deliver(services)
    # As from a copy of the database, in which the numbers are given out once more.
    await owner.execute("DELETE FROM events")
    await owner.execute("ALTER TABLE deliveries ALTER id RESTART")
    await events(owner, alice, channel_id)
    await deliver(services)
    *first, other = [received.id for received in hook.received]
    assert len(first) == 3
    assert len({*first, other}) == 2
    assert re.fullmatch("msg_[0-9a-f]{32}", other)


async def test_what_was_on_its_way_before_there_were_such_ids_keeps_the_one_that_its_receiver_knows(
    services: Services, owner: asyncpg.Connection, alice: int, hook: Receiver
) -> None:
    [one] = await events(owner, alice, await channel(services, owner, alice, hook.url))
    await owner.execute("UPDATE deliveries SET message_id = NULL")
    await deliver(services)
    assert [received.id for received in hook.received] == [f"msg_{one}"]


async def test_one_run_at_a_time_in_a_process(
    services: Services, owner: asyncpg.Connection, alice: int, hook: Receiver
) -> None:
    await events(owner, alice, await channel(services, owner, alice, hook.url))
    async with services.state_of(DeliveryState).running:
        await deliver(services)
    assert hook.received == []


async def test_what_a_dead_worker_had_claimed_is_sent_when_its_lease_has_lapsed(
    services: Services, owner: asyncpg.Connection, alice: int, hook: Receiver
) -> None:
    made = await events(owner, alice, await channel(services, owner, alice, hook.url))
    claim = await claim_deliveries(services.pool, "dead", after_channel=0, limit=9, a_channel=9, rooms={})
    assert [delivery.id for delivery in claim.deliveries] == made
    await deliver(services)
    assert hook.received == []
    await make_due(owner)
    await deliver(services)
    assert len(hook.received) == 1
    late = [Recorded(made[0], claim.deliveries[0].channel_id, "failed", delay_seconds=5, error="late")]
    assert await record_results(services.pool, "dead", late) == {}
    assert (await row_of(owner, made[0]))["state"] == "delivered"


async def test_what_was_sent_is_recorded_when_the_database_can_be_reached_again(
    services: Services, owner: asyncpg.Connection, alice: int, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = iter([asyncpg.LockNotAvailableError("busy"), ConnectionResetError(), TimeoutError()])

    async def record_in_the_end(*arguments: Any) -> dict[int, str]:
        if (fault := next(faults, None)) is not None:
            raise fault
        return await record_results(*arguments)

    monkeypatch.setattr(sending, "record_results", record_in_the_end)
    await events(owner, alice, await channel(services, owner, alice, hook.url), 100)
    await deliver(services)
    assert next(faults, None) is None
    assert len(hook.received) == 100
    assert await states(owner) == {"delivered": 100}


# -- again


async def test_a_failure_is_tried_again_as_planned_and_given_up_in_the_end(
    services: Services, owner: asyncpg.Connection, alice: int, hook: Receiver
) -> None:
    hook.answers(500)
    [one] = await events(owner, alice, await channel(services, owner, alice, hook.url))
    for attempt, seconds in enumerate(RETRY_SECONDS, 1):
        await deliver(services)
        row = await row_of(owner, one)
        assert (row["state"], row["attempts"]) == ("failed", attempt)
        wait = (row["next_attempt_at"] - clock.now()).total_seconds()
        assert abs(wait - seconds) <= seconds * 0.1 + 5
        await make_due(owner)
    await deliver(services)
    row = await row_of(owner, one)
    assert (row["state"], row["attempts"], row["next_attempt_at"]) == ("dead", 10, None)
    assert row["last_error"] == "The receiver answered 500."
    assert len({received.id for received in hook.received}) == 1


async def test_retry_after_holds_the_whole_channel(
    services: Services, owner: asyncpg.Connection, alice: int, hook: Receiver
) -> None:
    hook.answers(429, **{"Retry-After": "600"})
    channel_id = await channel(services, owner, alice, hook.url, failing_since=clock.now())
    await events(owner, alice, channel_id, 3)
    await deliver(services)
    assert len(hook.received) == 1
    held = (await channel_row(owner, channel_id))["held_until"]
    assert abs((held - clock.now()).total_seconds() - 600) < 10
    row = await owner.fetchrow("SELECT * FROM deliveries WHERE state = 'failed'")
    assert row is not None
    assert (row["next_attempt_at"] - clock.now()).total_seconds() > 590


async def test_a_success_forgets_that_the_channel_failed(
    services: Services, owner: asyncpg.Connection, alice: int, hook: Receiver
) -> None:
    channel_id = await channel(services, owner, alice, hook.url, failing_since=clock.now() - timedelta(days=9))
    await events(owner, alice, channel_id)
    await deliver(services)
    found = await channel_row(owner, channel_id)
    assert (found["failing_since"], found["state"]) == (None, "active")

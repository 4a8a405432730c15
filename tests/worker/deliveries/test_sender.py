"""Deliveries in the worker: made once, tried again as planned, fair to all, and never lost."""

import asyncio
import contextlib
import re
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import orjson
import pytest
from aiohttp import web

from core import clock
from core.channels.signatures import Secret
from core.channels.writes import purge_deleted_channels
from core.deliveries.schedule import RETRY_SECONDS
from core.deliveries.writes.work import DISABLED_AFTER_DAYS, Claim, claim_deliveries, record_results
from core.deliveries.writes.work import Result as Recorded
from core.encryption import SecretBox
from core.redis.clients import end_tasks
from tests.harness import connection, insert_user
from tests.receivers import Received, Receiver, message_ids, raw_receiver, receiver
from tests.worker.commands import apply, command, insert_task
from worker.deliveries import sender as sending
from worker.deliveries.apprise import PROCESSES_MAXIMUM
from worker.deliveries.channels import SENDING_A_CHANNEL, SENDING_A_HOST
from worker.deliveries.sender import DeliveryState, deliver
from worker.runner import Services


@pytest.fixture
async def services(services: Services) -> Services:
    """Whose deliveries may go to this machine."""
    return replace(services, settings=replace(services.settings, allow_private_targets=True))


@pytest.fixture
async def owner(services: Services) -> AsyncIterator[asyncpg.Connection]:
    async with connection(services.settings.database_url) as owner:
        await owner.execute("DELETE FROM events")
        yield owner


@pytest.fixture
async def hook() -> AsyncIterator[Receiver]:
    async with receiver() as found:
        yield found


async def channel(services: Services, owner: asyncpg.Connection, user_id: int, url: str, **columns: Any) -> int:
    """A webhook's row, as a command would have made it."""
    box = SecretBox.of(services.settings)
    secret = Secret.of(b"k" * 32, clock.now())
    values = {
        "user_id": user_id,
        "kind": "webhook",
        "url_encrypted": box.seal(url, user_id=user_id, purpose="url"),
        "url_masked": "http://masked/***",
        "secrets_encrypted": [box.seal(secret.dump(), user_id=user_id, purpose="secret")],
        **columns,
    }
    places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
    made: int = await owner.fetchval(
        f"INSERT INTO channels ({', '.join(values)}) VALUES ({places}) RETURNING id", *values.values()
    )
    return made


async def events(
    owner: asyncpg.Connection,
    user_id: int,
    channel_id: int,
    number: int = 1,
    event: str = "task.created",
    task_id: int | None = None,
) -> list[int]:
    """Events with a delivery each; returns the deliveries."""
    rows = await owner.fetch(
        """
        WITH e AS (
            INSERT INTO events (user_id, type, task_id, data)
            SELECT $1, $3, $5, '{"task": {"title": "a task"}}' FROM generate_series(1, $4) RETURNING id
        )
        INSERT INTO deliveries (event_id, channel_id, user_id, next_attempt_at)
        SELECT e.id, $2, $1, now() - interval '1 second' FROM e RETURNING id
        """,
        user_id,
        channel_id,
        event,
        number,
        task_id,
    )
    return [row["id"] for row in rows]


async def states(owner: asyncpg.Connection) -> dict[str, int]:
    rows = await owner.fetch("SELECT state, count(*) AS number FROM deliveries GROUP BY state")
    return {row["state"]: row["number"] for row in rows}


async def row_of(owner: asyncpg.Connection, delivery_id: int) -> dict[str, Any]:
    row = await owner.fetchrow("SELECT * FROM deliveries WHERE id = $1", delivery_id)
    assert row is not None
    return dict(row)


async def channel_row(owner: asyncpg.Connection, channel_id: int) -> dict[str, Any]:
    row = await owner.fetchrow("SELECT * FROM channels WHERE id = $1", channel_id)
    assert row is not None
    return dict(row)


async def make_due(owner: asyncpg.Connection) -> None:
    await owner.execute("UPDATE deliveries SET next_attempt_at = now() WHERE state IN ('pending', 'failed')")
    await owner.execute("UPDATE channels SET held_until = NULL")


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
    assert (body["type"], body["data"]) == ("task.created", {"task": {"title": "a task"}})
    assert datetime.fromisoformat(body["timestamp"]).tzinfo is not None


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


# -- channels that are given up


async def test_a_receiver_that_is_gone_disables_its_channel_and_its_user_is_told(
    services: Services, owner: asyncpg.Connection, alice: int, hook: Receiver
) -> None:
    hook.answers(410)
    channel_id = await channel(services, owner, alice, hook.url)
    [one] = await events(owner, alice, channel_id)
    await deliver(services)
    assert (await channel_row(owner, channel_id))["state"] == "disabled"
    assert (await row_of(owner, one))["state"] == "dead"
    [told] = await owner.fetch("SELECT * FROM notifications WHERE user_id = $1", alice)
    assert (told["event"], "gone" in told["text"]) == ("channel.disabled", True)


async def test_a_receiver_that_is_gone_disables_its_channel_also_if_something_else_has_just_arrived(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    channel_id = await channel(services, owner, alice, "http://127.0.0.1/")
    made = await events(owner, alice, channel_id, 2)
    await claim_deliveries(services.pool, "me", after_channel=0, limit=9, a_channel=9, rooms={})
    await record_results(
        services.pool,
        "me",
        [
            Recorded(made[0], channel_id, "delivered"),
            Recorded(made[1], channel_id, "dead", error="The receiver answered 410.", is_gone=True),
        ],
    )
    assert (await channel_row(owner, channel_id))["state"] == "disabled"


@pytest.mark.parametrize(
    ("days", "state"), [(DISABLED_AFTER_DAYS - 1, "active"), (DISABLED_AFTER_DAYS + 1, "disabled")]
)
async def test_a_channel_that_only_fails_for_days_is_disabled(
    services: Services, owner: asyncpg.Connection, alice: int, hook: Receiver, days: int, state: str
) -> None:
    hook.answers(500)
    channel_id = await channel(services, owner, alice, hook.url, failing_since=clock.now() - timedelta(days=days))
    await events(owner, alice, channel_id)
    await deliver(services)
    assert (await channel_row(owner, channel_id))["state"] == state
    told = await owner.fetch("SELECT * FROM notifications WHERE user_id = $1", alice)
    assert len(told) == (state == "disabled")


async def test_what_waits_for_a_disabled_channel_is_given_up_unsent(
    services: Services, owner: asyncpg.Connection, alice: int, hook: Receiver
) -> None:
    channel_id = await channel(services, owner, alice, hook.url, state="disabled", failing_since=clock.now())
    [*made] = await events(owner, alice, channel_id, 100)
    await deliver(services)
    assert await states(owner) == {"dead": 100}
    assert hook.received == []
    row = await row_of(owner, made[0])
    assert (row["attempts"], row["last_error"]) == (0, "The channel is disabled.")


async def test_of_a_deleted_channel_with_many_deliveries_nothing_is_sent_and_in_the_end_nothing_left(
    services: Services, owner: asyncpg.Connection, alice: int, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.channels.writes.DELETED_AT_ONCE", 10)
    channel_id = await channel(services, owner, alice, hook.url)
    made = await events(owner, alice, channel_id, 30)
    [outcome] = await apply(services, command("channel.delete", alice, {"id": channel_id}))
    assert outcome["status_code"] == 204
    [again] = await apply(services, command("channel.delete", alice, {"id": channel_id}))
    assert again["status_code"] == 404
    assert await owner.fetchval("SELECT count(*) FROM deliveries") == 20
    left = await owner.fetchval("SELECT min(id) FROM deliveries WHERE id = ANY ($1::bigint[])", made)
    [refused] = await apply(services, command("delivery.redeliver", alice, {"id": left}))
    assert refused["status_code"] == 404
    await deliver(services)
    assert hook.received == []
    assert await purge_deleted_channels(services.pool, chunk=7) == 20
    assert await owner.fetchval("SELECT count(*) FROM channels") == 0


# -- not now, or not at all


async def test_in_quiet_hours_nothing_is_sent_until_they_end(
    services: Services, owner: asyncpg.Connection, alice: int, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    night = datetime.fromisoformat("2026-01-31T23:30:00+00:00")
    monkeypatch.setattr(clock, "now", lambda: night)
    quiet = orjson.dumps({"start": "22:00", "end": "07:00"}).decode()
    channel_id = await channel(services, owner, alice, hook.url, quiet_hours=quiet)
    [one] = await events(owner, alice, channel_id)
    [test] = await events(owner, alice, channel_id, event="channel.test")
    await deliver(services)
    assert [received.id for received in hook.received] == [f"msg_{(await row_of(owner, test))['message_id'].hex}"]
    row = await row_of(owner, one)
    assert (row["state"], row["attempts"]) == ("pending", 0)
    monkeypatch.undo()
    assert abs((row["next_attempt_at"] - clock.now()).total_seconds() - 7.5 * 3600) < 30


@pytest.mark.parametrize(("status", "sent"), [("pending", 1), ("cancelled", 0)])
async def test_a_reminder_of_a_task_that_is_closed_is_not_sent(
    services: Services, owner: asyncpg.Connection, alice: int, hook: Receiver, status: str, sent: int
) -> None:
    task_id = await insert_task(owner, alice, status=status)
    channel_id = await channel(services, owner, alice, hook.url)
    await events(owner, alice, channel_id, event="task.reminder", task_id=task_id)
    await deliver(services)
    assert len(hook.received) == sent
    assert await states(owner) == ({"delivered": 1} if sent else {"dead": 1})


async def test_what_is_taken_back_while_it_waits_for_a_place_is_not_sent(
    services: Services, owner: asyncpg.Connection, alice: int, hook: Receiver
) -> None:
    released = asyncio.Event()

    async def hang_in_the_end(_received: Received) -> web.StreamResponse:
        if len(hook.received) > 50:  # so it was quick, and much was claimed ahead
            await released.wait()
        return web.Response()

    hook.answer = hang_in_the_end
    channel_id = await channel(services, owner, alice, hook.url)
    await events(owner, alice, channel_id, 400)
    running = asyncio.create_task(deliver(services))
    sent = 50 + SENDING_A_CHANNEL
    async with asyncio.timeout(5):
        while len(hook.received) < sent:
            await asyncio.sleep(0.01)
    taken_back = await owner.execute(
        "UPDATE deliveries SET state = 'dead', next_attempt_at = NULL, lease_owner = NULL"
        " WHERE state = 'pending' AND NOT message_id = ANY ($1::uuid[])",
        [received.id.removeprefix("msg_") for received in hook.received],
    )
    assert taken_back == f"UPDATE {400 - sent}"
    await asyncio.sleep(2 * sending.LOOK_AGAIN_SECONDS + sending.IDLE_PAUSE_SECONDS)
    released.set()
    await running
    assert len(hook.received) == sent
    assert await states(owner) == {"delivered": sent, "dead": 400 - sent}


async def test_what_waits_for_a_place_is_not_sent_when_its_channel_was_switched_off(
    services: Services, owner: asyncpg.Connection, alice: int, hook: Receiver
) -> None:
    released = asyncio.Event()

    async def hang_in_the_end(_received: Received) -> web.StreamResponse:
        if len(hook.received) > 50:
            await released.wait()
        return web.Response()

    hook.answer = hang_in_the_end
    channel_id = await channel(services, owner, alice, hook.url)
    await events(owner, alice, channel_id, 400)
    running = asyncio.create_task(deliver(services))
    sent = 50 + SENDING_A_CHANNEL
    async with asyncio.timeout(5):
        while len(hook.received) < sent:
            await asyncio.sleep(0.01)
    await owner.execute("UPDATE channels SET state = 'disabled' WHERE id = $1", channel_id)
    await asyncio.sleep(2 * sending.LOOK_AGAIN_SECONDS + sending.IDLE_PAUSE_SECONDS)
    released.set()
    await running
    assert len(hook.received) == sent
    assert await states(owner) == {"delivered": sent, "dead": 400 - sent}


async def test_an_address_that_cannot_be_opened_fails_alone(
    services: Services, owner: asyncpg.Connection, alice: int, hook: Receiver
) -> None:
    broken = await channel(services, owner, alice, hook.url, url_encrypted=b"\x01nonsense")
    good = await channel(services, owner, alice, hook.url)
    await events(owner, alice, broken, 3)
    await events(owner, alice, good, 3)
    await deliver(services)
    assert await states(owner) == {"failed": 3, "delivered": 3}


# -- fair


async def test_a_receiver_that_hangs_delays_nobody_else(
    services: Services, owner: asyncpg.Connection, alice: int, hook: Receiver
) -> None:
    released = asyncio.Event()

    async def hang(_received: Received) -> web.StreamResponse:
        await released.wait()
        return web.Response()

    hook.answer = hang
    slow = await channel(services, owner, alice, hook.url)
    await events(owner, alice, slow, 1000)
    async with receiver() as quick_hook:
        quick = await channel(services, owner, alice, quick_hook.url.replace("127.0.0.1", "localhost"))
        await events(owner, alice, quick, 100)
        running = asyncio.create_task(deliver(services))
        async with asyncio.timeout(5):
            while len(quick_hook.received) < 100:
                await asyncio.sleep(0.01)
        assert hook.most_at_once == len(hook.received) == SENDING_A_CHANNEL
        released.set()
        await running


async def test_all_channels_of_a_host_together_have_a_limited_number_of_places(
    services: Services, owner: asyncpg.Connection, alice: int, hook: Receiver
) -> None:
    hook.answers_after(0.1)
    for number in range(4):
        channel_id = await channel(services, owner, alice, f"{hook.url}/{number}")
        await events(owner, alice, channel_id, 40)
    for number in range(8):
        somebody = await insert_user(owner, f"user{number}")
        await events(owner, somebody, await channel(services, owner, somebody, f"{hook.url}/{number}"), 40)
    await deliver(services)
    assert 0.9 * SENDING_A_HOST < hook.most_at_once <= SENDING_A_HOST
    assert len(hook.received) == 480


async def test_a_channel_that_fails_is_tried_one_at_a_time(
    services: Services, owner: asyncpg.Connection, alice: int, hook: Receiver
) -> None:
    async def refuse(_received: Received) -> web.StreamResponse:
        await asyncio.sleep(0.02)
        return web.Response(status=500)

    hook.answer = refuse
    channel_id = await channel(services, owner, alice, hook.url, failing_since=clock.now())
    await events(owner, alice, channel_id, 10)
    await deliver(services)
    assert hook.most_at_once == 1
    assert len(hook.received) == 10


async def test_many_channels_of_one_quick_host_are_not_claimed_again_and_again(
    services: Services, owner: asyncpg.Connection, alice: int, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = 0

    async def count(*arguments: Any, **named: Any) -> Claim:
        nonlocal claimed
        claim = await claim_deliveries(*arguments, **named)
        claimed += len(claim.deliveries)
        return claim

    monkeypatch.setattr(sending, "claim_deliveries", count)
    for number in range(200):
        await events(owner, alice, await channel(services, owner, alice, f"{hook.url}/{number}"), 15)
    await deliver(services)
    assert await states(owner) == {"delivered": 3000}
    assert claimed < 3000 * 1.5


async def test_receivers_that_were_quick_and_hang_now_leave_room_for_others(
    services: Services, owner: asyncpg.Connection, alice: int, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "CLAIMED_MAXIMUM", 300)
    released = asyncio.Event()

    async def hang_in_the_end(_received: Received) -> web.StreamResponse:
        if len(hook.received) > 200:
            await released.wait()
        return web.Response()

    hook.answer = hang_in_the_end
    for number in range(4):
        await events(owner, alice, await channel(services, owner, alice, f"{hook.url}/{number}"), 1000)
    running = asyncio.create_task(deliver(services))
    async with receiver() as other_hook:
        async with asyncio.timeout(5):
            while len(hook.received) < 200 + SENDING_A_HOST // 2:
                await asyncio.sleep(0.01)
        other = await channel(services, owner, alice, other_hook.url.replace("127.0.0.1", "localhost"))
        await events(owner, alice, other, 10)
        async with asyncio.timeout(8):
            while len(other_hook.received) < 10:
                await asyncio.sleep(0.01)
    assert len(hook.received) == 200 + SENDING_A_HOST // 2
    released.set()
    await running


async def test_of_one_host_a_user_with_slow_receivers_leaves_places_for_others(
    services: Services, owner: asyncpg.Connection, alice: int, hook: Receiver
) -> None:
    released = asyncio.Event()

    async def hang_for_alice(received: Received) -> web.StreamResponse:
        if received.path.startswith("/alice"):
            await released.wait()
        return web.Response()

    hook.answer = hang_for_alice
    for number in range(50):
        await events(owner, alice, await channel(services, owner, alice, f"{hook.url}/alice/{number}"), 100)
    running = asyncio.create_task(deliver(services))
    async with asyncio.timeout(5):
        while len(hook.received) < SENDING_A_HOST // 2:
            await asyncio.sleep(0.01)
    for name in ("bob", "carol", "dave"):
        somebody = await insert_user(owner, name)
        await events(owner, somebody, await channel(services, owner, somebody, f"{hook.url}/{name}"))
        started = time.monotonic()
        while f"/{name}" not in {received.path for received in hook.received}:
            await asyncio.sleep(0.01)
            assert time.monotonic() - started < 2
    assert hook.most_at_once <= SENDING_A_HOST // 2 + 1
    await end_tasks([running])
    released.set()


async def test_a_place_of_one_host_goes_to_the_user_who_holds_the_fewest(
    services: Services, owner: asyncpg.Connection, alice: int, hook: Receiver
) -> None:
    hook.answers_after(0.3)
    bob = await insert_user(owner, "bob")
    for number in range(20):
        await events(owner, alice, await channel(services, owner, alice, f"{hook.url}/alice/{number}"), 20)
    await events(owner, bob, await channel(services, owner, bob, f"{hook.url}/bob"), 400)
    running = asyncio.create_task(deliver(services))
    async with asyncio.timeout(15):
        while len(hook.received) < 300:
            await asyncio.sleep(0.01)
    await end_tasks([running])
    turns = Counter(received.path.split("/")[1] for received in hook.received[150:])
    assert turns["bob"] > 0.4 * turns["alice"], "with a place a channel it would be a twentieth"


async def test_one_user_with_much_that_is_due_does_not_hold_up_what_another_claims(
    services: Services, owner: asyncpg.Connection, alice: int, hook: Receiver
) -> None:
    async with receiver(listens_on="0.0.0.0") as many:
        for number in range(2, 52):
            address = many.url.replace("127.0.0.1", f"127.0.0.{number}")
            await events(owner, alice, await channel(services, owner, alice, address), 400)
        running = asyncio.create_task(deliver(services))
        async with asyncio.timeout(20):
            while len(many.received) < 2000:
                await asyncio.sleep(0.002)
        bob = await insert_user(owner, "bob")
        await events(owner, bob, await channel(services, owner, bob, hook.url))
        before = len(many.received)
        async with asyncio.timeout(20):
            while not hook.received:
                await asyncio.sleep(0.002)
        assert len(many.received) - before < 5000
        await end_tasks([running])


async def test_a_claim_that_is_full_goes_on_behind_what_it_took(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    channels = [await channel(services, owner, alice, "http://127.0.0.1/") for _ in range(3)]
    for channel_id in channels:
        await events(owner, alice, channel_id, 5)
    after, seen = 0, []
    for _ in range(3):
        claim = await claim_deliveries(services.pool, "me", after_channel=after, limit=2, a_channel=4, rooms={})
        after = claim.next_channel
        seen.append({delivery.channel_id for delivery in claim.deliveries})
    assert seen == [{channel_id} for channel_id in channels]


async def test_of_a_user_who_has_enough_nothing_is_claimed(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    bob = await insert_user(owner, "bob")
    for user in (alice, bob):
        await events(owner, user, await channel(services, owner, user, "http://127.0.0.1/"))
    claim = await claim_deliveries(services.pool, "me", after_channel=0, limit=9, a_channel=9, rooms={}, sated=[alice])
    assert [delivery.user_id for delivery in claim.deliveries] == [bob]


@pytest.mark.timeout(60)
async def test_slow_services_of_some_users_leave_processes_for_the_others(
    services: Services, owner: asyncpg.Connection, alice: int, hook: Receiver
) -> None:
    """Each place of Apprise is a process that waits for up to 20 seconds."""
    hanging: Counter[str] = Counter()

    async def hang(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host = str(writer.get_extra_info("sockname")[0])
        hanging[host] += 1
        await asyncio.sleep(60)

    async def service_of(user_id: int, url: str) -> int:
        box = SecretBox.of(services.settings)
        address = f"gotify://{url.removeprefix('http://')}/AbCdEfGhIjKlMnO"
        sealed = box.seal(address, user_id=user_id, purpose="url")
        return await channel(services, owner, user_id, url, kind="gotify", url_encrypted=sealed, secrets_encrypted=[])

    async with contextlib.AsyncExitStack() as stack:
        for number in range(2, 14):
            url = await stack.enter_async_context(raw_receiver(hang, f"127.0.0.{number}"))
            await events(owner, alice, await service_of(alice, url), 3, event="channel.test")
        running = asyncio.create_task(deliver(services))
        stack.push_async_callback(end_tasks, [running])
        async with asyncio.timeout(15):
            while hanging.total() < PROCESSES_MAXIMUM // 2:
                await asyncio.sleep(0.01)
        for name in ("bob", "carol"):
            somebody = await insert_user(owner, name)
            before = len(hook.received)
            await events(owner, somebody, await service_of(somebody, hook.url), event="channel.test")
            started = time.monotonic()
            while len(hook.received) == before:
                await asyncio.sleep(0.01)
                assert time.monotonic() - started < 8, "a process takes a second or two to start"
        assert hanging.total() == PROCESSES_MAXIMUM // 2


async def test_a_channel_whose_address_was_changed_takes_places_of_its_new_host(
    services: Services, owner: asyncpg.Connection, alice: int, hook: Receiver
) -> None:
    hook.answers_after(0.05)
    moved = hook.url.replace("127.0.0.1", "localhost")
    channels = [await channel(services, owner, alice, f"{moved}/{number}") for number in range(4)]
    for channel_id in channels:
        await events(owner, alice, channel_id)
    sender = sending.Sender(services)
    try:
        assert await sender.run()
        box = SecretBox.of(services.settings)
        for number, channel_id in enumerate(channels):
            sealed = box.seal(f"{hook.url}/{number}", user_id=alice, purpose="url")
            await owner.execute("UPDATE channels SET url_encrypted = $2 WHERE id = $1", channel_id, sealed)
            await events(owner, alice, channel_id, 40)
        one_more = await channel(services, owner, alice, hook.url)
        await events(owner, alice, one_more, 40)
        assert await sender.run()
    finally:
        await sender.close()
    assert hook.most_at_once == SENDING_A_HOST // 2
    assert await states(owner) == {"delivered": 204}


async def test_claims_are_planned_for_as_much_as_there_is_now(services: Services, owner: asyncpg.Connection) -> None:
    for _ in range(10):
        await claim_deliveries(services.pool, "me", after_channel=0, limit=9, a_channel=1, rooms={})
    plans = await services.pool.fetch(
        "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement LIKE '_WITH RECURSIVE%'"
    )
    assert [tuple(row) for row in plans] == [(0, 10)]


async def test_a_claim_goes_on_where_the_last_one_ended(
    services: Services, owner: asyncpg.Connection, alice: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.deliveries.writes.work.CHANNELS_A_CLAIM", 2)
    channels = [await channel(services, owner, alice, "http://127.0.0.1/") for _ in range(3)]
    for channel_id in channels:
        await events(owner, alice, channel_id)
    seen, after = [], 0
    for _ in range(2):
        claim = await claim_deliveries(services.pool, "me", after_channel=after, limit=9, a_channel=1, rooms={})
        seen += [delivery.channel_id for delivery in claim.deliveries]
        after = claim.next_channel
    assert (sorted(seen), after) == (channels, 0)


async def test_a_run_that_is_told_to_stop_gives_back_what_it_has_not_begun(
    services: Services, owner: asyncpg.Connection, alice: int, hook: Receiver
) -> None:
    stopping = asyncio.Event()
    services = replace(services, stopping=stopping)

    async def stop(_received: Received) -> web.StreamResponse:
        stopping.set()
        await asyncio.sleep(0.05)
        return web.Response()

    hook.answer = stop
    await events(owner, alice, await channel(services, owner, alice, hook.url), 500)
    await deliver(services)
    found = await states(owner)
    assert found["delivered"] == len(hook.received)
    assert found["delivered"] + found["pending"] == 500
    assert not await owner.fetchval("SELECT count(*) FROM deliveries WHERE lease_owner IS NOT NULL")

"""What is not sent: to channels that are given up, in quiet hours, and where it is taken back in time."""

import asyncio
from datetime import datetime, timedelta

import asyncpg
import orjson
import pytest
from aiohttp import web

from core import clock
from core.channels.writes import purge_deleted_channels
from core.deliveries.writes.claims import claim_deliveries
from core.deliveries.writes.results import DISABLED_AFTER_DAYS, record_results
from core.deliveries.writes.results import Result as Recorded
from tests.receivers import Received, Receiver
from tests.worker.commands import apply, command, insert_task
from tests.worker.deliveries.harness import channel, channel_row, events, row_of, states
from worker.deliveries import sender as sending
from worker.deliveries.channels import SENDING_A_CHANNEL
from worker.deliveries.sender import deliver
from worker.runner import Services

# -- channels that are given up


async def test_a_receiver_that_is_gone_disables_its_channel_and_its_user_is_told(
    services: Services, owner: asyncpg.Connection, alice: int, hook: Receiver
) -> None:
    hook.answers(410)
    channel_id = await channel(services, owner, alice, hook.url, name="On call")
    [one] = await events(owner, alice, channel_id)
    await deliver(services)
    assert (await channel_row(owner, channel_id))["state"] == "disabled"
    assert (await row_of(owner, one))["state"] == "dead"
    [told] = await owner.fetch("SELECT * FROM notifications WHERE user_id = $1", alice)
    assert (told["event"], "gone" in told["text"]) == ("channel.disabled", True)
    assert "On call (http://masked/***)" in told["text"]


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

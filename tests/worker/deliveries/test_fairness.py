"""Many deliveries share few places: no receiver that hangs and no user with many keeps others waiting."""

import asyncio
import contextlib
import time
from collections import Counter
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from aiohttp import web

from core import clock
from core.deliveries.writes.claims import Claim, claim_deliveries
from core.encryption import SecretBox
from core.redis.clients import end_tasks
from tests.harness import insert_user
from tests.receivers import Received, Receiver, raw_receiver, receiver
from tests.worker.deliveries.harness import channel, events, states
from worker.deliveries import sender as sending
from worker.deliveries.apprise import PROCESSES_MAXIMUM
from worker.deliveries.channels import SENDING_A_CHANNEL, SENDING_A_HOST
from worker.deliveries.sender import deliver
from worker.runner import Services


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
    monkeypatch.setattr("core.deliveries.writes.claims.CHANNELS_A_CLAIM", 2)
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

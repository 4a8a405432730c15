"""Delivers: claims what is due, sends it, and records what came of it.

One loop in each process keeps many deliveries on their way. Each channel and each host has a limited number of places,
which users share, so that a slow receiver holds up nobody but its owner; and a worker claims no more than it will soon
have sent.
"""

import asyncio
import contextlib
import time
import traceback
from collections import Counter, deque
from datetime import datetime

from core import clock, metrics
from core.channels.schemas import TEST_EVENT
from core.channels.signatures import Secret, signed_headers, signing_secrets
from core.channels.targets import WEBHOOK, host_of
from core.database.faults import is_transient
from core.deliveries.attempts import Attempt
from core.deliveries.messages import message_of, wanted_at, webhook_body
from core.deliveries.schedule import next_delay, quiet_until
from core.deliveries.writes.fan_outs import fan_out
from core.deliveries.writes.work import (
    LEASE_SECONDS,
    ClaimedDelivery,
    Result,
    claim_deliveries,
    record_results,
    still_wanted,
)
from core.encryption import SecretBox
from core.errors import SecretsUnavailable
from core.jobs.queues import call_time
from core.leases import new_lease_owner
from core.logs import get_logger
from worker.apprises import PROCESSES_MAXIMUM, AppriseClient
from worker.places import QUICK_SECONDS, STALLED_PACE, STALLED_SECONDS, Channel, Group, next_to_send
from worker.runner import Services
from worker.webhooks import WebhookClient

CLAIMED_MAXIMUM = 4096
CLAIMED_AT_ONCE = 1024
SENDING_A_CHANNEL = 32
SENDING_A_HOST = 64
# Through Apprise, of whose processes there are few.
SENDING_A_SERVICES_CHANNEL = 1
SENDING_A_SERVICES_HOST = 4

# Of one step: what is claimed in it must not wait long for deliveries that are still to be made.
FAN_OUT_SECONDS = 0.05
PAUSE_SECONDS = 0.05
IDLE_PAUSE_SECONDS = 0.5
RECORDING_SECONDS = 5.0
# What waits for a place is looked at again so often: its task may have been closed, its channel switched off.
LOOK_AGAIN_SECONDS = 0.5
# With less of the lease left than an attempt may take, a delivery is given back instead.
LEASE_LEFT_SECONDS = 45.0
GIVEN_BACK_SECONDS = 1.0
CHANNELS_REMEMBERED = 10_000

log = get_logger()


async def deliver(services: Services) -> None:
    """Delivers as long as there is something to deliver; one run in a process at a time."""
    if services.delivering.locked():
        return
    async with services.delivering:
        sender = Sender(services)
        try:
            is_done = await sender.run()
        finally:
            await sender.close()
    if not is_done:
        await call_time(services.queue, "deliver")


class Sender:
    """One run of a worker's deliveries, under one lease owner."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._owner = new_lease_owner()
        self._box = SecretBox.of(services.settings)
        allow_private = services.settings.allow_private_targets
        self._webhooks = WebhookClient(allow_private=allow_private)
        self._apprise = AppriseClient(allow_private=allow_private)
        self._channels: dict[int, Channel] = {}
        self._busy: set[int] = set()  # those of them that have had something to do since the last claim
        self._groups: dict[str, Group] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._results: list[Result] = []
        self._next_channel = 0
        self._fanned_out = 0  # the user whose deliveries were made last
        self._found_in_round = 0
        self._looked_at = time.monotonic()
        self._opened: dict[tuple[int, str, bytes], str] = {}

    async def close(self) -> None:
        """Ends what is still on its way; it is sent again when its lease has lapsed."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._give_back_waiting()
        with contextlib.suppress(Exception):  # what cannot be recorded is sent again, too
            async with asyncio.timeout(RECORDING_SECONDS):
                await self._record()
        await self._webhooks.close()
        await self._apprise.close()

    async def run(self) -> bool:
        """Returns whether nothing is left that is due; False: the process shall end.

        There is no longest run: at its end, receivers that hang would keep all others waiting for the next. Nor does it
        end while PostgreSQL is away and something is not on record yet, which would be sent once more.

        Raises:
            Exception: a fault that does not pass, or one that does with nothing to be recorded.
        """
        outage = self._services.outages["database, to deliver"]
        while True:
            is_ending = self._services.stopping.is_set()
            try:
                is_done = await self._step(is_ending)
                outage.over()
                if is_done:
                    return not is_ending
            except Exception as error:
                if is_ending or not is_transient(error) or not (self._tasks or self._results):
                    raise
                await asyncio.sleep(outage.noticed(error))

    async def _step(self, is_ending: bool) -> bool:
        """Records, claims, and waits a moment for what comes of it; returns whether there is nothing left."""
        if is_ending:
            self._give_back_waiting()
        await self._look_again()
        await self._record()  # first, because a claim looks at what became of a channel
        self._forget_idle()
        is_fanning_out = not is_ending and await self._fan_out()
        found, is_round_over = 0, True
        free = CLAIMED_MAXIMUM - self._claimed()
        if free < CLAIMED_AT_ONCE:
            self._give_back_stalled()
        if not is_ending and free > 0:
            # Half of what is free is left for users who come with the next claim.
            found = await self._claim(min((free + 1) // 2, CLAIMED_AT_ONCE))
            self._found_in_round += found
            if is_round_over := self._next_channel == 0:
                found, self._found_in_round = self._found_in_round, 0
        if not (self._results or self._tasks or found or is_fanning_out) and (is_ending or is_round_over):
            return True
        await self._gather(PAUSE_SECONDS if found or is_fanning_out or not is_round_over else IDLE_PAUSE_SECONDS)
        return False

    async def _fan_out(self) -> bool:
        """Makes some of the deliveries that events still lack, of one user after the other; whether there were any."""
        until = time.monotonic() + FAN_OUT_SECONDS
        while made := await fan_out(self._services.pool, after_user=self._fanned_out):
            self._fanned_out = made.user_id
            metrics.FAN_OUT_DELIVERIES.labels("taken_back" if made.is_void else "made").inc(made.deliveries)
            if time.monotonic() >= until:
                break
        return made is not None

    async def _gather(self, seconds: float) -> None:
        """Lets results come together, which are recorded in one go, unless no more are to come."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while self._tasks and (left := until - loop.time()) > 0:
            await asyncio.wait(self._tasks, timeout=left)

    async def _look_again(self) -> None:
        """Gives back what waits and is not to be sent any more."""
        if time.monotonic() < self._looked_at + LOOK_AGAIN_SECONDS:
            return
        self._looked_at = time.monotonic()
        channels = [self._channels[channel_id] for channel_id in self._busy if self._channels[channel_id].waiting]
        waiting = {delivery.id for channel in channels for delivery in channel.waiting}
        if not waiting:
            return
        unwanted = waiting - await still_wanted(self._services.pool, self._owner, sorted(waiting))
        for channel in channels if unwanted else ():
            left = [delivery for delivery in channel.waiting if delivery.id not in unwanted]
            # Where it is not ours any more, this changes nothing.
            self._results.extend(_given_back(d, seconds=0.0) for d in channel.waiting if d.id in unwanted)
            channel.waiting = deque(left)
            channel.queue()

    def _claimed(self) -> int:
        busy = map(self._channels.__getitem__, self._busy)
        return sum(len(channel.waiting) + channel.sending for channel in busy)

    def _forget_idle(self) -> None:
        if len(self._channels) > CHANNELS_REMEMBERED:
            self._channels = {channel_id: channel for channel_id, channel in self._channels.items() if channel.is_busy}
            self._busy = set(self._channels)
            for group in self._groups.values():
                group.members = {
                    channel_id: channel for channel_id, channel in group.members.items() if channel.is_busy
                }
            self._groups = {name: group for name, group in self._groups.items() if group.members}
            self._opened.clear()

    def _rooms(self) -> tuple[dict[int, int], list[int]]:
        """How many to claim for the channels for which that is another number than for any; and users who have enough.

        Forgets who was busy.
        """
        claimed = Counter[int]()
        for channel_id in self._busy:
            channel = self._channels[channel_id]
            claimed[channel.user_id] += len(channel.waiting) + channel.sending
        free = CLAIMED_MAXIMUM - claimed.total()
        sated = [user_id for user_id, held in claimed.items() if held >= free]
        rooms = {channel_id: self._channels[channel_id].room for channel_id in self._busy}
        self._busy = {channel_id for channel_id in self._busy if self._channels[channel_id].is_busy}
        for group in self._groups.values():
            rooms |= group.rooms()
        return rooms, sated

    async def _claim(self, limit: int) -> int:
        rooms, sated = self._rooms()
        claim = await claim_deliveries(
            self._services.pool,
            self._owner,
            after_channel=self._next_channel,
            limit=limit,
            a_channel=SENDING_A_CHANNEL,
            rooms=rooms,
            sated=sated,
        )
        self._next_channel = claim.next_channel
        moment = clock.now()
        touched: dict[Channel, None] = {}  # in the order of what is due
        for delivery in sorted(claim.deliveries, key=lambda delivery: (delivery.due_at, delivery.id)):
            if (result := self._judge(delivery, moment)) is not None:
                self._results.append(result)
                continue
            channel = self._channel(delivery)
            if channel is not None:
                channel.waiting.append(delivery)
                self._busy.add(delivery.channel_id)
                touched[channel] = None
        for channel in touched:
            self._start(channel)
            self._give_back_held_up(channel)
        return len(claim.deliveries)

    def _give_back_held_up(self, channel: Channel) -> None:
        """One stays, for the next place that becomes free; the others are no use here."""
        if channel.is_held_up:
            while len(channel.waiting) > 1:
                self._results.append(_given_back(channel.waiting.pop(), seconds=0.0))

    def _judge(self, delivery: ClaimedDelivery, moment: datetime) -> Result | None:
        """What is not to be sent, or not yet; None: it is."""
        if delivery.is_disabled:
            return _untried(delivery, "dead", "The channel is disabled.")
        if delivery.is_void:
            return _untried(delivery, "dead", "The task was completed, cancelled or deleted before.")
        if delivery.event == TEST_EVENT:
            return None
        quiet = quiet_until(delivery.quiet_hours, delivery.time_zone, moment)
        if quiet is not None:
            delay = (quiet - moment).total_seconds()
            return Result(delivery.id, delivery.channel_id, None, attempts=0, delay_seconds=delay)
        return None

    def _channel(self, delivery: ClaimedDelivery) -> Channel | None:
        """None where it cannot be sent, which is noted."""
        channel = self._channels.get(delivery.channel_id)
        if channel is None:
            return self._open_channel(delivery)
        if channel.url_encrypted != delivery.url_encrypted and not channel.is_busy:
            for group in channel.groups:
                del group.members[delivery.channel_id]
            return self._open_channel(delivery)
        return channel

    def _open_channel(self, delivery: ClaimedDelivery) -> Channel | None:
        try:
            url = self._url(delivery)
        except SecretsUnavailable as error:
            log.error("a channel's address cannot be read", channel=delivery.channel_id, error=str(error))
            self._results.append(
                _outcome(delivery, Attempt("The channel's address cannot be read; see the operators."))
            )
            return None
        if delivery.kind == WEBHOOK:
            host = self._group(f"webhooks {host_of(url, WEBHOOK)}", SENDING_A_HOST)
            channel = Channel(delivery.user_id, SENDING_A_CHANNEL, (host,), delivery.url_encrypted)
        else:
            host = self._group(f"services {host_of(url, delivery.kind)}", SENDING_A_SERVICES_HOST)
            groups = (host, self._group("services", PROCESSES_MAXIMUM))
            channel = Channel(delivery.user_id, SENDING_A_SERVICES_CHANNEL, groups, delivery.url_encrypted)
        self._channels[delivery.channel_id] = channel
        for group in channel.groups:
            group.members[delivery.channel_id] = channel
        return channel

    def _group(self, name: str, places: int) -> Group:
        return self._groups.setdefault(name, Group(places))

    # -- sending

    def _start(self, channel: Channel) -> None:
        """Sends as many of a channel's as there are places; the others wait, unless their lease would end meanwhile."""
        now, moment = time.monotonic(), clock.now()
        while channel.can_send:
            delivery = channel.waiting.popleft()
            if (result := self._judge(delivery, moment)) is not None:  # quiet hours may have begun
                self._results.append(result)
                continue
            if now - delivery.claimed_at > LEASE_SECONDS - LEASE_LEFT_SECONDS:
                self._results.append(_given_back(delivery))
                continue
            channel.take(now)
            task = asyncio.create_task(self._send(channel, delivery))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        channel.queue()

    async def _send(self, channel: Channel, delivery: ClaimedDelivery) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        attempt: Attempt | None = None
        try:
            attempt = await self._attempt(delivery)
        except SecretsUnavailable as error:
            log.error("a channel's secrets cannot be read", channel=delivery.channel_id, error=str(error))
            attempt = Attempt("The channel's secrets cannot be read; see the operators.")
        except Exception as error:
            # Its text may quote the address.
            where = "".join(traceback.format_tb(error.__traceback__))
            log.error("a delivery failed here", delivery=delivery.id, error=type(error).__name__, where=where)
            attempt = Attempt("The delivery failed on our side.")
        finally:
            channel.give(time.monotonic())
        seconds = loop.time() - started
        metrics.DELIVERY_DURATION.labels(_kind_label(delivery)).observe(seconds)
        self._results.append(_outcome(delivery, attempt))
        channel.is_quick = attempt.error is None and seconds < QUICK_SECONDS
        for group in channel.groups:
            was_quick = group.is_quick
            group.note_pace(seconds)
            if was_quick and not group.is_quick:
                self._give_back_of(group)
        if attempt.error is not None:
            # From now on it is tried one at a time; what was claimed ahead goes back.
            self._give_back(channel)
        while (following := next_to_send(channel.groups)) is not None:
            self._start(following)

    async def _attempt(self, delivery: ClaimedDelivery) -> Attempt:
        url = self._url(delivery)
        moment = clock.now()
        if delivery.kind != WEBHOOK:
            message = message_of(delivery.event, delivery.data, delivery.time_zone)
            return await self._apprise.send(delivery.kind, url, message)
        secrets = [Secret.load(self._open(delivery.user_id, "secret", one)) for one in delivery.secrets_encrypted]
        body = webhook_body(delivery.event, delivery.created_at, delivery.data)
        headers = signed_headers(signing_secrets(secrets, moment), delivery.message_id, moment, body)
        return await self._webhooks.post(url, headers, body)

    def _url(self, delivery: ClaimedDelivery) -> str:
        return self._open(delivery.user_id, "url", delivery.url_encrypted)

    def _open(self, user_id: int, purpose: str, sealed: bytes) -> str:
        key = (user_id, purpose, sealed)
        if key not in self._opened:
            self._opened[key] = self._box.open(sealed, user_id=user_id, purpose=purpose)
        return self._opened[key]

    # -- recording

    def _give_back(self, channel: Channel) -> None:
        self._results.extend(_given_back(delivery) for delivery in channel.waiting)
        channel.waiting.clear()
        channel.queue()

    def _give_back_of(self, group: Group) -> None:
        for channel in group.waiting_channels():
            self._give_back_held_up(channel)

    def _give_back_stalled(self) -> None:
        """What was claimed ahead for receivers that were quick and say nothing any more takes up room for others."""
        longest_ago = time.monotonic() - STALLED_SECONDS
        for channel in [self._channels[channel_id] for channel_id in self._busy]:
            if channel.sending and channel.heard_at < longest_ago:
                channel.is_quick = False
                self._give_back(channel)
        for group in self._groups.values():
            if group.is_quick and group.waiting and group.heard_at < longest_ago:
                group.pace = STALLED_PACE
                self._give_back_of(group)

    def _give_back_waiting(self) -> None:
        for channel in self._channels.values():
            self._give_back(channel)

    async def _record(self) -> None:
        results, self._results = self._results, []
        if not results:
            return
        try:
            states = await record_results(self._services.pool, self._owner, results)
        except BaseException:
            self._results = results + self._results
            raise
        for result in results:
            if result.attempts and result.delivery_id in states:
                metrics.DELIVERIES.labels(states[result.delivery_id]).inc()


def _outcome(delivery: ClaimedDelivery, attempt: Attempt) -> Result:
    if attempt.error is None:
        metrics.DELIVERY_LATENESS.observe(max(0.0, (clock.now() - _wanted_at(delivery)).total_seconds()))
        return Result(delivery.id, delivery.channel_id, "delivered")
    delay = None if attempt.is_gone else next_delay(delivery.attempts + 1, attempt.retry_after)
    return Result(
        delivery.id,
        delivery.channel_id,
        "dead" if delay is None else "failed",
        delay_seconds=delay,
        error=attempt.error,
        hold_seconds=attempt.retry_after,
        is_gone=attempt.is_gone,
    )


def _wanted_at(delivery: ClaimedDelivery) -> datetime:
    """From when on it is late."""
    if delivery.attempts:
        return delivery.due_at
    if delivery.redelivered_at is not None:
        return delivery.redelivered_at
    moment = wanted_at(delivery.event, delivery.created_at, delivery.data)
    return quiet_until(delivery.quiet_hours, delivery.time_zone, moment) or moment


def _untried(delivery: ClaimedDelivery, state: str, error: str) -> Result:
    return Result(delivery.id, delivery.channel_id, state, attempts=0, error=error)


def _given_back(delivery: ClaimedDelivery, *, seconds: float = GIVEN_BACK_SECONDS) -> Result:
    return Result(delivery.id, delivery.channel_id, None, attempts=0, delay_seconds=seconds)


def _kind_label(delivery: ClaimedDelivery) -> str:
    return "webhook" if delivery.kind == WEBHOOK else "apprise"

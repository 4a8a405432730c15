"""Delivers: claims what is due, sends it, and records what came of it.

One loop in each process keeps many deliveries on their way. Each channel and each host has a limited number of places,
which users share, so that a slow receiver holds up nobody but its owner; and a worker claims no more than it will soon
have sent.
"""

import asyncio
import contextlib
import time
from collections import deque
from dataclasses import dataclass, field

from core import clock, metrics
from core.database.faults import is_transient
from core.deliveries.attempts import Attempt
from core.deliveries.writes.claims import LEASE_SECONDS, ClaimedDelivery, claim_deliveries, still_wanted
from core.deliveries.writes.fan_outs import fan_out
from core.deliveries.writes.results import Result, record_results
from core.errors import SecretsUnavailable
from core.jobs.queues import DELIVER, call_worker
from core.leases import new_lease_owner
from core.logs import get_logger
from worker.deliveries.channels import SENDING_A_CHANNEL, Channels
from worker.deliveries.limits import QUICK_SECONDS, Channel, Group, next_to_send
from worker.deliveries.results import given_back, kind_label, refusal, result_of
from worker.deliveries.transport import Transport
from worker.runner import Services

CLAIMED_MAXIMUM = 4096
CLAIMED_AT_ONCE = 1024

# Of one step: what is claimed in it must not wait long for deliveries that are still to be made.
FAN_OUT_SECONDS = 0.05
PAUSE_SECONDS = 0.05
IDLE_PAUSE_SECONDS = 0.5
RECORDING_SECONDS = 5.0
# What waits for a place is looked at again so often: its task may have been closed, its channel switched off.
LOOK_AGAIN_SECONDS = 0.5
# With less of the lease left than an attempt may take, a delivery is given back instead.
LEASE_LEFT_SECONDS = 45.0

log = get_logger()


@dataclass(frozen=True, slots=True)
class DeliveryState:
    """What the deliveries of one process share: `running` is held by the one loop that delivers."""

    running: asyncio.Lock = field(default_factory=asyncio.Lock)


async def deliver(services: Services) -> None:
    """Delivers as long as there is something to deliver; one run in a process at a time."""
    running = services.state_of(DeliveryState).running
    if running.locked():
        return
    async with running:
        sender = Sender(services)
        try:
            is_done = await sender.run()
        finally:
            await sender.close()
    if not is_done:
        await call_worker(services.queue, DELIVER)


class Sender:
    """One run of a worker's deliveries, under one lease owner."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._owner = new_lease_owner()
        self._transport = Transport(services.settings)
        self._channels = Channels()
        self._tasks: set[asyncio.Task[None]] = set()
        self._results: list[Result] = []
        self._next_channel = 0
        self._fanned_out = 0  # the user whose deliveries were made last
        self._found_in_round = 0
        self._looked_at = time.monotonic()

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
        await self._transport.close()

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
        if self._channels.forget_idle():
            self._transport.forget_opened()
        is_fanning_out = not is_ending and await self._fan_out()
        found, is_round_over = 0, True
        free = CLAIMED_MAXIMUM - self._channels.claimed()
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
        channels = [channel for channel in self._channels.busy() if channel.waiting]
        waiting = {delivery.id for channel in channels for delivery in channel.waiting}
        if not waiting:
            return
        unwanted = waiting - await still_wanted(self._services.pool, self._owner, sorted(waiting))
        for channel in channels if unwanted else ():
            left = [delivery for delivery in channel.waiting if delivery.id not in unwanted]
            # Where it is not ours any more, this changes nothing.
            self._results.extend(given_back(d, seconds=0.0) for d in channel.waiting if d.id in unwanted)
            channel.waiting = deque(left)
            channel.queue()

    async def _claim(self, limit: int) -> int:
        rooms, sated = self._channels.rooms(CLAIMED_MAXIMUM)
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
            if (result := refusal(delivery, moment)) is not None:
                self._results.append(result)
                continue
            channel = self._channel(delivery)
            if channel is not None:
                self._channels.let_wait(channel, delivery)
                touched[channel] = None
        for channel in touched:
            self._start(channel)
            self._give_back_held_up(channel)
        return len(claim.deliveries)

    def _give_back_held_up(self, channel: Channel) -> None:
        """One stays, for the next place that becomes free; the others are no use here."""
        if channel.is_held_up:
            while len(channel.waiting) > 1:
                self._results.append(given_back(channel.waiting.pop(), seconds=0.0))

    def _channel(self, delivery: ClaimedDelivery) -> Channel | None:
        """None where it cannot be sent, which is noted."""
        channel = self._channels.find(delivery)
        if channel is not None:
            return channel
        try:
            return self._channels.add(delivery, self._transport.url(delivery))
        except SecretsUnavailable as error:
            log.error("a channel's address cannot be read", channel=delivery.channel_id, error=str(error))
            self._results.append(
                result_of(delivery, Attempt("The channel's address cannot be read; see the operators."))
            )
            return None

    # -- sending

    def _start(self, channel: Channel) -> None:
        """Sends as many of a channel's as there are places; the others wait, unless their lease would end meanwhile."""
        now, moment = time.monotonic(), clock.now()
        while channel.can_send:
            delivery = channel.waiting.popleft()
            if (result := refusal(delivery, moment)) is not None:  # quiet hours may have begun
                self._results.append(result)
                continue
            if now - delivery.claimed_at > LEASE_SECONDS - LEASE_LEFT_SECONDS:
                self._results.append(given_back(delivery))
                continue
            channel.take(now)
            task = asyncio.create_task(self._send(channel, delivery))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        channel.queue()

    async def _send(self, channel: Channel, delivery: ClaimedDelivery) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            attempt = await self._transport.attempt(delivery)
        finally:
            channel.give(time.monotonic())
        seconds = loop.time() - started
        metrics.DELIVERY_DURATION.labels(kind_label(delivery)).observe(seconds)
        self._results.append(result_of(delivery, attempt))
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

    # -- recording

    def _give_back(self, channel: Channel) -> None:
        self._results.extend(given_back(delivery) for delivery in channel.waiting)
        channel.waiting.clear()
        channel.queue()

    def _give_back_of(self, group: Group) -> None:
        for channel in group.waiting_channels():
            self._give_back_held_up(channel)

    def _give_back_stalled(self) -> None:
        """What was claimed ahead for receivers that were quick and say nothing any more takes up room for others."""
        for channel in self._channels.stalled():
            self._give_back(channel)
        for group in self._channels.stalled_groups():
            self._give_back_of(group)

    def _give_back_waiting(self) -> None:
        for channel in self._channels:
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

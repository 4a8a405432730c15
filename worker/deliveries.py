"""Delivers: claims what is due, sends it, and records what came of it.

One loop in each process keeps many deliveries on their way. Each channel and each host has a limited number of places,
so that a slow receiver holds up nobody but itself, and a worker claims no more than it will soon have sent.
"""

import asyncio
import contextlib
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime

from core import clock, metrics
from core.channels.schemas import TEST_EVENT
from core.channels.signatures import Secret, signed_headers, signing_secrets
from core.channels.targets import WEBHOOK, host_of
from core.deliveries.attempts import Attempt
from core.deliveries.messages import message_of, webhook_body
from core.deliveries.schedule import next_delay, quiet_until
from core.deliveries.writes import LEASE_SECONDS, ClaimedDelivery, Result, claim_deliveries, record_results
from core.encryption import SecretBox
from core.errors import SecretsUnavailable
from core.jobs import call_time
from core.leases import new_lease_owner
from core.logs import get_logger
from worker.apprises import AppriseClient
from worker.runner import Services
from worker.webhooks import WebhookClient

CLAIMED_MAXIMUM = 2048
SENDING_A_CHANNEL = 32
SENDING_A_HOST = 64
SENDING_A_SERVICE = 1
"""The places of a channel that sends through Apprise, of whose processes there are few."""

AHEAD_OF_A_QUICK_CHANNEL = 256
QUICK_SECONDS = 0.25
PAUSE_SECONDS = 0.05
IDLE_PAUSE_SECONDS = 0.5
LONGEST_RUN_SECONDS = 60.0
RECORDING_SECONDS = 5.0
# With less of the lease left than an attempt may take, a delivery is given back instead.
LEASE_LEFT_SECONDS = 45.0
GIVEN_BACK_SECONDS = 1.0

log = get_logger()


@dataclass(eq=False, slots=True)
class Channel:
    """What one channel has on its way in this process."""

    host: str
    places: int
    waiting: deque[ClaimedDelivery] = field(default_factory=deque)
    sending: int = 0
    is_quick: bool = False

    @property
    def room(self) -> int:
        """How many more to claim for it."""
        most = AHEAD_OF_A_QUICK_CHANNEL if self.is_quick and self.places > 1 else self.places
        return max(0, most - len(self.waiting) - self.sending)


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
        self._hosts: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._results: list[Result] = []
        self._next_channel = 0
        self._opened: dict[bytes, str] = {}

    async def close(self) -> None:
        """Ends what is still on its way; it is sent again when its lease has lapsed."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        with contextlib.suppress(Exception):  # what cannot be recorded is sent again, too
            async with asyncio.timeout(RECORDING_SECONDS):
                await self._record()
        await self._webhooks.close()
        await self._apprise.close()

    async def run(self) -> bool:
        """Returns whether nothing is left that is due."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + LONGEST_RUN_SECONDS
        while True:
            is_ending = self._services.stopping.is_set() or loop.time() > deadline
            is_round_over = True
            found = 0
            await self._record()  # first, because a claim looks at what became of a channel
            if not is_ending and (free := CLAIMED_MAXIMUM - self._claimed()) > 0:
                found = await self._claim(free)
                is_round_over = self._next_channel == 0
            if is_ending:
                self._give_back_waiting()
            if not self._results and not self._tasks and not found and (is_ending or is_round_over):
                return not is_ending
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=PAUSE_SECONDS if found else IDLE_PAUSE_SECONDS)

    def _claimed(self) -> int:
        return sum(len(channel.waiting) + channel.sending for channel in self._channels.values())

    async def _claim(self, limit: int) -> int:
        claim = await claim_deliveries(
            self._services.pool,
            self._owner,
            after_channel=self._next_channel,
            limit=limit,
            a_channel=SENDING_A_CHANNEL,
            rooms={
                channel_id: channel.room
                for channel_id, channel in self._channels.items()
                if channel.room != SENDING_A_CHANNEL
            },
        )
        self._next_channel = claim.next_channel
        moment = clock.now()
        touched: set[Channel] = set()
        for delivery in sorted(claim.deliveries, key=lambda delivery: (delivery.due_at, delivery.id)):
            if (result := self._judge(delivery, moment)) is not None:
                self._results.append(result)
                continue
            channel = self._channels.get(delivery.channel_id) or self._open_channel(delivery)
            if channel is not None:
                channel.waiting.append(delivery)
                touched.add(channel)
        for channel in touched:
            self._start(channel)
        return len(claim.deliveries)

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

    def _open_channel(self, delivery: ClaimedDelivery) -> Channel | None:
        try:
            url = self._url(delivery)
        except SecretsUnavailable as error:
            log.error("a channel's address cannot be read", channel=delivery.channel_id, error=str(error))
            self._results.append(
                _outcome(delivery, Attempt("The channel's address cannot be read; see the operators."))
            )
            return None
        places = SENDING_A_CHANNEL if delivery.kind == WEBHOOK else SENDING_A_SERVICE
        channel = Channel(host_of(url, delivery.kind), places)
        self._channels[delivery.channel_id] = channel
        return channel

    # -- sending

    def _start(self, channel: Channel) -> None:
        """Sends as many of a channel's as there are places; the others wait, unless their lease would end meanwhile."""
        now = time.monotonic()
        while channel.waiting and channel.sending < channel.places:
            if self._hosts.get(channel.host, 0) >= SENDING_A_HOST:
                return
            delivery = channel.waiting.popleft()
            if now - delivery.claimed_at > LEASE_SECONDS - LEASE_LEFT_SECONDS:
                self._results.append(_given_back(delivery))
                continue
            channel.sending += 1
            self._hosts[channel.host] = self._hosts.get(channel.host, 0) + 1
            task = asyncio.create_task(self._send(channel, delivery))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _send(self, channel: Channel, delivery: ClaimedDelivery) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        attempt = Attempt("The worker failed.")
        try:
            attempt = await self._attempt(delivery)
            self._results.append(_outcome(delivery, attempt))
        except SecretsUnavailable as error:
            log.error("a channel's secrets cannot be read", channel=delivery.channel_id, error=str(error))
            self._results.append(
                _outcome(delivery, Attempt("The channel's secrets cannot be read; see the operators."))
            )
        except Exception:
            log.exception("a delivery failed here", delivery=delivery.id)
            self._results.append(_outcome(delivery, Attempt("The delivery failed on our side.")))
        finally:
            seconds = loop.time() - started
            metrics.DELIVERY_DURATION.labels(_kind_label(delivery)).observe(seconds)
            channel.sending -= 1
            channel.is_quick = attempt.error is None and seconds < QUICK_SECONDS
            self._leave(channel.host)
        if attempt.error is not None:
            # From now on it is tried one at a time; what was claimed ahead goes back.
            self._results.extend(_given_back(waiting) for waiting in channel.waiting)
            channel.waiting.clear()
        self._start_waiting(channel)

    def _leave(self, host: str) -> None:
        self._hosts[host] -= 1
        if not self._hosts[host]:
            del self._hosts[host]

    def _start_waiting(self, channel: Channel) -> None:
        """Gives the free place to the channel that had it, or to another of the same host."""
        self._start(channel)
        if self._hosts.get(channel.host, 0) >= SENDING_A_HOST - 1:
            for other in self._channels.values():
                if other.host == channel.host and other.waiting:
                    self._start(other)

    async def _attempt(self, delivery: ClaimedDelivery) -> Attempt:
        url = self._url(delivery)
        moment = clock.now()
        if delivery.kind != WEBHOOK:
            message = message_of(delivery.event, delivery.data, delivery.time_zone)
            return await self._apprise.send(delivery.kind, url, message)
        secrets = [Secret.load(self._open(delivery.user_id, "secret", one)) for one in delivery.secrets_encrypted]
        body = webhook_body(delivery.event, delivery.created_at, delivery.data)
        headers = signed_headers(signing_secrets(secrets, moment), f"msg_{delivery.id}", moment, body)
        return await self._webhooks.post(url, headers, body)

    def _url(self, delivery: ClaimedDelivery) -> str:
        return self._open(delivery.user_id, "url", delivery.url_encrypted)

    def _open(self, user_id: int, purpose: str, sealed: bytes) -> str:
        if sealed not in self._opened:
            self._opened[sealed] = self._box.open(sealed, user_id=user_id, purpose=purpose)
        return self._opened[sealed]

    # -- recording

    def _give_back_waiting(self) -> None:
        for channel in self._channels.values():
            self._results.extend(_given_back(delivery) for delivery in channel.waiting)
            channel.waiting.clear()

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
        metrics.DELIVERY_LATENESS.observe(max(0.0, (clock.now() - delivery.due_at).total_seconds()))
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


def _untried(delivery: ClaimedDelivery, state: str, error: str) -> Result:
    return Result(delivery.id, delivery.channel_id, state, attempts=0, error=error)


def _given_back(delivery: ClaimedDelivery) -> Result:
    return Result(delivery.id, delivery.channel_id, None, attempts=0, delay_seconds=GIVEN_BACK_SECONDS)


def _kind_label(delivery: ClaimedDelivery) -> str:
    return "webhook" if delivery.kind == WEBHOOK else "apprise"

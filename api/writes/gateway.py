"""The write gateway: takes commands, hands them to their lanes, and answers each with its outcome.

Nothing is held here that is not also on disk in the queue server, except what has not been appended yet; that
is bounded.
"""

import asyncio
import contextlib
import itertools
import os
import secrets
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable

from arq.connections import ArqRedis
from prometheus_client import Counter
from redis.exceptions import ConnectionError as RedisConnectionError

from api.writes.lane_group import LaneGroup
from api.writes.lane_writer import LaneWriter, Submission
from api.writes.promises import NOT_LISTED, Promises
from core import lanes, metrics
from core.cache import CacheInvalidator
from core.commands.effects import Outcome, decode_outcomes
from core.commands.wire import Command
from core.database.reads import within
from core.deferred import Deferred
from core.errors import DatabaseUnavailable, QueueUnavailable
from core.logs import get_logger
from core.outages import Outage
from core.redis.clients import QUEUE_REPLY_SECONDS, REDIS_FAULTS, end_tasks
from core.redis.link import Link
from core.settings import Settings

APPEND_SECONDS = 10.0
SUBSCRIBE_SECONDS = 2.0
PING_SECONDS = 5.0
TICK_SECONDS = 0.02
REPEAT_SECONDS = 0.25
# How long a queue server that went away with the entry is waited for, before its client is told that it is not known.
LISTING_SECONDS = 5.0
LISTING_PAUSE_SECONDS = 0.2

_ACCEPTED = metrics.GATEWAY_ANSWERS.labels("accepted")
_TOLD = metrics.GATEWAY_ANSWERS.labels("outcome")

log = get_logger()

FindOutcome = Callable[[Command], Awaitable[Outcome | None]]


def _record_answer(given: tuple[Counter, float]) -> None:
    answers, seconds = given
    answers.inc()
    metrics.GATEWAY_WAIT.observe(seconds)


class Gateway:
    """Submits commands and tells their outcomes; one an API process."""

    def __init__(
        self,
        queue: ArqRedis,
        settings: Settings,
        invalidator: CacheInvalidator,
        find_outcome: FindOutcome,
        deferred: Deferred,
    ) -> None:
        """
        Args:
            queue: the queue server.
            settings: `write_lanes`, `write_buffer_max_commands`, `write_lane_max_entries`, `quota_waiting_jobs`.
            invalidator: told of users whose change was learned from the `jobs` table.
            find_outcome: looks a command up in the `jobs` table; None while it has not been carried out.
            deferred: when waits are recorded.
        """
        self.origin = f"{os.getpid()}-{secrets.token_hex(6)}"
        self._queue = queue
        self._invalidator = invalidator
        self._find_outcome = find_outcome
        self._deferred = deferred
        self._link = Link(queue, timeout=QUEUE_REPLY_SECONDS)
        self._promises = Promises(queue, self._link, maximum=settings.quota_waiting_jobs)
        self._write_lanes = settings.write_lanes
        self._groups = self._grouped_lanes(settings)
        self._group_of = {lane: group for group in self._groups for lane in group.lanes}
        self._tokens = itertools.count(1)
        self._submitted: dict[int, Submission] = {}
        self._closing = False
        self._busy = asyncio.Event()
        self._subscribed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def _grouped_lanes(self, settings: Settings) -> list[LaneGroup]:
        writers: defaultdict[str, list[LaneWriter]] = defaultdict(list)
        for lane in lanes.lane_names(settings.write_lanes):
            writers[lanes.kind_of_lane(lane)].append(
                LaneWriter(lane, self._queue, self._link, self.origin, maximum_entries=settings.write_lane_max_entries)
            )
        return [LaneGroup(group, maximum_waiting=settings.write_buffer_max_commands) for group in writers.values()]

    async def start(self) -> None:
        """Starts to listen; waits a moment for the subscription, but not for a queue that is away."""
        self._tasks.append(asyncio.create_task(self._listen_forever(), name="outcomes"))
        self._tasks.append(asyncio.create_task(self._tick_forever(), name="gateway tick"))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._subscribed.wait(), SUBSCRIBE_SECONDS)

    async def close(self, *, timeout: float) -> None:
        """Appends what was gathered and waits, `timeout` seconds at most, for the outcomes."""
        self._closing = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._submitted:
                    await asyncio.sleep(TICK_SECONDS)
        calls = [task for group in self._groups for task in group.tasks()]
        await end_tasks([*self._tasks, *calls, *self._promises.tasks()])
        await self._link.close()

    async def submit(self, command: Command, *, wait: float, respond_async: bool = False) -> Outcome | None:
        """Hands a command to the workers.

        Args:
            command: its `token` is set here.
            wait: seconds to wait for the outcome.
            respond_async: do not wait, only for the entry to be on disk.

        Returns:
            The outcome, which is the first one where the idempotency key was used before; or None, which is a
            promise: the command is on the queue server's disk and will be carried out.

        Raises:
            QueueUnavailable: the command could not be put on the queue.
        """
        started = time.monotonic()
        if self._closing:
            raise QueueUnavailable("the service is shutting down")
        if not respond_async:
            return await self._submit(command, started=started, wait=wait, respond_async=False)
        if command.fingerprint is not None and (earlier := await self._outcome_of_repeat(command)) is not None:
            _TOLD.inc()
            return earlier
        if not self._promises.are_limited(command):
            return await self._submit(command, started=started, wait=wait, respond_async=True)
        with self._promises.wanted(command.user_id):
            refusal = await self._promises.refusal_of_many(command)
            if refusal is not None:
                _TOLD.inc()
                return refusal
            return await self._submit(command, started=started, wait=wait, respond_async=True)

    async def _outcome_of_repeat(self, command: Command) -> Outcome | None:
        """Who does not wait would not hear from the worker that it is a repeat, or another request's key."""
        earlier: Outcome | None = None
        with contextlib.suppress(DatabaseUnavailable):
            earlier = await within(REPEAT_SECONDS, self._found(command))
        return earlier or await self._promises.refusal_of_reuse(command)

    async def _submit(self, command: Command, *, started: float, wait: float, respond_async: bool) -> Outcome | None:
        lane = lanes.lane_of(command, self._write_lanes)
        group = self._group_of[lane]
        command.token = next(self._tokens)
        submission = Submission(
            command,
            command.token,
            command.encode(),
            lane,
            respond_async,
            asyncio.get_running_loop().create_future(),
            deadline=started + max(wait, 0.0),
            give_up_at=started + APPEND_SECONDS,
        )
        self._busy.set()
        try:
            group.add(submission, time.monotonic())
            self._submitted[command.token] = submission
            outcome = await submission.answered
            if outcome is None and not respond_async:
                outcome = await self._outcome_after_all(submission)
            elif submission.listed and outcome is not None:
                self._promises.strike_off(command)
        except QueueUnavailable:
            metrics.GATEWAY_ANSWERS.labels("refused").inc()
            raise
        finally:
            self._submitted.pop(command.token, None)
            if not submission.is_settled:
                group.settled(lane, [command.token], time.monotonic())
        answers = _ACCEPTED if outcome is None else _TOLD
        self._deferred.add(_record_answer, (answers, time.monotonic() - started))
        return outcome

    async def _tick_forever(self) -> None:
        """One clock for all that wait: a timer for each request would cost more than the wait is worth."""
        while True:
            if not self._submitted:
                self._busy.clear()
                await self._busy.wait()
            await asyncio.sleep(TICK_SECONDS)
            now = time.monotonic()
            for submission in list(self._submitted.values()):
                if submission.appended and now >= submission.deadline:
                    submission.resolve(None)
                elif not submission.appended and now >= submission.give_up_at:
                    self._group_of[submission.lane].withdraw(submission)
                    submission.refuse("the queue did not take the write in time")
            self._promises.list_what_waits_long(self._submitted.values(), now)
            metrics.GATEWAY_BUFFERED.set(sum(map(len, self._groups)))
            for group in self._groups:
                group.look_after()

    async def _listen_forever(self) -> None:
        outage = Outage("queue server, to hear outcomes")
        while True:
            subscription = Link(self._queue, timeout=QUEUE_REPLY_SECONDS, on_message=self._hear, repeats=False)
            try:
                await subscription.send(("SUBSCRIBE", lanes.outcomes_channel(self.origin)))
                self._subscribed.set()
                outage.over()
                await self._look_up_pending()
                await self._until_interrupted(subscription)
            except REDIS_FAULTS as error:
                await asyncio.sleep(outage.noticed(error))
            finally:
                await subscription.close()

    async def _until_interrupted(self, subscription: Link) -> None:
        """Raises redis.RedisError or OSError when the subscription's connection has been lost, or is silent."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PING_SECONDS):
                    await subscription.wait_until_lost()
                    raise RedisConnectionError("the connection was lost")
            await subscription.send(("PING",))

    def _hear(self, message: bytes) -> None:
        try:
            lane, outcomes = decode_outcomes(message)
            group = self._group_of[lane]
        except (ValueError, TypeError, LookupError):
            log.exception("an outcome could not be read")
            return
        now = time.monotonic()
        group.heard(lane, now)
        for outcome in outcomes:
            submission = self._submitted.get(outcome.token)
            if submission is not None:
                # Who asked not to wait is promised it, also where the outcome is heard before the queue's own word.
                submission.resolve(None if submission.respond_async else outcome)
                submission.is_settled = True
        group.settled(lane, [outcome.token for outcome in outcomes], now)

    # -- learning an outcome another way ------------------------------------------------------------------

    async def _look_up_pending(self) -> None:
        """After the subscription was interrupted: outcomes may have been published to nobody."""
        for submission in list(self._submitted.values()):
            if submission.appended and not submission.answered.done():
                try:
                    outcome = await self._found(submission.command)
                except DatabaseUnavailable:
                    return
                if outcome is not None:
                    submission.resolve(outcome)

    async def _outcome_after_all(self, submission: Submission) -> Outcome | None:
        """When the wait is over: the job is listed first and looked up second.

        Nobody is promised a job that is not listed: if the queue server went away after it took the entry, it is waited
        for, and the outcome may come instead.

        Raises:
            QueueUnavailable: the queue server did not come back, so it is not known what becomes of the command.
        """
        command = submission.command
        give_up_at = time.monotonic() + LISTING_SECONDS
        while True:
            refusal = await self._promises.refusal_of_reuse(command)
            if refusal is not None:
                return refusal
            with contextlib.suppress(*NOT_LISTED):
                await self._promises.list([submission])
            outcome: Outcome | None = None
            with contextlib.suppress(DatabaseUnavailable):
                outcome = await self._found(command)
            if outcome is not None:
                metrics.GATEWAY_ANSWERS.labels("found_late").inc()
                self._promises.strike_off(command)
                return outcome
            if submission.listed:
                return None
            if time.monotonic() >= give_up_at:
                raise QueueUnavailable(
                    "the queue went away when it had taken the write, which may still be carried out: "
                    "repeat it with its Idempotency-Key to learn what became of it"
                )
            await asyncio.sleep(LISTING_PAUSE_SECONDS)

    async def _found(self, command: Command) -> Outcome | None:
        outcome = await self._find_outcome(command)
        if outcome is not None and command.user_id:
            try:
                if command.payload.get("any_owner"):
                    await self._invalidator.distrust_everything()
                await self._invalidator.forget_users([command.user_id])
            except REDIS_FAULTS:
                return None  # neither cache nor queue is there: better 202 than an answer that reads contradict
        return outcome

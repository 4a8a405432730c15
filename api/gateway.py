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
from collections.abc import Awaitable, Callable, Sequence

import orjson
from arq.connections import ArqRedis
from prometheus_client import Counter
from redis.exceptions import ConnectionError as RedisConnectionError

from api.lanes import Company, LaneWriter, Submission, listing_as_queued, require_fsynced
from core import lanes, metrics
from core.cache import CacheInvalidator
from core.commands import Command, Outcome, decode_outcomes
from core.database.reads import within
from core.deferred import Deferred
from core.errors import DatabaseUnavailable, QueueUnavailable
from core.jobs.outcomes import key_reuse
from core.logs import get_logger
from core.outages import Outage
from core.quotas.refusals import quota_exceeded
from core.redis.clients import QUEUE_REPLY_SECONDS, REDIS_FAULTS, end_tasks, reply
from core.redis.link import Link
from core.settings import Settings

APPEND_SECONDS = 10.0
SUBSCRIBE_SECONDS = 2.0
PING_SECONDS = 5.0
TICK_SECONDS = 0.02
REPEAT_SECONDS = 0.25
# What is not answered by then is listed as queued, so that its job can be promised whatever dies in the meantime.
LIST_AFTER_SECONDS = 0.25
# How long a queue server that went away with the entry is waited for, before its client is told that it is not known.
LISTING_SECONDS = 5.0
LISTING_PAUSE_SECONDS = 0.2

_ACCEPTED = metrics.GATEWAY_ANSWERS.labels("accepted")
_TOLD = metrics.GATEWAY_ANSWERS.labels("outcome")

_NOT_LISTED: tuple[type[Exception], ...] = (*REDIS_FAULTS, QueueUnavailable)

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
        self._write_lanes = settings.write_lanes
        self._waiting_jobs_maximum = settings.quota_waiting_jobs
        self._promising: defaultdict[int, int] = defaultdict(int)
        companies: dict[str, Company] = defaultdict(Company)
        self._lanes = {
            lane: LaneWriter(lane, queue, self._link, settings, self.origin, companies[lanes.kind_of_lane(lane)])
            for lane in lanes.lane_names(settings.write_lanes)
        }
        self._tokens = itertools.count(1)
        self._pending: dict[int, Submission] = {}
        self._closing = False
        self._busy = asyncio.Event()
        self._subscribed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._listing: asyncio.Task[None] | None = None
        self._striking: set[asyncio.Task[None]] = set()

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
                while self._pending:
                    await asyncio.sleep(TICK_SECONDS)
        looking = [lane.looking for lane in self._lanes.values() if lane.looking is not None]
        listing = [self._listing] if self._listing is not None else []
        await end_tasks([*self._tasks, *looking, *listing, *self._striking])
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
        if respond_async and command.fingerprint is not None:
            # Who does not wait would not hear from the worker that it is a repeat, or another request's key.
            earlier: Outcome | None = None
            with contextlib.suppress(DatabaseUnavailable):
                earlier = await within(REPEAT_SECONDS, self._found(command))
            earlier = earlier or await self._refusal_of_reuse(command)
            if earlier is not None:
                _TOLD.inc()
                return earlier
        if respond_async and self._waiting_jobs_maximum and command.user_id:
            return await self._promise_if_few(command, started=started, wait=wait)
        return await self._submit(command, started=started, wait=wait, respond_async=respond_async)

    async def _promise_if_few(self, command: Command, *, started: float, wait: float) -> Outcome | None:
        """Promises what a user wants who has few promises that are still to be kept.

        Whoever waits for his outcomes has no more of them than connections.
        """
        user_id = command.user_id
        self._promising[user_id] += 1  # before anybody asks: those who come together must not all find room
        try:
            refusal = await self._refusal_of_many(command)
            if refusal is not None:
                _TOLD.inc()
                return refusal
            return await self._submit(command, started=started, wait=wait, respond_async=True)
        finally:
            self._promising[user_id] -= 1
            if not self._promising[user_id]:
                del self._promising[user_id]

    async def _submit(self, command: Command, *, started: float, wait: float, respond_async: bool) -> Outcome | None:
        lane = self._lane_for(command)
        command.token = next(self._tokens)
        submission = Submission(
            command,
            command.encode(),
            respond_async,
            asyncio.get_running_loop().create_future(),
            deadline=started + max(wait, 0.0),
            give_up_at=started + APPEND_SECONDS,
        )
        self._busy.set()
        try:
            lane.add(submission)
            self._pending[command.token] = submission
            outcome = await submission.answered
            if outcome is None and not respond_async:
                outcome = await self._outcome_after_all(submission)
            elif submission.listed and outcome is not None:
                self._strike_off(command)
        except QueueUnavailable:
            metrics.GATEWAY_ANSWERS.labels("refused").inc()
            raise
        finally:
            self._pending.pop(command.token, None)
            lane.settled(command.token)
        answers = _ACCEPTED if outcome is None else _TOLD
        self._deferred.add(_record_answer, (answers, time.monotonic() - started))
        return outcome

    def _lane_for(self, command: Command) -> LaneWriter:
        return self._lanes[lanes.lane_of(command, self._write_lanes)]

    async def _tick_forever(self) -> None:
        """One clock for all that wait: a timer for each request would cost more than the wait is worth."""
        while True:
            if not self._pending:
                self._busy.clear()
                await self._busy.wait()
            await asyncio.sleep(TICK_SECONDS)
            now = time.monotonic()
            for submission in list(self._pending.values()):
                if submission.appended and now >= submission.deadline:
                    submission.resolve(None)
                elif not submission.appended and now >= submission.give_up_at:
                    self._lane_for(submission.command).withdraw(submission)
                    submission.refuse("the queue did not take the write in time")
            self._list_what_waits_long(now)
            metrics.GATEWAY_BUFFERED.set(sum(map(len, self._lanes.values())))
            for lane in self._lanes.values():
                lane.look_after()

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
            name, outcomes = decode_outcomes(message)
            lane = self._lanes[name]
        except (ValueError, TypeError, LookupError):
            log.exception("an outcome could not be read")
            return
        lane.heard()
        for outcome in outcomes:
            submission = self._pending.get(outcome.token)
            if submission is not None:
                # Who asked not to wait is promised it, also where the outcome is heard before the queue's own word.
                submission.resolve(None if submission.respond_async else outcome)
            lane.settled(outcome.token)

    # -- learning an outcome another way ------------------------------------------------------------------

    async def _look_up_pending(self) -> None:
        """After the subscription was interrupted: outcomes may have been published to nobody."""
        for submission in list(self._pending.values()):
            if submission.appended and not submission.answered.done():
                try:
                    outcome = await self._found(submission.command)
                except DatabaseUnavailable:
                    return
                if outcome is not None:
                    submission.resolve(outcome)

    async def _outcome_after_all(self, submission: Submission) -> Outcome | None:
        """When the wait is over: listed as queued first and looked up second.

        A worker that finishes in between takes the job off the list again. Nobody is promised a job that is not on the
        list: if the queue server went away after it took the entry, it is waited for, and the outcome may come instead.

        Raises:
            QueueUnavailable: the queue server did not come back, so it is not known what becomes of the command.
        """
        command = submission.command
        give_up_at = time.monotonic() + LISTING_SECONDS
        while True:
            refusal = await self._refusal_of_reuse(command)
            if refusal is not None:
                return refusal
            with contextlib.suppress(*_NOT_LISTED):
                await self._list([submission])
            outcome: Outcome | None = None
            with contextlib.suppress(DatabaseUnavailable):
                outcome = await self._found(command)
            if outcome is not None:
                metrics.GATEWAY_ANSWERS.labels("found_late").inc()
                self._strike_off(command)
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

    async def _refusal_of_many(self, command: Command) -> Outcome | None:
        """What a user is told who has promises enough that are still to be kept.

        Raises:
            QueueUnavailable: they cannot be counted, nor could the command be put on the queue.
        """
        limit = self._waiting_jobs_maximum
        try:
            [waiting] = await self._link.send(("SCARD", lanes.pending_jobs_of(command.user_id)))
        except REDIS_FAULTS as error:
            raise QueueUnavailable("the queue cannot take the write") from error
        if waiting + self._promising[command.user_id] <= limit:
            return None
        refusal = quota_exceeded("waiting_jobs", limit=limit, used=max(waiting, limit))
        return Outcome(command.id, refusal.status_code, error=refusal.error)

    async def _refusal_of_reuse(self, command: Command) -> Outcome | None:
        """What a worker will say of it, where a write with the same key and of another request is still queued."""
        if command.fingerprint is None:
            return None
        try:
            listed = await reply(self._queue.hget(lanes.PENDING_JOBS, command.id))
        except REDIS_FAULTS:
            return None
        # One listed by an older version does not say.
        if listed is None or orjson.loads(listed).get("fingerprint", command.fingerprint) == command.fingerprint:
            return None
        refusal = key_reuse()
        return Outcome(command.id, refusal.status_code, error=refusal.error)

    # -- the list of what is queued -----------------------------------------------------------------------

    def _list_what_waits_long(self, now: float) -> None:
        """Before anybody's wait is over: what is promised then is on the list already, also if the queue goes away."""
        if self._listing is not None and not self._listing.done():
            return
        waiting = [
            submission
            for submission in self._pending.values()
            if submission.appended and not submission.listed and now - submission.appended_at >= LIST_AFTER_SECONDS
        ]
        if waiting:
            self._listing = asyncio.create_task(self._list_in_time(waiting), name="list of queued jobs")

    async def _list_in_time(self, waiting: Sequence[Submission]) -> None:
        with contextlib.suppress(*_NOT_LISTED):
            await self._list(waiting)
            for submission in waiting:
                if submission.answered.done():  # a worker may have taken it off the list before it was there
                    self._strike_off(submission.command)

    async def _list(self, submissions: Sequence[Submission]) -> None:
        """Lists jobs as queued, and makes sure that all that this process has appended is on disk.

        Raises:
            redis.RedisError, OSError: the queue server cannot be reached.
            QueueUnavailable: its disk does not hold what it took.
        """
        unlisted = [submission for submission in submissions if not submission.listed]
        if unlisted:
            replies = await self._link.send(*listing_as_queued([submission.command for submission in unlisted]))
            require_fsynced(replies[-1])
            for submission in unlisted:
                submission.listed = True

    def _strike_off(self, command: Command) -> None:
        """Takes a job off the list whose outcome is known; if that fails it stays, and its row is found first."""
        task = asyncio.create_task(self._strike_off_if_possible(command), name="strike off")
        self._striking.add(task)
        task.add_done_callback(self._striking.discard)

    async def _strike_off_if_possible(self, command: Command) -> None:
        with contextlib.suppress(*REDIS_FAULTS):
            await lanes.strike_off(self._queue, [(command.user_id, command.id)])

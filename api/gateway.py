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
from collections.abc import Awaitable, Callable

import orjson
from arq.connections import ArqRedis
from prometheus_client import Counter
from redis.exceptions import ConnectionError as RedisConnectionError

from api.lanes import Company, LaneWriter, Submission, listing_as_queued, require_fsynced
from core import lanes, metrics
from core.bookkeeping import Bookkeeping
from core.cache import CacheInvalidator
from core.commands import Command, Outcome, decode_outcomes
from core.database import within
from core.errors import DatabaseUnavailable, QueueUnavailable
from core.jobs import key_reuse
from core.logs import get_logger
from core.redis import QUEUE_REPLY_SECONDS, REDIS_FAULTS, end_tasks, reply
from core.redislink import Link
from core.settings import Settings

APPEND_SECONDS = 10.0
SUBSCRIBE_SECONDS = 2.0
PING_SECONDS = 5.0
TICK_SECONDS = 0.02
REPEAT_SECONDS = 0.25

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
        bookkeeping: Bookkeeping,
    ) -> None:
        """
        Args:
            queue: the queue server.
            settings: `write_lanes`, `write_buffer_max_commands`, `write_lane_max_entries`.
            invalidator: told of users whose change was learned from the `jobs` table.
            find_outcome: looks a command up in the `jobs` table; None while it has not been carried out.
            bookkeeping: when waits are recorded.
        """
        self.origin = f"{os.getpid()}-{secrets.token_hex(6)}"
        self._queue = queue
        self._invalidator = invalidator
        self._find_outcome = find_outcome
        self._bookkeeping = bookkeeping
        self._link = Link(queue, timeout=QUEUE_REPLY_SECONDS)
        company = Company()
        self._lanes = [
            LaneWriter(number, queue, self._link, settings, self.origin, company)
            for number in range(settings.write_lanes)
        ]
        self._tokens = itertools.count(1)
        self._pending: dict[int, Submission] = {}
        self._unlisted: list[Command] = []
        self._closing = False
        self._busy = asyncio.Event()
        self._subscribed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

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
        await end_tasks([*self._tasks, *(lane.looking for lane in self._lanes if lane.looking is not None)])
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
                outcome = await self._outcome_after_all(command)
        except QueueUnavailable:
            metrics.GATEWAY_ANSWERS.labels("refused").inc()
            raise
        finally:
            self._pending.pop(command.token, None)
            lane.settled(command.token)
        answers = _ACCEPTED if outcome is None else _TOLD
        self._bookkeeping.note(_record_answer, (answers, time.monotonic() - started))
        return outcome

    def _lane_for(self, command: Command) -> LaneWriter:
        if command.user_id:
            return self._lanes[lanes.lane_of_user(command.user_id, len(self._lanes))]
        return self._lanes[lanes.lane_of_name(command.payload["username"], len(self._lanes))]

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
            metrics.GATEWAY_BUFFERED.set(sum(map(len, self._lanes)))
            for lane in self._lanes:
                lane.look_after()

    async def _listen_forever(self) -> None:
        while True:
            subscription = Link(self._queue, timeout=QUEUE_REPLY_SECONDS, on_message=self._hear, repeats=False)
            try:
                await subscription.send(("SUBSCRIBE", lanes.outcomes_channel(self.origin)))
                self._subscribed.set()
                await self._look_up_pending()
                with contextlib.suppress(DatabaseUnavailable, QueueUnavailable):
                    await self._list_the_unlisted()
                await self._until_interrupted(subscription)
            except REDIS_FAULTS as error:
                log.warning("outcomes subscription interrupted", error=repr(error))
                await asyncio.sleep(0.2)
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
            number, outcomes = decode_outcomes(message)
            lane = self._lanes[number]
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

    async def _outcome_after_all(self, command: Command) -> Outcome | None:
        """When the wait is over: listed as queued first and looked up second.

        A worker that finishes in between takes the job off the list again. If the queue server has gone away since
        it took the entry, the promise holds all the same, because it answered only when the entry was on its disk;
        the job is then listed when the server is back.
        """
        refusal = await self._refusal_of_reuse(command)
        if refusal is not None:
            return refusal
        try:
            await self._promise(command)
        except REDIS_FAULTS:
            self._unlisted.append(command)
        try:
            outcome = await self._found(command)
        except DatabaseUnavailable:
            return None
        if outcome is not None:
            metrics.GATEWAY_ANSWERS.labels("found_late").inc()
            with contextlib.suppress(*REDIS_FAULTS):
                await lanes.strike_off(self._queue, [(command.user_id, command.id)])
        return outcome

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

    async def _promise(self, command: Command) -> None:
        """Lists the job as queued, and makes sure that all that this process has appended is on disk.

        Raises:
            redis.RedisError, OSError: the queue server cannot be reached.
            QueueUnavailable: its disk does not hold what it took.
        """
        replies = await self._link.send(*listing_as_queued([command]))
        require_fsynced(replies[-1])

    async def _list_the_unlisted(self) -> None:
        while self._unlisted:
            command = self._unlisted[-1]
            await self._promise(command)
            self._unlisted.pop()
            if await self._find_outcome(command) is not None:
                await lanes.strike_off(self._queue, [(command.user_id, command.id)])

"""The write gateway: gathers commands into lane entries, and answers each with its outcome.

A lone command is appended at once. While a lane's last entry is unanswered, what comes in is gathered for up
to 25 ms and goes as one entry, so batches grow with load by themselves. Nothing is held here that is not
also on disk in the queue server, except what has not been appended yet; that is bounded.
"""

import asyncio
import contextlib
import itertools
import os
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import orjson
from arq.connections import ArqRedis
from redis.asyncio.client import Pipeline

from core import lanes, metrics
from core.cache import CacheInvalidator
from core.commands import Command, Outcome, decode_outcomes, encode_batch
from core.errors import DatabaseUnavailable, QueueUnavailable
from core.logs import get_logger
from core.redis import REDIS_FAULTS, reply
from core.settings import Settings

GATHER_SECONDS = 0.025
UNHEARD_SECONDS = 0.05
ENTRY_MAXIMUM_COMMANDS = 500
ENTRY_MAXIMUM_BYTES = 1 << 20
WAITAOF_MILLISECONDS = 1000
APPEND_SECONDS = 10.0
SUBSCRIBE_SECONDS = 2.0
FULL_LANE_LOOK_SECONDS = 0.5
# When an entry goes unanswered the drain is enqueued again, at these ages; it costs nothing if it still runs.
NUDGE_SECONDS = (0.03, 0.1, 0.3, 1.0)

log = get_logger()

FindOutcome = Callable[[Command], Awaitable[Outcome | None]]


@dataclass(eq=False, slots=True)
class Submission:
    """A command on its way, with those who wait: for its entry to be on disk, and for its outcome."""

    command: Command
    encoded: bytes
    durable: bool
    appended: asyncio.Future[None]
    outcome: asyncio.Future[Outcome]


@dataclass(eq=False, slots=True)
class Lane:
    """This process's side of one lane."""

    number: int
    waiting: deque[Submission] = field(default_factory=deque)
    filled: asyncio.Event = field(default_factory=asyncio.Event)
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    unanswered: set[int] = field(default_factory=set)
    appended_at: float = 0.0
    heard_at: float = 0.0
    nudges: int = 0
    entries: int = 0


class Gateway:
    """Submits commands and tells their outcomes; one an API process."""

    def __init__(
        self,
        queue: ArqRedis,
        settings: Settings,
        invalidator: CacheInvalidator,
        find_outcome: FindOutcome,
    ) -> None:
        """
        Args:
            queue: the queue server.
            settings: `write_lanes`, `write_buffer_max_commands`, `write_lane_max_entries`.
            invalidator: told of users whose change was learned from the `jobs` table.
            find_outcome: looks a command up in the `jobs` table; None while it has not been carried out.
        """
        self.origin = f"{os.getpid()}-{secrets.token_hex(6)}"
        self._queue = queue
        self._settings = settings
        self._invalidator = invalidator
        self._find_outcome = find_outcome
        self._lanes = [Lane(number) for number in range(settings.write_lanes)]
        self._tokens = itertools.count(1)
        self._pending: dict[int, Submission] = {}
        self._buffered = 0
        self._closing = False
        self._subscribed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        for lane in self._lanes:
            self._tasks.append(asyncio.create_task(self._append_forever(lane), name=f"lane {lane.number}"))
        self._tasks.append(asyncio.create_task(self._listen_forever(), name="outcomes"))
        self._tasks.append(asyncio.create_task(self._nudge_forever(), name="nudge"))
        self._tasks.append(asyncio.create_task(self._watch_full_lanes(), name="full lanes"))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._subscribed.wait(), SUBSCRIBE_SECONDS)

    async def close(self, *, timeout: float) -> None:
        """Appends what was gathered and waits, `timeout` seconds at most, for the outcomes."""
        self._closing = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._pending:
                    await asyncio.sleep(0.01)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def lane_for(self, command: Command) -> int:
        if command.user_id:
            return lanes.lane_of_user(command.user_id, len(self._lanes))
        return lanes.lane_of_name(command.payload["username"], len(self._lanes))

    async def submit(self, command: Command, *, wait: float, respond_async: bool = False) -> Outcome | None:
        """Hands a command to the workers.

        Args:
            command: its `token` is set here.
            wait: seconds to wait for the outcome.
            respond_async: do not wait, only for the entry to be on disk.

        Returns:
            The outcome; or None, which is a promise: the command is on the queue server's disk and will be
            carried out.

        Raises:
            QueueUnavailable: the command could not be put on the queue.
        """
        started = time.perf_counter()
        submission = self._enter(command, durable=respond_async)
        try:
            try:
                async with asyncio.timeout(APPEND_SECONDS):
                    await submission.appended
            except TimeoutError:
                self._withdraw(submission)
                raise QueueUnavailable("the queue did not take the write in time") from None
            if respond_async:
                metrics.GATEWAY_ANSWERS.labels("accepted").inc()
                return None
            outcome = await self._await_outcome(submission, wait - (time.perf_counter() - started))
            metrics.GATEWAY_ANSWERS.labels("accepted" if outcome is None else "outcome").inc()
            metrics.GATEWAY_WAIT.observe(time.perf_counter() - started)
            return outcome
        except QueueUnavailable:
            metrics.GATEWAY_ANSWERS.labels("refused").inc()
            raise
        finally:
            self._forget(submission)

    # -- entering -----------------------------------------------------------------------------------------

    def _enter(self, command: Command, *, durable: bool) -> Submission:
        lane = self._lanes[self.lane_for(command)]
        if self._closing:
            raise QueueUnavailable("the service is shutting down")
        if len(lane.waiting) >= self._settings.write_buffer_max_commands:
            raise QueueUnavailable("too many writes are waiting to be queued")
        if lane.entries >= self._settings.write_lane_max_entries:
            raise QueueUnavailable("the queue is full: the workers are behind")
        loop = asyncio.get_running_loop()
        command = replace(command, token=next(self._tokens))
        submission = Submission(command, command.encode(), durable, loop.create_future(), loop.create_future())
        self._pending[command.token] = submission
        lane.waiting.append(submission)
        lane.filled.set()
        self._buffered += 1
        return submission

    def _withdraw(self, submission: Submission) -> None:
        """Takes back what has not been sent to the queue server: it was refused, so it must not happen."""
        lane = self._lanes[self.lane_for(submission.command)]
        with contextlib.suppress(ValueError):
            lane.waiting.remove(submission)
            self._buffered -= 1

    def _forget(self, submission: Submission) -> None:
        token = submission.command.token
        self._pending.pop(token, None)
        lane = self._lanes[self.lane_for(submission.command)]
        self._mark_answered(lane, token)
        # An exception that nobody waits for any more is no news.
        for future in (submission.appended, submission.outcome):
            if future.done() and not future.cancelled():
                future.exception()

    # -- appending ----------------------------------------------------------------------------------------

    async def _append_forever(self, lane: Lane) -> None:
        while True:
            await lane.filled.wait()
            if lane.unanswered:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(GATHER_SECONDS - (time.monotonic() - lane.appended_at)):
                        await lane.answered.wait()
            batch = self._take(lane)
            if not lane.waiting:
                lane.filled.clear()
            if batch:
                await self._append(lane, batch)

    def _take(self, lane: Lane) -> list[Submission]:
        batch: list[Submission] = []
        size = 0
        while lane.waiting and len(batch) < ENTRY_MAXIMUM_COMMANDS:
            size += len(lane.waiting[0].encoded) + 1
            if batch and size > ENTRY_MAXIMUM_BYTES:
                break
            batch.append(lane.waiting.popleft())
        self._buffered -= len(batch)
        metrics.GATEWAY_BUFFERED.set(self._buffered)
        return batch

    async def _append(self, lane: Lane, batch: list[Submission]) -> None:
        lane.unanswered = {submission.command.token for submission in batch}
        lane.answered.clear()
        lane.appended_at = time.monotonic()
        lane.nudges = 0
        try:
            await self._write_entry(lane, batch)
        except Exception as error:
            if not isinstance(error, REDIS_FAULTS | QueueUnavailable):
                log.exception("appending to a lane failed", lane=lane.number)
            lane.unanswered = set()
            for submission in batch:
                if not submission.appended.done():
                    submission.appended.set_exception(QueueUnavailable("the queue cannot take the write"))
            return
        metrics.GATEWAY_BATCH.observe(len(batch))
        for submission in batch:
            if not submission.appended.done():
                submission.appended.set_result(None)
        if time.monotonic() - lane.heard_at > UNHEARD_SECONDS:
            await self._call_drain(lane)

    async def _write_entry(self, lane: Lane, batch: list[Submission]) -> None:
        body = encode_batch([submission.encoded for submission in batch])
        promised = [submission.command for submission in batch if submission.durable]
        pipeline = self._queue.pipeline(transaction=False)
        pipeline.xadd(lanes.stream(lane.number), {"origin": self.origin, "commands": body})
        pipeline.xlen(lanes.stream(lane.number))
        if promised:
            _list_as_queued(pipeline, promised)
        replies = await pipeline.execute()
        lane.entries = replies[1]
        if promised:
            _require_fsynced(replies[-1])

    async def _call_drain(self, lane: Lane) -> None:
        # If the call fails, the entry is on disk all the same: the next nudge or the workers' sweeper finds it.
        with contextlib.suppress(*REDIS_FAULTS):
            await lanes.call_drain(self._queue, lane.number)

    async def _nudge_forever(self) -> None:
        while True:
            await asyncio.sleep(NUDGE_SECONDS[0])
            for lane in self._lanes:
                if not lane.unanswered:
                    continue
                due = NUDGE_SECONDS[min(lane.nudges, len(NUDGE_SECONDS) - 1)]
                if time.monotonic() - max(lane.appended_at, lane.heard_at) >= due:
                    lane.nudges += 1
                    await self._call_drain(lane)

    async def _watch_full_lanes(self) -> None:
        """A full lane is refused before anything is appended, so its length has to be asked for."""
        while True:
            await asyncio.sleep(FULL_LANE_LOOK_SECONDS)
            for lane in self._lanes:
                if lane.entries >= self._settings.write_lane_max_entries:
                    with contextlib.suppress(*REDIS_FAULTS):
                        lane.entries = await self._queue.xlen(lanes.stream(lane.number))

    # -- hearing ------------------------------------------------------------------------------------------

    async def _listen_forever(self) -> None:
        while True:
            try:
                async with self._queue.pubsub() as subscription:
                    await subscription.subscribe(lanes.outcomes_channel(self.origin))
                    self._subscribed.set()
                    await self._look_up_pending()
                    while True:
                        message = await subscription.get_message(ignore_subscribe_messages=True, timeout=1.0)
                        if message is not None:
                            self._hear(message["data"])
            except REDIS_FAULTS as error:
                log.warning("outcomes subscription interrupted", error=repr(error))
                await asyncio.sleep(0.2)
            except Exception:
                log.exception("an outcome could not be read")

    def _hear(self, message: bytes) -> None:
        number, outcomes = decode_outcomes(message)
        lane = self._lanes[number]
        lane.heard_at = time.monotonic()
        lane.nudges = 0
        for outcome in outcomes:
            submission = self._pending.get(outcome.token)
            if submission is not None and not submission.outcome.done():
                submission.outcome.set_result(outcome)
            self._mark_answered(lane, outcome.token)

    def _mark_answered(self, lane: Lane, token: int) -> None:
        lane.unanswered.discard(token)
        if not lane.unanswered:
            lane.answered.set()

    async def _look_up_pending(self) -> None:
        """After the subscription was interrupted: outcomes may have been published to nobody."""
        for submission in list(self._pending.values()):
            if submission.appended.done() and not submission.outcome.done():
                try:
                    outcome = await self._found(submission.command)
                except DatabaseUnavailable:
                    return
                if outcome is not None and not submission.outcome.done():
                    submission.outcome.set_result(outcome)

    async def _await_outcome(self, submission: Submission, wait: float) -> Outcome | None:
        try:
            async with asyncio.timeout(max(wait, 0)):
                return await submission.outcome
        except TimeoutError:
            pass
        # Listed first and looked up second: a worker that finishes in between takes it off the list again.
        await self._promise(submission.command)
        try:
            outcome = await self._found(submission.command)
        except DatabaseUnavailable:
            return None
        if outcome is not None:
            metrics.GATEWAY_ANSWERS.labels("found_late").inc()
            with contextlib.suppress(*REDIS_FAULTS):
                await reply(self._queue.hdel(lanes.PENDING_JOBS, submission.command.id))
        return outcome

    async def _found(self, command: Command) -> Outcome | None:
        outcome = await self._find_outcome(command)
        if outcome is not None and command.user_id:
            try:
                await self._invalidator.forget_users([command.user_id])
            except REDIS_FAULTS:
                return None  # neither cache nor queue is there: better 202 than an answer that reads contradict
        return outcome

    async def _promise(self, command: Command) -> None:
        """Makes sure that everything this process has appended is on disk, and lists the job as queued."""
        try:
            pipeline = self._queue.pipeline(transaction=False)
            _list_as_queued(pipeline, [command])
            replies = await pipeline.execute()
            _require_fsynced(replies[-1])
        except REDIS_FAULTS as error:
            raise QueueUnavailable("the queue went away before the write was carried out") from error


def _list_as_queued(pipeline: Pipeline, commands: list[Command]) -> None:
    """Adds the commands to the list that `GET /jobs/{id}` answers from, then waits for the disk."""
    listed = {
        command.id: orjson.dumps({"user_id": command.user_id, "kind": command.kind, "created_at": command.created_at})
        for command in commands
    }
    pipeline.hset(lanes.PENDING_JOBS, mapping=listed)
    for command in commands:
        pipeline.sadd(lanes.pending_jobs_of(command.user_id), command.id)
    pipeline.waitaof(1, 0, WAITAOF_MILLISECONDS)


def _require_fsynced(reply: list[int]) -> None:
    """Raises `QueueUnavailable` unless the server confirmed that its own disk has everything (WAITAOF)."""
    if reply[0] < 1:
        raise QueueUnavailable("the queue server did not confirm that the write is on its disk")

"""What the API promises with a 202: to whom, in time, and only what any process will find (`core/jobs/pending.py`)."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from arq.connections import ArqRedis

from api.writes.lane_writer import Submission
from core.commands.effects import Effect, Outcome
from core.commands.wire import Command
from core.errors import QueueUnavailable
from core.jobs.outcomes import key_reuse
from core.jobs.pending import PendingJobs
from core.quotas.refusals import quota_exceeded
from core.redis.clients import REDIS_FAULTS
from core.redis.link import Link

# What is not answered by then is listed as pending, so that its job can be promised whatever dies in the meantime.
LIST_AFTER_SECONDS = 0.25

NOT_LISTED: tuple[type[Exception], ...] = (*REDIS_FAULTS, QueueUnavailable)


class Promises:
    """The promises of one API process."""

    def __init__(self, queue: ArqRedis, link: Link, *, maximum: int) -> None:
        """
        Args:
            queue: the queue server.
            link: to it; the commands that are promised are appended over the same one.
            maximum: how many of one user may be waited to be kept (`quota_waiting_jobs`); 0: any number.
        """
        self._link = link
        self._pending = PendingJobs(queue)
        self._maximum = maximum
        self._wanted: defaultdict[int, int] = defaultdict(int)
        self._listing: asyncio.Task[None] | None = None
        self._striking: set[asyncio.Task[None]] = set()

    def tasks(self) -> list[asyncio.Task[None]]:
        """What is under way, to be ended with the process."""
        return [*([self._listing] if self._listing is not None else []), *self._striking]

    # -- whether something can be promised ------------------------------------------------------------------------

    def are_limited(self, command: Command) -> bool:
        """Whether promises are counted; whoever waits for his outcomes has no more of them than connections."""
        return bool(self._maximum and command.user_id)

    @contextlib.contextmanager
    def wanted(self, user_id: int) -> Iterator[None]:
        """One more promise is wanted: counted before anybody asks, those who come together must not all find room."""
        self._wanted[user_id] += 1
        try:
            yield
        finally:
            self._wanted[user_id] -= 1
            if not self._wanted[user_id]:
                del self._wanted[user_id]

    async def refusal_of_many(self, command: Command) -> Outcome | None:
        """What a user is told who has promises enough that are still to be kept.

        Raises:
            QueueUnavailable: they cannot be counted, nor could the command be put on the queue.
        """
        try:
            [waiting] = await self._link.send(PendingJobs.counting(command.user_id))
        except REDIS_FAULTS as error:
            raise QueueUnavailable("the queue cannot take the write") from error
        if waiting + self._wanted[command.user_id] <= self._maximum:
            return None
        used = max(waiting, self._maximum)
        return _refusal(command, quota_exceeded("waiting_jobs", limit=self._maximum, used=used))

    async def refusal_of_reuse(self, command: Command) -> Outcome | None:
        """What a worker will say of it, where a write with the same key and of another request is still pending."""
        if command.fingerprint is None:
            return None
        try:
            found = await self._pending.find(command.user_id, command.id)
        except QueueUnavailable:
            return None
        return None if found is None or found.is_of(command) else _refusal(command, key_reuse())

    # -- before it is promised ------------------------------------------------------------------------------------

    def list_what_waits_long(self, submissions: Iterable[Submission], now: float) -> None:
        """Before anybody's wait is over: what is promised then is on the list already, also if the queue goes away."""
        if self._listing is not None and not self._listing.done():
            return
        waiting = [
            submission
            for submission in submissions
            if submission.appended and not submission.listed and now - submission.appended_at >= LIST_AFTER_SECONDS
        ]
        if waiting:
            self._listing = asyncio.create_task(self._list_in_time(waiting), name="list of pending jobs")

    async def _list_in_time(self, waiting: Sequence[Submission]) -> None:
        with contextlib.suppress(*NOT_LISTED):
            await self.list(waiting)
            for submission in waiting:
                if submission.answered.done():  # a worker may have struck it off before it was there
                    self.strike_off(submission.command)

    async def list(self, submissions: Sequence[Submission]) -> None:
        """Lists jobs as pending, and makes sure that all that this process has appended is on disk.

        Raises:
            redis.RedisError, OSError: the queue server cannot be reached.
            QueueUnavailable: its disk does not hold what it took.
        """
        unlisted = [submission for submission in submissions if not submission.listed]
        if unlisted:
            replies = await self._link.send(*PendingJobs.listing([submission.command for submission in unlisted]))
            PendingJobs.require_on_disk(replies[-1])
            for submission in unlisted:
                submission.listed = True

    # -- when it is kept ------------------------------------------------------------------------------------------

    def strike_off(self, command: Command) -> None:
        """Strikes a job off whose outcome is known; if that fails it stays, and its row is found first."""
        task = asyncio.create_task(self._strike_off_if_possible(command), name="strike off")
        self._striking.add(task)
        task.add_done_callback(self._striking.discard)

    async def _strike_off_if_possible(self, command: Command) -> None:
        with contextlib.suppress(*REDIS_FAULTS):
            await self._pending.strike_off([(command.user_id, command.id)])


def _refusal(command: Command, effect: Effect) -> Outcome:
    return Outcome(command.id, effect.status_code, error=effect.error)

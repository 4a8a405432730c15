"""Pending jobs: what a 202 has promised, until it is kept.

The job of a command that waits in its lane has no row yet. Who was promised it must find it all the same: at any
process, whatever has died meanwhile. So it stands on a list in the queue server, under four rules:

1. *Listed before promised.* The job is on the list, and the list on the queue server's disk, before a client is told
   202.
2. *Listed before looked up.* Who promises a job that may have been carried out lists it first, and looks for its row
   second. A worker that is done by then is found; one that is done later strikes the job off later.
3. *Struck off after the cache has forgotten.* When the row is committed, a worker first makes the cache forget the
   pages of before, and then strikes the job off. So where a job has ended and is still listed, pages may contradict it:
   who tells that it has ended forgets them first.
4. *Read so that nothing falls between.* Of one job the row is read, then the list, then the row again. Of all jobs of a
   user the list is read first, and the rows second: one that is carried out in between stands in both.

        promise   append ─▶ list, on disk ─▶ look up the row ─▶ 202, or the outcome and strike off
        keep      commit the row ─▶ forget pages ─▶ tell the outcome, and strike off
        read      row ─▶ list ─▶ row
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
from arq.connections import ArqRedis

from core.commands.kinds import LONG_WORK
from core.commands.wire import Command
from core.errors import DatabaseUnavailable, QueueUnavailable
from core.redis.clients import REDIS_FAULTS, reply

T = TypeVar("T")
RedisCommand = tuple[str | bytes | int, ...]

PENDING = "tenfold:pending"
"""A hash: job id → what is known of the job, as JSON."""

_DISK_MILLISECONDS = 1000


@dataclass(frozen=True, slots=True)
class PendingJob:
    """A job that stands on the list.

    Attributes:
        created_at: RFC 3339, when the API took the command.
        payload: of a command that begins long work; else None.
        fingerprint: of the request, where it had an idempotency key; one that an older version listed does not say.
    """

    id: str
    user_id: int
    kind: str
    created_at: str
    payload: dict[str, Any] | None
    fingerprint: str | None

    def is_of(self, command: Command) -> bool:
        """Whether a command with this job's id is the same request, and not another under the same key."""
        return self.fingerprint in (None, command.fingerprint)


class PendingJobs:
    """The list.

    What goes over a `Link` together with other commands is made by `listing`, `counting` and `striking`.
    """

    def __init__(self, queue: ArqRedis) -> None:
        self._queue = queue

    # -- promising: the API ------------------------------------------------------------------------------------

    @staticmethod
    def listing(commands: Sequence[Command]) -> list[RedisCommand]:
        """What lists commands' jobs and waits for the disk; the last reply is for `require_on_disk`.

        The disk then holds all that the connection has sent before, too.
        """
        listed = [part for command in commands for part in (command.id, _listed(command))]
        return [
            ("HSET", PENDING, *listed),
            *(("SADD", _ids_of(command.user_id), command.id) for command in commands),
            ("WAITAOF", 1, 0, _DISK_MILLISECONDS),
        ]

    @staticmethod
    def require_on_disk(confirmed: Sequence[int]) -> None:
        """Raises `QueueUnavailable` unless the server confirmed that its own disk has everything (WAITAOF)."""
        if confirmed[0] < 1:
            raise QueueUnavailable("the queue server did not confirm that the write is on its disk")

    @staticmethod
    def counting(user_id: int) -> RedisCommand:
        """What counts a user's jobs; a few of them may have been struck off in part."""
        return ("SCARD", _ids_of(user_id))

    # -- keeping: the workers, and whoever learns an outcome another way ---------------------------------------

    @staticmethod
    def striking(job_ids: Iterable[str]) -> RedisCommand:
        """What strikes jobs off; replies how many were listed, and for these `strike_off` does the rest."""
        return ("HDEL", PENDING, *job_ids)

    async def strike_off(self, jobs: Iterable[tuple[int, str]]) -> None:
        """Strikes jobs off, each (user, job id); rule 3 says when.

        Raises:
            redis.RedisError, OSError: the queue server cannot be reached. What stays is told by its row all the same.
        """
        ids_of: dict[int, list[str]] = defaultdict(list)
        for user_id, job_id in jobs:
            ids_of[user_id].append(job_id)
        pipeline = self._queue.pipeline(transaction=False)
        for user_id, job_ids in ids_of.items():
            pipeline.hdel(PENDING, *job_ids)
            pipeline.srem(_ids_of(user_id), *job_ids)
        await pipeline.execute()

    # -- reading -----------------------------------------------------------------------------------------------

    async def find(self, user_id: int, job_id: str) -> PendingJob | None:
        """The user's own job, if it is listed.

        Raises:
            QueueUnavailable: the list cannot be read; that is not to say that there is no such job.
        """
        try:
            listed = await reply(self._queue.hget(PENDING, job_id))
        except REDIS_FAULTS as error:
            raise QueueUnavailable("the job may be waiting in the queue, which cannot be asked just now") from error
        found = None if listed is None else _read(job_id, listed)
        return None if found is None or found.user_id != user_id else found

    async def row_or_listed(
        self,
        user_id: int,
        job_id: str,
        read_row: Callable[[], Awaitable[T | None]],
        as_row: Callable[[PendingJob], T | None],
    ) -> T | None:
        """The user's own job: from its row, else from the list (rule 4).

        Args:
            user_id: whose.
            job_id: of the job.
            read_row: its row; may raise `DatabaseUnavailable`.
            as_row: what a row would say of a job that waits; None where it is not wanted.

        Raises:
            DatabaseUnavailable: there is no row to be had, and nothing in the list.
            QueueUnavailable: there is no row, and the list cannot be read.
        """

        async def listed() -> T | None:
            found = await self.find(user_id, job_id)
            return None if found is None else as_row(found)

        try:
            row = await read_row()
        except DatabaseUnavailable:
            waiting = None
            with suppress(QueueUnavailable):
                waiting = await listed()
            if waiting is None:
                raise
            return waiting
        if row is not None:
            return row
        return await listed() or await read_row()

    async def of_user(self, user_id: int) -> dict[str, PendingJob]:
        """Job id → job, of all of a user's; none where the queue server is away. Rule 4: before the rows are read."""
        name = _ids_of(user_id)
        try:
            ids = [member.decode() for member in await reply(self._queue.smembers(name))]
            listed = await reply(self._queue.hmget(PENDING, ids)) if ids else []
            gone = [job_id for job_id, content in zip(ids, listed, strict=True) if content is None]
            if gone:
                await reply(self._queue.srem(name, *gone))
        except REDIS_FAULTS:
            return {}
        return {
            job_id: _read(job_id, content) for job_id, content in zip(ids, listed, strict=True) if content is not None
        }


def _ids_of(user_id: int) -> str:
    """A set: the ids in `PENDING` that belong to the user; may name some that were struck off."""
    return f"{PENDING}:{user_id}"


def _listed(command: Command) -> bytes:
    content = {
        "user_id": command.user_id,
        "kind": command.kind,
        "created_at": command.created_at,
        "fingerprint": command.fingerprint,
    }
    return orjson.dumps({**content, "payload": command.payload} if command.kind in LONG_WORK else content)


def _read(job_id: str, content: bytes | str) -> PendingJob:
    fields = orjson.loads(content)
    return PendingJob(
        id=job_id,
        user_id=fields["user_id"],
        kind=fields["kind"],
        created_at=fields["created_at"],
        payload=fields.get("payload"),
        fingerprint=fields.get("fingerprint"),
    )

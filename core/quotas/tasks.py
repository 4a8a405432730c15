"""How many tasks a user may have, at no cost to those who are far from it.

A process remembers how many tasks a user had when it counted them, and what it has added since. A user with few tasks
is counted within the write, by the index. One with many is counted in the background: that takes longer than a write
may. Near the quota a user is counted again; at the quota each time, if that is quick.
"""

import asyncio
import collections
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from core.commands.effects import Effect
from core.database.pools import Connection, Pool
from core.logs import get_logger
from core.quotas.refusals import quota_exceeded

COUNTED_AT_ONCE = 20_000
"""Rows that are counted within a write: some milliseconds."""

FRESH_SECONDS = 300.0

USERS_REMEMBERED = 100_000

COUNT_SECONDS = 60.0
"""The longest count in the background."""

RECOUNT_SECONDS = 2.0

RECOUNT_FACTOR = 100
"""A user with many tasks is counted again after so many times as long as counting took: a hundredth of a processor."""

_COUNT = """
SELECT u.user_id, c.tasks
FROM   unnest($1::bigint[]) AS u (user_id),
       LATERAL (SELECT count(*) AS tasks
                FROM   (SELECT FROM tasks AS t WHERE t.user_id = u.user_id LIMIT $2) AS counted) AS c
"""

log = get_logger()


@dataclass(slots=True)
class _Known:
    """What is known of a user.

    Attributes:
        tasks: when they were counted, with those that this process has made since.
        counted_at: by the monotonic clock; when the count began.
        count_seconds: how long it took.
        is_large: there were too many to be counted within a write.
    """

    tasks: int
    counted_at: float
    count_seconds: float
    is_large: bool


class TaskQuota:
    """Judges creations of tasks; one a process."""

    def __init__(self, pool: Pool, limit: int, *, counted_at_once: int = COUNTED_AT_ONCE) -> None:
        """
        Args:
            pool: of workers, for counts in the background.
            limit: tasks of a user; 0: no limit.
            counted_at_once: the most rows that are counted within a write.
        """
        self._pool = pool
        self._limit = limit
        self._counted_at_once = counted_at_once
        # Other processes create, too; this one learns of it when it counts again.
        self._carefree = limit - max(limit // 20, counted_at_once)
        self._known: dict[int, _Known] = {}
        self._counting: dict[int, asyncio.Task[None]] = {}

    async def close(self) -> None:
        """Gives up what is being counted."""
        for counting in self._counting.values():
            counting.cancel()
        await asyncio.gather(*self._counting.values(), return_exceptions=True)

    async def refuse(self, connection: Connection, user_ids: Sequence[int]) -> dict[int, Effect]:
        """Place → the refusal, for those of the creations that would pass their user's quota; the rest is counted on.

        Args:
            connection: of the write; in its transaction, if it has one.
            user_ids: whose each creation is, in the order in which they would be made.
        """
        if not self._limit or not user_ids:
            return {}
        wanted = collections.Counter(user_ids)
        now = time.monotonic()
        doubtful = [user_id for user_id, tasks in wanted.items() if not self._has_room(user_id, tasks, now)]
        if not doubtful:
            return {}
        await self._count(connection, doubtful)
        left = {user_id: self._limit - self._known[user_id].tasks for user_id in doubtful}
        refused = {}
        for place, user_id in enumerate(user_ids):
            if user_id not in left:
                continue
            if left[user_id] > 0:
                left[user_id] -= 1
                self._known[user_id].tasks += 1
            else:
                used = self._known[user_id].tasks
                refused[place] = quota_exceeded("tasks", limit=self._limit, used=used)
        return refused

    async def refuse_made(self, connection: Connection, user_id: int, made: int) -> Effect | None:
        """As `refuse`, for tasks that the connection's transaction has made already: all of them, or none.

        Where it refuses, the caller rolls the transaction back.
        """
        if not self._limit or self._has_room(user_id, made, time.monotonic()):
            return None
        await self._count(connection, [user_id], made=made)
        known = self._known[user_id]
        if known.tasks <= self._limit:
            return None
        known.tasks -= made
        return quota_exceeded("tasks", limit=self._limit, used=max(0, known.tasks))

    def _has_room(self, user_id: int, tasks: int, now: float) -> bool:
        known = self._known.get(user_id)
        if known is None or known.tasks + tasks > self._carefree or now - known.counted_at > FRESH_SECONDS:
            return False
        known.tasks += tasks
        return True

    async def _count(self, connection: Connection, user_ids: Collection[int], *, made: int = 0) -> None:
        """Makes all of the users known; of those with many tasks as they were a while ago.

        Args:
            connection: of the write.
            user_ids: who is counted.
            made: tasks of each that the write has made already: they are counted as well.
        """
        now = time.monotonic()
        uncounted = []
        for user_id in user_ids:
            known = self._known.get(user_id)
            if known is not None and known.is_large and now - known.counted_at <= FRESH_SECONDS:
                known.tasks += made
                self._count_later(user_id, known, now)
            else:
                uncounted.append(user_id)
        if not uncounted:
            return
        for row in await connection.fetch(_COUNT, uncounted, min(self._limit + 1 + made, self._counted_at_once)):
            is_large = row["tasks"] >= self._counted_at_once
            before = self._known.pop(row["user_id"], None)  # who was counted last is forgotten last
            tasks = row["tasks"] if before is None or not is_large else max(row["tasks"], before.tasks + made)
            known = self._known[row["user_id"]] = _Known(tasks, now, 0.0, is_large)
            if is_large:
                self._count_later(row["user_id"], known, None)
        while len(self._known) > max(USERS_REMEMBERED, len(user_ids)):
            del self._known[next(iter(self._known))]

    def _count_later(self, user_id: int, known: _Known, now: float | None) -> None:
        """Has the user counted in the background, unless that was done a short while ago (`now` is given)."""
        rest = max(RECOUNT_SECONDS, RECOUNT_FACTOR * known.count_seconds)
        if user_id in self._counting or (now is not None and now - known.counted_at < rest):
            return
        counting = asyncio.create_task(self._count_whole(user_id), name="count of tasks")
        self._counting[user_id] = counting
        counting.add_done_callback(lambda _: self._counting.pop(user_id))

    async def _count_whole(self, user_id: int) -> None:
        started = time.monotonic()
        made_before = self._known[user_id].tasks
        try:
            [row] = await self._pool.fetch(_COUNT, [user_id], self._limit + 1, timeout=COUNT_SECONDS)
        except Exception as error:  # nobody waits for it, and the next look tries again
            log.warning("a user's tasks could not be counted", user=user_id, error=repr(error))
            return
        known = self._known.get(user_id)
        made_since = 0 if known is None else max(0, known.tasks - made_before)
        seconds = time.monotonic() - started
        is_large = row["tasks"] >= self._counted_at_once
        self._known[user_id] = _Known(row["tasks"] + made_since, started, seconds, is_large)

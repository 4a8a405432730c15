"""The API's connections for reads: kept between statements, bounded in time, and asked no more while the server hangs.

A server that hangs, or a network that swallows everything, closes no connection: nothing but the time tells. What does
not answer in time is given up, and if nothing else was answered meanwhile, the server is suspected to hang. From then
on reads wait no longer than a moment: one look at a time finds out when it answers again.
"""

import asyncio
import contextlib
import time
from collections import deque
from typing import Any

import asyncpg

from core.errors import DatabaseUnavailable
from core.identity import Identities
from core.outages import Outage

RETURNED_AFTER_READS = 1000
"""Now and then a connection goes back: the pool renews those that have been used very often."""

READ_SECONDS = 3.0
SUSPECT_WAIT_SECONDS = 0.25
"""For how long a read waits to see whether a server that seemed to hang answers after all."""


RENEWAL_SECONDS = 1.0
"""How often connections are renewed at the most while the server refuses what is asked on them."""


class ReadPool:
    """Statements in autocommit, on connections that stay borrowed from a pool.

    asyncpg's pool makes two objects and a task for each use of a connection: as much processor time as sending a
    statement and reading its row.
    """

    def __init__(self, pool: asyncpg.Pool, identities: Identities, *, seconds: float = READ_SECONDS) -> None:
        """
        Args:
            pool: nobody else's; closed with this. Its `command_timeout` bounds the cancelling of what was given up.
            identities: what statements say who asks with.
            seconds: the longest that a read may take, with the waits for a place and for a connection.
        """
        self.identities = identities
        self._pool = pool
        self._seconds = seconds
        self._places = _Places(pool.get_max_size(), seconds)
        self._kept: list[asyncpg.pool.PoolConnectionProxy] = []
        self._answers = 0
        self._hangs = False
        self._is_closing = False
        self._returning: set[asyncio.Task[None]] = set()
        self._looking: asyncio.Task[None] | None = None
        self._looked_since = 0.0
        self._renewed_at = -RENEWAL_SECONDS
        self._outage = Outage("database, to read")

    async def fetch(self, sql: str, *arguments: Any) -> list[asyncpg.Record]:
        """As `asyncpg.Pool.fetch`.

        Raises:
            TimeoutError: it has taken too long.
            DatabaseUnavailable: the server hangs; nothing was asked.
        """
        if self._hangs:
            await self._look()
        return await self._fetch(sql, arguments)

    async def _fetch(self, sql: str, arguments: tuple[Any, ...]) -> list[asyncpg.Record]:
        answers = self._answers
        try:
            left = self._seconds if self._places.take() else await self._places.wait()
            connection = self._kept.pop() if self._kept else await self._connect(left)
            try:
                rows: list[asyncpg.Record] = await connection.fetch(sql, *arguments, timeout=left)
            except BaseException:
                # It may be broken, or busy with what was given up: the pool sees to that, and nobody waits for it.
                self._return(connection, has_place=True)
                raise
        except TimeoutError as error:
            if self._answers == answers:  # else it was this statement that took long
                self._hangs = True
                self._outage.noticed(error)
                self._places.refuse_waiting()
            raise
        except Exception:
            self._answers += 1
            self._hangs = False
            raise
        self._answers += 1
        if self._outage.lasts:
            self._hangs = False
            self._outage.over()
        if self._is_closing or self._answers % RETURNED_AFTER_READS == 0:
            self._return(connection, has_place=True)
        else:
            self._kept.append(connection)
            self._places.give()
        return rows

    async def _connect(self, seconds: float) -> asyncpg.pool.PoolConnectionProxy:
        """Borrows a connection, for a place that has been taken, and is given back if there is none."""
        try:
            async with asyncio.timeout(seconds):
                return await self._pool.acquire()
        except BaseException as error:
            self._places.give()
            if isinstance(error, OSError) and not isinstance(error, TimeoutError):
                self._outage.noticed(error)
            raise

    async def _look(self) -> None:
        """Looks for a sign of life, together with all others that want to read.

        Raises:
            DatabaseUnavailable: there was none yet.
        """
        loop = asyncio.get_running_loop()
        if self._looking is None:
            self._looked_since = loop.time()
            self._looking = asyncio.create_task(self._ask_for_life(), name="database looked at")
        left = self._looked_since + SUSPECT_WAIT_SECONDS - loop.time()
        if left > 0:
            await asyncio.wait({self._looking}, timeout=left)
        if self._hangs:
            raise DatabaseUnavailable("the database does not answer")

    async def _ask_for_life(self) -> None:
        try:
            with contextlib.suppress(Exception):  # which is noted
                await self._fetch("SELECT 1", ())
        finally:
            self._looking = None

    def _return(self, connection: asyncpg.pool.PoolConnectionProxy, *, has_place: bool) -> None:
        task = asyncio.create_task(self._release(connection, has_place=has_place))
        self._returning.add(task)
        task.add_done_callback(self._returning.discard)

    async def _release(self, connection: asyncpg.pool.PoolConnectionProxy, *, has_place: bool) -> None:
        try:
            with contextlib.suppress(Exception):  # the pool has dropped it then
                await self._pool.release(connection, timeout=self._seconds)
        finally:
            if has_place:
                self._places.give()

    def renewal_is_due(self) -> bool:
        """Whether connections may be renewed once more, because of what the server says of them; counted as done."""
        now = time.monotonic()
        if now - self._renewed_at < RENEWAL_SECONDS:
            return False
        self._renewed_at = now
        return True

    async def expire_connections(self) -> None:
        """What is connected and idle is not used again."""
        await self._pool.expire_connections()
        while self._kept:
            self._return(self._kept.pop(), has_place=False)

    async def close(self) -> None:
        """Waits for the statements under way."""
        self._is_closing = True
        while self._kept:
            self._return(self._kept.pop(), has_place=False)
        if self._looking is not None:
            await asyncio.wait({self._looking})
        if self._returning:
            await asyncio.wait(self._returning)
        await self._pool.close()

    def get_idle_size(self) -> int:
        """As `asyncpg.Pool.get_idle_size`."""
        return self._pool.get_idle_size() + len(self._kept)

    def get_size(self) -> int:
        """As `asyncpg.Pool.get_size`."""
        return self._pool.get_size()

    def get_max_size(self) -> int:
        """As `asyncpg.Pool.get_max_size`."""
        return self._pool.get_max_size()


class _Places:
    """A number of places, first come, first served; one clock for all that wait, who wait equally long."""

    def __init__(self, places: int, seconds: float) -> None:
        self._free = places
        self._seconds = seconds
        self._waiting: deque[tuple[asyncio.Future[None], float]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def take(self) -> bool:
        """Takes a place if one is free."""
        if self._free:
            self._free -= 1
            return True
        return False

    async def wait(self) -> float:
        """Waits for a place and takes it; returns how many of the seconds are left.

        Raises:
            TimeoutError: there was none in time.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + self._seconds
        given: asyncio.Future[None] = loop.create_future()
        self._waiting.append((given, until))
        if self._timer is None:
            self._timer = loop.call_at(until, self._give_up)
        try:
            await given
        except asyncio.CancelledError:
            if given.done() and not given.cancelled() and given.exception() is None:
                self.give()  # it was given in the moment in which nobody wanted it any more
            raise
        return max(until - loop.time(), 0.001)

    def give(self) -> None:
        """Gives a place back, to who has waited longest."""
        while self._waiting:
            given, _ = self._waiting.popleft()
            if not given.done():
                given.set_result(None)
                return
        self._free += 1

    def refuse_waiting(self) -> None:
        """Nobody who waits now gets a place in time."""
        while self._waiting:
            given, _ = self._waiting.popleft()
            if not given.done():
                given.set_exception(TimeoutError())

    def _give_up(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        while self._waiting:
            given, until = self._waiting[0]
            if until > loop.time():
                self._timer = loop.call_at(until, self._give_up)
                return
            self._waiting.popleft()
            if not given.done():
                given.set_exception(TimeoutError())

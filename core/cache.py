"""The page cache: finished answers of a user's reads, never stale.

One hash a user holds a version token and the pages read under it. A worker removes the hash of every user in
a batch after the commit and before the outcomes are published. A reader takes the version and the page in one
round trip, and stores what it read only if the version is still the one that it saw before it queried:

* the hash was removed meanwhile → there is no version, or another: nothing is stored;
* the server evicted or lost the hash → the same.

An invalidation that fails raises a flag in the queue server. Every process passes the cache by until a worker
has emptied it and taken the flag down; a process that cannot watch the flag passes the cache by, too.
"""

import asyncio
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from arq.connections import ArqRedis
from redis.asyncio import Redis

from core import metrics
from core.logs import get_logger
from core.outages import Outage
from core.redis.clients import REDIS_FAULTS, reply
from core.redis.link import Link

SUSPECT_FLAG = "tenfold:cache:suspect"
SUSPECT_CHANNEL = "tenfold:cache:suspect"

_PREFIX = "tenfold:cache:user:"
_VERSION = b"v"

_STORE_IF_VERSION = """
if redis.call('HGET', KEYS[1], 'v') == ARGV[1] then
    redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
end
return 0
"""

# A new hash lives for the whole time to live at most: its pages cannot pile up.
_NEW_VERSION = """
local version = redis.call('HGET', KEYS[1], 'v')
if not version then
    version = ARGV[1]
    redis.call('HSET', KEYS[1], 'v', version)
    redis.call('EXPIRE', KEYS[1], ARGV[2])
end
return version
"""

_LOWER_FLAG = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
    redis.call('DEL', KEYS[1])
    redis.call('PUBLISH', ARGV[2], 'clear')
    return 1
end
return 0
"""

# How long a worker that raised the flag waits before it publishes outcomes. By then every subscriber has heard.
_FLAG_SPREADS_SECONDS = 0.1

_READS = {result: metrics.CACHE_READS.labels(result) for result in ("hit", "miss", "bypass", "error")}

log = get_logger()


def _key(user_id: int) -> str:
    return f"{_PREFIX}{user_id}"


@dataclass(frozen=True, slots=True)
class Miss:
    """A page that is not cached.

    Attributes:
        version: under which it may be stored once it has been read.
        other: the same page in another form, where that is cached.
    """

    version: bytes
    other: bytes | None = None


class PageCache:
    """The reader's side, in an API process."""

    def __init__(self, link: Link, *, ttl_seconds: int) -> None:
        self._link = link
        self._ttl_seconds = ttl_seconds
        self.suspect = True
        """Whether the cache is not used. True until the flag was seen to be down."""

    async def look_up(self, user_id: int, query: str, other: str | None = None) -> bytes | Miss | None:
        """The page; or a `Miss`; or None where the cache is away, suspect or switched off.

        Args:
            user_id: whose page it is.
            query: its name.
            other: the name of the same page in another form, looked up in the same round trip.
        """
        if self.suspect or not self._ttl_seconds:
            _READS["bypass"].inc()
            return None
        try:
            names = (query,) if other is None else (query, other)
            [[version, page, *others]] = await self._link.send(("HMGET", _key(user_id), _VERSION, *names))
            if page is not None:
                _READS["hit"].inc()
                return bytes(page)
            if others and others[0] is not None:
                _READS["hit"].inc()
                return Miss(version, bytes(others[0]))
            _READS["miss"].inc()
            if version is None:
                [version] = await self._link.send(
                    ("EVAL", _NEW_VERSION, 1, _key(user_id), secrets.token_bytes(9), self._ttl_seconds)
                )
            return Miss(version)
        except REDIS_FAULTS:
            _READS["error"].inc()
            return None

    def store(self, user_id: int, query: str, miss: Miss, page: bytes) -> None:
        """Stores a page that was read after `miss`, unless the user's rows have changed since.

        Nobody waits for that. A later look-up of this process still comes after it, on the same connection.
        """
        self._link.send(("EVAL", _STORE_IF_VERSION, 1, _key(user_id), miss.version, query, page)).add_done_callback(
            _note_stored
        )

    async def watch_flag(self, queue: ArqRedis) -> None:
        """Keeps `suspect` as the flag is; runs as long as the process. While the flag cannot be read, the cache is
        not used."""
        outage = Outage("queue server, to watch the cache's flag")
        while True:
            try:
                async with queue.pubsub() as subscription:
                    await subscription.subscribe(SUSPECT_CHANNEL)
                    outage.over()
                    while True:
                        # Reading the flag after each message also covers one that was lost before.
                        message = await subscription.get_message(ignore_subscribe_messages=False, timeout=1.0)
                        self._note(bool(await queue.exists(SUSPECT_FLAG)) or (message or {}).get("data") == b"raise")
            except REDIS_FAULTS as error:
                self._note(True)
                await asyncio.sleep(outage.noticed(error))

    def _note(self, suspect: bool) -> None:
        if suspect and not self.suspect:
            log.warning("cache passed by")
        elif self.suspect and not suspect:
            log.info("cache in use")
        self.suspect = suspect
        metrics.CACHE_SUSPECT.set(suspect)


def _note_stored(stored: "asyncio.Future[list[Any]]") -> None:
    error = stored.exception()
    if isinstance(error, REDIS_FAULTS):
        _READS["error"].inc()
    elif error is not None:
        raise error


class CacheInvalidator:
    """The writer's side: drops what is cached for users whose rows have changed, before anybody is told of the
    change."""

    def __init__(self, cache: Redis, queue: ArqRedis, *, link: Link | None = None) -> None:
        """
        Args:
            cache: the cache server.
            queue: the queue server.
            link: to the cache server, for a worker, whose every batch waits until users are forgotten.
        """
        self._cache = cache
        self._queue = queue
        self._link = link
        self._outage = Outage("cache server, to forget users")

    async def forget_users(self, user_ids: Iterable[int]) -> None:
        """Removes what is cached for the users; if that fails, makes every process pass the cache by.

        Raises:
            redis.RedisError, OSError: neither the cache nor the queue server could be reached. The outcome
                must then not be told.
        """
        keys = [_key(user_id) for user_id in user_ids]
        if not keys:
            return
        try:
            await (self._cache.unlink(*keys) if self._link is None else self._link.send(("UNLINK", *keys)))
        except REDIS_FAULTS as error:
            self._outage.noticed(error)
            await self.distrust_everything()
        else:
            self._outage.over()

    async def distrust_everything(self) -> None:
        """Raises the flag: nobody reads the cache until it has been emptied.

        Raises:
            redis.RedisError, OSError: the queue server cannot be reached.
        """
        before = await self._queue.set(SUSPECT_FLAG, secrets.token_hex(8), get=True)
        if before is None:  # else it was up already
            log.warning("cache flagged as suspect")
        await self._queue.publish(SUSPECT_CHANNEL, "raise")
        await asyncio.sleep(_FLAG_SPREADS_SECONDS)

    async def empty_if_suspect(self) -> bool:
        """Empties a suspect cache and takes the flag down; returns whether the cache may be used.

        A flag that is raised again while the cache is being emptied stays up.
        """
        flag = await self._queue.get(SUSPECT_FLAG)
        if flag is None:
            return True
        try:
            keys = []
            async for key in self._cache.scan_iter(match=f"{_PREFIX}*", count=1000):
                keys.append(key)
                if len(keys) == 1000:
                    await self._cache.unlink(*keys)
                    keys.clear()
            if keys:
                await self._cache.unlink(*keys)
        except REDIS_FAULTS:
            return False
        lowered = await reply(self._queue.eval(_LOWER_FLAG, 1, SUSPECT_FLAG, flag, SUSPECT_CHANNEL))
        return bool(lowered)

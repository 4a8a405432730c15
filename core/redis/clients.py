"""Clients for the queue server and the cache server, the JSON serialiser, and arq's wake channel."""

import asyncio
from collections.abc import Awaitable, Iterable
from typing import Any, TypeVar

import orjson
from arq.connections import ArqRedis
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError, WatchError

REDIS_FAULTS: tuple[type[Exception], ...] = (RedisError, OSError, TimeoutError)
"""What a Redis client raises when its server is away, slow, full or shutting down."""

THIRTY_DAYS_MS = 30 * 24 * 3600 * 1000

_QUEUE_CONNECTIONS = 64
_CACHE_CONNECTIONS = 64
_CONNECT_SECONDS = 1.0
QUEUE_REPLY_SECONDS = 3.0
CACHE_REPLY_SECONDS = 0.25
_REPEAT_CANCEL_SECONDS = 0.5

T = TypeVar("T")


def dumps_job(value: Any) -> bytes:
    """arq's serialiser: JSON, because pickle would let whoever reaches the queue run code here."""
    return orjson.dumps(value, default=repr)


def loads_job(data: bytes) -> Any:
    return orjson.loads(data)


class _ClosedMeansDisconnected(AbstractConnection):
    """Says that the connection is lost where uvloop says RuntimeError: its transport was closed under the sender."""

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        try:
            await super().send_packed_command(command, check_health)
        except RuntimeError as error:
            raise RedisConnectionError(str(error)) from error


class _Transaction(Pipeline):
    """Says that the connection is lost where redis-py says that a watched key was changed.

    arq believes that: to it a job was started elsewhere, or has been enqueued already. But the server may have carried
    the transaction out before it went away, and a job that nobody runs stood as running until that lapsed.
    """

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        try:
            return await super().execute(raise_on_error)
        except WatchError as error:
            lost = error.__context__
            if not error.__suppress_context__ and isinstance(lost, REDIS_FAULTS):
                raise lost from None
            raise


class _QueueClient(ArqRedis):
    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        return _Transaction(self.connection_pool, self.response_callbacks, transaction, shard_hint)


def _pool(url: str, **options: Any) -> BlockingConnectionPool:
    if not url.startswith("unix:"):
        options["socket_keepalive"] = True
    pool = BlockingConnectionPool.from_url(url, retry=Retry(NoBackoff(), 1), **options)
    kind = pool.connection_class
    pool.connection_class = type(kind.__name__, (_ClosedMeansDisconnected, kind), {})
    return pool


def queue_client(url: str, *, timeout: float = QUEUE_REPLY_SECONDS) -> ArqRedis:
    """A lazy client of the queue server that can enqueue arq jobs.

    A command that fails on a connection that broke while idle is sent once more: entries that arrive twice
    are applied once.

    Args:
        url: `redis://…`, `rediss://…` or `unix://…`.
        timeout: seconds to wait for a reply; blocking commands must stay below it.
    """
    pool = _pool(
        url,
        max_connections=_QUEUE_CONNECTIONS,
        timeout=timeout,
        socket_timeout=timeout,
        socket_connect_timeout=_CONNECT_SECONDS,
        health_check_interval=15,
    )
    return _QueueClient(
        pool_or_conn=pool,
        job_serializer=dumps_job,
        job_deserializer=loads_job,
        expires_extra_ms=THIRTY_DAYS_MS,
    )


def cache_client(url: str, *, timeout: float = CACHE_REPLY_SECONDS) -> Redis:
    """A lazy client of the cache server; short timeouts, because doing without is always possible."""
    pool = _pool(
        url,
        max_connections=_CACHE_CONNECTIONS,
        timeout=timeout,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
    )
    return Redis(connection_pool=pool)


def wake_channel(queue: str) -> str:
    """Published to when a job has been enqueued, so that an idle worker need not poll for it."""
    return f"tenfold:wake:{queue}"


async def reply(command: Awaitable[T] | T) -> T:
    """Awaits a command whose types, shared with redis-py's synchronous client, say that it might not be awaitable."""
    assert isinstance(command, Awaitable)
    answer: T = await command
    return answer


async def end_tasks(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels tasks that talk to a server and waits for their end.

    redis-py sends with `asyncio.wait_for`, which before Python 3.12 swallows a cancellation that meets the end of
    the sending: so the cancellation is repeated.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        ended, left = await asyncio.wait(left, timeout=_REPEAT_CANCEL_SECONDS)
        await asyncio.gather(*ended, return_exceptions=True)  # what they raised is no news


async def durability_faults(queue: Redis) -> list[str]:
    """What keeps the queue server from holding its promises, one line each; empty where all is well.

    A server that does not tell its configuration (managed ones often do not) is asked for its append-only file
    alone.

    Raises:
        redis.RedisError, OSError: the server cannot be reached.
    """
    persistence = await queue.info("persistence")
    if not int(persistence.get("aof_enabled", 0)):
        return ["keeps no append-only file: set `appendonly yes`, or accepted writes can be lost"]
    faults = []
    if persistence.get("aof_last_write_status", "ok") != "ok":
        faults.append("cannot write its append-only file: look at its disk")
    try:
        config = await queue.config_get("*")
    except ResponseError:
        return faults
    config = {_text(name): _text(value) for name, value in config.items()}
    if config.get("appendfsync", "always") != "always":
        faults.append("does not fsync each write: set `appendfsync always`")
    if config.get("maxmemory", "0") != "0" and config.get("maxmemory-policy", "noeviction") != "noeviction":
        faults.append("may evict accepted writes: set `maxmemory-policy noeviction`")
    return faults


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value

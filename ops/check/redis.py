"""The queue and the cache: are they there, and does the queue keep what it has accepted?"""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import redis

from core.redis import durability_faults, queue_client
from core.settings import Settings
from ops.check.findings import CONNECT_SECONDS, Finding, fault, note, ok, place, told

OLDEST_QUEUE = (7, 2)  # WAITAOF


def check_queue(settings: Settings) -> Iterator[Finding]:
    client: Any = redis.Redis.from_url(
        settings.queue_redis_url, socket_timeout=CONNECT_SECONDS, socket_connect_timeout=CONNECT_SECONDS
    )
    with client:
        try:
            info = client.info()
        except (redis.RedisError, OSError) as error:
            yield fault(
                "queue",
                f"{place(settings.queue_redis_url)}: {told(error)}",
                "is it running, and is QUEUE_REDIS_URL right? Without it no write is taken",
            )
            return
        yield _queue_server(settings, info)
    yield from asyncio.run(_durability(settings.queue_redis_url))


def _queue_server(settings: Settings, info: Mapping[str, Any]) -> Finding:
    shown = f"{_product(info)} at {place(settings.queue_redis_url)}"
    version = tuple(int(part) for part in str(info.get("redis_version", "0")).split(".")[:2])
    if info.get("role", "master") != "master":
        return fault("queue", f"{shown} is a replica", "name its primary in QUEUE_REDIS_URL")
    if version < OLDEST_QUEUE:
        return fault("queue", shown, "use Valkey, or Redis 7.2 or later: WAITAOF tells when a write is on disk")
    return ok("queue", shown)


async def _durability(url: str) -> list[Finding]:
    """202 means "on disk", which holds only if the server syncs each write, and never evicts."""
    client = queue_client(url, timeout=CONNECT_SECONDS)
    try:
        faults = await durability_faults(client)
    finally:
        await client.aclose(close_connection_pool=True)
    split = [line.partition(": ") for line in faults]
    return [fault("queue disk", f"the server {what}", remedy) for what, _, remedy in split] or [
        ok("queue disk", "no accepted write is lost")
    ]


def check_cache(settings: Settings) -> Iterator[Finding]:
    if not settings.caching:
        yield note("cache", "is switched off", "set CACHE_TTL_SECONDS above 0 to use it")
    client: Any = redis.Redis.from_url(
        settings.redis_url, socket_timeout=CONNECT_SECONDS, socket_connect_timeout=CONNECT_SECONDS
    )
    with client:
        try:
            info = client.info()
        except (redis.RedisError, OSError) as error:
            yield fault(
                "cache",
                f"{place(settings.redis_url)}: {told(error)}",
                "is it running, and is REDIS_URL right? Reads go on without it, slower",
            )
            return
    shown = f"{_product(info)} at {place(settings.redis_url)}"
    if settings.redis_url == settings.queue_redis_url:
        yield note(
            "cache",
            f"{shown} is the queue too",
            "give the queue a server of its own in QUEUE_REDIS_URL: cache writes wait for its disk",
        )
    elif not info.get("maxmemory"):
        yield note("cache", f"{shown} may grow without bound", "set maxmemory and maxmemory-policy allkeys-lru")
    else:
        yield ok("cache", shown)


def _product(info: Mapping[str, Any]) -> str:
    if "valkey_version" in info:
        return f"Valkey {info['valkey_version']}"
    return f"Redis {info.get('redis_version', '?')}"

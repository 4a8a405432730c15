"""The queue and cache servers: are they there, and does the queue server keep what it has accepted?"""

import asyncio
import time
from collections.abc import Iterator, Mapping
from typing import Any

import redis

from core.lanes import states_of_all
from core.redis.clients import durability_faults, queue_client
from core.server_urls import place
from core.settings import Settings
from ops.check.findings import CONNECT_SECONDS, Finding, fault, note, ok, told

OLDEST_QUEUE = (7, 2)  # WAITAOF
LONGEST_WAIT_SECONDS = 10.0
TOLD_LANES = 5


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
    yield asyncio.run(_lanes(settings))


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


async def _lanes(settings: Settings) -> Finding:
    """Whether somebody carries out what was accepted."""
    client = queue_client(settings.queue_redis_url, timeout=CONNECT_SECONDS)
    try:
        states = await states_of_all(client, settings.write_lanes)
    finally:
        await client.aclose(close_connection_pool=True)
    ages = {state.name: state.age_seconds(time.time()) for state in states}
    waiting = [name for name, age in ages.items() if age > LONGEST_WAIT_SECONDS]
    if not waiting:
        return ok("lanes", "no accepted write waits for long")
    more = f" and {len(waiting) - TOLD_LANES} more" if len(waiting) > TOLD_LANES else ""
    return note(
        "lanes",
        f"nobody drains lane {', '.join(waiting[:TOLD_LANES])}{more}: "
        f"the oldest entry has waited for {max(ages.values()):.0f} s",
        "start `tenfold worker`; if one runs, its log says what keeps it",
    )


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

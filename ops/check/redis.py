"""The queue and the cache: are they there, and does the queue keep what it has accepted?"""

from collections.abc import Iterator, Mapping
from typing import Any

import redis

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
        yield from _durability(client, info)


def _queue_server(settings: Settings, info: Mapping[str, Any]) -> Finding:
    shown = f"{_product(info)} at {place(settings.queue_redis_url)}"
    version = tuple(int(part) for part in str(info.get("redis_version", "0")).split(".")[:2])
    if info.get("role", "master") != "master":
        return fault("queue", f"{shown} is a replica", "name its primary in QUEUE_REDIS_URL")
    if version < OLDEST_QUEUE:
        return fault("queue", shown, "use Valkey, or Redis 7.2 or later: WAITAOF tells when a write is on disk")
    return ok("queue", shown)


def _durability(client: Any, info: Mapping[str, Any]) -> Iterator[Finding]:
    """202 means "on disk", which holds only if the server syncs each write, and never evicts."""
    try:
        found = client.config_get("appendonly", "appendfsync", "maxmemory-policy")
    except redis.RedisError:
        yield note(
            "queue disk",
            "the server does not show its configuration",
            "make sure of: appendonly yes, appendfsync always, maxmemory-policy noeviction",
        )
        return
    wanted = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
    configured = {_text(name): _text(value) for name, value in found.items()}
    wrong = {name: value for name, value in wanted.items() if configured.get(name) != value}
    for name, value in wrong.items():
        yield fault(
            "queue disk",
            f"{name} is {configured.get(name)}",
            f"set {name} {value} in the queue server's configuration: accepted writes can be lost as it is",
        )
    if not wrong:
        yield ok("queue disk", "each write is synced, none is evicted")
    if info.get("aof_enabled") and info.get("aof_last_write_status", "ok") != "ok":
        yield fault("queue disk", "the last write to the append-only file failed", "is the queue server's disk full?")


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


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)

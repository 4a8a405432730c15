"""What the application holds while it runs (aiohttp's cleanup contexts), opened in order and closed in reverse."""

import asyncio
import contextlib
import platform
import time
from collections.abc import AsyncIterator

from aiohttp import web

from api.authority import visible_outcome
from api.keys import (
    CACHE,
    CACHE_CLIENT,
    DEFERRED,
    GATEWAY,
    GUESS_LIMITS,
    IDENTITIES,
    LABEL_COUNTS,
    LIST_QUERIES,
    PASSWORDS,
    POOL,
    QUEUE,
    REGISTRATION_LIMIT,
    REQUEST_LIMIT,
    SETTINGS,
    STORAGE,
    UPLOADS,
)
from api.limits import GuessLimits
from api.passwords import PasswordService
from api.uploads import UploadsUnderWay
from api.writes.gateway import Gateway
from core import metrics
from core.cache import CacheInvalidator, PageCache
from core.commands.effects import Outcome
from core.commands.wire import Command
from core.database.pools import api_pool, pool_counts
from core.database.read_pool import ReadPool
from core.database.reads import within
from core.database.rights import LOOK_SECONDS, identity_fault, look_at_login
from core.errors import DatabaseUnavailable
from core.jobs.queries import find_outcome
from core.logs import get_logger
from core.ratelimit import HOUR_SECONDS, RateLimiter
from core.redis.clients import CACHE_REPLY_SECONDS, cache_client, end_tasks, queue_client
from core.redis.link import Link
from core.storage import Storage
from core.tasks.labels import LabelCounts
from core.version import VERSION

MEASURE_SECONDS = 1.0
POOL_CLOSE_SECONDS = 5.0
# When an outcome is looked up, its client has waited long enough. Without an answer in time it is told 202.
FIND_SECONDS = 1.0

log = get_logger()


async def database(app: web.Application) -> AsyncIterator[None]:
    """The pool of reads.

    Raises:
        SettingsError: in production, where the login is more than one that reads.
    """
    settings = app[SETTINGS]
    app[POOL] = ReadPool(await api_pool(settings), app[IDENTITIES], seconds=settings.read_timeout_seconds)
    try:
        await _look_at_database(app)
        yield
    finally:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(app[POOL].close(), POOL_CLOSE_SECONDS)


async def _look_at_database(app: web.Application) -> None:
    """Logs at the start what would make every answer wrong. /health/ready tells of a database that is away."""
    standing = await look_at_login(app[SETTINGS], app[POOL], "API")
    if standing is None or not standing.has_tables:
        return
    try:
        if fault := await within(LOOK_SECONDS, identity_fault(app[POOL])):
            log.error("identities are refused", fault=fault)
    except DatabaseUnavailable as error:
        log.warning("the database could not be looked at", fault=str(error))


async def redis_servers(app: web.Application) -> AsyncIterator[None]:
    settings = app[SETTINGS]
    app[QUEUE] = queue_client(settings.queue_redis_url)
    app[CACHE_CLIENT] = cache_client(settings.redis_url)
    link = Link(app[CACHE_CLIENT], timeout=CACHE_REPLY_SECONDS, gathers=True, name="cache server")
    app[CACHE] = PageCache(link, ttl_seconds=settings.cache_ttl_seconds)
    app[REQUEST_LIMIT] = RateLimiter(link, name="request", quota=settings.rate_limit_per_minute)
    app[REGISTRATION_LIMIT] = RateLimiter(
        link, name="register", quota=settings.registrations_per_hour, window_seconds=HOUR_SECONDS
    )
    app[GUESS_LIMITS] = GuessLimits(link, settings)
    watcher = asyncio.create_task(app[CACHE].watch_flag(app[QUEUE]), name="cache flag")
    yield
    await end_tasks([watcher])
    await app[REQUEST_LIMIT].close()
    await app[REGISTRATION_LIMIT].close()
    await app[GUESS_LIMITS].close()
    await link.close()
    await app[QUEUE].aclose(close_connection_pool=True)
    await app[CACHE_CLIENT].aclose(close_connection_pool=True)


async def files(app: web.Application) -> AsyncIterator[None]:
    app[STORAGE] = Storage.of(app[SETTINGS])
    app[UPLOADS] = UploadsUnderWay()
    yield


async def _outcome_to_tell(app: web.Application, command: Command) -> Outcome | None:
    outcome = await find_outcome(app[POOL], command)
    return None if outcome is None else await visible_outcome(app[POOL], command, outcome)


async def write_gateway(app: web.Application) -> AsyncIterator[None]:
    settings = app[SETTINGS]

    async def find(command: Command) -> Outcome | None:
        return await within(FIND_SECONDS, _outcome_to_tell(app, command))

    gateway = Gateway(app[QUEUE], settings, CacheInvalidator(app[CACHE_CLIENT], app[QUEUE]), find, app[DEFERRED])
    app[GATEWAY] = gateway
    await gateway.start()
    yield
    await gateway.close(timeout=settings.write_wait_seconds + 1)


async def authentication(app: web.Application) -> AsyncIterator[None]:
    app[PASSWORDS] = PasswordService(concurrency=app[SETTINGS].password_hash_concurrency)
    app[LIST_QUERIES] = {}
    app[LABEL_COUNTS] = LabelCounts()
    yield
    app[PASSWORDS].close()


async def gauges(app: web.Application) -> AsyncIterator[None]:
    metrics.BUILD_INFO.labels(VERSION, platform.python_version(), "api").set(1)
    measuring = asyncio.create_task(_measure_forever(app), name="gauges")
    yield
    await end_tasks([measuring])
    app[DEFERRED].flush()


async def _measure_forever(app: web.Application) -> None:
    while True:
        before = time.monotonic()
        await asyncio.sleep(MEASURE_SECONDS)
        metrics.EVENT_LOOP_LAG.labels("api").set(max(0.0, time.monotonic() - before - MEASURE_SECONDS))
        for state, count in pool_counts(app[POOL]).items():
            metrics.DATABASE_POOL.labels("api", state).set(count)


CONTEXTS = [database, redis_servers, files, authentication, write_gateway, gauges]

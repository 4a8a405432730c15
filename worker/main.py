"""The workers' table: which queues there are, which jobs they run, and how."""

import asyncio
import contextlib
import platform
import signal
from collections.abc import AsyncIterator, Sequence

from arq import cron
from arq.cron import CronJob
from prometheus_client import start_http_server

from core import metrics
from core.cache import CacheInvalidator
from core.database.pools import Pool, worker_pool
from core.database.rights import look_at_login
from core.jobs.queues import BULK_QUEUE, MAINTENANCE_QUEUE, TIME_QUEUE, WRITES_QUEUE
from core.logs import event_log, get_logger
from core.quotas.checks import Quotas
from core.redis.clients import CACHE_REPLY_SECONDS, QUEUE_REPLY_SECONDS, cache_client, end_tasks, queue_client
from core.redis.link import Link
from core.settings import Settings
from core.storage import Storage
from core.version import VERSION
from worker.days import move_days
from worker.deliveries.sender import deliver
from worker.exports import EXPORTS_AT_ONCE, run_exports
from worker.gauges import measure_forever
from worker.imports import run_imports
from worker.maintenance.runs import run_maintenance, schedule
from worker.reminders import plan_reminders, send_due_reminders
from worker.runner import Job, QueueOfJobs, Services, serve_queue, with_policy
from worker.undos import run_undos
from worker.writes.lanes import drain_lane, look_again

# Work on these queues is claimed: under a lease, whose loss interrupts it, or in small steps. This is only the end of
# all patience. There may be more jobs than places for imports and exports: those that find all of them taken end at
# once.
LONGEST_BULK_SECONDS = 24 * 3600.0
# A drain ends after three seconds, unless what it has begun takes longer; nothing of it takes so long.
LONGEST_DRAIN_SECONDS = 60.0
# How long a lane stands still whose worker was killed.
DRAIN_LEASE_SECONDS = 2.0

TIMED_JOBS: tuple[Job, ...] = (send_due_reminders, move_days, plan_reminders, deliver)
EVERY_TWO_SECONDS = frozenset(range(0, 60, 2))


def clockwork() -> list[CronJob]:
    """Every worker looks for itself whether something has come due: what is claimed keeps them apart.

    What fails for a fault that passes is left to the next look. Repeated, each look would be one more for as long as a
    server is away.
    """
    return [
        cron(
            with_policy(job, is_repeated=False).coroutine,
            name=job.__name__,
            second=set(EVERY_TWO_SECONDS),
            unique=False,
        )
        for job in TIMED_JOBS
    ]


QUEUES_OF_JOBS: dict[str, QueueOfJobs] = {
    "writes": QueueOfJobs(
        WRITES_QUEUE,
        jobs=(drain_lane,),
        timeout_seconds=LONGEST_DRAIN_SECONDS,
        max_jobs=64,
        lease_seconds=DRAIN_LEASE_SECONDS,
        after_job=look_again,
    ),
    "bulk": QueueOfJobs(
        BULK_QUEUE, jobs=(run_imports, run_undos, run_exports), timeout_seconds=LONGEST_BULK_SECONDS, max_jobs=8
    ),
    "time": QueueOfJobs(TIME_QUEUE, jobs=TIMED_JOBS, cron=clockwork, timeout_seconds=LONGEST_BULK_SECONDS, max_jobs=4),
    "maintenance": QueueOfJobs(
        MAINTENANCE_QUEUE,
        jobs=(run_maintenance,),
        cron=schedule,
        timeout_seconds=LONGEST_BULK_SECONDS,
        max_jobs=8,
    ),
}

DRAIN_SECONDS = 15.0

log = get_logger()


class CannotListen(Exception):
    """The port for metrics cannot be had; the message says what to do."""


@contextlib.asynccontextmanager
async def connected(settings: Settings, stopping: asyncio.Event) -> AsyncIterator[Services]:
    """Everything that jobs work with; connects at first use, so a worker may start before its servers."""
    async with contextlib.AsyncExitStack() as closing:
        queue = queue_client(settings.queue_redis_url)
        cache = cache_client(settings.redis_url)
        closing.push_async_callback(cache.aclose, close_connection_pool=True)
        closing.push_async_callback(queue.aclose, close_connection_pool=True)
        queue_link, cache_link = Link(queue, timeout=QUEUE_REPLY_SECONDS), Link(cache, timeout=CACHE_REPLY_SECONDS)
        closing.push_async_callback(cache_link.close)
        closing.push_async_callback(queue_link.close)
        pool = await worker_pool(settings)
        snapshots = await worker_pool(settings, size=EXPORTS_AT_ONCE)
        closing.push_async_callback(_close_pools, pool, snapshots)
        quotas = Quotas(settings, pool)
        closing.push_async_callback(quotas.close)
        yield Services(
            settings,
            pool,
            queue,
            cache,
            queue_link,
            CacheInvalidator(cache, queue, link=cache_link),
            Storage.of(settings),
            snapshots,
            quotas,
            event_log(settings, tier="worker", event="write"),
            stopping,
            closing=closing,
        )


async def _close_pools(*pools: Pool) -> None:
    """Waits for what is under way, but not for a server that hangs."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.gather(*(pool.close() for pool in pools)), 5)


async def serve(settings: Settings, queues: Sequence[str]) -> None:
    """Runs workers for the named queues until SIGTERM or SIGINT; then finishes what runs.

    Args:
        settings: of the process.
        queues: keys of `QUEUES_OF_JOBS`.

    Raises:
        CannotListen: the port for metrics cannot be had.
        SettingsError: in production, where the login is none of its own, or more than one that changes rows.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stop.set)
    if settings.worker_metrics_port:
        try:
            start_http_server(settings.worker_metrics_port, addr=settings.host)
        except OSError as error:
            raise CannotListen(
                f"cannot serve metrics on {settings.host}:{settings.worker_metrics_port}: {error.strerror}. "
                "Choose another WORKER_METRICS_PORT for each worker of a machine, or 0 for none."
            ) from None
    metrics.BUILD_INFO.labels(VERSION, platform.python_version(), "worker").set(1)
    async with connected(settings, stop) as services:
        await look_at_login(settings, services.pool, "WORKER")
        gauges = asyncio.create_task(measure_forever(services))
        log.info("worker ready", queues=list(queues))
        try:
            await asyncio.gather(
                *(serve_queue(QUEUES_OF_JOBS[name], services, stop, drain_seconds=DRAIN_SECONDS) for name in queues)
            )
        finally:
            await end_tasks([gauges])
    log.info("worker stopped")

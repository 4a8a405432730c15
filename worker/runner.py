"""What every job gets: services, a woken worker, the retry policy, metrics and log context."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog
from arq import Retry, Worker
from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix
from arq.cron import CronJob
from arq.worker import Function, func
from redis.asyncio import Redis

from core import metrics
from core.cache import CacheInvalidator
from core.database.faults import is_unavailable, may_be_stale
from core.database.pools import Pool
from core.logs import get_logger
from core.outages import Outage, Outages, pause
from core.quotas.checks import Quotas
from core.redis.clients import (
    REDIS_FAULTS,
    THIRTY_DAYS_MS,
    dumps_job,
    end_tasks,
    loads_job,
    queue_client,
    wake_channel,
)
from core.redis.link import Link
from core.settings import Settings
from core.storage import Storage

LONGEST_IDLE_SECONDS = 0.5
UNLIMITED_TRIES = 1_000_000_000
RETRY_FIRST_SECONDS = 0.1
RETRY_LONGEST_SECONDS = 2.0
RESTART_SECONDS = 0.5
RECORD_SECONDS = 1.0
LEASE_RENEWALS = 4
"""How often a lease is renewed in the time that it lasts."""

T = TypeVar("T")

log = get_logger()


@dataclass(frozen=True, slots=True)
class Services:
    """What every job works with; arq hands it over as `ctx["services"]`.

    What one kind of job alone shares in a process belongs to its module, in a class of its own: see `state_of`.
    """

    settings: Settings
    pool: Pool
    queue: ArqRedis
    cache: Redis
    queue_link: Link
    """For what each batch of writes waits for."""
    invalidator: CacheInvalidator
    storage: Storage
    snapshots: Pool
    """For exports, whose transactions last: they must not take all connections from those who renew leases."""
    quotas: Quotas
    log_write: Callable[[dict[str, Any]], None]
    """Writes the line of a write that was carried out."""
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the process shall end: long work stops at its next checkpoint."""
    outages: Outages = field(default_factory=Outages)
    """What this process has noticed to be away."""
    closing: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    """Closes what a job opens for the process, when the process ends."""
    states: dict[type[Any], Any] = field(default_factory=dict)
    """What `state_of` has made."""

    def state_of(self, kind: type[T]) -> T:
        """What the jobs of one module share in this process: the one object of a class, made when first asked for."""
        if kind not in self.states:
            self.states[kind] = kind()
        state: T = self.states[kind]
        return state


Job = Callable[..., Awaitable[Any]]
"""`async (services, *arguments)`."""


@dataclass(frozen=True, slots=True)
class QueueOfJobs:
    """One arq queue: its jobs and how they run.

    Attributes:
        name: the arq queue.
        jobs: job functions; each job's kind is its function's name.
        timeout_seconds: the longest run of a job.
        max_jobs: run at one time in one process.
        lease_seconds: how long a job stands as running after its worker was last heard of. Without it a killed worker's
            job waits for `timeout_seconds` and `grace_seconds`.
        cron: builds this worker's own schedule; arq keeps state in it.
        after_job: called with each job's id when arq has let go of it, unless it has failed.
    """

    name: str
    jobs: tuple[Job, ...]
    timeout_seconds: float
    max_jobs: int
    lease_seconds: float | None = None
    grace_seconds: float = 5.0
    cron: Callable[[], Sequence[CronJob]] | None = None
    after_job: Callable[[Services, str], Awaitable[None]] | None = None


def retry_delay(attempt: int) -> float:
    """Seconds before run `attempt` + 1."""
    return pause(attempt, first=RETRY_FIRST_SECONDS, longest=RETRY_LONGEST_SECONDS)


def with_policy(job: Job, *, is_repeated: bool = True) -> Function:
    """Wraps a job for arq: transient faults become `Retry`, which arq would otherwise drop; all runs are counted.

    A refused login and a missing migration are waited for like a server that is away.

    Args:
        job: its kind is its function's name.
        is_repeated: else a run that failed for a transient fault is left to the next one, which comes by the clock.
    """
    kind = job.__name__

    async def run(ctx: dict[str, Any], *arguments: Any) -> Any:
        started = time.perf_counter()
        outcome = "failed"
        outage = ctx["services"].outages[f"what {kind} needs"]
        with structlog.contextvars.bound_contextvars(job=ctx["job_id"], kind=kind):
            try:
                result = await job(ctx["services"], *arguments)
                outcome = "succeeded"
                outage.over()
                return result
            except asyncio.CancelledError:
                outcome = "cancelled"  # by a shutdown: arq runs it again; or by its timeout
                raise
            except Exception as error:
                if not (is_unavailable(error) or isinstance(error, REDIS_FAULTS)):
                    log.exception("job failed")
                    raise
                outage.noticed(error)
                if may_be_stale(error):  # the next run asks on new connections
                    for pool in (ctx["services"].pool, ctx["services"].snapshots):
                        await pool.expire_connections()
                if not is_repeated:
                    outcome = "postponed"
                    return None
                outcome = "retried"
                metrics.JOB_RETRIES.labels(kind).inc()
                raise Retry(defer=retry_delay(ctx["job_try"])) from error
            finally:
                ctx["outcome"] = outcome
                metrics.JOB_DURATION.labels(kind, outcome).observe(time.perf_counter() - started)

    run.__name__ = run.__qualname__ = kind
    return func(run, name=kind)


class WokenWorker(Worker):
    """An arq worker that sleeps until it is woken, instead of asking its queue twice a second or 250 times."""

    def __init__(self, *, in_progress_seconds: float, **options: Any) -> None:
        super().__init__(**options)
        # arq adds ten seconds to the longest timeout; a job of ours may safely start while a presumed dead
        # run of it is still alive (rows in the database keep them apart), so a shorter wait is right.
        self.in_progress_timeout_s = in_progress_seconds
        self.unfinished: set[str] = set()
        """Ids of the jobs that run here, or may stand as running because the queue server went away."""
        self._woken = asyncio.Event()
        self._woken.set()

    async def start_jobs(self, job_ids: list[bytes]) -> None:
        for job_id in job_ids:
            name = job_id.decode()
            # After a run elsewhere that overtook one of ours, a job may look free that still runs here. arq keeps
            # its tasks by job id and would lose one of the two.
            if name not in self.unfinished:
                self.unfinished.add(name)
                await super().start_jobs([job_id])  # raises where the queue server goes away, marked or not
                if name not in self.tasks or self.tasks[name].done():
                    self.unfinished.discard(name)

    async def run_job(self, job_id: str, score: int) -> None:
        await super().run_job(job_id, score)
        self.unfinished.discard(job_id)  # not reached where the end could not be recorded

    async def keep_leases(self) -> None:
        """Tells the queue server again and again that the jobs of this worker run; of a dead one it forgets that."""
        while True:
            await asyncio.sleep(self.in_progress_timeout_s / LEASE_RENEWALS)
            running = [job_id for job_id, task in self.tasks.items() if not task.done()]
            with contextlib.suppress(*REDIS_FAULTS):
                pipeline = self.pool.pipeline(transaction=False)
                for job_id in running:
                    pipeline.pexpire(in_progress_key_prefix + job_id, int(self.in_progress_timeout_s * 1000))
                await pipeline.execute()

    async def release(self, job_ids: set[str]) -> None:
        """Lets jobs be run again that an earlier worker of this process was running when it lost the queue server.

        They were cancelled with it, but stand there as running, and nobody would touch them until that lapses.
        """
        if job_ids:
            await self.pool.delete(*(in_progress_key_prefix + job_id for job_id in job_ids))

    async def _poll_iteration(self) -> None:
        if not self.burst:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LONGEST_IDLE_SECONDS):
                    await self._woken.wait()
            self._woken.clear()
        await super()._poll_iteration()

    def _release_sem_dec_counter_on_complete(self) -> None:
        super()._release_sem_dec_counter_on_complete()
        self.wake()  # a place is free

    def wake(self) -> None:
        self._woken.set()

    async def listen_for_wakes(self) -> None:
        """Wakes this worker for each message on its queue's wake channel; a lost one costs half a second."""
        while True:
            try:
                async with self.pool.pubsub() as subscription:
                    await subscription.subscribe(wake_channel(self.queue_name))
                    while True:
                        if await subscription.get_message(ignore_subscribe_messages=True, timeout=1.0):
                            self.wake()
            except REDIS_FAULTS:
                await asyncio.sleep(RESTART_SECONDS)


def build_worker(queue: QueueOfJobs, services: Services, pool: ArqRedis, *, burst: bool = False) -> WokenWorker:
    """An arq worker for one queue, with every setting of arq's that would lose work set so that it does not."""

    async def after_job_end(ctx: dict[str, Any]) -> None:
        # What fails for good would fail again at once, and in circles: whoever looks after it later may try again.
        if queue.after_job is not None and ctx.get("outcome") != "failed":
            with contextlib.suppress(*REDIS_FAULTS):
                await queue.after_job(services, ctx["job_id"])

    return WokenWorker(
        functions=[with_policy(job) for job in queue.jobs],
        queue_name=queue.name,
        cron_jobs=queue.cron() if queue.cron else None,
        redis_pool=pool,
        burst=burst,
        ctx={"services": services},
        handle_signals=False,
        max_jobs=queue.max_jobs,
        job_timeout=queue.timeout_seconds,
        in_progress_seconds=queue.lease_seconds or queue.timeout_seconds + queue.grace_seconds,
        max_tries=UNLIMITED_TRIES,
        keep_result=0,
        poll_delay=0,
        job_serializer=dumps_job,
        job_deserializer=loads_job,
        expires_extra_ms=THIRTY_DAYS_MS,
        after_job_end=after_job_end,
        log_results=False,
    )


async def serve_queue(queue: QueueOfJobs, services: Services, stop: asyncio.Event, *, drain_seconds: float) -> None:
    """Runs workers for one queue until `stop` is set, a new one whenever the queue server has been away.

    arq's worker ends when its server does, and its counters are then not to be trusted: it is replaced.
    """
    unfinished: set[str] = set()
    outage = services.outages[f"queue server, for {queue.name}"]
    while not stop.is_set():
        pool = queue_client(services.settings.queue_redis_url)
        worker = build_worker(queue, services, pool)
        main = asyncio.create_task(_work(worker, unfinished, outage), name=f"{queue.name} worker")
        helpers = [asyncio.create_task(worker.listen_for_wakes(), name=f"{queue.name} wakes")]
        if queue.lease_seconds is not None:
            helpers.append(asyncio.create_task(worker.keep_leases(), name=f"{queue.name} leases"))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({main, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            worker.allow_pick_jobs = False
            if worker.tasks:
                await asyncio.wait(worker.tasks.values(), timeout=drain_seconds)
        # First the jobs alone: arq's tasks around them then record, if they can, that they are to be run again.
        for job in worker.job_tasks.values():
            job.cancel()
        if worker.tasks:
            await asyncio.wait(worker.tasks.values(), timeout=RECORD_SECONDS)
        # And the jobs once more: where arq's task has ended before, nobody has heard how its job ended.
        await end_tasks([main, *helpers, stopping, *worker.tasks.values(), *worker.job_tasks.values()])
        [fault] = await asyncio.gather(main, return_exceptions=True)
        with contextlib.suppress(*REDIS_FAULTS):
            await pool.aclose(close_connection_pool=True)
        unfinished |= worker.unfinished
        if not stop.is_set():
            pause = max(RESTART_SECONDS, outage.noticed(fault or ConnectionError("the worker has ended")))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause)


async def _work(worker: WokenWorker, unfinished: set[str], outage: Outage) -> None:
    await worker.pool.ping()
    outage.over()
    await worker.release(unfinished)
    unfinished.clear()
    await worker.async_run()

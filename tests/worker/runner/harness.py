"""A running worker with jobs of the test's own, and what its metrics count."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

from prometheus_client import REGISTRY

from core.redis.clients import wake_channel
from tests.harness import eventually
from worker.runner import QueueOfJobs, Services, serve_queue

TEST_QUEUE = "tenfold:test"


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


@contextlib.asynccontextmanager
async def serving(services: Services, queue: QueueOfJobs) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(serve_queue(queue, services, stop, drain_seconds=5))
    await asyncio.sleep(0.3)  # it has subscribed to its wake channel
    try:
        yield
    finally:
        stop.set()
        await task


class Runs:
    """A job that notes when it ran."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.arguments: list[Any] = []

    def job(self) -> Any:
        async def noted(_: Services, *arguments: Any) -> None:
            self.times.append(time.monotonic())
            self.arguments.append(arguments)

        return noted

    def queue(self, **more: Any) -> QueueOfJobs:
        return QueueOfJobs(TEST_QUEUE, jobs=(self.job(),), timeout_seconds=5, max_jobs=10, **more)


async def enqueue(services: Services, *arguments: Any, wake: bool = True, job_id: str | None = None) -> float:
    started = time.monotonic()
    await services.queue.enqueue_job("noted", *arguments, _queue_name=TEST_QUEUE, _job_id=job_id)
    if wake:
        await services.queue.publish(wake_channel(TEST_QUEUE), "")
    return started


async def until(condition: Any, timeout: float = 10) -> None:
    async def asked() -> bool:
        return bool(condition())

    await eventually(asked, timeout=timeout)

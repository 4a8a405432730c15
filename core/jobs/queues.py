"""The arq queues, and how workers are called to look into one."""

from dataclasses import dataclass

from arq.connections import ArqRedis

from core.redis.clients import wake_channel

WRITES_QUEUE = "tenfold:writes"
MAINTENANCE_QUEUE = "tenfold:maintenance"
BULK_QUEUE = "tenfold:bulk"
TIME_QUEUE = "tenfold:time"
QUEUES = {"writes": WRITES_QUEUE, "bulk": BULK_QUEUE, "time": TIME_QUEUE, "maintenance": MAINTENANCE_QUEUE}
"""The names that operators use → the arq queues."""


@dataclass(frozen=True, slots=True)
class Call:
    """A job that looks for work of its kind, and the queue on which it runs."""

    queue: str
    job: str


RUN_IMPORTS = Call(BULK_QUEUE, "run_imports")
RUN_UNDOS = Call(BULK_QUEUE, "run_undos")
RUN_EXPORTS = Call(BULK_QUEUE, "run_exports")
DELIVER = Call(TIME_QUEUE, "deliver")
RUN_MAINTENANCE = Call(MAINTENANCE_QUEUE, "run_maintenance")


async def call_worker(queue: ArqRedis, call: Call) -> None:
    """Lets a worker look for work, and wakes one."""
    await queue.enqueue_job(call.job, _queue_name=call.queue)
    await queue.publish(wake_channel(call.queue), "")

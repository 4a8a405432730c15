"""The arq queues, and how workers are called to look into one."""

from arq.connections import ArqRedis

from core.redis.clients import wake_channel

WRITES_QUEUE = "tenfold:writes"
MAINTENANCE_QUEUE = "tenfold:maintenance"
BULK_QUEUE = "tenfold:bulk"
TIME_QUEUE = "tenfold:time"
QUEUES = {"writes": WRITES_QUEUE, "bulk": BULK_QUEUE, "time": TIME_QUEUE, "maintenance": MAINTENANCE_QUEUE}
"""The names that operators use → the arq queues."""

LONG_WORK = {"import": "run_imports", "export": "run_exports"}
"""Kinds of jobs that outlive their command → the arq job that looks for such work. `<kind>.cancel` ends one."""


async def call_bulk(queue: ArqRedis, kind: str) -> None:
    """Lets a worker look for long work of a kind in `LONG_WORK`, and wakes one."""
    await queue.enqueue_job(LONG_WORK[kind], _queue_name=BULK_QUEUE)
    await queue.publish(wake_channel(BULK_QUEUE), "")


async def call_time(queue: ArqRedis, job: str) -> None:
    """Lets a worker look for what has come due: `send_due_reminders` or `deliver`."""
    await queue.enqueue_job(job, _queue_name=TIME_QUEUE)
    await queue.publish(wake_channel(TIME_QUEUE), "")


async def call_maintenance(queue: ArqRedis) -> None:
    """Lets a worker look for runs of maintenance that were ordered, and wakes one."""
    await queue.enqueue_job("run_maintenance", _queue_name=MAINTENANCE_QUEUE)
    await queue.publish(wake_channel(MAINTENANCE_QUEUE), "")

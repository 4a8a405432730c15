"""The lanes: streams that carry commands from every API process to the workers, and how their drains are called.

`user_id` picks the lane, so one user's commands keep their order whichever process took them.
"""

import zlib
from collections import defaultdict
from collections.abc import Iterable

from arq.connections import ArqRedis

from core.redis import wake_channel

WRITES_QUEUE = "tenfold:writes"
DEAD_LETTERS = "tenfold:lane:dead"
DEAD_LETTERS_MAXIMUM = 10_000
PENDING_JOBS = "tenfold:pending"
"""A hash: job id → what `GET /jobs/{id}` answers while the job waits in its lane. Only jobs answered 202."""


def stream(lane: int) -> str:
    return f"tenfold:lane:{lane}"


def stream_pattern() -> str:
    """Matches every lane's stream, and the dead letters, which `lane_of_stream` tells apart."""
    return "tenfold:lane:*"


def lane_of_stream(name: str) -> int | None:
    number = name.rpartition(":")[2]
    return int(number) if number.isdecimal() else None


def drain_job_id(lane: int) -> str:
    """The arq job id of a lane's drain: one id, so one drain at a time."""
    return f"lane:{lane}"


def outcomes_channel(origin: str) -> str:
    """Where the API process `origin` hears what became of its commands."""
    return f"tenfold:outcomes:{origin}"


def pending_jobs_of(user_id: int) -> str:
    """A set: the ids in `PENDING_JOBS` that belong to the user; may name some that are done."""
    return f"tenfold:pending:{user_id}"


async def strike_off(queue: ArqRedis, jobs: Iterable[tuple[int, str]]) -> None:
    """Takes jobs, each (user, job id), off both lists of what is queued."""
    ids_of: dict[int, list[str]] = defaultdict(list)
    for user_id, job_id in jobs:
        ids_of[user_id].append(job_id)
    pipeline = queue.pipeline(transaction=False)
    for user_id, job_ids in ids_of.items():
        pipeline.hdel(PENDING_JOBS, *job_ids)
        pipeline.srem(pending_jobs_of(user_id), *job_ids)
    await pipeline.execute()


def lane_of_user(user_id: int, lanes: int) -> int:
    return user_id % lanes


def lane_of_name(name: str, lanes: int) -> int:
    """The lane for a registration, where there is no user yet: equal names, in any case, meet in one."""
    return zlib.crc32(name.lower().encode()) % lanes


async def call_drain(queue: ArqRedis, lane: int) -> None:
    """Enqueues a lane's drain and wakes a worker; does nothing where the drain is enqueued or runs already."""
    await queue.enqueue_job("drain_lane", lane, _job_id=drain_job_id(lane), _queue_name=WRITES_QUEUE)
    await queue.publish(wake_channel(WRITES_QUEUE), "")

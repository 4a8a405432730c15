"""The lanes: streams that carry commands from every API process to the workers, and how their drains are called.

Kinds of work do not wait for each other: accounts and sessions have a lane, single writes have WRITE_LANES of them, and
batches as many of their own. `user_id` picks the lane, so one user's commands of a kind keep their order whichever
process took them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from arq.connections import ArqRedis

from core.commands.kinds import KINDS
from core.commands.wire import Command
from core.jobs.queues import WRITES_QUEUE
from core.redis.clients import wake_channel

ACCOUNTS = "accounts"
_BATCHES = "batches-"
_STREAM = "tenfold:lane:"
DEAD_LETTERS = "tenfold:lane:dead"
DEAD_LETTERS_MAXIMUM = 10_000

STALE_SECONDS = 30.0
"""A lane whose oldest entry is older than this is not drained as it should be."""


def lane_of(command: Command, write_lanes: int) -> str:
    """The name of the lane for a command; registrations, which have no user yet, are among the accounts."""
    lanes = KINDS[command.kind].lanes
    if lanes == "accounts":
        return ACCOUNTS
    number = lane_of_user(command.user_id, write_lanes)
    return f"{_BATCHES}{number}" if lanes == "batches" else number


def lane_of_user(user_id: int, write_lanes: int) -> str:
    """The lane of a user's single writes."""
    return str(user_id % write_lanes)


def lane_names(write_lanes: int) -> list[str]:
    """Every lane that the API appends to."""
    numbers = [str(number) for number in range(write_lanes)]
    return [ACCOUNTS, *numbers, *(f"{_BATCHES}{number}" for number in numbers)]


def is_for_batches(lane: str) -> bool:
    return lane.startswith(_BATCHES)


def kind_of_lane(lane: str) -> str:
    """Lanes of one kind carry the same work of different users."""
    return "batches" if is_for_batches(lane) else ACCOUNTS if lane == ACCOUNTS else "writes"


def stream(lane: str) -> str:
    return f"{_STREAM}{lane}"


def stream_pattern() -> str:
    """Matches every lane's stream, and the dead letters, which `lane_of_stream` tells apart."""
    return f"{_STREAM}*"


def lane_of_stream(name: str) -> str | None:
    return None if name == DEAD_LETTERS else name.removeprefix(_STREAM)


def drain_job_id(lane: str) -> str:
    """The arq job id of a lane's drain: one id, so one drain at a time."""
    return f"lane:{lane}"


def lane_of_drain(job_id: str) -> str:
    return job_id.removeprefix("lane:")


def tries_key(lane: str) -> str:
    """A hash: `head`, the entry that stood first when a drain began; `tries`, how many began there and did not end in
    good order; and for what was tried alone its job id → the same of it."""
    return f"tenfold:tries:{lane}"


def outcomes_channel(origin: str) -> str:
    """Where the API process `origin` hears what became of its commands."""
    return f"tenfold:outcomes:{origin}"


async def keep_dead_letter(queue: ArqRedis, letter: Mapping[Any, Any]) -> None:
    """Keeps what nobody carries out for operators to look at; of very many the oldest go."""
    await queue.xadd(DEAD_LETTERS, dict(letter), maxlen=DEAD_LETTERS_MAXIMUM, approximate=True)


async def call_drain(queue: ArqRedis, lane: str) -> None:
    """Enqueues a lane's drain and wakes a worker; does nothing where the drain is enqueued or runs already."""
    await queue.enqueue_job("drain_lane", lane, _job_id=drain_job_id(lane), _queue_name=WRITES_QUEUE)
    await queue.publish(wake_channel(WRITES_QUEUE), "")


@dataclass(frozen=True, slots=True)
class LaneState:
    """What waits in a lane.

    Attributes:
        entries: how many.
        oldest: the id of the first one, with its milliseconds since 1970 before the `-`; None where there is none.
        tries: how many drains began with that entry and did not end in good order.
    """

    name: str
    entries: int
    oldest: str | None
    tries: int

    def age_seconds(self, now: float) -> float:
        """How long the oldest entry has waited; 0 where there is none."""
        return 0.0 if self.oldest is None else max(0.0, now - int(self.oldest.partition("-")[0]) / 1000)


async def lanes_with_entries(queue: ArqRedis) -> list[str]:
    """The lanes in which something lies; also those that a lower WRITE_LANES left behind."""
    found = []
    async for key in queue.scan_iter(match=stream_pattern(), count=1000, _type="stream"):
        lane = lane_of_stream(key.decode())
        if lane is not None and await queue.xlen(key):
            found.append(lane)
    return found


async def lane_states(queue: ArqRedis, lanes: Iterable[str]) -> list[LaneState]:
    """How each of some lanes stands."""
    names = list(lanes)
    pipeline = queue.pipeline(transaction=False)
    for lane in names:
        pipeline.xlen(stream(lane))
        pipeline.xrange(stream(lane), count=1)
        pipeline.hmget(tries_key(lane), ["head", "tries"])
    replies: list[Any] = await pipeline.execute()
    states = []
    for number, lane in enumerate(names):
        entries, oldest, (head, tries) = replies[3 * number : 3 * number + 3]
        first = oldest[0][0] if oldest else None
        states.append(
            LaneState(lane, entries, first.decode() if first else None, int(tries) if first and first == head else 0)
        )
    return states


async def states_of_all(queue: ArqRedis, write_lanes: int) -> list[LaneState]:
    """How each lane stands, also those that a lower WRITE_LANES left behind."""
    names = lane_names(write_lanes)
    left_behind = sorted(set(await lanes_with_entries(queue)) - set(names))
    return await lane_states(queue, [*names, *left_behind])

"""The load generator, a process of its own: `python -m ops.bench.client`, a plan on stdin, what came of it on stdout.

HTTP/1.1 over connections that stay open. Requests are rendered beforehand, and of an answer only what tells whether
it is right is read. The client must never be the bottleneck: its share of a core stands in the result.
"""

import asyncio
import sys
import time
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import orjson
import uvloop

CONNECTS_AT_ONCE = 100
CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 15.0
RECONNECT_SECONDS = 0.1
LOOK_SECONDS = 0.005
MARK = b'"version":'
"""Occurs once in each task of an answer: inside a text its quotes would be escaped."""

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


@dataclass(frozen=True)
class Request:
    """What to send, and what a right answer is.

    Attributes:
        text: the request as it goes over the wire, in Latin-1.
        status: of the answer.
        tasks: how many tasks the answer holds; None: not looked at.
    """

    text: str
    status: int
    tasks: int | None = None


@dataclass(frozen=True)
class Plan:
    """A load.

    Attributes:
        seconds: how long is measured.
        warmup: seconds before that, not measured.
        interval: 0: each connection asks again as soon as it is answered. Otherwise once in so many seconds,
            and an answer's time counts from when it should have been asked for.
    """

    host: str
    port: int
    connections: int
    seconds: float
    warmup: float
    requests: list[Request]
    interval: float = 0.0


@dataclass(frozen=True)
class Result:
    """What came of it.

    Attributes:
        rate: right answers a second.
        acknowledged: status → right answers in all, warm-up and last ones included.
        errors: reason → how often.
        cpu: the generator's own share of a core.
    """

    rate: float
    p50_ms: float
    p99_ms: float
    longest_ms: float
    acknowledged: dict[str, int]
    errors: dict[str, int]
    cpu: float


class Load:
    """What the connections share: the next request, and the results."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._requests = [(r.text.encode("latin-1"), str(r.status).encode(), r.tasks) for r in plan.requests]
        self._next = 0
        self._latencies = array("d")
        self._in_time = 0
        self.acknowledged: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.waiting = 0
        self.measured_from = self.deadline = float("inf")

    def take(self) -> tuple[bytes, bytes, int | None]:
        request = self._requests[self._next]
        self._next = (self._next + 1) % len(self._requests)
        return request

    def answered(self, status: bytes, asked_at: float, now: float) -> None:
        self.acknowledged[status.decode()] += 1
        if self.measured_from <= now <= self.deadline:
            self._in_time += 1
        # Requests from before the warm-up's end count, too, if they waited: else a service that hangs at first looks
        # quick.
        if self.measured_from <= now:
            self._latencies.append(now - asked_at)

    def result(self, cpu: float) -> Result:
        latencies = sorted(self._latencies)
        return Result(
            rate=self._in_time / self._plan.seconds,
            p50_ms=percentile(latencies, 50) * 1000,
            p99_ms=percentile(latencies, 99) * 1000,
            longest_ms=percentile(latencies, 100) * 1000,
            acknowledged=dict(self.acknowledged),
            errors=dict(self.errors),
            cpu=cpu,
        )


class Connection(asyncio.Protocol):
    """Asks, waits for the answer, looks at it, and asks again."""

    def __init__(self, load: Load, plan: Plan) -> None:
        self._load = load
        self._interval = plan.interval
        self._target = plan.host, plan.port
        self._transport: asyncio.Transport | None = None
        self._partial = b""
        self._expected: tuple[bytes, int | None] | None = None
        self._asked_at = 0.0

    async def open(self) -> None:
        async with asyncio.timeout(CONNECT_SECONDS):
            await asyncio.get_running_loop().create_connection(lambda: self, *self._target)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not derive from asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def ask(self, asked_at: float) -> None:
        now = time.perf_counter()
        if now > self._load.deadline or self._transport is None:
            return
        # A timer may be early by the part of a millisecond.
        self._asked_at = min(asked_at, now)
        text, status, tasks = self._load.take()
        self._expected = status, tasks
        self._load.waiting += 1
        self._transport.write(text)

    def data_received(self, data: bytes) -> None:
        if self._partial:
            data = self._partial + data
        end = data.find(_HEAD_END)
        if end < 0 or len(data) < end + 4 + _body_length(data, end):
            self._partial = data
            return
        self._partial = b""
        now = time.perf_counter()
        if self._expected is None:
            self._load.errors["an answer to nothing"] += 1
            return
        status, tasks = self._expected
        self._expected = None
        self._load.waiting -= 1
        if data[9:12] != status:
            self._load.errors[f"status {data[9:12].decode('latin-1')}"] += 1
        elif tasks is not None and data.count(MARK, end) != tasks:
            self._load.errors[f"{data.count(MARK, end)} tasks"] += 1
        else:
            self._load.answered(status, self._asked_at, now)
        self._ask_again(now)

    def _ask_again(self, now: float) -> None:
        due = self._asked_at + self._interval
        if not self._interval or due <= now:
            self.ask(due if self._interval else now)
        else:
            asyncio.get_running_loop().call_later(due - now, self.ask, due)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._partial = b""
        if self._expected is not None:
            self._expected = None
            self._load.waiting -= 1
            self._load.errors["connection lost"] += 1
        if time.perf_counter() < self._load.deadline:
            asyncio.get_running_loop().create_task(self._reopen())

    async def _reopen(self) -> None:
        await asyncio.sleep(RECONNECT_SECONDS)
        try:
            await self.open()
        except OSError:
            self._load.errors["connection refused"] += 1
        else:
            self.ask(time.perf_counter())


def _body_length(data: bytes, head_end: int) -> int:
    at = data.find(b"Content-Length: ", 0, head_end)
    if at < 0:
        at = data[:head_end].lower().find(_LENGTH)
        if at < 0:
            return 0  # 204 and 304 have none, and the service sends nothing in chunks
    stop = data.find(b"\r\n", at)
    return int(data[at + len(_LENGTH) : stop])


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Of values in rising order; nan if there are none."""
    if not ordered:
        return float("nan")
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


async def run(plan: Plan) -> Result:
    load = Load(plan)
    loop = asyncio.get_running_loop()

    def note_fault(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        load.errors[f"generator: {context.get('exception') or context['message']!r}"] += 1

    # A fault of the generator must not look like a service that does not answer.
    loop.set_exception_handler(note_fault)
    connections = [Connection(load, plan) for _ in range(plan.connections)]
    for first in range(0, len(connections), CONNECTS_AT_ONCE):
        await asyncio.gather(*(connection.open() for connection in connections[first : first + CONNECTS_AT_ONCE]))
    started = time.perf_counter()
    load.measured_from = started + plan.warmup
    load.deadline = load.measured_from + plan.seconds
    for place, connection in enumerate(connections):
        # Connections that ask once in a while begin at different times.
        delay = plan.interval * place / len(connections)
        loop.call_later(delay, connection.ask, started + delay)
    await asyncio.sleep(plan.warmup)
    cpu = time.process_time()
    await asyncio.sleep(load.deadline - time.perf_counter())
    cpu = (time.process_time() - cpu) / plan.seconds
    while load.waiting and time.perf_counter() < load.deadline + ANSWER_SECONDS:
        await asyncio.sleep(LOOK_SECONDS)
    if load.waiting:
        load.errors["unanswered"] += load.waiting
    if not load.acknowledged:
        load.errors["no answer"] += 1
    for connection in connections:
        connection.close()
    return load.result(cpu)


def main() -> None:
    given = orjson.loads(sys.stdin.buffer.read())
    plan = Plan(**{**given, "requests": [Request(*request) for request in given["requests"]]})
    sys.stdout.buffer.write(orjson.dumps(asdict(uvloop.run(run(plan)))))


if __name__ == "__main__":
    main()

"""A server is away under load: each who notices says so once, and nothing is left that nobody has looked at."""

import asyncio
import contextlib
import gc
from collections import Counter
from typing import Any

import pytest
from structlog.testing import capture_logs

from core.outages import LONGEST_PAUSE_SECONDS, Outage, pause
from core.redis.clients import end_tasks
from tests.conftest import MakeService
from tests.harness import Servers, Service, away, eventually
from worker import gauges

QUEUES = ("writes", "bulk", "time", "maintenance")
AWAY_SECONDS = 5.0


async def ask_for_ever(service: Service) -> None:
    async def ask(kind: int) -> None:
        while True:
            with contextlib.suppress(Exception):
                if kind == 0:
                    await service.alice.get("/user/tasks?limit=5")
                elif kind == 1:
                    await service.alice.post("/tasks", json={"title": "waits"})
                elif kind == 2:
                    await service.bob.post("/tasks", json={"title": "x"}, headers={"Prefer": "respond-async"})
                else:
                    async with asyncio.timeout(0.05):
                        await service.bob.post("/tasks", json={"title": "goes away"})
            await asyncio.sleep(0.02)

    await asyncio.gather(*(ask(number % 4) for number in range(12)))


@pytest.mark.timeout(90)
@pytest.mark.parametrize("name", ["queue", "cache", "postgres"])
async def test_an_outage_is_told_once_by_each_who_notices(
    make_service: MakeService, breakable_servers: Servers, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(gauges, "MEASURE_SECONDS", 0.5)
    service = await make_service(
        on=breakable_servers, queues=QUEUES, RATE_LIMIT_PER_MINUTE="100000", WRITE_WAIT_SECONDS="1"
    )
    unexpected: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: unexpected.append(context))
    observing = asyncio.create_task(gauges.measure_forever(service.worker.services))
    asking = asyncio.create_task(ask_for_ever(service))
    try:
        await asyncio.sleep(0.5)
        with capture_logs() as lines:
            async with away(getattr(breakable_servers, name)):
                await asyncio.sleep(AWAY_SECONDS)

            async def all_over() -> bool:
                events = Counter(line["event"] for line in lines)
                return events["outage begins"] == events["outage is over"]

            await eventually(all_over, timeout=15)
    finally:
        await end_tasks([asking, observing])
        gc.collect()
        await asyncio.sleep(0)
        loop.set_exception_handler(None)
    assert unexpected == []
    begun = Counter(line["of"] for line in lines if line["event"] == "outage begins")
    assert begun
    # A server that has just come back may go away for somebody once more: PostgreSQL says that it is starting up.
    assert max(begun.values()) <= 2, begun
    warnings = [line for line in lines if line["log_level"] == "warning" and line["event"] != "outage begins"]
    assert len(warnings) <= 3, warnings


@pytest.mark.timeout(60)
async def test_a_service_that_ends_while_its_queue_is_away_leaves_nothing_unseen(
    make_service: MakeService, breakable_servers: Servers
) -> None:
    service = await make_service(on=breakable_servers, queues=QUEUES, WRITE_WAIT_SECONDS="1")
    unexpected: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: unexpected.append(context))
    asking = asyncio.create_task(ask_for_ever(service))
    try:
        await asyncio.sleep(0.5)
        async with away(breakable_servers.queue):
            await asyncio.sleep(0.5)
            await end_tasks([asking])
            await service.stop()
    finally:
        gc.collect()
        await asyncio.sleep(0)
        loop.set_exception_handler(None)
    assert unexpected == []


def test_pauses_grow_to_a_limit_and_are_not_the_same_for_all() -> None:
    assert max(pause(times) for times in range(1, 100)) <= LONGEST_PAUSE_SECONDS
    assert pause(1) < 0.11
    assert min(pause(50) for _ in range(100)) >= LONGEST_PAUSE_SECONDS / 2
    assert len({pause(50) for _ in range(20)}) > 1


def test_an_outage_tells_how_long_it_was_and_the_next_one_begins_anew() -> None:
    outage = Outage("a server")
    with capture_logs() as lines:
        for _ in range(2):
            for _ in range(5):
                outage.noticed(OSError("refused"))
            assert outage.lasts
            outage.over()
            outage.over()
    assert [line["event"] for line in lines] == ["outage begins", "outage is over"] * 2
    assert {line["of"] for line in lines} == {"a server"}
    assert lines[1]["faults"] == lines[3]["faults"] == 5

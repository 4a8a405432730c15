"""Rules of recurrence that are made to keep a process busy: they are refused, and nobody else waits for them."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from core.tasks.recurrence import STEPS_MAXIMUM
from tests.api.problems import assert_problem
from tests.harness import Answer, Service

LONGEST_WAIT = 0.05
TRIES = 4
NEVER = "FREQ=HOURLY;BYMONTH=2;BYMONTHDAY=30"


@dataclass
class Waits:
    """The longest time of the processor that the event loop was kept from others, in seconds."""

    longest: float = 0.0


@asynccontextmanager
async def watched_loop() -> AsyncIterator[Waits]:
    """Takes turns in the loop, which the service shares, and notes what the others used between two of them."""
    waits = Waits()

    async def watch() -> None:
        while True:
            began = time.thread_time()
            await asyncio.sleep(0)
            waits.longest = max(waits.longest, time.thread_time() - began)

    gc.collect()
    gc.freeze()  # what other tests left behind in this process is none of the service's
    task = asyncio.create_task(watch())
    try:
        yield waits
    finally:
        gc.unfreeze()
        task.cancel()
        await asyncio.wait([task])


async def longest_wait(service: Service, body: dict[str, Any]) -> tuple[float, Answer]:
    """The best of a few, since much else runs in this process and beside it; and the last answer."""
    best = float("inf")
    for _ in range(TRIES):
        async with watched_loop() as waits:
            answer = await service.alice.post("/tasks/batch", body)
        best = min(best, waits.longest)
        if best < LONGEST_WAIT:
            break
    return best, answer


async def limit_of(service: Service) -> float:
    """Of a wait: what was promised, or what an honest batch costs on a machine that is too busy for that."""
    honest, _ = await longest_wait(service, creates(*({"description": "x" * 100} for _ in range(1000))))
    return max(LONGEST_WAIT, 2 * honest)


def creates(*fields: dict[str, Any]) -> dict[str, Any]:
    return {"operations": [{"op": "create", "fields": {"title": "x", **one}} for one in fields]}


def dear_rules(number: int) -> list[dict[str, Any]]:
    """Different ones, of which nearly each is refused only when all that it may cost is used up."""
    intervals = [interval for interval in range(600, 2000) if interval % 7][:number]
    rule = "FREQ=DAILY;INTERVAL={};BYMONTH=2;BYMONTHDAY=29;BYDAY=MO"
    return [{"recurrence": rule.format(one), "due_date": "2031-03-01T09:00:00Z"} for one in intervals]


async def test_a_thousand_tasks_with_rules_that_never_come_stop_nobody(service: Service) -> None:
    limit = await limit_of(service)
    wait, answer = await longest_wait(service, creates(*({"recurrence": NEVER} for _ in range(1000))))
    assert {one["status"] for one in answer.json["results"]} == {422}
    assert answer.json["results"][0]["error"]["errors"] == {"fields.recurrence": ["The rule has no next date."]}
    assert wait < limit


async def test_a_thousand_different_rules_that_cost_all_they_may_stop_nobody(service: Service) -> None:
    limit = await limit_of(service)
    wait, answer = await longest_wait(service, creates(*dear_rules(1000)))
    refused = [one["error"] for one in answer.json["results"] if one["status"] == 422]
    assert len(refused) > 900
    named = [message for error in refused if "errors" in error for message in error["errors"]["fields.recurrence"]]
    assert len(named) > 40
    assert all("too long" in message for message in named)
    assert wait < limit


async def test_a_rule_that_costs_too_much_is_422_and_says_what_to_do(service: Service) -> None:
    assert STEPS_MAXIMUM <= 1000, "about a millisecond"
    for rule in dear_rules(3):
        answer = await service.alice.post("/tasks", {"title": "x", **rule})
        problem = assert_problem(answer, 422, "validation-error")
        [message] = problem["errors"]["recurrence"]
        assert "too long" in message
        assert "simpler rule" in message


@pytest.mark.parametrize("due_date", ["1901-01-01T00:00:00Z", "0005-06-01T00:00:00Z"])
async def test_a_rule_is_refused_whose_count_would_be_counted_over_centuries_at_each_completion(
    service: Service, due_date: str
) -> None:
    rule = "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR,SA,SU;BYMONTH=1,2;BYHOUR=1,2,3;BYSETPOS=-1;COUNT=10000"
    fields = {"title": "x", "due_date": due_date, "recurrence": rule}
    problem = assert_problem(await service.alice.post("/tasks", fields), 422, "validation-error")
    assert "due date nearer to today" in problem["errors"]["recurrence"][0]

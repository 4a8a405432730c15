"""What is recorded later: in its order, all of it, whatever fails, and at once when somebody looks."""

import asyncio
from typing import Any

from core.deferred import GATHER_SECONDS, Deferred


async def test_facts_are_recorded_a_little_later_in_their_order() -> None:
    deferred, recorded = Deferred(), list[Any]()
    for fact in range(3):
        deferred.add(recorded.append, fact)
    await asyncio.sleep(0)
    assert recorded == []
    await asyncio.sleep(3 * GATHER_SECONDS)
    assert recorded == [0, 1, 2]


async def test_whoever_looks_flushes_first() -> None:
    deferred, recorded = Deferred(), list[Any]()
    deferred.add(recorded.append, 1)
    deferred.flush()
    assert recorded == [1]
    deferred.flush()
    assert recorded == [1]


async def test_what_is_noted_after_a_flush_is_recorded_by_itself() -> None:
    deferred, recorded = Deferred(), list[Any]()
    deferred.add(recorded.append, 1)
    deferred.flush()
    deferred.add(recorded.append, 2)
    await asyncio.sleep(3 * GATHER_SECONDS)
    assert recorded == [1, 2]


async def test_a_level_is_recorded_as_it_is_at_a_flush() -> None:
    deferred, levels, recorded = Deferred(), [0], list[int]()
    deferred.add_level(lambda: recorded.append(levels[-1]))
    for level in (1, 2):
        levels.append(level)
        deferred.schedule()
    assert recorded == []
    await asyncio.sleep(3 * GATHER_SECONDS)
    assert recorded == [2], "once for both"
    levels.append(3)
    deferred.flush()
    assert recorded == [2, 3]


async def test_a_record_that_fails_takes_no_other_with_it() -> None:
    deferred, recorded = Deferred(), list[Any]()

    def fail(fact: int) -> None:
        raise ValueError(fact)

    deferred.add(recorded.append, 1)
    deferred.add(fail, 2)
    deferred.add(recorded.append, 3)
    deferred.flush()
    assert recorded == [1, 3]

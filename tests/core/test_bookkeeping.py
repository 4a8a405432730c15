"""What is recorded later: in its order, all of it, whatever fails, and at once when somebody looks."""

import asyncio
from typing import Any

from core.bookkeeping import GATHER_SECONDS, Bookkeeping


async def test_facts_are_recorded_a_little_later_in_their_order() -> None:
    books, recorded = Bookkeeping(), list[Any]()
    for fact in range(3):
        books.note(recorded.append, fact)
    await asyncio.sleep(0)
    assert recorded == []
    await asyncio.sleep(3 * GATHER_SECONDS)
    assert recorded == [0, 1, 2]


async def test_whoever_looks_settles_the_books_first() -> None:
    books, recorded = Bookkeeping(), list[Any]()
    books.note(recorded.append, 1)
    books.settle()
    assert recorded == [1]
    books.settle()
    assert recorded == [1]


async def test_what_is_noted_after_the_books_were_settled_is_recorded_by_itself() -> None:
    books, recorded = Bookkeeping(), list[Any]()
    books.note(recorded.append, 1)
    books.settle()
    books.note(recorded.append, 2)
    await asyncio.sleep(3 * GATHER_SECONDS)
    assert recorded == [1, 2]


async def test_a_level_is_recorded_as_it_is_when_the_books_are_settled() -> None:
    books, levels, recorded = Bookkeeping(), [0], list[int]()
    books.keep(lambda: recorded.append(levels[-1]))
    for level in (1, 2):
        levels.append(level)
        books.stir()
    assert recorded == []
    await asyncio.sleep(3 * GATHER_SECONDS)
    assert recorded == [2], "once for both"
    levels.append(3)
    books.settle()
    assert recorded == [2, 3]


async def test_a_record_that_fails_takes_no_other_with_it() -> None:
    books, recorded = Bookkeeping(), list[Any]()

    def fail(fact: int) -> None:
        raise ValueError(fact)

    books.note(recorded.append, 1)
    books.note(fail, 2)
    books.note(recorded.append, 3)
    books.settle()
    assert recorded == [1, 3]

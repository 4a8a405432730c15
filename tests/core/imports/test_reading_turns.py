"""Turns at reading: first come, first served, and nobody keeps one while others wait."""

import contextlib
import gzip
import io
import threading
import time
from collections.abc import Callable

import pytest

from core.formats.rows import ImportRefused
from core.imports import reading_turns
from core.imports.reading import ImportReader, read_options
from core.imports.reading_turns import ReadingTurns


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def waiting(turns: ReadingTurns, work: Callable[[], None], *, behind: int) -> threading.Thread:
    """A thread that takes a turn for some work, when so many wait before it."""
    until(lambda: len(turns._waiting) == behind)

    def run() -> None:
        with turns.one():
            work()

    thread = threading.Thread(target=run)
    thread.start()
    until(lambda: len(turns._waiting) == behind + 1)
    return thread


def test_who_came_first_is_served_first_and_one_at_a_time() -> None:
    turns, order = ReadingTurns(), []
    with turns.one():
        threads = [waiting(turns, lambda number=number: order.append(number), behind=number) for number in range(5)]
        assert order == []
    for thread in threads:
        thread.join()
    assert order == list(range(5))
    assert not turns.are_wanted


@pytest.fixture
def no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_turns, "TURN_SECONDS", 0.0)


@pytest.mark.usefixtures("no_time")
def test_a_long_turn_lets_those_who_wait_go_first_and_then_goes_on() -> None:
    turns, order = ReadingTurns(), []
    with turns.one() as turn:
        turn.give_way()
        threads = [waiting(turns, lambda number=number: order.append(number), behind=number) for number in range(2)]
        time.sleep(0.001)
        turn.give_way()
        order.append(7)
    for thread in threads:
        thread.join()
    assert order == [0, 1, 7]


def test_a_short_turn_is_not_interrupted() -> None:
    turns, order = ReadingTurns(), []
    with turns.one() as turn:
        thread = waiting(turns, lambda: order.append(0), behind=0)
        turn.give_way()
        order.append(7)
    thread.join()
    assert order == [7, 0]


# Each gives no row for long: nothing of it is a task, or nothing of it is anything.
SILENT = {
    "events": b"BEGIN:VCALENDAR\r\n" + b"BEGIN:VEVENT\r\nSUMMARY:x\r\nEND:VEVENT\r\n" * 50_000 + b"END:VCALENDAR\r\n",
    "a bomb": gzip.compress(b"BEGIN:VCALENDAR\r\n" + b"X:y\r\n" * 400_000 + b"END:VCALENDAR\r\n"),
    "empty members": gzip.compress(b"") * 20_000,
}


@pytest.mark.usefixtures("no_time")
@pytest.mark.parametrize("name", SILENT)
@pytest.mark.parametrize("work", ["read_chunk", "measure", "skip"])
def test_a_file_without_rows_gives_way_too(name: str, work: str) -> None:
    if work == "measure" and name == "events":
        pytest.skip("what is not compressed is not measured")
    turns = ReadingTurns()
    reader = ImportReader(
        lambda: io.BytesIO(SILENT[name]),
        "icalendar",
        read_options({}, users_time_zone="UTC"),
        on_conflict="skip",
        maximum_bytes=1 << 30,
        turns=turns,
    )
    works: dict[str, Callable[[], object]] = {
        "read_chunk": reader.read_chunk,
        "measure": reader.measure,
        "skip": lambda: reader.skip(1),
    }
    was_first: list[bool] = []

    def read() -> None:
        with contextlib.suppress(ImportRefused):  # what these files come to is told elsewhere
            works[work]()

    with turns.one():
        thread = threading.Thread(target=read)
        thread.start()
        until(lambda: turns.are_wanted)
        other = waiting(turns, lambda: was_first.append(reader._turn is not None), behind=1)
    thread.join()
    other.join()
    assert was_first == [True]

"""Recurrence: what is no rule for a task is refused, and soon, whatever it was made for."""

import contextlib
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.tasks.recurrence import require_next_date
from core.tasks.rules import RecurrenceInvalid, RecurrenceTooExpensive, normalized, parse_rule
from tests.core.recurrence_chains import BERLIN, NOW, at, follow, next_due

SIXTY = ",".join(map(str, range(60)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "every day",
        "FREQ=SECONDLY",
        "FREQ=MINUTELY;INTERVAL=90",
        "INTERVAL=2",
        "FREQ=DAILY;FREQ=WEEKLY",
        "FREQ=DAILY;INTERVAL=0",
        "FREQ=DAILY;INTERVAL=-1",
        "FREQ=DAILY;INTERVAL=99999999999999999999",
        "FREQ=DAILY;COUNT=2;UNTIL=20300101",
        "FREQ=DAILY;COUNT=0",
        "FREQ=DAILY;UNTIL=20260231",
        "FREQ=DAILY;UNTIL=soon",
        "FREQ=WEEKLY;BYDAY=2MO",
        "FREQ=WEEKLY;BYDAY=XX",
        "FREQ=WEEKLY;BYMONTHDAY=1",
        "FREQ=MONTHLY;BYMONTHDAY=0",
        "FREQ=MONTHLY;BYMONTHDAY=32",
        "FREQ=MONTHLY;BYDAY=54MO",
        "FREQ=MONTHLY;BYSETPOS=1",
        "FREQ=DAILY;BYHOUR=24",
        "FREQ=DAILY;BYHOUR=\u0663",
        "FREQ=DAILY;BYEASTER=0",
        "FREQ=DAILY;X-THING=1",
        "FREQ=YEARLY;WKST=XX",
        "FREQ=YEARLY;BYWEEKNO=1;BYDAY=1MO",
        f"FREQ=DAILY;BYHOUR=9;BYMINUTE={SIXTY}",
        f"FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR,SA,SU;BYHOUR=1,2,3;BYMINUTE={SIXTY};BYSECOND={SIXTY}",
        "FREQ=DAILY;BYHOUR=8,9,10,11,12;BYMINUTE=0,10,20,30,40",
    ],
)
def test_what_is_no_rule_for_a_task_is_refused(text: str) -> None:
    with pytest.raises(RecurrenceInvalid):
        parse_rule(normalized(text))


@pytest.mark.parametrize(
    "text",
    [
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=HOURLY;BYMONTH=4;BYMONTHDAY=31",
        "FREQ=WEEKLY;BYMONTH=1;BYDAY=MO;BYSETPOS=5",
        "FREQ=MONTHLY;BYDAY=1MO;BYMONTHDAY=20",
        "FREQ=DAILY;COUNT=1",
        "FREQ=DAILY;UNTIL=20200101",
    ],
)
def test_a_rule_without_a_next_date_is_refused_and_soon(text: str) -> None:
    started = time.thread_time()
    with pytest.raises(RecurrenceInvalid):
        require_next_date(text, NOW)
    assert time.thread_time() - started < 0.05


@pytest.mark.parametrize("year", [5, 1026, 2026])
@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=YEARLY;BYYEARDAY=-366;COUNT=10000",
        "FREQ=YEARLY;BYWEEKNO=53;BYDAY=MO;COUNT=10000",
        "FREQ=HOURLY;BYMONTH=1;BYMONTHDAY=1;BYHOUR=3;COUNT=10000",
        "FREQ=DAILY;BYHOUR=0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23;COUNT=10000",
        "FREQ=YEARLY;BYHOUR=0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23;BYDAY=MO,TU;COUNT=10000",
    ],
)
def test_a_rule_that_is_made_to_keep_a_worker_busy_does_not(rule: str, year: int) -> None:
    started = time.thread_time()
    with contextlib.suppress(RecurrenceTooExpensive):
        follow(rule, datetime(year, 1, 1, 3, tzinfo=UTC), completed=NOW)
    assert time.thread_time() - started < 0.05


def test_many_dates_that_were_passed_over_are_all_counted() -> None:
    due = at(BERLIN, 2006, 1, 1, 9)
    found = follow("FREQ=DAILY;COUNT=10000", due, completed=at(BERLIN, 2026, 1, 1, 10))
    assert found is not None
    assert found.recurrence == f"FREQ=DAILY;COUNT={10_000 - (found.due_date.date() - due.date()).days}"


def test_a_leap_day_is_found() -> None:
    due = at(BERLIN, 2096, 2, 29, 9)
    assert next_due("FREQ=YEARLY", due) == at(BERLIN, 2104, 2, 29, 9)


def test_the_end_of_all_years_is_an_end() -> None:
    assert next_due("FREQ=YEARLY", datetime(9999, 6, 1, tzinfo=UTC)) is None
    assert next_due("FREQ=WEEKLY", datetime(1, 1, 1, tzinfo=UTC), completed=NOW) is not None


@given(st.text(alphabet="FREQ=DAILYWKMONTHBSP;,0123456789-+TZU", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        rule = parse_rule(normalized(text))
    except RecurrenceInvalid:
        return
    assert rule.frequency in text

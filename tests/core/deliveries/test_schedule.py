"""When a delivery is tried again, and when it waits."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.deliveries.schedule import JITTER, RETRY_SECONDS, next_delay, quiet_until, read_retry_after

NIGHT = {"start": "22:00", "end": "07:00"}
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(("attempts", "seconds"), list(enumerate(RETRY_SECONDS, 1)))
def test_retries_come_as_planned_give_or_take_a_tenth(attempts: int, seconds: int) -> None:
    found = {next_delay(attempts) for _ in range(50)}
    assert len(found) > 1
    assert all(delay is not None and abs(delay - seconds) <= seconds * JITTER for delay in found)


def test_after_the_last_retry_a_delivery_is_given_up() -> None:
    assert next_delay(len(RETRY_SECONDS) + 1) is None
    assert next_delay(len(RETRY_SECONDS) + 1, retry_after=5) is None


def test_what_the_receiver_asks_for_makes_the_wait_longer_and_never_shorter() -> None:
    assert next_delay(1, retry_after=100) == 100
    longer = next_delay(2, retry_after=1)
    assert longer is not None
    assert longer > 200
    assert next_delay(1, retry_after=1e12) == 86_400


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        (" 7 ", 7),
        ("Sat, 31 Jan 2026 12:01:00 GMT", 60),
        ("Sat, 31 Jan 2026 11:00:00 GMT", 0),
        ("Sat, 31 Jan 2099 11:00:00 GMT", 86_400),
        ("9" * 500, 86_400),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        (f"Sat, 31 Jan {10**20} 12:01:00 GMT", None),
        ("", None),
        (None, None),
        ("٣", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert read_retry_after(value, NOW) == seconds


@given(st.text())
def test_no_retry_after_is_a_fault(value: str) -> None:
    found = read_retry_after(value, NOW)
    assert found is None or 0 <= found <= 86_400


@pytest.mark.parametrize(
    ("moment", "until"),
    [
        ("2026-01-31T20:59:59+00:00", None),
        ("2026-01-31T21:00:00+00:00", "2026-02-01T06:00:00+00:00"),
        ("2026-02-01T05:59:59+00:00", "2026-02-01T06:00:00+00:00"),
        ("2026-02-01T06:00:00+00:00", None),
    ],
)
def test_quiet_hours_go_over_midnight_in_the_users_time_zone(moment: str, until: str | None) -> None:
    found = quiet_until(NIGHT, "Europe/Berlin", datetime.fromisoformat(moment))
    assert found == (None if until is None else datetime.fromisoformat(until))


def test_quiet_hours_within_a_day_end_on_it() -> None:
    noon = {"start": "12:00", "end": "13:30"}
    assert quiet_until(noon, "UTC", NOW) == NOW + timedelta(minutes=90)
    assert quiet_until(noon, "UTC", NOW - timedelta(minutes=1)) is None


@pytest.mark.parametrize(
    ("zone", "evening", "until"),
    [
        # The night in which the clocks go forward is an hour shorter, the other an hour longer.
        ("Europe/Berlin", "2026-03-28T21:00:00+00:00", "2026-03-29T05:00:00+00:00"),
        ("Europe/Berlin", "2026-10-24T20:00:00+00:00", "2026-10-25T06:00:00+00:00"),
        ("America/Sao_Paulo", "2018-11-04T01:00:00+00:00", "2018-11-04T09:00:00+00:00"),
    ],
)
def test_quiet_hours_end_by_the_clock_when_it_is_changed(zone: str, evening: str, until: str) -> None:
    assert quiet_until(NIGHT, zone, datetime.fromisoformat(evening)) == datetime.fromisoformat(until)


def test_quiet_hours_that_end_in_the_hour_that_comes_twice_end_the_second_time() -> None:
    hours = {"start": "22:00", "end": "02:30"}
    moment = datetime(2026, 10, 25, 0, 45, tzinfo=UTC)  # 2:45 in Berlin for the first time
    assert quiet_until(hours, "Europe/Berlin", moment) == datetime(2026, 10, 25, 1, 30, tzinfo=UTC)


def test_a_time_zone_that_does_not_exist_is_taken_for_utc() -> None:
    late = datetime(2026, 1, 31, 23, tzinfo=UTC)
    for zone in ("Mars/Olympus", "", "../etc/passwd", "\x00"):
        assert quiet_until(NIGHT, zone, late) == datetime(2026, 2, 1, 7, tzinfo=UTC)


def test_without_quiet_hours_nothing_waits() -> None:
    assert quiet_until(None, "UTC", NOW) is None

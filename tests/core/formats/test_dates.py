"""Dates in every notation that files hold."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.formats.dates import _MONTH_NAMES, day_order, parse_due, parse_moment

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2021-04-05 19:46:37", "2021-04-05T17:46:37+00:00"),
        ("2021-04-05T19:46:37.25Z", "2021-04-05T19:46:37.250000+00:00"),
        ("2026-01-31T17:00:00.1234567Z", "2026-01-31T17:00:00.123456+00:00"),
        ("2018-12-11T23:00:00+0000", "2018-12-11T23:00:00+00:00"),
        ("2026-01-31T17:00:00+01:00[Europe/Berlin]", "2026-01-31T16:00:00+00:00"),
        ("20131009T170000Z", "2013-10-09T17:00:00+00:00"),
        ("20131009T170000", "2013-10-09T15:00:00+00:00"),
        ("20251004", "2025-10-03T22:00:00+00:00"),
        ("2025-10-4", "2025-10-03T22:00:00+00:00"),
        ("2025/10/04 9:05:01", "2025-10-04T07:05:01+00:00"),
        ("2025-10-04T24:00", "2025-10-04T22:00:00+00:00"),
        ("12/Dec/19 10:56", "2019-12-12T09:56:00+00:00"),
        ("06/Sep/24 1:55 PM", "2024-09-06T11:55:00+00:00"),
        ("14/Mar/26 12:00 AM", "2026-03-13T23:00:00+00:00"),
        ("14/Mar/26 12:30 p.\u202fm.", "2026-03-14T11:30:00+00:00"),
        ("04/ago/26 11:30 PM", "2026-08-04T21:30:00+00:00"),
        ("19/lip/23", "2023-07-18T22:00:00+00:00"),
        ("16/8月/26 3:00 PM", "2026-08-16T13:00:00+00:00"),
        ("2026年3月14日 10:00", "2026-03-14T09:00:00+00:00"),
        ("12/31/2024", "2024-12-30T23:00:00+00:00"),
        ("31/12/2024 08:15", "2024-12-31T07:15:00+00:00"),
        ("4/4/2024 9:05", "2024-04-04T07:05:00+00:00"),
        ("31.12.2024", "2024-12-30T23:00:00+00:00"),
        ("1. 2. 2024", "2024-01-31T23:00:00+00:00"),
        ("31.12.2024, 14:30 Uhr", "2024-12-31T13:30:00+00:00"),
        ("31.12.2024 14.30", "2024-12-31T13:30:00+00:00"),
        ("4. März 2026", "2026-03-03T23:00:00+00:00"),
        ("1er janvier 2026", "2025-12-31T23:00:00+00:00"),
        ("12 déc. 2019 à 10:56", "2019-12-12T09:56:00+00:00"),
        ("lunes, 4 de agosto de 2026", "2026-08-03T22:00:00+00:00"),
        ("4 авг. 2026 г.", "2026-08-03T22:00:00+00:00"),
        ("March 14th, 2026", "2026-03-13T23:00:00+00:00"),
        ("Mar 14, 2026 3pm", "2026-03-14T14:00:00+00:00"),
        ("Tue, 10 Mar 2020 14:55:03 +0000", "2020-03-10T14:55:03+00:00"),
        ("Tue, 10 Mar 2020 14:55:03 EST", "2020-03-10T19:55:03+00:00"),
        ("Tue Mar 10 14:55:03 2020", "2020-03-10T13:55:03+00:00"),
        ("Tue Mar 10 2020 14:55:03 GMT+0100 (Central European Standard Time)", "2020-03-10T13:55:03+00:00"),
        ("1700000000", "2023-11-14T22:13:20+00:00"),
        ("1700000000123", "2023-11-14T22:13:20.123000+00:00"),
        ("12-Dec-69", "1969-12-11T23:00:00+00:00"),
        ("12-Dec-68", "2068-12-11T23:00:00+00:00"),
    ],
)
def test_a_notation_is_read(text: str, moment: str) -> None:
    assert parse_moment(f" {text} ", BERLIN) == moment


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("31.02.2024", "there is no 2024-02-31"),
        ("2025-13-45", "there is no month 13"),
        ("2025-02-29", "there is no 2025-02-29"),
        ("31/31/2024", "there is no month 31"),
        ("2025-10-04T25:00", "time that does not exist"),
        ("14/Mar/26 0:30 AM", "time that does not exist"),
        ("9999-12-31 24:00", "time that does not exist"),
        ("9999-12-31 23:59:59 -0100", "outside the years"),
        ("0001-01-01", "outside the years"),
        ("2026-01-31 10:00 XYZ", "time zone that is not known"),
        ("2026-01-31 10:00 +9900", "offset of a day"),
        ("every day", "cannot be read as a date"),
        ("4 Jan", "cannot be read as a date"),
        ("20131009T170000T", "cannot be read as a date"),
        ("10:30", "cannot be read as a date"),
        ("(" * 10_000_000, "cannot be read as a date"),
        ("123", "cannot be read as a date"),
        ("", "cannot be read as a date"),
    ],
)
def test_what_is_no_date_is_refused_with_its_reason(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_moment(text, BERLIN)


def test_an_ambiguous_date_is_refused_with_both_readings() -> None:
    with pytest.raises(ValueError, match=r"2024-04-03 or 2024-03-04"):
        parse_moment("03/04/2024", UTC)


def test_an_ambiguous_date_is_read_as_its_file_says() -> None:
    assert parse_moment("03/04/2024", UTC, day_first=True) == "2024-04-03T00:00:00+00:00"
    assert parse_moment("03/04/2024", UTC, day_first=False) == "2024-03-04T00:00:00+00:00"


def test_what_can_be_read_in_one_way_only_is_read_so_whatever_the_file_says() -> None:
    assert parse_moment("31/12/2024", UTC, day_first=False) == "2024-12-31T00:00:00+00:00"
    assert parse_moment("12/31/2024", UTC, day_first=True) == "2024-12-31T00:00:00+00:00"
    assert parse_moment("03.04.2024", UTC, day_first=False) == "2024-04-03T00:00:00+00:00"


@pytest.mark.parametrize(
    ("samples", "day_first"),
    [
        (["03/04/2024", "13/04/2024 10:00"], True),
        (["03/04/2024", "04-13-24"], False),
        (["13/04/2024", "04/13/2024"], None),
        (["03/04/2024", "", "2024-13-04", "soon"], None),
    ],
)
def test_a_file_tells_by_its_clear_dates_which_comes_first(samples: list[str], day_first: bool | None) -> None:
    assert day_order(samples) is day_first


@pytest.mark.parametrize(
    "text",
    ["2026-03-14", "14/Mar/26 12:00 AM", "2026-03-14T00:00:00", "2026-03-13T23:00:00Z", "2026-03-13 18:00-05:00"],
)
def test_a_due_date_without_a_time_or_at_a_midnight_is_a_day(text: str) -> None:
    assert parse_due(text, BERLIN) == "2026-03-14"


def test_a_due_time_is_kept() -> None:
    assert parse_due("14/Mar/26 12:30 AM", BERLIN) == "2026-03-13T23:30:00+00:00"
    assert parse_due("2026-03-14T00:00:00Z", BERLIN) == "2026-03-14T00:00:00+00:00"
    assert parse_due("2026-03-14 24:00", BERLIN) == "2026-03-14T23:00:00+00:00"


def test_a_skipped_time_is_an_hour_later_and_a_doubled_one_its_first() -> None:
    assert parse_moment("2024-03-31 02:30", BERLIN) == parse_moment("2024-03-31 03:30", BERLIN)
    assert parse_moment("2024-10-27 02:30", BERLIN) == "2024-10-27T00:30:00+00:00"


def test_no_name_of_a_month_stands_for_two() -> None:
    names = [name for line in _MONTH_NAMES for name in set(line.split())]
    assert len(names) == len(set(names))
    assert all(name == name.casefold() for name in names)


@given(st.datetimes(min_value=datetime(1969, 1, 1), max_value=datetime(2068, 12, 30)))
def test_every_moment_is_read_back_from_the_common_notations(moment: datetime) -> None:
    wanted = moment.replace(microsecond=0, second=0, tzinfo=UTC).isoformat()
    for notation in (
        "%Y-%m-%d %H:%M",
        "%Y%m%dT%H%M%S",
        "%d/%b/%y %H:%M",
        "%d/%b/%y %I:%M %p",
        "%d.%m.%Y %H:%M",
        "%B %d, %Y %I:%M%p",
        "%a, %d %b %Y %H:%M:%S +0000",
    ):
        assert parse_moment(moment.replace(second=0).strftime(notation), UTC) == wanted


@given(st.text(st.sampled_from("0123456789/-.:, TZamp+JanMarzа年月日"), max_size=40) | st.text(max_size=40))
def test_any_text_is_a_date_or_a_value_error(text: str) -> None:
    for day_first in (None, True, False):
        try:
            assert datetime.fromisoformat(parse_moment(text, BERLIN, day_first=day_first)).tzinfo == UTC
        except ValueError as error:
            assert str(error).endswith(".")  # noqa: PT017

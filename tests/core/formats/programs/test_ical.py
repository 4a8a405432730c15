"""To-dos of iCalendar files."""

import pytest

from core.formats.programs import ical
from core.formats.programs.ical import FORMAT
from core.formats.streams.icalendar import COMPONENT_MAXIMUM
from tests.core.formats.harness import BERLIN, read
from tests.core.formats.programs.to_dos import MINIMAL, ZONE, calendar, one, titles, to_do


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_to_do_with_everything(newline: str) -> None:
    text = calendar(
        to_do(
            "UID:u1",
            "SUMMARY;LANGUAGE=en:Plant trees\\, bushes\\; and so",
            "  on",
            "DESCRIPTION:Where it is dry.\\nNot near th",
            " e house.",
            "PRIORITY:3",
            "STATUS:IN-PROCESS",
            "PERCENT-COMPLETE:25",
            "DTSTART;VALUE=DATE:20260101",
            "DUE;TZID=Europe/Berlin:20260201T100000",
            "CREATED:20251201T080000Z",
            "CATEGORIES:garden,a\\, b",
            "CATEGORIES:spring",
            "RRULE:FREQ=YEARLY;INTERVAL=2",
            "EXDATE;VALUE=DATE:20270101",
            'LOCATION;ALTREP="http://example.org:80/a":Back garden',
            "URL:https://example.org/t",
            "COMMENT:Ask Bob",
            "ATTACH:https://example.org/map.pdf",
            "ATTACH;VALUE=BINARY;ENCODING=BASE64:aGVsbG8=",
            "BEGIN:VALARM",
            "ACTION:DISPLAY",
            "DESCRIPTION:Reminder",
            "TRIGGER:-PT15M",
            "END:VALARM",
        )
    )
    assert read(FORMAT, text.replace("\n", newline)).one == {
        "title": "Plant trees, bushes; and so on",
        "description": """Where it is dry.
Not near the house.

Labels: a, b
Starts: 2026-01-01T00:00:00+00:00
Does not repeat on: 20270101
Percent complete: 25
Reminder: -PT15M
Location: Back garden
Attachment: https://example.org/map.pdf
Attachment: (not imported)
Source: https://example.org/t

Comment:
Ask Bob""",
        "priority": 3,
        "status": "in_progress",
        "due_date": "2026-02-01T09:00:00+00:00",
        "labels": ["garden", "spring"],
        "created_at": "2025-12-01T08:00:00+00:00",
        "external_id": "u1",
        "recurrence": "FREQ=YEARLY;INTERVAL=2",
    }


@pytest.mark.parametrize(
    "lines",
    [
        ["RRULE:FREQ=MINUTELY"],
        ["RRULE:FREQ=DAILY;UNTIL=20200101", "DUE:20260201T100000Z"],
        ["RRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"],
        ["RRULE:FREQ=DAILY;BYMONTH=" + ",".join(["12"] * 400)],
        ["RRULE:D1 #0"],
        ["RRULE:FREQ=DAILY", "STATUS:COMPLETED"],
        ["RRULE:FREQ=DAILY", "STATUS:CANCELLED"],
    ],
)
def test_a_rule_that_no_task_can_follow_stands_in_the_description(lines: list[str]) -> None:
    task = one(*lines)
    assert "recurrence" not in task
    assert task["description"] == f"Repeats: {lines[0].removeprefix('RRULE:')}"


@pytest.mark.parametrize(("value", "priority"), [("1", 1), ("9", 9), ("0", 5), ("", 5), (" 7 ", 7)])
def test_priorities(value: str, priority: int) -> None:
    assert one(f"PRIORITY:{value}")["priority"] == priority
    assert one()["priority"] == 5


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["STATUS:NEEDS-ACTION"], "pending"),
        (["STATUS:needs action"], "pending"),
        (["STATUS:IN-PROCESS"], "in_progress"),
        (["STATUS:CANCELLED"], "cancelled"),
        (["STATUS:COMPLETED"], "completed"),
        (["STATUS:COMPLETED", "PERCENT-COMPLETE:0"], "completed"),
        (["COMPLETED:20260101T000000Z"], "completed"),
        (["PERCENT-COMPLETE:100"], "completed"),
        (["PERCENT-COMPLETE:50"], "in_progress"),
        (["PERCENT-COMPLETE:0"], None),
        ([], None),
    ],
)
def test_statuses(lines: list[str], status: str | None) -> None:
    assert one(*lines).get("status") == status


@pytest.mark.parametrize(
    ("lines", "completed_at"),
    [
        (["COMPLETED:20260102T100000Z", "LAST-MODIFIED:20260103T100000Z"], "2026-01-02T10:00:00+00:00"),
        (["LAST-MODIFIED:20260103T100000Z", "DTSTAMP:20260104T100000Z"], "2026-01-03T10:00:00+00:00"),
        (["LAST-MOD:20260103T100000Z"], "2026-01-03T10:00:00+00:00"),
        (["LAST-MODIFIED:rubbish", "DTSTAMP:20260104T100000Z"], "2026-01-04T10:00:00+00:00"),
        ([], None),
    ],
)
def test_a_completed_to_do_has_its_time_or_that_of_its_last_change(lines: list[str], completed_at: str | None) -> None:
    assert one("STATUS:COMPLETED", *lines).get("completed_at") == completed_at


@pytest.mark.parametrize(
    ("lines", "due"),
    [
        (["DUE;VALUE=DATE:20260201"], "2026-02-01T22:59:59+00:00"),
        (["DUE:20260201"], "2026-02-01T22:59:59+00:00"),
        (["DUE:20260201T100000"], "2026-02-01T09:00:00+00:00"),
        (["DUE:20260201T100000Z"], "2026-02-01T10:00:00+00:00"),
        (["DUE:20260201T000000Z"], "2026-02-01T00:00:00+00:00"),
        (["DUE;TZID=America/Chicago:20260201T100000"], "2026-02-01T16:00:00+00:00"),
        (['DUE;TZID="Central Standard Time":20260201T100000'], "2026-02-01T16:00:00+00:00"),
        (["DUE;TZID=/mozilla.org/20050126_1/America/Chicago:20260201T100000"], "2026-02-01T16:00:00+00:00"),
        (["DTSTART:20260201T100000Z", "DURATION:PT2H"], "2026-02-01T12:00:00+00:00"),
        (["DTSTART;VALUE=DATE:20260201", "DURATION:P1D"], "2026-02-01T22:59:59+00:00"),
        (["DTSTART:20260201T100000Z"], None),
        (["DUE:"], None),
    ],
)
def test_due_dates(lines: list[str], due: str | None) -> None:
    assert one(*lines, time_zone=BERLIN).get("due_date") == due


@pytest.mark.parametrize("is_before", [True, False])
def test_a_zone_that_the_file_defines_is_used_wherever_it_stands(is_before: bool) -> None:
    task = to_do(MINIMAL, "DUE;TZID=Our office:20260701T100000")
    text = calendar(ZONE, task) if is_before else calendar(task, ZONE)
    assert read(FORMAT, text).one["due_date"] == "2026-07-01T08:00:00+00:00"


def test_a_zone_of_one_file_is_unknown_in_the_next() -> None:
    task = to_do(MINIMAL, "DUE;TZID=Our office:20260701T100000")
    assert read(FORMAT, calendar(ZONE, task)).one
    (row,) = read(FORMAT, calendar(task)).good
    assert [warning.column for warning in row.warnings] == ["DUE"]
    assert "Our office" in row.warnings[0].message


def test_a_zone_whose_rule_would_never_end_is_not_used() -> None:
    endless = ZONE.replace("FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10", "FREQ=SECONDLY")
    result = read(FORMAT, calendar(endless, to_do(MINIMAL, "DUE;TZID=Our office:20260701T100000")))
    assert result.warned == [(1, "DUE")]


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("kind", ["", ";RELTYPE=PARENT"])
def test_a_child_names_its_parent_wherever_it_stands(order: int, kind: str) -> None:
    parent = to_do("UID:p", "SUMMARY:Garden")
    child = to_do(MINIMAL, f"RELATED-TO{kind}:p")
    result = read(FORMAT, calendar(*[parent, child][::order]))
    (fields,) = [fields for fields in result.fields if fields["external_id"] == "u1"]
    assert fields["description"] == "Part of: Garden"


def test_a_parent_in_another_calendar_of_the_file_is_found_and_one_that_is_nowhere_is_told_by_its_id() -> None:
    text = calendar(to_do(MINIMAL, "RELATED-TO:p")) + calendar(to_do("UID:p", "SUMMARY:Garden", "RELATED-TO:gone"))
    first, second = read(FORMAT, text).fields
    assert first["description"] == "Part of: Garden"
    assert second["description"] == "Part of: gone"


def test_a_changed_occurrence_is_a_task_of_its_own() -> None:
    text = calendar(
        to_do(MINIMAL, "RRULE:FREQ=DAILY"), to_do(MINIMAL, "RECURRENCE-ID:20260105T100000Z", "STATUS:COMPLETED")
    )
    first, second = read(FORMAT, text).fields
    assert first["external_id"] == "u1"
    assert second["external_id"] == "u1/20260105T100000Z"
    assert second["description"] == "Occurrence of: 2026-01-05T10:00:00+00:00"


def test_a_location_alarm_is_told_by_its_place() -> None:
    alarm = [
        "BEGIN:VALARM",
        "TRIGGER;VALUE=DATE-TIME:19760401T005545Z",
        "X-APPLE-PROXIMITY:ARRIVE",
        "X-APPLE-STRUCTURED-LOCATION;VALUE=URI;X-TITLE=Home:geo:37.4,-122.0",
        "END:VALARM",
    ]
    assert one(*alarm)["description"] == "Reminder: arrive Home"


def test_a_start_that_is_no_date_is_kept_as_it_stands() -> None:
    assert one("DTSTART:20131009T170000T")["description"] == "Starts: 20131009T170000T"


@pytest.mark.parametrize(
    ("line", "column"),
    [
        ("DUE:20261301T000000Z", "DUE"),
        ("DUE;TZID=Middle-earth:20260101T000000", "DUE"),
        ("DUE;TZID=../../etc/passwd:20260101T000000", "DUE"),
        ("PRIORITY:high", "PRIORITY"),
        ("PRIORITY:10", "PRIORITY"),
        ("PRIORITY:-1", "PRIORITY"),
        ("STATUS:FORGOTTEN", "STATUS"),
        ("CREATED:yesterday", "CREATED"),
        ("COMPLETED:20260231T000000Z", "COMPLETED"),
        ("DTSTART:20260101T000000Z\nDURATION:long", "DURATION"),
        ("DTSTART:99991231T000000Z\nDURATION:P99999W", "DURATION"),
    ],
)
def test_a_value_that_is_none_costs_no_row_and_is_told_by_its_name(line: str, column: str) -> None:
    result = read(FORMAT, calendar(to_do(MINIMAL), to_do(MINIMAL, line), to_do(MINIMAL)))
    assert result.warned == [(2, column)]
    assert len(result.good) == 3


def test_a_to_do_without_summary_and_uid_is_a_task_all_the_same() -> None:
    assert read(FORMAT, calendar(to_do("PRIORITY:1"))).one == {"title": "(untitled)", "priority": 1}


def test_soft_line_breaks_do_not_make_a_property_longer_than_others_may_be() -> None:
    long = "DESCRIPTION;ENCODING=QUOTED-PRINTABLE:" + ("x" * 1000 + "=\n") * (2 * COMPONENT_MAXIMUM // 1000) + "end"
    result = read(FORMAT, calendar(to_do("SUMMARY:a", long), to_do("SUMMARY:b")))
    assert [row.message for row in result.bad] == ["The to-do in line 3: Line 5 is too long."]
    assert titles(result) == ["b"]


def test_a_zone_counts_from_its_definition_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ical, "_HELD_MAXIMUM", 0)
    task = to_do("SUMMARY:a", "DUE;TZID=Our office:20260601T120000")
    result = read(FORMAT, calendar(task, ZONE, task))
    assert result.warned == [(1, "DUE")]

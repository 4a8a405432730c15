"""To-dos that Tenfold has exported, which other programs may have changed since."""

from datetime import UTC, date, datetime
from typing import Any

import pytest

from core.exports.ical import CALENDAR_END, Calendar
from core.formats.programs.ical import FORMAT
from tests.core.formats.harness import read

MADE = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
TASK: dict[str, Any] = {
    "id": 7, "version": 3, "title": "a  b", "description": " c", "priority": 10, "status": "blocked",
    "due_date": datetime(2030, 1, 1, 10, 0, 0, 5, tzinfo=UTC), "labels": ["x  y"], "created_at": MADE,
    "updated_at": MADE, "completed_at": None, "recurrence": "FREQ=WEEKLY;UNTIL=20301231",
    "recurrence_from": "due_date", "due_day": None, "reminder_rules": None, "time_zone": "Europe/Berlin",
    "reminders_due_at": None,
}  # fmt: skip


def exported(**fields: Any) -> str:
    calendar = Calendar()
    return (calendar.start() + calendar.render([TASK | fields]) + CALENDAR_END).decode()


def test_what_nobody_has_changed_is_as_it_was() -> None:
    assert read(FORMAT, exported()).one == {
        "title": "a  b", "description": " c", "priority": 10, "status": "blocked",
        "due_date": "2030-01-01T10:00:00.000005+00:00", "labels": ["x  y"],
        "created_at": "2026-01-02T03:04:05.000678+00:00", "recurrence": "FREQ=WEEKLY;UNTIL=20301231",
        "external_id": "tenfold-7",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "name", "value"),
    [
        ("SUMMARY:a  b", "SUMMARY:c", "title", "c"),
        ("DESCRIPTION: c", "DESCRIPTION:d", "description", "d"),
        ("\nPRIORITY:9", "\nPRIORITY:1", "priority", 1),
        ("\nSTATUS:NEEDS-ACTION", "\nSTATUS:COMPLETED", "status", "completed"),
        ("DUE;TZID=Europe/Berlin:20300101T110000", "DUE:20300102T110000Z", "due_date", "2030-01-02T11:00:00+00:00"),
        ("CATEGORIES:x  y", "CATEGORIES:z", "labels", ["z"]),
        ("RRULE:FREQ=WEEKLY;UNTIL=20301231T225959Z", "RRULE:FREQ=DAILY", "recurrence", "FREQ=DAILY"),
        ("RRULE:FREQ=WEEKLY;UNTIL=20301231T225959Z\r\n", "", "recurrence", None),
        ("X-TENFOLD-PRIORITY:10", "X-TENFOLD-PRIORITY:ten", "priority", 9),
        ('X-TENFOLD-LABELS:["x  y"]', "X-TENFOLD-LABELS:[1]", "labels", ["x y"]),
        ('X-TENFOLD-TITLE:"a  b"', 'X-TENFOLD-TITLE:"a', "title", "a b"),
        ("X-TENFOLD-DUE-DATE:2030-01-01T10:00:00.000005Z", "X-TENFOLD-DUE-DATE:0001-01-01T00:00:00+14:00",
         "due_date", "2030-01-01T10:00:00+00:00"),
    ],
)  # fmt: skip
def test_what_another_program_has_changed_counts(old: str, new: str, name: str, value: Any) -> None:
    text = exported()
    assert old in text
    assert read(FORMAT, text.replace(old, new)).one.get(name) == value


def test_a_rule_without_a_due_date_is_counted_from_the_making_of_the_task_and_gives_it_none() -> None:
    text = exported(due_date=None, time_zone="UTC")
    assert "\r\nDTSTART:20260102T030405Z\r\nRRULE:FREQ=WEEKLY;UNTIL=20301231T235959Z\r\n" in text
    fields = read(FORMAT, text).one
    assert (fields.get("due_date"), fields["recurrence"]) == (None, TASK["recurrence"])


@pytest.mark.parametrize("rule", ["P1D", "PT1H", "P1M", "2029-12-24T08:00:00+00:00"])
def test_an_alarm_stands_where_the_reminder_is(rule: str) -> None:
    moments = '{"P1M": "2029-12-01T10:00:00.000005+00:00"}'
    text = exported(reminder_rules=[rule], reminders_due_at=moments)
    triggers = {
        "P1D": ";RELATED=END:-P1D",
        "PT1H": ";RELATED=END:-PT1H",
        "P1M": ";RELATED=END:-P31D",
        "2029-12-24T08:00:00+00:00": ";VALUE=DATE-TIME:20291224T080000Z",
    }
    assert f"\r\nTRIGGER{triggers[rule]}\r\n" in text
    assert "VALARM" not in exported(reminder_rules=["P1D"], due_date=None), "there is nothing to count from"


def test_a_zone_is_defined_once_before_it_is_named() -> None:
    calendar = Calendar()
    text = calendar.render([TASK, TASK | {"recurrence": None}, TASK]).decode()
    assert text.count("BEGIN:VTIMEZONE") == 1
    assert text.index("TZID:Europe/Berlin") < text.index("DUE;TZID=Europe/Berlin:20300101T110000")
    assert "\r\nDUE:20300101T100000Z\r\n" in text, "what comes once needs no zone"


def test_a_day_is_a_day_also_where_it_comes_again() -> None:
    text = exported(due_day=date(2030, 1, 1), due_date=datetime(2030, 1, 1, 22, 59, 59, tzinfo=UTC))
    for line in (
        "DUE;VALUE=DATE:20300101",
        "DTSTART;VALUE=DATE:20300101",
        "RRULE:FREQ=WEEKLY;UNTIL=20301231",
        "X-TENFOLD-TIME-ZONE:Europe/Berlin",
    ):
        assert f"\r\n{line}\r\n" in text
    fields = read(FORMAT, text).one
    assert (fields["due_day"], fields.get("due_date")) == ("2030-01-01", None)
    assert fields["recurrence"] == TASK["recurrence"]


def test_what_days_cannot_do_is_no_rule_of_theirs_but_comes_back() -> None:
    text = exported(due_day=date(2030, 1, 1), recurrence="FREQ=DAILY;BYHOUR=9,17")
    assert "\r\nRRULE" not in text
    assert read(FORMAT, text).one["recurrence"] == "FREQ=DAILY;BYHOUR=9,17"


def test_before_a_day_an_alarm_rings_when_the_reminder_would_be_sent() -> None:
    moments = '{"P1D": "2029-12-31T08:00:00+00:00"}'  # 09:00 in Berlin, the day before
    text = exported(due_day=date(2030, 1, 1), reminder_rules=["P1D"], reminders_due_at=moments)
    assert "\r\nTRIGGER;RELATED=END:-PT15H\r\n" in text
    assert read(FORMAT, text).one["reminders"] == ["P1D"]


def test_an_alarm_that_another_program_has_changed_or_taken_away_is_no_reminder_any_more() -> None:
    text = exported(reminder_rules=["P1D", "PT1H"])
    assert read(FORMAT, text).one["reminders"] == ["P1D", "PT1H"]
    changed = read(FORMAT, text.replace("TRIGGER;RELATED=END:-P1D", "TRIGGER;RELATED=END:-P2D")).one
    assert (changed["reminders"], changed["description"]) == (["PT1H"], "c\n\nReminder: -P2D")
    alarm = text[text.index("BEGIN:VALARM") : text.index("END:VALARM") + len("END:VALARM\r\n")]
    assert read(FORMAT, text.replace(alarm, "")).one["reminders"] == ["PT1H"]
    assert read(FORMAT, exported(reminder_rules=[])).one["reminders"] == []
    assert "reminders" not in read(FORMAT, exported()).one, "it has those of its user"

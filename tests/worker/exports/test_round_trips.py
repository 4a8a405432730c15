"""What is exported in any format is imported again, into an empty account, as equal tasks: every field of them."""

import contextlib
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import asyncpg
import icalendar
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from marshmallow import ValidationError

from core.exports.schemas import FORMATS
from core.tasks.columns import names
from core.tasks.fields import IMPORTED, Field
from core.tasks.kinds import Choice, Day, FreeText, LabelList, Moment, Number, RecurrenceRule
from core.tasks.rules import RECURRENCE_MAXIMUM
from core.tasks.validation import load_import
from tests.worker.commands import new_user
from tests.worker.exports.harness import exported
from tests.worker.imports.harness import counts, errors, imported, lines
from worker.runner import Services

READ_AS = {"csv": "tenfold-csv", "ndjson": "tenfold-ndjson", "json": "tenfold-json", "ics": "icalendar"}

NASTY = (
    "=1+1", "+49 30", "-5", "@home", "'quoted", "''twice", 'say "hi"', "a;b", "ends\\", "\\n", "\\N", "a\\;b", "\\.",
    "a\u2028b", "\x01\x1b\x7f", "a\x85b", "\ufeffmark", "Überweisung 読み ☕ 👩‍👩‍👧", "e\u0301", "[", "{}", "null",
    "0001", "TRUE", "two  blanks", "no\u00a0break", "tab\there", "BEGIN:VTODO", "END:VTODO\r\nBEGIN:VTODO", "x" * 76,
    "(untitled)",
)  # fmt: skip
TEXTS = st.one_of(
    st.sampled_from(NASTY),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=90),
    st.text(st.sampled_from(" \t\r\n\\;:,\"'=a読\x01\u2028"), max_size=90),
)
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Kiritimati")
MOMENTS = st.one_of(
    # Where the clocks change: skipped times, and times that come twice.
    st.sampled_from(
        [
            datetime(2026, month, day, hour, 30, tzinfo=UTC)
            for month, day in ((3, 8), (3, 29), (10, 25), (11, 1))
            for hour in range(8)
        ]
    ),
    st.sampled_from([datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC)]),
    st.datetimes(
        timezones=st.sampled_from((UTC, timezone(timedelta(hours=5, minutes=30)))),
        min_value=datetime(2, 1, 1),
        max_value=datetime(9998, 12, 31),
    ),
).map(datetime.isoformat)
RULES = st.sampled_from(
    (
        "FREQ=HOURLY;INTERVAL=6",
        "FREQ=DAILY",
        "INTERVAL=+2;FREQ=DAILY",
        "FREQ=DAILY;BYHOUR=9,17",
        "FREQ=DAILY;COUNT=5",
        "FREQ=DAILY;UNTIL=99991230",
        "FREQ=WEEKLY;BYDAY=MO,TH;WKST=SU",
        "FREQ=WEEKLY;UNTIL=99991230T120000Z",
        "FREQ=MONTHLY;BYDAY=-1FR;UNTIL=99991230T120000",
        "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1",
        "FREQ=MONTHLY;BYMONTHDAY=+15,-1",
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29",
        "FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO",
        "FREQ=YEARLY;BYYEARDAY=-1",
        f"FREQ=YEARLY;BYMONTH={','.join(['12'] * 150)}",
    )
).filter(lambda rule: len(rule) <= RECURRENCE_MAXIMUM)


def values_of(field: Field) -> st.SearchStrategy[Any]:
    """Values of a field. A new kind of fields has none yet: the tests below fail until it has."""
    kind = field.kind
    match kind:
        case FreeText(trim=trim, minimum=minimum):
            texts = st.one_of(TEXTS, TEXTS.map(lambda text: (text * kind.maximum)[: kind.maximum]))
            return texts.filter(lambda text: len(text.strip() if trim else text) >= (minimum or 0))
        case LabelList():
            label = TEXTS.map(lambda text: text.replace(",", "").strip()[: kind.longest].strip()).filter(bool)
            return st.lists(label, max_size=4)
        case Number():
            return st.integers(kind.minimum, kind.maximum)
        case Choice():
            return st.sampled_from(kind.words)
        case Moment():
            return MOMENTS
        case Day():
            return st.dates().map(date.isoformat)
        case RecurrenceRule():
            return RULES
    pytest.fail(f"there are no values of the kind of {field.name}")


def sound(task: dict[str, Any]) -> dict[str, Any]:
    """The task without what does not go together."""
    if task.get("status") != "completed":
        task.pop("completed_at", None)
    with contextlib.suppress(ValidationError):
        load_import(task)
        return task
    return {name: value for name, value in task.items() if name != "recurrence"}


REMINDERS = st.lists(
    st.sampled_from(
        ("P1D", "PT1H30M", "P2W", "P1M", "P2M3DT4H", "PT0M", "2029-12-24T08:00:00+00:00", "0001-01-01T00:00:00+00:00")
    ),
    unique=True,
)
TASKS = st.fixed_dictionaries(
    {field.name: values_of(field) for field in IMPORTED if field.is_required},
    optional={field.name: values_of(field) for field in IMPORTED if not field.is_required},
).map(sound)


async def tasks_of(owner: asyncpg.Connection, user_id: int) -> list[dict[str, Any]]:
    rows = await owner.fetch(f"SELECT {names(IMPORTED)} FROM tasks WHERE user_id = $1 ORDER BY id", user_id)
    return [dict(row) for row in rows]


def assert_calendar_is_valid(file: bytes, to_dos: int) -> None:
    assert file.endswith(b"\r\n")
    assert max(map(len, file.split(b"\r\n"))) <= 75
    components = icalendar.Calendar.from_ical(file).walk()
    assert [component.errors for component in components if component.errors] == []
    assert sum(component.name == "VTODO" for component in components) == to_dos
    defined = {str(component["TZID"]) for component in components if component.name == "VTIMEZONE"}
    for component in components:
        if component.name == "VTODO" and "RRULE" in component:
            start = component["DTSTART"]
            assert start.params.get("TZID") in (None, *defined)
            if (due := component.get("DUE")) is not None:
                assert due.dt == start.dt


async def reminders_of(owner: asyncpg.Connection, user_id: int) -> list[Any]:
    rows = await owner.fetch("SELECT reminder_rules FROM tasks WHERE user_id = $1 ORDER BY id", user_id)
    return [row["reminder_rules"] for row in rows]


async def user_in(owner: asyncpg.Connection, zone: str) -> int:
    user_id = await new_user(owner)
    await owner.execute("UPDATE users SET time_zone = $2 WHERE id = $1", user_id, zone)
    return user_id


async def bring_in(
    services: Services, owner: asyncpg.Connection, user_id: int, content: bytes, read_as: str, expected: int
) -> list[dict[str, Any]]:
    """Imports a file into an empty account, and tells its tasks."""
    row = await imported(services, owner, user_id, content, format=read_as)
    assert (counts(row), await errors(owner, str(row["id"]))) == ((expected, expected, 0, 0, 0), [])
    return await tasks_of(owner, user_id)


@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@settings(
    max_examples=15,
    deadline=None,
    phases=(Phase.reuse, Phase.generate),  # to shrink what fails takes minutes, and the difference says enough
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    tasks=st.lists(TASKS, min_size=20, max_size=60),
    reminders=st.lists(st.none() | REMINDERS, min_size=1, max_size=5),
    zone=st.sampled_from(ZONES),
)
async def test_every_field_of_every_format_comes_back(
    services: Services, owner: asyncpg.Connection, tasks: list[dict[str, Any]], reminders: list[Any], zone: str
) -> None:
    there = await user_in(owner, zone)
    made = await bring_in(services, owner, there, lines(*tasks), "tenfold-ndjson", len(tasks))
    for place, task_id in enumerate(await owner.fetch("SELECT id FROM tasks WHERE user_id = $1 ORDER BY id", there)):
        rules = reminders[place % len(reminders)]
        await owner.execute("UPDATE tasks SET reminder_rules = $2 WHERE id = $1", task_id["id"], rules)
    for export_format in FORMATS:
        file = await exported(services, owner, there, export_format)
        here = await user_in(owner, zone)
        back = await bring_in(services, owner, here, file, READ_AS[export_format], len(tasks))
        expected = made
        if export_format == "csv":  # an empty cell is none
            expected = [task | {"description": task["description"] or None} for task in made]
        differences = [
            (name, one[name], two[name])
            for one, two in zip(expected, back, strict=True)
            for name in one
            if one[name] != two[name]
        ]
        assert differences == [], export_format
        if export_format == "ics":  # the others hold none
            assert_calendar_is_valid(file, len(tasks))
            assert await reminders_of(owner, here) == await reminders_of(owner, there)

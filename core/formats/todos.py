"""What a to-do of iCalendar (RFC 5545) says of a task, and what it has no word for.

The export writes by this, and the import reads by it. Where a standard property loses something of a field (a status
`blocked`, the tenth priority, a fraction of a second, a control character), or there is none, the field stands in a
property of our own, `X-TENFOLD-<FIELD>`: texts and labels as JSON, all else as it is. Another program may have changed
the to-do since. So our own property counts only while the standard one says what the export made of that very value.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any

from core.formats.parsed_task import UNTITLED
from core.formats.values import one_line
from core.tasks.fields import DEFAULT_STATUS, IMPORTED, Field
from core.tasks.kinds import FreeText, LabelList, Moment, Number
from core.tasks.rules import RecurrenceInvalid, parse_rule

REMINDERS = "X-TENFOLD-REMINDERS"
"""The task's own reminders, as JSON: each, and whether it stands in an alarm, too."""
TIME_ZONE = "X-TENFOLD-TIME-ZONE"
"""The user's, of a day that comes again."""
REMINDER = "X-TENFOLD-REMINDER"
"""The reminder that an alarm was made of, and the TRIGGER that this was."""

# RFC 5545, 3.8.1.11 knows no blocked to-do, and 3.8.1.9 no tenth priority.
SHOWN_STATUSES = {
    "pending": "NEEDS-ACTION",
    "in_progress": "IN-PROCESS",
    "blocked": "NEEDS-ACTION",
    "completed": "COMPLETED",
    "cancelled": "CANCELLED",
}
LOWEST_PRIORITY = 9

# RFC 5545, 3.1 has no place for control characters but TAB.
_CONTROLS = dict.fromkeys((*range(9), *range(11, 32), 127))
# A rule's parts that make no sense for days (3.3.10).
_OF_TIMES = ("BYHOUR", "BYMINUTE", "BYSECOND")
_DAY = re.compile(r"(\d{4})(\d\d)(\d\d)\Z")
_LAST_SECOND = time(23, 59, 59)


def property_of(field: Field) -> str:
    """Our own property for a field."""
    return f"X-TENFOLD-{field.name.upper().replace('_', '-')}"


# -- what the standard properties say of a field ----------------------------------------------------------------


def shown_priority(priority: int) -> int:
    """PRIORITY."""
    return min(priority, LOWEST_PRIORITY)


def shown_text(text: str) -> str:
    """DESCRIPTION, as it is read again."""
    return text.replace("\r\n", "\n").replace("\r", "\n").translate(_CONTROLS).strip()


def shown_line(text: str) -> str:
    """SUMMARY, or one of CATEGORIES, as it is read again."""
    return one_line(shown_text(text))


def shown_labels(labels: Iterable[str]) -> list[str]:
    """CATEGORIES, as they are read again."""
    return list(dict.fromkeys(filter(None, map(shown_line, labels))))


def shown_moment(moment: datetime, zone: tzinfo = UTC) -> datetime:
    """A time as the clocks of a zone tell it: in whole seconds, and of one that comes twice the first."""
    # In UTC again: a time that comes twice equals none of another zone (PEP 495).
    return moment.astimezone(zone).replace(microsecond=0, fold=0).astimezone(UTC)


def shown_rule(rule: str, zone: tzinfo, *, is_of_days: bool) -> str | None:
    """RRULE; None: the to-do cannot say that rule.

    Args:
        rule: normalized.
        zone: of DTSTART; one of UTC is that of a to-do without a zone.
        is_of_days: whether DTSTART is a day. UNTIL is of the same type (3.3.10): a day, else a time in UTC.
    """
    try:
        found = parse_rule(rule)
    except RecurrenceInvalid:
        return None
    if is_of_days and (found.frequency == "HOURLY" or any(f"{name}=" in rule for name in _OF_TIMES)):
        return None
    parts = rule.replace("+", "").split(";")
    # Older programs look for the frequency first.
    parts.sort(key=lambda part: not part.startswith("FREQ="))
    if found.until is not None:
        try:
            until = _shown_until(found.until, zone, is_of_days=is_of_days)
        except OverflowError:
            return None
        parts = [f"UNTIL={until}" if part.startswith("UNTIL=") else part for part in parts]
    return ";".join(parts)


def _shown_until(until: date | datetime, zone: tzinfo, *, is_of_days: bool) -> str:
    if not isinstance(until, datetime):
        if is_of_days:
            return day_text(until)
        until = datetime.combine(until, _LAST_SECOND)
    if until.tzinfo is None:
        until = until.replace(tzinfo=zone)
    return day_text(until.astimezone(zone).date()) if is_of_days else utc_text(until)


def utc_text(moment: datetime) -> str:
    """A time as iCalendar writes it, in UTC."""
    return f"{local_text(moment if moment.tzinfo is UTC else moment.astimezone(UTC))}Z"


def local_text(moment: datetime) -> str:
    """A time as iCalendar writes it, by the clocks of its zone."""
    # Not strftime, which writes years before 1000 with fewer digits; and half as long as taking isoformat apart.
    return "%04d%02d%02dT%02d%02d%02d" % (  # noqa: UP031
        moment.year,
        moment.month,
        moment.day,
        moment.hour,
        moment.minute,
        moment.second,
    )


def day_text(day: date) -> str:
    """A day as iCalendar writes it."""
    return day.isoformat().replace("-", "")


# -- our own properties -----------------------------------------------------------------------------------------


def own_value(field: Field, value: Any) -> str:
    """The value of our own property."""
    match field.kind:
        case FreeText() | LabelList():
            return json.dumps(value)  # in ASCII: control characters are escaped, too
        case Moment():
            return own_moment(value)
        case _:
            return str(value)


def own_moment(moment: datetime) -> str:
    """A time in a property of our own, whole."""
    return f"{(moment if moment.tzinfo is UTC else moment.astimezone(UTC)).isoformat().removesuffix('+00:00')}Z"


def _read_own(field: Field, text: str) -> Any:
    """What `own_value` made the text of.

    Raises:
        ValueError: it made no such text.
    """
    match field.kind:
        case FreeText() | LabelList():
            value = json.loads(text)
            is_list = isinstance(field.kind, LabelList)
            if not isinstance(value, list if is_list else str) or (
                is_list and not all(isinstance(label, str) for label in value)
            ):
                raise ValueError(text)
            return value
        case Number():
            return int(text)
        case Moment():
            moment = datetime.fromisoformat(text)
            if moment.tzinfo is None:
                raise ValueError(text)
            return moment.isoformat()
        case _:
            return text


_BY_NAME = {field.name: field for field in IMPORTED}
_SHOWN_IN_FIELDS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "title": (lambda title: shown_line(title) or UNTITLED, UNTITLED),
    "description": (shown_text, ""),
    "priority": (shown_priority, None),
    "status": (lambda status: "pending" if status == "blocked" else status, DEFAULT_STATUS),
    "labels": (shown_labels, []),
}
"""Field → what the import reads of the standard property, and what it reads where there is none."""
_RULE = "recurrence"


def is_ours(properties: Callable[[str], str]) -> bool:
    """Whether a to-do, whose properties these are, was exported here."""
    return properties("X-TENFOLD-STATUS") != ""


def restore(fields: dict[str, Any], properties: Callable[[str], str], zone: tzinfo) -> None:
    """Puts in what our own properties say, as far as the standard ones still say the same.

    Args:
        fields: as they were read from the standard properties; of the recurrence, `restored_rule` tells.
        properties: the text of the first property of a name; empty where there is none.
        zone: of DUE.
    """
    due = properties("DUE")
    if not due:  # what was made of DTSTART, without which iCalendar has no RRULE
        fields.pop("due_date", None)
        fields.pop("due_day", None)
    elif day := _DAY.match(due):
        fields.pop("due_date", None)
        fields["due_day"] = "-".join(day.groups())
    for field in IMPORTED:
        text = properties(property_of(field))
        if not text or field.name == _RULE:
            continue
        try:
            value = _read_own(field, text)
            is_still_said = _is_still_said(field, value, fields, zone)
        except (ValueError, TypeError, OverflowError):
            continue
        if is_still_said:
            fields[field.name] = value


def _is_still_said(field: Field, value: Any, fields: Mapping[str, Any], zone: tzinfo) -> bool:
    found = fields.get(field.name)
    if field.name in _SHOWN_IN_FIELDS:
        show, absent = _SHOWN_IN_FIELDS[field.name]
        return bool(show(value) == (absent if found is None else found))
    if isinstance(field.kind, Moment):
        shown = shown_moment(datetime.fromisoformat(value), zone if field.name == "due_date" else UTC)
        return found is not None and shown == datetime.fromisoformat(found)
    return True  # no standard property says anything of it


def restored_rule(properties: Callable[[str], str], zone: tzinfo, *, is_of_days: bool) -> str | None:
    """The recurrence that RRULE was made of; None: there is none, or RRULE says something else by now.

    Args:
        properties: as of `restore`.
        zone: of DTSTART.
        is_of_days: whether DTSTART is a day.
    """
    rule = properties(property_of(_BY_NAME[_RULE]))
    if not rule:
        return None
    shown = shown_rule(rule, zone, is_of_days=is_of_days) if properties("DTSTART") else None
    return rule if (shown or "") == properties("RRULE") else None


# -- reminders --------------------------------------------------------------------------------------------------


def alarm_says(reminder: str, trigger: str) -> str | None:
    """The reminder that an alarm was made of; None: another program has made the alarm, or changed it.

    Args:
        reminder: `REMINDER` of the alarm.
        trigger: its TRIGGER.
    """
    rule, _, made = reminder.partition(" ")
    return rule if rule and made == trigger else None


def restored_reminders(properties: Callable[[str], str], said_by_alarms: Iterable[str]) -> list[str] | None:
    """The task's own reminders, without those whose alarms were taken away; None: it has none of its own.

    Args:
        properties: as of `restore`.
        said_by_alarms: what `alarm_says` of each alarm.
    """
    text = properties(REMINDERS)
    if not text:
        return None
    try:
        rules = json.loads(text)
    except ValueError:
        return None
    if not isinstance(rules, dict):
        return None
    said = set(said_by_alarms)
    return [rule for rule, has_alarm in rules.items() if rule in said or not has_alarm]


def duration_text(length: timedelta) -> str:
    """A length of time, which may be negative, as iCalendar writes it (3.3.6)."""
    seconds = round(length.total_seconds())
    sign = "-" if seconds < 0 else ""
    days, rest = divmod(abs(seconds), 24 * 3600)
    hours, rest = divmod(rest, 3600)
    minutes, seconds = divmod(rest, 60)
    parts = "".join(f"{number}{unit}" for number, unit in ((hours, "H"), (minutes, "M"), (seconds, "S")) if number)
    if parts or not days:
        parts = f"T{parts or '0S'}"
    return f"{sign}P{f'{days}D' if days else ''}{parts}"

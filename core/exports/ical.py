"""Tasks as VTODO components (RFC 5545), for calendars and other programs that keep to-do lists.

What a to-do has no word for stands in properties of our own: see `core.formats.todos`, by which the import reads it.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, tzinfo
from functools import cache
from typing import Any

import orjson
from icalendar import Timezone

from core.formats.todos import (
    REMINDER,
    REMINDERS,
    SHOWN_STATUSES,
    TIME_ZONE,
    day_text,
    duration_text,
    local_text,
    own_moment,
    own_value,
    property_of,
    shown_labels,
    shown_line,
    shown_moment,
    shown_priority,
    shown_rule,
    utc_text,
)
from core.tasks.columns import names
from core.tasks.fields import IMPORTED
from core.tasks.recurrence import zone_named
from core.version import VERSION

# A rule's dates go by the clocks of the user's zone.
ICAL_COLUMNS = f"""
    t.id, t.updated_at, t.version, {names(IMPORTED, "t.")}, t.reminder_rules,
    CASE WHEN t.recurrence IS NOT NULL OR t.reminder_rules IS NOT NULL
         THEN (SELECT u.time_zone FROM users AS u WHERE u.id = t.user_id) END AS time_zone,
    CASE WHEN t.reminder_rules IS NOT NULL
         THEN (SELECT json_object_agg(r.rule, r.due_at)::text FROM reminders AS r
               WHERE r.user_id = t.user_id AND r.task_id = t.id) END AS reminders_due_at
"""  # noqa: S608
"""SQL: what `Calendar` takes of a task `t`."""
CALENDAR_END = b"END:VCALENDAR\r\n"

_LONGEST_LINE = 75  # octets, RFC 5545, 3.1

# RFC 5545, 3.3.11. Its grammar has no place for control characters but TAB: they are left out. (icalendar's own
# escape_char turns a backslash before an N into a line break.)
_ESCAPES = {
    **dict.fromkeys(map(chr, [*range(32), 127]), ""),
    "\t": "\t",
    "\n": "\\n",
    "\\": "\\\\",
    ";": "\\;",
    ",": "\\,",
}
_TRANSLATION = str.maketrans(_ESCAPES)
# What DESCRIPTION loses: control characters, and white space around the text.
_LOST = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]|\A\s|\s\Z")

_OWN = {field.name: (field, property_of(field)) for field in IMPORTED}
_STANDARD = frozenset(
    {
        "title", "description", "priority", "status", "due_date", "due_day", "labels", "created_at", "completed_at",
        "recurrence",
    }
)  # fmt: skip
_OTHERS = [field for field in IMPORTED if field.name not in _STANDARD]
_OF_MONTHS = re.compile(r"P[0-9]+M")
# The years that the definition of a zone tells of; programs know IANA's zones by their names.
_DEFINED_FROM, _DEFINED_TO = date(2000, 1, 1), date(2051, 1, 1)


class Calendar:
    """The components of one file: a time zone is defined where it is first named."""

    def __init__(self) -> None:
        self._defined: set[str] = set()

    def start(self) -> bytes:
        """The calendar up to its first component."""
        return f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Tenfold//Tenfold {VERSION}//EN\r\n".encode()

    def render(self, rows: Iterable[Mapping[str, Any]]) -> bytes:
        """Rows with `ICAL_COLUMNS` as components."""
        lines: list[str] = []
        for row in rows:
            zone_name = "UTC" if row["recurrence"] is None else _zone_name(row)
            if zone_name != "UTC" and zone_name not in self._defined:
                self._defined.add(zone_name)
                lines.append(_definition(zone_name))
            _add_todo(lines, row, zone_name)
        return "".join(lines).encode()


def _add_todo(lines: list[str], row: Mapping[str, Any], zone_name: str) -> None:
    """The component's lines. icalendar's own components take ten times as long: too long for a million tasks."""
    title, priority, status, completed_at = row["title"], row["priority"], row["status"], row["completed_at"]
    created_at, updated_at = row["created_at"], utc_text(row["updated_at"])
    lines.append(
        f"BEGIN:VTODO\r\nUID:tenfold-{row['id']}\r\nDTSTAMP:{updated_at}\r\nCREATED:{utc_text(created_at)}\r\n"
        f"LAST-MODIFIED:{updated_at}\r\nSEQUENCE:{row['version'] - 1}\r\n"
    )
    lines.append(_folded(f"SUMMARY:{_text(title)}"))
    if not _is_plain(title) and shown_line(title) != title:
        _add_own(lines, "title", title)
    description = row["description"]
    if description is not None:
        if description:
            lines.append(_folded(f"DESCRIPTION:{_text(description)}"))
        if not description or _LOST.search(description):
            _add_own(lines, "description", description)
    lines.append(
        f"PRIORITY:{shown_priority(priority)}\r\nSTATUS:{SHOWN_STATUSES[status]}\r\n"
        f"X-TENFOLD-PRIORITY:{priority}\r\nX-TENFOLD-STATUS:{status}\r\n"
    )
    if created_at.microsecond:  # as of all tasks that were made here: it need not be folded
        lines.append(f"X-TENFOLD-CREATED-AT:{own_moment(created_at)}\r\n")
    if row["due_date"] is not None or row["recurrence"] is not None:
        _add_dates(lines, row, zone_name)
    if completed_at is not None:
        lines.append(f"COMPLETED:{utc_text(completed_at)}\r\nPERCENT-COMPLETE:100\r\n")
        if completed_at.microsecond:
            lines.append(f"X-TENFOLD-COMPLETED-AT:{own_moment(completed_at)}\r\n")
    labels = row["labels"]
    if labels:
        lines.append(_folded(f"CATEGORIES:{','.join(map(_text, labels))}"))
        if not all(map(_is_plain, labels)) and shown_labels(labels) != labels:
            _add_own(lines, "labels", labels)
    for field in _OTHERS:
        if (value := row[field.name]) is not None and value != field.default:
            _add_own(lines, field.name, value)
    if row["reminder_rules"] is not None:
        _add_reminders(lines, row)
    lines.append("END:VTODO\r\n")


def _add_own(lines: list[str], name: str, value: Any) -> None:
    field, property_name = _OWN[name]
    lines.append(_folded(f"{property_name}:{_text(own_value(field, value))}"))


# -- dates ----------------------------------------------------------------------------------------------------


def _add_dates(lines: list[str], row: Mapping[str, Any], zone_name: str) -> None:
    """DUE; of a task that comes again also RRULE, and DTSTART, from which its dates are counted.

    DTSTART is the due date itself: any other would count other dates. RFC 5545, 3.8.2.3 wants DUE to be later, but has
    no other word for a to-do that takes no time; Apple's Reminders writes the same. Without a due date it is the day of
    the task's making.
    """
    due_date, due_day, recurrence = row["due_date"], row["due_day"], row["recurrence"]
    zone: tzinfo
    if due_day is not None:
        zone, text = zone_named(zone_name), f";VALUE=DATE:{day_text(due_day)}"
        lines.append(f"DUE{text}\r\n")
        if zone_name != "UTC":  # a day names none, but UNTIL was reckoned by it
            lines.append(f"{TIME_ZONE}:{zone_name}\r\n")
    else:
        zone, text = _told(due_date or row["created_at"], zone_name)
        if due_date is not None:
            lines.append(f"DUE{text}\r\n")
            if due_date != shown_moment(due_date, zone):
                _add_own(lines, "due_date", due_date)
    if recurrence is not None:
        rule = shown_rule(recurrence, zone, is_of_days=due_day is not None)
        if rule is not None:
            lines.append(f"DTSTART{text}\r\n{_folded(f'RRULE:{rule}')}")
        _add_own(lines, "recurrence", recurrence)


def _told(moment: datetime, zone_name: str) -> tuple[tzinfo, str]:
    """The zone, and the parameters and the value of a property."""
    if zone_name != "UTC":
        zone = zone_named(zone_name)
        try:
            return zone, f";TZID={zone_name}:{local_text(moment.astimezone(zone))}"
        except OverflowError:  # the year is 1 or 9999, and by the clocks of the zone another one
            pass
    return UTC, f":{utc_text(moment)}"


def _zone_name(row: Mapping[str, Any]) -> str:
    """The user's zone, as the service understands it."""
    return str(zone_named(row["time_zone"] or "UTC"))


@cache
def _definition(zone_name: str) -> str:
    zone = Timezone.from_tzid(zone_name, first_date=_DEFINED_FROM, last_date=_DEFINED_TO)
    text: str = zone.to_ical().decode()
    return text


# -- reminders ------------------------------------------------------------------------------------------------


def _add_reminders(lines: list[str], row: Mapping[str, Any]) -> None:
    """The task's own reminders, and an alarm for each that there is a time for."""
    moments = orjson.loads(row["reminders_due_at"] or "{}")
    triggers = {rule: _trigger(rule, row, moments.get(rule)) for rule in row["reminder_rules"]}
    told = orjson.dumps({rule: trigger is not None for rule, trigger in triggers.items()}).decode()
    lines.append(_folded(f"{REMINDERS}:{_text(told)}"))
    text = _folded(f"DESCRIPTION:{_text(row['title'])}")
    for rule, trigger in triggers.items():
        if trigger is not None:
            lines.append(
                f"BEGIN:VALARM\r\nACTION:DISPLAY\r\n{text}TRIGGER{trigger}\r\n"
                f"{REMINDER}:{rule} {trigger.partition(':')[2]}\r\nEND:VALARM\r\n"
            )


def _trigger(rule: str, row: Mapping[str, Any], due_at: str | None) -> str | None:
    """TRIGGER of a reminder, without its name; None: there is no due date to count from."""
    if not rule.startswith("P"):
        return f";VALUE=DATE-TIME:{utc_text(datetime.fromisoformat(rule))}"
    due_date, due_day = row["due_date"], row["due_day"]
    if due_date is None:
        return None
    if due_day is None and not _OF_MONTHS.match(rule):
        return f";RELATED=END:-{rule}"
    if due_at is None:
        return None
    # iCalendar's durations have no months, and a day is due at its beginning there.
    end = due_date if due_day is None else datetime.combine(due_day, time(), zone_named(_zone_name(row)))
    return f";RELATED=END:{duration_text(datetime.fromisoformat(due_at) - end)}"


# -- lines ----------------------------------------------------------------------------------------------------


def _is_plain(text: str) -> bool:
    """Whether a line holds the text as it is."""
    return text.isprintable() and "  " not in text


def _text(value: str) -> str:
    return value.replace("\r\n", "\n").replace("\r", "\n").translate(_TRANSLATION)


def _folded(line: str) -> str:
    """The line with its end, folded between characters, but not within an escape, which some programs cannot read."""
    octets = line.encode()
    if len(octets) <= _LONGEST_LINE:
        return line + "\r\n"
    parts = []
    start, limit = 0, _LONGEST_LINE
    while len(octets) - start > limit:
        end = start + limit
        while octets[end] & 0xC0 == 0x80:  # within a character
            end -= 1
        backslashes = end - start - len(octets[start:end].rstrip(b"\\"))
        end -= backslashes % 2
        parts.append(octets[start:end])
        start, limit = end, _LONGEST_LINE - 1  # the blank that begins it counts
    parts.append(octets[start:])
    return b"\r\n ".join(parts).decode() + "\r\n"

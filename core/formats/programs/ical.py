"""To-dos (VTODO, RFC 5545) of iCalendar files, as Nextcloud, Apple, Thunderbird, KOrganizer, Tasks.org … write them.

- PRIORITY 1 to 9 stays, 0 and none → 5.
- STATUS decides; without one a COMPLETED date or 100 PERCENT-COMPLETE means `completed`, a lower percentage
  `in_progress`. NEEDS-ACTION is `pending`, IN-PROCESS `in_progress`.
- A DUE date without a time is a day. Without DUE it is DTSTART and DURATION; of what recurs it is DTSTART alone, the
  first instance. Times without a zone are in the reader's; zones go by their names (IANA's, Windows', or either behind
  a vendor's prefix), else by the file's VTIMEZONE.
- CATEGORIES are labels. A parent (RELATED-TO) becomes `Part of: <title>`. RRULE is the recurrence of an open to-do if a
  task can follow it, else a line of the description, as are alarms, start, location, address and attachments; COMMENTs
  follow it. A start that is the due date itself says nothing more.
- What Tenfold exports is read again as it was: `core.formats.todos` has its own properties.
- The external id is the UID; that of a changed occurrence has its RECURRENCE-ID behind it. So of an event's several
  versions in one file the import's `on_conflict` decides.

Events and journals are passed over and counted. A to-do that says nothing is skipped.
"""

import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import BinaryIO

from icalendar.prop import vDuration

from core.formats.dates import parse_due, parse_moment
from core.formats.parsed_task import IS_PENDING, PRIORITY_IS_5, ParsedTask
from core.formats.rows import (
    FRAME_MAXIMUM,
    BadRow,
    Certainty,
    FileReport,
    Format,
    Head,
    ImportRefused,
    ReadOptions,
    Row,
    Rows,
    SkippedRow,
    excerpt,
)
from core.formats.streams.icalendar import (
    FRAME,
    Component,
    Properties,
    Property,
    as_lines,
    as_text,
    read_components,
    source_of,
)
from core.formats.streams.utf8 import as_utf8
from core.formats.todos import REMINDER, TIME_ZONE, alarm_says, is_ours, restore, restored_reminders, restored_rule
from core.formats.values import quoted, read_moment
from core.formats.zones import CalendarZones

_HELD_MAXIMUM = 4 * 1024 * 1024  # of to-dos whose parents or zones may yet come
_TITLES_MAXIMUM = 100_000
_COLUMNS = {
    "title": "SUMMARY",
    "description": "DESCRIPTION",
    "priority": "PRIORITY",
    "status": "STATUS",
    "due_date": "DUE",
    "created_at": "CREATED",
    "completed_at": "COMPLETED",
    "labels": "CATEGORIES",
    "external_id": "UID",
    "recurrence": "RRULE",
}
_STATUSES = {
    "NEEDS-ACTION": "pending",
    "IN-PROCESS": "in_progress",
    "IN-PROGRESS": "in_progress",  # what people, and even RFC 2446's examples, write
    "COMPLETED": "completed",
    "CANCELLED": "cancelled",
    # Not of a VTODO by the book, but seen: vCalendar 1.0's, and those of events.
    "ACCEPTED": "pending",
    "CONFIRMED": "pending",
    "TENTATIVE": "pending",
    "SENT": "pending",
    "DELEGATED": "pending",
    "DECLINED": "cancelled",
}
_HOUSEKEEPING = frozenset({"UID", "DTSTAMP", "CREATED", "LAST-MODIFIED", "SEQUENCE", "CLASS"})
_PRIORITIES = {str(number): number for number in range(1, 10)} | {"": 5, "0": 5}
_DATE = re.compile(r"\d{8}\Z")


def recognise(head: Head) -> Certainty:
    """Calendars begin with their name; what a mail put in front does not matter."""
    beginning = head.text.lstrip()[:2000].upper()
    if beginning.startswith(("BEGIN:VCALENDAR", "BEGIN:VTODO")):
        return 3
    return 2 if "\nBEGIN:VCALENDAR" in beginning or "\nBEGIN:VTODO" in beginning else 0


def read(stream: BinaryIO, options: ReadOptions, report: FileReport) -> Rows:
    """A row a VTODO."""
    report.frame = FRAME
    reader = _Reader(options, report)
    refused = None
    components = read_components(as_utf8(stream, options.encoding), report)
    while True:
        try:
            component = next(components, None)
        except ImportRefused as problem:
            refused = problem
            component = None
        if component is None:
            break
        reader.take(component)
        if reader.held_bytes > _HELD_MAXIMUM:
            yield from reader.rows()
    yield from reader.rows()
    if refused is not None:
        raise refused
    if not reader.count:
        others = ", ".join(f"{count:,} {name}" for name, count in report.ignored.items())
        detail = f"The file holds {others}, but no to-dos (VTODO)." if others else "The file holds no to-dos (VTODO)."
        raise ImportRefused("import-empty", detail)


class _Reader:
    """Holds to-dos until their parents and zones are likely to be known.

    Attributes:
        count: how many to-dos there were.
        held_bytes: of those that are held.
    """

    def __init__(self, options: ReadOptions, report: FileReport) -> None:
        self.count = 0
        self.held_bytes = 0
        self._options = options
        self._report = report
        self._held: list[tuple[int, Component, Properties, bytes]] = []
        self._titles: dict[str, str] = {}
        self._zones = CalendarZones()

    def take(self, component: Component) -> None:
        """Takes a VTODO or a VTIMEZONE."""
        if component.name == b"VTIMEZONE":
            if component.problem is None:
                self._zones.define(component.source, component.size)
                before, after = self._report.frame or FRAME
                if len(before) + component.size <= FRAME_MAXIMUM:
                    self._report.frame = before + as_lines(as_text(source_of(component))), after
            return
        self.count += 1
        self.held_bytes += component.size
        to_do = Properties(component)
        source = source_of(component)
        component.source.clear()
        self._held.append((self.count, component, to_do, source))
        uid = to_do.text("UID")
        if uid and len(self._titles) < _TITLES_MAXIMUM:
            self._titles.setdefault(uid, to_do.text("SUMMARY"))

    def rows(self) -> Rows:
        """The rows of the to-dos that are held, which are so no more."""
        for number, component, to_do, source in self._held:
            values = excerpt(to_do.values())
            if component.problem is not None:
                message = f"The to-do in line {component.line:,}: {component.problem}"
                yield BadRow(number, None, message, values, source=source)
            elif to_do.is_empty(_HOUSEKEEPING):
                yield SkippedRow(number, f"The to-do in line {component.line:,} is empty.", values)
            else:
                row = self._parse(to_do).row(number, values, _COLUMNS, source)
                if isinstance(row, Row) and is_ours(to_do.text):
                    restore(row.fields, to_do.text, self._own_zone(to_do))
                yield row
        self._held.clear()
        self.held_bytes = 0

    def _parse(self, to_do: Properties) -> ParsedTask:
        recurrence_id = to_do.text("RECURRENCE-ID")
        uid = to_do.text("UID")
        task = ParsedTask(to_do.text("SUMMARY"), f"{uid}/{recurrence_id}" if uid and recurrence_id else uid)
        task.body = to_do.text("DESCRIPTION")
        task.set(
            priority=task.known(to_do.text("PRIORITY"), "PRIORITY", _PRIORITIES, PRIORITY_IS_5),
            created_at=self._moment(to_do, task, "CREATED"),
        )
        self._set_due(to_do, task)
        self._set_status(to_do, task)
        for categories in to_do.all("CATEGORIES"):
            for category in categories.texts:
                task.label(category)
        for relation in to_do.all("RELATED-TO"):
            kind = relation.parameters.get("RELTYPE", "PARENT").upper()
            title = self._titles.get(relation.text.strip(), "") or relation.text.strip()
            if kind == "PARENT" and not task.parent:
                task.parent = title
            elif kind == "SIBLING":
                task.fact("Related to", title)
        self._add_facts(to_do, task)
        for comment in to_do.all("COMMENT"):
            task.comment(comment.text)
        return task

    def _add_facts(self, to_do: Properties, task: ParsedTask) -> None:
        start, due = to_do.first("DTSTART"), to_do.first("DUE")
        rule = None
        if is_ours(to_do.text):
            rule = restored_rule(to_do.text, self._own_zone(to_do), is_of_days=start is not None and _is_date(start))
        if rule is not None:
            task.set(recurrence=rule)
        else:
            if start is not None and not _is_due(start, due, to_do):
                task.fact("Starts", self._told(start))
            task.repeat(to_do.text("RRULE"), "RRULE")
        for name, heading in (("RDATE", "Repeats also on"), ("EXDATE", "Does not repeat on")):
            task.fact(heading, ", ".join(one.value for one in to_do.all(name)))
        task.fact("Occurrence of", self._told(to_do.first("RECURRENCE-ID")))
        percentage = to_do.text("PERCENT-COMPLETE")
        if percentage not in ("", "0", "100"):
            task.fact("Percent complete", percentage)
        said = []
        for alarm in to_do.alarms:
            trigger = alarm.get("TRIGGER")
            own = alarm_says(alarm[REMINDER].text, trigger.value) if REMINDER in alarm and trigger is not None else None
            if own is not None:
                said.append(own)
            elif "X-APPLE-PROXIMITY" in alarm:  # its trigger is a dummy
                place = alarm.get("X-APPLE-STRUCTURED-LOCATION")
                name = place.parameters.get("X-TITLE", "") if place else ""
                task.fact("Reminder", f"{alarm['X-APPLE-PROXIMITY'].value.lower()} {name}")
            elif trigger is not None:
                task.fact("Reminder", self._told(trigger))
        task.set(reminders=restored_reminders(to_do.text, said))
        task.fact("Location", to_do.text("LOCATION"))
        for attachment in to_do.all("ATTACH"):
            is_inside = attachment.parameters.get("VALUE", "").upper() == "BINARY"
            task.fact("Attachment", "(not imported)" if is_inside else attachment.value)
        task.fact("Source", to_do.text("URL"))

    def _set_status(self, to_do: Properties, task: ParsedTask) -> None:
        word = to_do.text("STATUS").upper().replace(" ", "-")
        completed = self._moment(to_do, task, "COMPLETED")
        percentage = to_do.text("PERCENT-COMPLETE")
        if not word and (completed or percentage == "100"):
            word = "COMPLETED"
        status = task.known(word, "STATUS", _STATUSES, IS_PENDING)
        if status == "completed":
            stop_gaps = (to_do.first(name) for name in ("LAST-MODIFIED", "LAST-MOD", "DTSTAMP"))
            task.complete(completed, *(self._read(found) for found in stop_gaps))
        elif word:
            task.set(status=status)
        elif percentage not in ("", "0"):
            task.set(status="in_progress")

    def _set_due(self, to_do: Properties, task: ParsedTask) -> None:
        due, start = to_do.first("DUE"), to_do.first("DTSTART")
        duration = to_do.text("DURATION")
        if due is None or not due.value.strip():
            due = None
            if start is not None and duration:
                self._set_end(start, duration, task)
                return
            if to_do.text("RRULE"):
                due = start
        if due is not None:
            parse = parse_due if _is_date(due) else parse_moment
            task.set_due(due.value, due.name, self._zone(due, task), parse=parse)

    def _set_end(self, start: Property, duration: str, task: ParsedTask) -> None:
        zone = self._zone(start, task)
        try:
            length: timedelta = vDuration.from_ical(duration)  # type: ignore[no-untyped-call]
            end = datetime.fromisoformat(parse_moment(start.value, zone)).astimezone(zone) + length
        except (ValueError, OverflowError):
            problem = f"DTSTART and DURATION {quoted(duration)} tell no due date."
            task.keep("Duration", duration, "DURATION", f"{problem} It was left out, and stands in the description.")
            return
        if _is_date(start):
            # A day's end is the next one's first instant.
            task.set_due_as((end - timedelta(seconds=1)).date().isoformat(), zone)
        else:
            task.set(due_date=end.astimezone(UTC).isoformat())

    def _moment(self, to_do: Properties, task: ParsedTask, name: str) -> str | None:
        found = to_do.first(name)
        return None if found is None else task.moment(found.value, name, self._zone(found, task))

    def _told(self, date: Property | None) -> str:
        """A date for people: RFC 3339 if it can be read, else as it stands there."""
        if date is None:
            return ""
        return self._read(date) or date.value

    def _read(self, date: Property | None) -> str | None:
        """A moment that is no more than a stop-gap, or for people."""
        try:
            return read_moment(date.value, parse_moment, self._zone(date, None)) if date is not None else None
        except ValueError:
            return None

    def _own_zone(self, to_do: Properties) -> tzinfo:
        """That of the dates which the export has written: UTC but of what comes again."""
        date = to_do.first("DTSTART") or to_do.first("DUE")
        name = (date.parameters.get("TZID", "") if date else "") or to_do.text(TIME_ZONE)
        return (name and self._zones.find(name)) or UTC

    def _zone(self, date: Property, task: ParsedTask | None) -> tzinfo:
        """The zone of a date; the task is warned of one that nobody knows."""
        name = date.parameters.get("TZID", "")
        zone = self._zones.find(name) if name else None
        if name and zone is None and task is not None:
            message = f"The time zone {quoted(name)} is unknown, and the file does not define it; "
            task.warn(date.name, f"{message}the date was read in {self._options.time_zone}.")
        return zone or self._options.time_zone


def _is_due(start: Property, due: Property | None, to_do: Properties) -> bool:
    """Whether the start is the due date itself."""
    if due is None:
        return bool(to_do.text("RRULE")) and not to_do.text("DURATION")
    return (start.value, start.parameters) == (due.value, due.parameters)


def _is_date(date: Property) -> bool:
    return date.parameters.get("VALUE", "").upper() == "DATE" or _DATE.match(date.value.strip()) is not None


FORMAT = Format("icalendar", "iCalendar to-dos", recognise, read, form="icalendar")

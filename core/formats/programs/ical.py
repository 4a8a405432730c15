"""To-dos (VTODO, RFC 5545) of iCalendar files, as Nextcloud, Apple, Thunderbird, KOrganizer, Tasks.org … write them.

- PRIORITY 1 to 9 stays, 0 and none → 5.
- STATUS decides; without one a COMPLETED date or 100 PERCENT-COMPLETE means `completed`, a lower percentage
  `in_progress`. NEEDS-ACTION is `pending`, IN-PROCESS `in_progress`.
- A DUE date without a time is the end of that day. Without DUE it is DTSTART and DURATION. Times without a zone are in
  the reader's; zones go by their names (IANA's, Windows', or either behind a vendor's prefix), else by the file's
  VTIMEZONE.
- CATEGORIES are labels. A parent (RELATED-TO) becomes `Part of: <title>`. RRULE is the recurrence of an open to-do if a
  task can follow it, else a line of the description, as are alarms, start, location, address and attachments; COMMENTs
  follow it.
- The external id is the UID; that of a changed occurrence has its RECURRENCE-ID behind it. So of an event's several
  versions in one file the import's `on_conflict` decides.

Files are read component by component, so they may be of any length, malformed in places, and without a VCALENDAR
around. Events and journals are passed over and counted. The old vCalendar 1.0 is understood, too.

icalendar's own parser is not asked for whole components: it looks at every character in Python, and it remembers each
file's VTIMEZONEs for the whole process, that is, for other people's files.
"""

import io
import quopri
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from functools import lru_cache
from typing import BinaryIO
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dateutil.tz import tzical
from icalendar.prop import vDuration
from icalendar.timezone.windows_to_olson import WINDOWS_TO_OLSON

from core.formats.dates import parse_due, parse_moment
from core.formats.parsed_task import ParsedTask
from core.formats.rows import (
    BadRow,
    Certainty,
    FileReport,
    Format,
    Head,
    ImportRefused,
    ReadOptions,
    Row,
    Rows,
    excerpt,
)
from core.formats.streams.lines import TooLong, read_lines
from core.formats.streams.utf8 import as_utf8
from core.formats.values import WrongValue, moment

COMPONENT_MAXIMUM = 1024 * 1024
_HELD_MAXIMUM = 4 * 1024 * 1024  # of to-dos whose parents or zones may yet come
_TITLES_MAXIMUM = 100_000
_ZONES_MAXIMUM = 500
_ZONE_BYTES_MAXIMUM = 64 * 1024
_ZONE_NAME_MAXIMUM = 255
_IGNORED = {b"VEVENT": "events", b"VJOURNAL": "journals"}
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
    "CANCELLED": "cancelled",
    # Not of a VTODO by the book, but seen: vCalendar 1.0's, and those of events.
    "ACCEPTED": "pending",
    "CONFIRMED": "pending",
    "TENTATIVE": "pending",
    "SENT": "pending",
    "DELEGATED": "pending",
    "DECLINED": "cancelled",
}
_DEFAULT_PRIORITY = 5
_CONTENT_LINE = re.compile(r'([A-Za-z0-9_.-]+)[ \t]*((?:;(?:[^":]++|"[^"]*+")*+)?+):(.*)', re.DOTALL)
_PARAMETER = re.compile(r';[ \t]*([^=;:"]+)(?:=("[^"]*"|[^;:"]*))?')
_ESCAPE = re.compile(r"\\([\\;,nN:\"])")
_LIST_ENTRY = re.compile(r"(?:[^,\\]|\\.)+", re.DOTALL)
_DATE = re.compile(r"\d{8}\Z")
_ZONE_LINE = re.compile(r"(?:BEGIN|END|TZID|DTSTART|TZOFFSETFROM|TZOFFSETTO|TZNAME|RRULE|RDATE)[;:]", re.IGNORECASE)
# A VTIMEZONE's rule is run through from its DTSTART on: one that has an occurrence every second would never end.
_ZONE_RULE = re.compile(
    r"RRULE:FREQ=YEARLY(?:;(?:BYMONTH=\d+|BYDAY=[+-]?\d?\w\w|BYMONTHDAY=[\d,-]+|INTERVAL=\d+|COUNT=\d+|UNTIL=\w+|WKST=\w+))*\Z",
    re.IGNORECASE,
)


@dataclass(slots=True)
class _Property:
    """A content line."""

    name: str
    parameters: dict[str, str]
    value: str

    @property
    def text(self) -> str:
        """The value as a text."""
        return _ESCAPE.sub(lambda match: "\n" if match[1] in "nN" else match[1], self.value)


@dataclass(slots=True)
class _Component:
    """A component, or what was found of one.

    Attributes:
        line: of its beginning.
        problem: why it cannot be read; its properties are those that were read before.
    """

    name: bytes
    line: int
    source: list[bytes] = field(default_factory=list)
    size: int = 0
    problem: str | None = None

    def add(self, line: bytes) -> None:
        if self.problem is None:
            self.size += len(line)
            if self.size > COMPONENT_MAXIMUM:
                self.spoil(f"Has more than {COMPONENT_MAXIMUM:,} bytes.")
            else:
                self.source.append(line)

    def spoil(self, problem: str) -> None:
        self.problem = self.problem or problem
        del self.source[20:]


class _ToDo:
    """A VTODO's properties."""

    def __init__(self, component: _Component) -> None:
        source = b"\n".join(component.source)
        try:
            text = source.decode()
        except UnicodeDecodeError:
            text = source.decode("windows-1252", errors="replace")
        self.properties: dict[str, list[_Property]] = {}
        self.alarms: list[dict[str, _Property]] = []
        nested: list[str] = []
        for line in text.split("\n"):
            parsed = _parse_line(line)
            if parsed is None:
                continue
            if parsed.name == "BEGIN":
                nested.append(parsed.value.strip().upper())
                if nested == ["VALARM"]:
                    self.alarms.append({})
            elif parsed.name == "END":
                del nested[-1:]
            elif not nested:
                self.properties.setdefault(parsed.name, []).append(parsed)
            elif nested == ["VALARM"]:
                self.alarms[-1].setdefault(parsed.name, parsed)

    def first(self, name: str) -> _Property | None:
        """The first of the properties of that name."""
        found = self.properties.get(name)
        return found[0] if found else None

    def all(self, name: str) -> list[_Property]:
        """All properties of that name."""
        return self.properties.get(name, [])

    def text(self, name: str) -> str:
        """The text of the first property of that name; empty where there is none."""
        found = self.first(name)
        return found.text.strip() if found else ""

    def values(self) -> dict[str, str]:
        """For the report of errors."""
        return {name: ", ".join(one.text for one in found) for name, found in self.properties.items()}


def recognise(head: Head) -> Certainty:
    """Calendars begin with their name; what a mail put in front does not matter."""
    beginning = head.text.lstrip()[:2000].upper()
    if beginning.startswith(("BEGIN:VCALENDAR", "BEGIN:VTODO")):
        return 3
    return 2 if "\nBEGIN:VCALENDAR" in beginning or "\nBEGIN:VTODO" in beginning else 0


def read(stream: BinaryIO, options: ReadOptions, report: FileReport) -> Rows:
    """A row a VTODO."""
    reader = _Reader(options)
    refused = None
    components = _components(as_utf8(stream, options.encoding), report)
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

    def __init__(self, options: ReadOptions) -> None:
        self.count = 0
        self.held_bytes = 0
        self._options = options
        self._held: list[tuple[int, _Component, _ToDo]] = []
        self._titles: dict[str, str] = {}
        self._zone_sources: dict[str, str] = {}
        self._zones: dict[str, tzinfo | None] = {}

    def take(self, component: _Component) -> None:
        """Takes a VTODO or a VTIMEZONE."""
        if component.name == b"VTIMEZONE":
            self._take_zone(component)
            return
        self.count += 1
        self.held_bytes += component.size
        to_do = _ToDo(component)
        component.source.clear()
        self._held.append((self.count, component, to_do))
        uid = to_do.text("UID")
        if uid and len(self._titles) < _TITLES_MAXIMUM:
            self._titles.setdefault(uid, to_do.text("SUMMARY"))

    def rows(self) -> Iterator[Row | BadRow]:
        """The rows of the to-dos that are held, which are so no more."""
        for number, component, to_do in self._held:
            values = excerpt(to_do.values())
            if component.problem is not None:
                yield BadRow(number, None, f"The to-do in line {component.line:,}: {component.problem}", values)
                continue
            try:
                yield self._parse(to_do).row(number, values, _COLUMNS)
            except WrongValue as wrong:
                yield BadRow(number, wrong.column, wrong.message, values)
        self._held.clear()
        self.held_bytes = 0

    def _parse(self, to_do: _ToDo) -> ParsedTask:
        recurrence_id = to_do.text("RECURRENCE-ID")
        uid = to_do.text("UID")
        task = ParsedTask(to_do.text("SUMMARY"), f"{uid}/{recurrence_id}" if uid and recurrence_id else uid)
        task.body = to_do.text("DESCRIPTION")
        task.set(priority=_priority(to_do), created_at=self._moment(to_do, "CREATED"), due_date=self._due(to_do))
        self._set_status(to_do, task)
        for categories in to_do.all("CATEGORIES"):
            for category in _split(categories):
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

    def _add_facts(self, to_do: _ToDo, task: ParsedTask) -> None:
        task.fact("Starts", self._told(to_do.first("DTSTART")))
        task.repeat(to_do.text("RRULE"))
        for name, heading in (("RDATE", "Repeats also on"), ("EXDATE", "Does not repeat on")):
            task.fact(heading, ", ".join(one.value for one in to_do.all(name)))
        task.fact("Occurrence of", self._told(to_do.first("RECURRENCE-ID")))
        percentage = to_do.text("PERCENT-COMPLETE")
        if percentage not in ("", "0", "100"):
            task.fact("Percent complete", percentage)
        for alarm in to_do.alarms:
            trigger = alarm.get("TRIGGER")
            if "X-APPLE-PROXIMITY" in alarm:  # its trigger is a dummy
                place = alarm.get("X-APPLE-STRUCTURED-LOCATION")
                name = place.parameters.get("X-TITLE", "") if place else ""
                task.fact("Reminder", f"{alarm['X-APPLE-PROXIMITY'].value.lower()} {name}")
            elif trigger is not None:
                task.fact("Reminder", self._told(trigger))
        task.fact("Location", to_do.text("LOCATION"))
        for attachment in to_do.all("ATTACH"):
            is_inside = attachment.parameters.get("VALUE", "").upper() == "BINARY"
            task.fact("Attachment", "(not imported)" if is_inside else attachment.value)
        task.fact("Source", to_do.text("URL"))

    def _set_status(self, to_do: _ToDo, task: ParsedTask) -> None:
        status = to_do.text("STATUS").upper().replace(" ", "-")
        completed = self._moment(to_do, "COMPLETED")
        percentage = to_do.text("PERCENT-COMPLETE")
        if not status and (completed or percentage == "100"):
            status = "COMPLETED"
        if status == "COMPLETED":
            task.complete(completed, *(self._guess(to_do, name) for name in ("LAST-MODIFIED", "LAST-MOD", "DTSTAMP")))
        elif status in _STATUSES:
            task.set(status=_STATUSES[status])
        elif status:
            raise WrongValue("STATUS", f"{status!r} is no status: NEEDS-ACTION, IN-PROCESS, COMPLETED or CANCELLED.")
        elif percentage not in ("", "0"):
            task.set(status="in_progress")

    def _due(self, to_do: _ToDo) -> str | None:
        due = to_do.first("DUE")
        if due is not None and due.value.strip():
            zone = self._zone(due)
            return moment(due.value, "DUE", zone, parse_due if _is_date(due) else parse_moment)
        start, duration = to_do.first("DTSTART"), to_do.text("DURATION")
        if start is None or not duration:
            return None
        try:
            begin = datetime.fromisoformat(parse_moment(start.value, self._zone(start)))
            length: timedelta = vDuration.from_ical(duration)  # type: ignore[no-untyped-call]
            end = begin + length
        except (ValueError, OverflowError):
            raise WrongValue("DURATION", f"DTSTART and DURATION {duration!r} tell no due date.") from None
        # A day's end is the next one's first instant.
        return (end - timedelta(seconds=1) if _is_date(start) else end).isoformat()

    def _moment(self, to_do: _ToDo, name: str) -> str | None:
        found = to_do.first(name)
        return None if found is None else moment(found.value, name, self._zone(found))

    def _guess(self, to_do: _ToDo, name: str) -> str | None:
        """A moment that is no more than a stop-gap."""
        try:
            return self._moment(to_do, name)
        except WrongValue:
            return None

    def _told(self, date: _Property | None) -> str:
        """A date for people: RFC 3339 if it can be read, else as it stands there."""
        if date is None:
            return ""
        try:
            return moment(date.value, date.name, self._zone(date)) or ""
        except WrongValue:
            return date.value

    def _zone(self, date: _Property) -> tzinfo:
        name = date.parameters.get("TZID", "")
        if not name:
            return self._options.time_zone
        zone = _known_zone(name) or self._own_zone(name)
        if zone is None:
            raise WrongValue(date.name, f"The time zone {name!r} is unknown, and the file does not define it.")
        return zone

    def _take_zone(self, component: _Component) -> None:
        if component.problem or component.size > _ZONE_BYTES_MAXIMUM or len(self._zone_sources) >= _ZONES_MAXIMUM:
            return
        # dateutil refuses properties that it does not know.
        lines = [line for line in map(_decoded, component.source) if _ZONE_LINE.match(line)]
        names = [line.partition(":")[2] for line in lines if line[:4].upper() == "TZID"]
        if names and not _known_zone(names[0]):
            source = "\n".join(["BEGIN:VTIMEZONE", *lines, "END:VTIMEZONE"])
            if self._zone_sources.setdefault(names[0], source) != source:
                self._zone_sources[names[0]] = source
                self._zones.pop(names[0], None)

    def _own_zone(self, name: str) -> tzinfo | None:
        if name not in self._zones:
            source = self._zone_sources.get(name)
            self._zones[name] = None if source is None else _defined_zone(source)
        return self._zones[name]


def _decoded(line: bytes) -> str:
    return line.decode(errors="replace")


def _known_zone(name: str) -> tzinfo | None:
    """IANA's zone of that name, of Windows' name, or of what follows a vendor's prefix in either."""
    return _looked_up_zone(name) if len(name) <= _ZONE_NAME_MAXIMUM else None


@lru_cache(maxsize=512)
def _looked_up_zone(name: str) -> tzinfo | None:
    cleaned = name.strip().strip("/")
    candidates = [cleaned]
    if name.startswith("/"):
        parts = cleaned.split("/")
        candidates += ["/".join(parts[start:]) for start in range(1, min(len(parts), 8))]
    for candidate in candidates:
        try:
            return ZoneInfo(WINDOWS_TO_OLSON.get(candidate, candidate))
        except (ZoneInfoNotFoundError, ValueError, OSError):
            continue
    return None


def _defined_zone(source: str) -> tzinfo | None:
    rules = [line for line in source.split("\n") if line[:5].upper() == "RRULE"]
    if not all(map(_ZONE_RULE.match, rules)):
        return None
    try:
        zone: tzinfo | None = tzical(io.StringIO(source)).get()
        if zone is not None:
            zone.utcoffset(datetime(2020, 1, 1))  # noqa: DTZ001 - whether it works at all
    except Exception:  # dateutil raises whatever comes up in it; a zone that it cannot read is one that is not defined
        return None
    return zone


def _priority(to_do: _ToDo) -> int:
    text = to_do.text("PRIORITY")
    if text in ("", "0"):
        return _DEFAULT_PRIORITY
    if text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= 9:
        return int(text)
    raise WrongValue("PRIORITY", f"{text[:50]!r} is no priority: 0 (none) to 9 (lowest).")


def _is_date(date: _Property) -> bool:
    return date.parameters.get("VALUE", "").upper() == "DATE" or _DATE.match(date.value.strip()) is not None


def _split(categories: _Property) -> list[str]:
    entries = _LIST_ENTRY.findall(categories.value)
    return [_Property("", {}, entry).text.strip() for entry in entries]


def _parse_line(line: str) -> _Property | None:
    match = _CONTENT_LINE.match(line)
    if match is None:
        name, colon, value = line.partition(":")
        return _Property(name.partition(";")[0].strip().upper(), {}, value) if colon else None
    parameters = {key.strip().upper(): (value or "").strip().strip('"') for key, value in _PARAMETER.findall(match[2])}
    value = match[3]
    if parameters.get("ENCODING", "").upper() == "QUOTED-PRINTABLE" or "QUOTED-PRINTABLE" in parameters:
        value = _unquoted(value, parameters.get("CHARSET", "utf-8"))
    return _Property(match[1].upper(), parameters, value)


def _unquoted(value: str, charset: str) -> str:
    """vCalendar 1.0 quotes what is not ASCII as mails do."""
    data = quopri.decodestring(value.encode(errors="replace"))
    try:
        text = data.decode(charset)
    except (LookupError, ValueError):
        text = data.decode("windows-1252", errors="replace")
    return text.replace("\\", "\\\\").replace("\r\n", "\n").replace("\n", "\\n")


def _components(stream: BinaryIO, report: FileReport) -> Iterator[_Component]:
    """Each VTODO and VTIMEZONE, wherever it stands."""
    open_: _Component | None = None
    is_calendar = False
    for number, line in _unfolded(stream):
        if line is None:
            if open_ is not None:
                open_.spoil(f"Line {number:,} is too long.")
            continue
        keyword = line[:6].upper()
        if keyword == b"BEGIN:":
            name = line[6:].strip().upper()
            is_calendar = is_calendar or name in (b"VCALENDAR", b"VTODO")
            if open_ is not None and name in (b"VTODO", b"VCALENDAR"):
                open_.spoil("Has no end.")
                yield open_
                open_ = None
            if open_ is not None:
                open_.add(line)
            elif name in (b"VTODO", b"VTIMEZONE"):
                open_ = _Component(name, number)
            elif name in _IGNORED:
                reason = _IGNORED[name]
                report.ignored[reason] = report.ignored.get(reason, 0) + 1
        elif open_ is not None:
            name = line[4:].strip().upper() if keyword.startswith(b"END:") else b""
            if name == b"VCALENDAR":
                open_.spoil("Has no end.")
            if name in (open_.name, b"VCALENDAR"):
                yield open_
                open_ = None
            else:
                open_.add(line)
    if open_ is not None:
        raise ImportRefused(
            "import-unreadable",
            f"The file breaks off within the component that begins in line {open_.line:,}: it is not whole."
            " Send it again.",
        )
    if not is_calendar:
        raise ImportRefused("import-wrong-format", "Not an iCalendar file: there is no BEGIN:VCALENDAR in it.")


def _unfolded(stream: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Content lines with the number of their first line; None for one that is too long.

    A line that begins with a space or a tab goes on the one before it, on the level of bytes: a fold may lie within a
    character.
    """
    number = 0
    parts: list[bytes] | None = []
    first = 1
    size = 0
    for lines in read_lines(stream):
        if isinstance(lines, TooLong):
            number += 1
            if not lines.beginning.startswith((b" ", b"\t")):
                if parts:
                    yield first, b"".join(parts)
                first = number
            parts = None
            continue
        for raw in lines:
            number += 1
            line = raw.removesuffix(b"\r")
            is_fold = line.startswith((b" ", b"\t"))
            if not is_fold and parts and parts[-1].endswith(b"=") and b"QUOTED-PRINTABLE" in parts[0].upper():
                parts[-1] = parts[-1][:-1]  # a soft line break
                parts.append(line.lstrip())
            elif is_fold:
                if parts is not None:
                    parts.append(line[1:])
                    size += len(line)
                    if size > COMPONENT_MAXIMUM:
                        parts = None
            else:
                if parts is None:
                    yield first, None
                elif parts:
                    yield first, b"".join(parts)
                first = number
                parts = [line]
                size = len(line)
    if parts is None:
        yield first, None
    elif parts:
        yield first, b"".join(parts)


FORMAT = Format("icalendar", "iCalendar to-dos", recognise, read)

"""Tasks as VTODO components (RFC 5545), for calendars and other programs that keep to-do lists."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from core.version import VERSION

ICAL_COLUMNS = (
    "id",
    "title",
    "description",
    "priority",
    "status",
    "due_date",
    "created_at",
    "updated_at",
    "completed_at",
    "version",
    "labels",
)
CALENDAR_END = b"END:VCALENDAR\r\n"

# RFC 5545, 3.8.1.11 knows no blocked to-do. So status and priority also stand in properties of our own.
_STATUSES = {
    "pending": "NEEDS-ACTION",
    "in_progress": "IN-PROCESS",
    "blocked": "NEEDS-ACTION",
    "completed": "COMPLETED",
    "cancelled": "CANCELLED",
}
_LOWEST_PRIORITY = 9


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


def calendar_start() -> bytes:
    """The calendar up to its first component."""
    return f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Tenfold//Tenfold {VERSION}//EN\r\n".encode()


def render_todos(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Rows with `ICAL_COLUMNS` as components."""
    return "".join(line for row in rows for line in _lines(row)).encode()


def _lines(row: Mapping[str, Any]) -> Iterator[str]:
    """The component's lines. icalendar's own components take ten times as long: too long for a million tasks."""
    yield "BEGIN:VTODO\r\n"
    yield f"UID:tenfold-{row['id']}\r\n"
    yield f"DTSTAMP:{_utc(row['updated_at'])}\r\n"
    yield f"CREATED:{_utc(row['created_at'])}\r\n"
    yield f"LAST-MODIFIED:{_utc(row['updated_at'])}\r\n"
    yield f"SEQUENCE:{row['version'] - 1}\r\n"
    yield _folded(f"SUMMARY:{_text(row['title'])}")
    if row["description"]:
        yield _folded(f"DESCRIPTION:{_text(row['description'])}")
    yield f"PRIORITY:{min(row['priority'], _LOWEST_PRIORITY)}\r\n"
    yield f"STATUS:{_STATUSES[row['status']]}\r\n"
    yield f"X-TENFOLD-PRIORITY:{row['priority']}\r\n"
    yield f"X-TENFOLD-STATUS:{row['status']}\r\n"
    if row["due_date"] is not None:
        yield f"DUE:{_utc(row['due_date'])}\r\n"
    if row["completed_at"] is not None:
        yield f"COMPLETED:{_utc(row['completed_at'])}\r\n"
        yield "PERCENT-COMPLETE:100\r\n"
    if row["labels"]:
        yield _folded(f"CATEGORIES:{','.join(map(_text, row['labels']))}")
    yield "END:VTODO\r\n"


def _utc(moment: datetime) -> str:
    # Not strftime, which writes years before 1000 with fewer digits.
    return moment.isoformat(timespec="seconds").replace("-", "").replace(":", "").removesuffix("+0000") + "Z"


def _text(value: str) -> str:
    return value.replace("\r\n", "\n").replace("\r", "\n").translate(_TRANSLATION)


def _folded(line: str) -> str:
    """The line with its end, folded between characters, but not within an escape, which some programs cannot read."""
    octets = line.encode()
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

"""Files of to-dos."""

from typing import Any

from core.formats.programs.ical import FORMAT
from tests.core.formats.harness import Result, read

MINIMAL = "UID:u1\nSUMMARY:Plant trees"
ZONE = """BEGIN:VTIMEZONE
TZID:Our office
X-LIC-LOCATION:Nowhere
BEGIN:STANDARD
DTSTART:20001029T030000
RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10
TZOFFSETFROM:+0200
TZOFFSETTO:+0100
END:STANDARD
BEGIN:DAYLIGHT
DTSTART:20000326T020000
RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=3
TZOFFSETFROM:+0100
TZOFFSETTO:+0200
END:DAYLIGHT
END:VTIMEZONE
"""


def to_do(*lines: str) -> str:
    return "\n".join(["BEGIN:VTODO", *lines, "END:VTODO", ""])


def calendar(*components: str) -> str:
    return "BEGIN:VCALENDAR\nVERSION:2.0\n" + "".join(components) + "END:VCALENDAR\n"


def one(*lines: str, **options: Any) -> dict[str, Any]:
    return read(FORMAT, calendar(to_do(MINIMAL, *lines)), **options).one


def titles(result: Result) -> list[str]:
    return [fields["title"] for fields in result.fields]

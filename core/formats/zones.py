"""Time zones by the names that files give them: IANA's, Windows', a vendor's, and those that a calendar defines."""

import io
import re
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dateutil.tz import tzical
from icalendar.timezone.windows_to_olson import WINDOWS_TO_OLSON

_NAME_MAXIMUM = 255
_OFFSET = re.compile(r"(?:UTC|GMT)?\s*([+−-])(\d{1,2})(?::?(\d{2}))?", re.IGNORECASE)
_DEFINED_MAXIMUM = 500
_DEFINITION_BYTES_MAXIMUM = 64 * 1024
# dateutil refuses properties that it does not know.
_DEFINITION_LINE = re.compile(
    r"(?:BEGIN|END|TZID|DTSTART|TZOFFSETFROM|TZOFFSETTO|TZNAME|RRULE|RDATE)[;:]", re.IGNORECASE
)
# A VTIMEZONE's rule is run through from its DTSTART on: one that has an occurrence every second would never end.
_DEFINITION_RULE = re.compile(
    r"RRULE:FREQ=YEARLY(?:;(?:BYMONTH=\d+|BYDAY=[+-]?\d?\w\w|BYMONTHDAY=[\d,-]+|INTERVAL=\d+|COUNT=\d+|UNTIL=\w+|WKST=\w+))*\Z",
    re.IGNORECASE,
)


def zone_of(name: str) -> tzinfo | None:
    """IANA's zone of that name; None: there is none."""
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def windows_zone_of(name: str) -> tzinfo | None:
    """The zone that Windows, or else IANA, calls so; None: there is none."""
    return zone_of(WINDOWS_TO_OLSON.get(name, name))


def zone_called(name: str) -> tzinfo | None:
    """The zone that people call so: by one of its names, or by its offset (UTC+2, GMT-05:30); None: there is none."""
    name = name.strip()
    if offset := _OFFSET.fullmatch(name):
        shift = timedelta(hours=int(offset[2]), minutes=int(offset[3] or 0))
        return timezone(-shift if offset[1] in "-−" else shift) if shift < timedelta(days=1) else None
    return _known(name) or _known(name.upper())


class CalendarZones:
    """The zones that an iCalendar file names: known ones, and those of its own VTIMEZONE components."""

    def __init__(self) -> None:
        self._definitions: dict[str, str] = {}
        self._defined: dict[str, tzinfo | None] = {}

    def define(self, source: Iterable[bytes], size: int) -> None:
        """Takes the content lines of a VTIMEZONE, which have `size` bytes; of a name's several the last is valid."""
        if size > _DEFINITION_BYTES_MAXIMUM or len(self._definitions) >= _DEFINED_MAXIMUM:
            return
        decoded = (line.decode(errors="replace") for line in source)
        lines = [line for line in decoded if _DEFINITION_LINE.match(line)]
        names = [line.partition(":")[2] for line in lines if line[:4].upper() == "TZID"]
        if names and not _known(names[0]):
            definition = "\n".join(["BEGIN:VTIMEZONE", *lines, "END:VTIMEZONE"])
            if self._definitions.get(names[0]) != definition:
                self._definitions[names[0]] = definition
                self._defined.pop(names[0], None)

    def find(self, name: str) -> tzinfo | None:
        """The zone of that name; None: nobody knows it."""
        return _known(name) or self._own(name)

    def _own(self, name: str) -> tzinfo | None:
        definition = self._definitions.get(name)
        if definition is None:
            return None
        if name not in self._defined:
            self._defined[name] = _as_defined(definition)
        return self._defined[name]


def _known(name: str) -> tzinfo | None:
    """IANA's zone of that name, of Windows' name, or of what follows a vendor's prefix in either."""
    return _looked_up(name) if len(name) <= _NAME_MAXIMUM else None


@lru_cache(maxsize=512)
def _looked_up(name: str) -> tzinfo | None:
    cleaned = name.strip().strip("/")
    candidates = [cleaned]
    if name.startswith("/"):
        parts = cleaned.split("/")
        candidates += ["/".join(parts[start:]) for start in range(1, min(len(parts), 8))]
    return next(filter(None, map(windows_zone_of, candidates)), None)


def _as_defined(definition: str) -> tzinfo | None:
    rules = [line for line in definition.split("\n") if line[:5].upper() == "RRULE"]
    if not all(map(_DEFINITION_RULE.match, rules)):
        return None
    try:
        zone: tzinfo | None = tzical(io.StringIO(definition)).get()
        if zone is not None:
            zone.utcoffset(datetime(2020, 1, 1))  # noqa: DTZ001 - whether it works at all
    except Exception:  # dateutil raises whatever comes up in it; a zone that it cannot read is one that is not defined
        return None
    return zone

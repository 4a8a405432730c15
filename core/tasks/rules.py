"""Rules of recurrence as RFC 5545, 3.3.10 writes them, as far as tasks can follow them."""

import re
from collections.abc import Set
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import lru_cache

RECURRENCE_MAXIMUM = 500
RECURRENCE_FROM = ("due_date", "after_completion")
INTERVAL_MAXIMUM = 10_000
COUNT_MAXIMUM = 10_000
TIMES_A_DAY_MAXIMUM = 24
"""The most times of day that BYHOUR, BYMINUTE and BYSECOND may make: they could turn any rule into one of seconds."""

WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_RANGES = {
    "BYMONTH": (1, 12),
    "BYMONTHDAY": (-31, 31),
    "BYYEARDAY": (-366, 366),
    "BYWEEKNO": (-53, 53),
    "BYSETPOS": (-366, 366),
    "BYHOUR": (0, 23),
    "BYMINUTE": (0, 59),
    "BYSECOND": (0, 59),
}
# Parts that RFC 5545 does not allow; for hours also parts that make sense in a calendar but hardly for tasks.
_NOT_WITH = {
    "HOURLY": {"BYYEARDAY", "BYWEEKNO", "BYSETPOS", "BYMINUTE", "BYSECOND"},
    "DAILY": {"BYYEARDAY", "BYWEEKNO"},
    "WEEKLY": {"BYYEARDAY", "BYWEEKNO", "BYMONTHDAY"},
    "MONTHLY": {"BYYEARDAY", "BYWEEKNO"},
    "YEARLY": set[str](),
}
_BYDAY = re.compile(r"([+-]?[1-9][0-9]?)?(MO|TU|WE|TH|FR|SA|SU)\Z")
_NUMBER = re.compile(r"[+-]?[0-9]{1,5}\Z")
_UNTIL = re.compile(r"[0-9]{8}(T[0-9]{6}Z?)?\Z")


class RecurrenceInvalid(Exception):
    """The text is no rule for tasks; the message says why."""


class RecurrenceTooExpensive(RecurrenceInvalid):
    """To find the rule's dates would take too long."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A recurrence rule; a part that it does not name is empty or None.

    Attributes:
        until: the last moment: a date or a naive time is of the user's zone, an aware one of UTC.
        by_day: (n, weekday): the nth of the month or year, from its end where negative; 0: each.
        week_start: 0 is Monday.
    """

    frequency: str
    interval: int = 1
    count: int | None = None
    until: date | datetime | None = None
    week_start: int = 0
    by_day: tuple[tuple[int, int], ...] = ()
    by_month: frozenset[int] = frozenset()
    by_month_day: frozenset[int] = frozenset()
    by_year_day: frozenset[int] = frozenset()
    by_week: frozenset[int] = frozenset()
    by_position: tuple[int, ...] = ()
    by_hour: tuple[int, ...] = ()
    by_minute: tuple[int, ...] = ()
    by_second: tuple[int, ...] = ()

    @property
    def names_days(self) -> bool:
        return bool(self.by_day or self.by_month_day or self.by_year_day or self.by_week)


def normalized(text: str) -> str:
    """A rule's text as it is stored: in capitals, without the property's name."""
    return text.strip().upper().removeprefix("RRULE:").rstrip(";")


@lru_cache(maxsize=1024)
def parse_rule(text: str) -> Rule:
    """Reads a normalized rule such as `FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1`.

    Raises:
        RecurrenceInvalid: it is none, or one that is not for tasks.
    """
    parts = _parts(text)
    frequency = parts.pop("FREQ", "")
    _require_parts_of(frequency, parts.keys())
    numbers = {name: _numbers(name, parts.pop(name)) for name in _RANGES if name in parts}
    rule = Rule(
        frequency,
        interval=_number("INTERVAL", parts.pop("INTERVAL", "1"), INTERVAL_MAXIMUM),
        count=_number("COUNT", parts.pop("COUNT"), COUNT_MAXIMUM) if "COUNT" in parts else None,
        until=_until(parts.pop("UNTIL")) if "UNTIL" in parts else None,
        week_start=_week_start(parts.pop("WKST", "MO")),
        by_day=_days(frequency, parts.pop("BYDAY")) if "BYDAY" in parts else (),
        by_month=frozenset(numbers.get("BYMONTH", ())),
        by_month_day=frozenset(numbers.get("BYMONTHDAY", ())),
        by_year_day=frozenset(numbers.get("BYYEARDAY", ())),
        by_week=frozenset(numbers.get("BYWEEKNO", ())),
        by_position=numbers.get("BYSETPOS", ()),
        by_hour=numbers.get("BYHOUR", ()),
        by_minute=numbers.get("BYMINUTE", ()),
        by_second=numbers.get("BYSECOND", ()),
    )
    for name in parts:
        raise RecurrenceInvalid(f"{name[:20]} is not known.")
    _require_combination(rule)
    return rule


def _parts(text: str) -> dict[str, str]:
    """Name → value."""
    parts: dict[str, str] = {}
    for part in text.split(";"):
        name, equals, value = part.partition("=")
        if not equals or not value:
            raise RecurrenceInvalid("Not a recurrence rule (RFC 5545), such as FREQ=WEEKLY;BYDAY=MO.")
        if name in parts:
            raise RecurrenceInvalid(f"{name} is given twice.")
        parts[name] = value
    return parts


def _require_parts_of(frequency: str, names: Set[str]) -> None:
    """Refuses a frequency that is none, and parts that do not go with it or with each other."""
    if frequency not in _NOT_WITH:
        raise RecurrenceInvalid(f"FREQ must be one of {', '.join(_NOT_WITH)}.")
    if {"COUNT", "UNTIL"} <= names:
        raise RecurrenceInvalid("COUNT and UNTIL exclude each other.")
    for name in sorted(names & _NOT_WITH[frequency]):
        raise RecurrenceInvalid(f"{name} does not go with FREQ={frequency}.")


def _require_combination(rule: Rule) -> None:
    """Refuses parts that are right by themselves, but not together."""
    if rule.by_week and any(nth for nth, _ in rule.by_day):
        raise RecurrenceInvalid("BYDAY with numbers does not go with BYWEEKNO.")
    if len(rule.by_hour or "-") * len(rule.by_minute or "-") * len(rule.by_second or "-") > TIMES_A_DAY_MAXIMUM:
        raise RecurrenceInvalid(f"BYHOUR, BYMINUTE and BYSECOND give more than {TIMES_A_DAY_MAXIMUM} times a day.")
    if rule.by_position and not (rule.names_days or rule.by_month or rule.by_hour or rule.by_minute or rule.by_second):
        raise RecurrenceInvalid("BYSETPOS needs another BY… part.")


def _number(name: str, text: str, maximum: int) -> int:
    if not _NUMBER.match(text) or not 1 <= int(text) <= maximum:
        raise RecurrenceInvalid(f"{name} must be from 1 to {maximum}.")
    return int(text)


def _numbers(name: str, text: str) -> tuple[int, ...]:
    low, high = _RANGES[name]
    found = set()
    for part in text.split(","):
        if not _NUMBER.match(part) or not low <= int(part) <= high or (low < 0 and int(part) == 0):
            raise RecurrenceInvalid(f"{name} must be numbers from {low} to {high}{', but not 0' * (low < 0)}.")
        found.add(int(part))
    return tuple(sorted(found))


def _days(frequency: str, text: str) -> tuple[tuple[int, int], ...]:
    found = set()
    for part in text.split(","):
        match = _BYDAY.match(part)
        if match is None:
            raise RecurrenceInvalid("BYDAY must be days such as MO,TU or 1MO,-1FR.")
        nth = int(match[1] or 0)
        if nth and frequency not in ("MONTHLY", "YEARLY"):
            raise RecurrenceInvalid(f"BYDAY with numbers does not go with FREQ={frequency}.")
        if abs(nth) > 53:
            raise RecurrenceInvalid("BYDAY must have numbers from -53 to 53.")
        found.add((nth, WEEKDAYS.index(match[2])))
    return tuple(sorted(found))


def _week_start(text: str) -> int:
    if text not in WEEKDAYS:
        raise RecurrenceInvalid(f"WKST must be one of {', '.join(WEEKDAYS)}.")
    return WEEKDAYS.index(text)


def _until(text: str) -> date | datetime:
    try:
        if _UNTIL.match(text):
            day = date(int(text[:4]), int(text[4:6]), int(text[6:8]))
            if len(text) == 8:
                return day
            moment = datetime.combine(day, time(int(text[9:11]), int(text[11:13]), int(text[13:15])))
            return moment.replace(tzinfo=UTC) if text.endswith("Z") else moment
    except ValueError:
        pass
    raise RecurrenceInvalid("UNTIL must be a date or a time such as 20261231 or 20261231T170000Z.")

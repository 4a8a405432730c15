"""Which days of a year a rule's BY… parts mean, as the bits of one number: bit 0 is the 1st of January.

A year has one of fourteen calendars (28 where numbered weeks reach into the years beside it), and they repeat every 400
years. So a rule is worked out once for each calendar. A year is then looked up, and its dates are counted by counting
bits. A day that no calendar has, such as the 30th of February, is known never to come.
"""

from calendar import isleap, monthrange
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import MAXYEAR, date
from math import gcd

from core.tasks.rules import RecurrenceTooExpensive, Rule

_LENGTHS = (365, 366)
_WHOLE = tuple((1 << length) - 1 for length in _LENGTHS)
# The nth day of a year and every seventh after it.
_SEVENTHS = tuple(sum(1 << day for day in range(first, 366, 7)) for first in range(7))
_CYCLE = 400
_FIRST_WEEKDAYS = tuple(date(2000 + year, 1, 1).weekday() for year in range(_CYCLE))
_LEAPS = tuple(int(isleap(year)) for year in range(_CYCLE))
_CALENDARS = tuple(2 * weekday + leap for weekday, leap in zip(_FIRST_WEEKDAYS, _LEAPS, strict=True))
_CALENDARS_WITH_NEIGHBOURS = tuple(
    100 * _LEAPS[year - 1] + 1000 * _LEAPS[(year + 1) % _CYCLE] + _CALENDARS[year] for year in range(_CYCLE)
)


def _months(leap: int) -> tuple[tuple[int, int], ...]:
    """(first day, length) of each month."""
    found, first = [], 0
    for month in range(1, 13):
        length = monthrange(2000 if leap else 2001, month)[1]
        found.append((first, length))
        first += length
    return tuple(found)


MONTHS = (_months(0), _months(1))
_IN_MONTH = tuple(tuple(((1 << length) - 1) << first for first, length in months) for months in MONTHS)
# Number of a day in its month (negative: from the end) → those days of all months.
_MONTH_DAYS = tuple(
    {
        number: sum(
            1 << first + (number - 1 if number > 0 else length + number)
            for first, length in months
            if abs(number) <= length
        )
        for number in range(-31, 32)
        if number
    }
    for months in MONTHS
)
# n → the days that are the nth of their weekday in their month.
_NTH_IN_MONTH = tuple(
    {
        sign * nth: sum(days[sign * number] for number in range(7 * nth - 6, min(7 * nth, 31) + 1))
        for nth in range(1, 6)
        for sign in (1, -1)
    }
    for days in _MONTH_DAYS
)


class Steps:
    """How many steps a search may still take; a step takes about a microsecond."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, steps: int = 1) -> None:
        """
        Raises:
            RecurrenceTooExpensive: there are none left.
        """
        self.left -= steps
        if self.left < 0:
            raise RecurrenceTooExpensive(
                "Its dates would take too long to find. Give it a simpler rule, or a due date nearer to today."
            )


class YearDays:
    """The days that a rule means in each year, without regard to its interval."""

    def __init__(self, rule: Rule, steps: Steps) -> None:
        self._rule = rule
        self._steps = steps
        self._kinds = _CALENDARS_WITH_NEIGHBOURS if rule.by_week else _CALENDARS
        self._known: dict[int, int] = {}
        parts = len(rule.by_day) + len(rule.by_month_day) + len(rule.by_year_day) + 4 * len(rule.by_week)
        self._cost = 3 + parts // 4
        self._weekdays: dict[int, list[int]] = {}
        for nth, weekday in rule.by_day:
            self._weekdays.setdefault(nth, []).append(weekday)

    def of(self, year: int) -> int:
        """The days of one year."""
        kind = self._kinds[year % _CYCLE]
        days = self._known.get(kind)
        if days is None:
            self._steps.take(self._cost)
            days = self._known[kind] = self._work_out(year % _CYCLE)
        return days

    def kind_of(self, year: int) -> int:
        """The kind of a year: years of one kind have the same days."""
        return self._kinds[year % _CYCLE]

    def are_none(self) -> bool:
        """Whether no year ever has such a day."""
        return not any(map(self.of, {self._kinds[year]: year for year in range(_CYCLE)}.values()))

    def _work_out(self, year: int) -> int:
        rule, leap = self._rule, _LEAPS[year]
        days = _WHOLE[leap]
        if rule.by_month:
            days = _union(_IN_MONTH[leap][month - 1] for month in rule.by_month)
        if rule.by_month_day:
            days &= _union(_MONTH_DAYS[leap][number] for number in rule.by_month_day)
        if rule.by_year_day:
            length = _LENGTHS[leap]
            days &= _union(
                1 << (number - 1 if number > 0 else length + number)
                for number in rule.by_year_day
                if abs(number) <= length
            )
        if rule.by_week:
            days &= self._weeks(year)
        if rule.by_day:
            days &= _union(self._nth(nth, weekdays, year) for nth, weekdays in self._weekdays.items())
        return days

    def _nth(self, nth: int, weekdays: list[int], year: int) -> int:
        first, leap = _FIRST_WEEKDAYS[year], _LEAPS[year]
        days = _union(_SEVENTHS[(weekday - first) % 7] for weekday in weekdays) & _WHOLE[leap]
        if nth == 0:
            return days
        if self._rule.frequency == "MONTHLY" or self._rule.by_month:
            return days & _NTH_IN_MONTH[leap].get(nth, 0)
        return days & _shifted(0x7F, 7 * (nth - 1) if nth > 0 else _LENGTHS[leap] + 7 * nth)

    def _weeks(self, year: int) -> int:
        """The days of numbered weeks: week 1 is the first with four days of its year."""
        wanted = self._rule.by_week
        first, weeks = self._first_week(year), self._weeks_of(year)
        days = 0
        for number in wanted:
            week = number if number > 0 else weeks + number + 1
            if 1 <= week <= weeks:
                days |= _shifted(0x7F, first + 7 * (week - 1))
        if first > 0 and (-1 in wanted or self._weeks_of((year - 1) % _CYCLE) in wanted):
            days |= (1 << first) - 1
        if 1 in wanted or -self._weeks_of((year + 1) % _CYCLE) in wanted:
            days |= _shifted(0x7F, first + 7 * weeks)
        return days & _WHOLE[_LEAPS[year]]

    def _first_week(self, year: int) -> int:
        return 3 - (_FIRST_WEEKDAYS[year] + 3 - self._rule.week_start) % 7

    def _weeks_of(self, year: int) -> int:
        return (_LENGTHS[_LEAPS[year]] + self._first_week((year + 1) % _CYCLE) - self._first_week(year)) // 7


class DueDays:
    """The days that a rule means, with its interval counted from a start. Days are numbered as by `date.toordinal`."""

    def __init__(self, rule: Rule, start: date, steps: Steps) -> None:
        self._steps = steps
        self._start = start
        self._frequency = rule.frequency
        self._interval = 1 if rule.frequency == "HOURLY" else rule.interval
        self._first = start.toordinal()
        self._run = 1
        if rule.frequency == "WEEKLY":
            self._first -= (start.weekday() - rule.week_start) % 7
            self._run = 7
        self._every = self._interval * self._run
        if rule.frequency in ("DAILY", "WEEKLY") and self._interval > 1:
            run = (1 << self._run) - 1
            self._runs = _union(run << first for first in range(0, self._every + 366, self._every))
        met = _as_steps_meet_it(rule, start)
        self._are_met = met is not None
        self.days = YearDays(met or rule, steps)

    def has(self, day: date) -> bool:
        """Whether the day is one of them."""
        begin = first_day(day.year)
        return bool(self._are_met and self._of(day.year, begin) >> day.toordinal() - begin & 1)

    def from_day(self, day: int, last: int) -> Iterator[int]:
        """The days from `day` to `last`, in order."""
        year = date.fromordinal(day).year
        barren = 0
        while self._are_met and year <= MAXYEAR:
            self._steps.take()
            begin = first_day(year)
            if begin > last:
                return
            days = self._of(year, begin)
            if day > begin:
                days = days >> (day - begin) << (day - begin)
            if last < begin + 365:
                days &= (1 << last - begin + 1) - 1
            barren = 0 if days else barren + 1
            while days:
                lowest = days & -days
                yield begin + lowest.bit_length() - 1
                days ^= lowest
            if (barren == 2 and self.days.are_none()) or self._has_come_round(barren):
                return
            year = self._next_year(year)

    def count(self, first: int, last: int, enough: int) -> int:
        """How many of the days lie between two, both included; it stops counting at `enough`."""
        found = 0
        year = date.fromordinal(first).year
        while self._are_met and year <= MAXYEAR and found < enough:
            self._steps.take()
            begin = first_day(year)
            if begin > last:
                break
            days = self._of(year, begin)
            if first > begin:
                days >>= first - begin
            if last < begin + 365:
                days &= (1 << last - max(first, begin) + 1) - 1
            found += days.bit_count()
            year = self._next_year(year)
        return found

    def _has_come_round(self, barren: int) -> bool:
        return self._frequency == "YEARLY" and barren > _CYCLE // gcd(self._interval, _CYCLE)

    def _of(self, year: int, begin: int) -> int:
        days = self.days.of(year)
        if self._interval == 1 or not days:
            return days
        if self._frequency == "YEARLY":
            return 0 if (year - self._start.year) % self._interval else days
        if self._frequency == "MONTHLY":
            self._steps.take()
            months = _IN_MONTH[isleap(year)]
            return days & _union(months[month] for month in range(self._months_to(year), 12, self._interval))
        # The first run of days may have begun in the year before.
        return days & (self._runs << (self._first - begin) % self._every >> self._every)

    def _months_to(self, year: int) -> int:
        """How many months of a year come before the first one that the steps reach."""
        return (self._start.year * 12 + self._start.month - 1 - year * 12) % self._interval

    def _next_year(self, year: int) -> int:
        """The next year that may have any of the days."""
        following = year + 1
        if self._interval == 1 or following > MAXYEAR:
            return following
        if self._frequency == "YEARLY":
            return following + (self._start.year - following) % self._interval
        if self._frequency == "MONTHLY":
            return following + self._months_to(following) // 12
        ahead = (self._first - first_day(following)) % self._every
        if ahead < 365 or ahead > self._every - self._run:
            return following
        later = first_day(following) + ahead
        return MAXYEAR + 1 if later > date.max.toordinal() else date.fromordinal(later).year


def first_day(year: int) -> int:
    """The number of a year's first day."""
    before = year - 1
    return before * 365 + before // 4 - before // 100 + before // _CYCLE + 1


def _as_steps_meet_it(rule: Rule, start: date) -> Rule | None:
    """The rule without the months that its steps never reach; None where they reach none of its days.

    A search would find that out, too, but only after centuries of months.
    """
    if rule.frequency == "DAILY" and rule.interval % 7 == 0 and rule.by_day:
        return rule if (0, start.weekday()) in rule.by_day else None
    if rule.frequency == "MONTHLY" and (common := gcd(rule.interval, 12)) > 1:
        met = {month for month in range(1, 13) if (month - start.month) % common == 0}
        months = met & rule.by_month if rule.by_month else met
        return replace(rule, by_month=frozenset(months)) if months else None
    return rule


def _union(many: Iterable[int]) -> int:
    found = 0
    for days in many:
        found |= days
    return found


def _shifted(days: int, by: int) -> int:
    return days << by if by >= 0 else days >> -by

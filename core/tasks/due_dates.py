"""The dates of rules that step by days, weeks, months or years, by the clocks of a time zone."""

from calendar import isleap
from collections.abc import Iterator
from dataclasses import replace
from datetime import MAXYEAR, UTC, date, datetime, time
from itertools import product
from math import gcd
from zoneinfo import ZoneInfo

from core.tasks.rules import Rule
from core.tasks.year_days import MONTHS, DueDays, Steps, YearDays, first_day

_LAST_DAY = date.max.toordinal()
# After so many weeks or months in a row without a date, it is worked out whether there can be one.
_DOUBTFUL = 24


class DayDates:
    """Each of a rule's days, at each of its times."""

    def __init__(self, rule: Rule, start: datetime, steps: Steps) -> None:
        self._times = _times(rule, start)
        if rule.by_position:  # BYSETPOS of a daily rule chooses among the times of a day
            self._times = [self._times[place] for place in _places(rule, len(self._times))]
        self._days = DueDays(rule, start.date(), steps)
        self._steps = steps

    def from_day(self, day: int, last: int) -> Iterator[datetime]:
        """The dates of the days from `day` to `last` (as `date.toordinal` numbers them), in order."""
        if not self._times:
            return
        for found in self._days.from_day(day, last):
            on = date.fromordinal(found)
            for at in self._times:
                self._steps.take()
                yield datetime.combine(on, at)

    def count(self, first: int, last: int, enough: int) -> int:
        """How many dates the days between two have, both included; it may stop where there are `enough`."""
        if not self._times:
            return 0
        return len(self._times) * self._days.count(first, last, enough)


class ChosenDates:
    """The dates that BYSETPOS chooses from each week, month or year."""

    def __init__(self, rule: Rule, start: datetime, steps: Steps) -> None:
        self._rule = rule
        self._start = start.date()
        self._times = _times(rule, start)
        self._steps = steps
        self._days = YearDays(rule, steps)
        self._chosen: dict[int, list[int]] = {}

    def from_day(self, day: int, last: int) -> Iterator[datetime]:
        """The dates of the days from `day` to `last` (as `date.toordinal` numbers them), in order."""
        barren = 0
        for begin, days in self._periods(day, last):
            barren += 1
            for on, at in self._dates_of(begin, days):
                barren = 0
                if day <= on <= last:
                    yield datetime.combine(date.fromordinal(on), at)
            if self._never_comes(barren):
                return

    def count(self, first: int, last: int, enough: int) -> int:
        """How many dates the days between two have, both included; it may stop where there are `enough`."""
        found = 0
        for begin, days in self._periods(first, last):
            if begin >= first and begin + days.bit_length() - 1 <= last:
                found += len(self._choose(days))
            else:
                found += sum(first <= on <= last for on, _ in self._dates_of(begin, days))
            if found >= enough:
                break
        return found

    def _dates_of(self, begin: int, days: int) -> Iterator[tuple[int, time]]:
        places = self._choose(days)
        if not places:
            return
        bits = [bit for bit, is_set in enumerate(reversed(f"{days:b}")) if is_set == "1"]
        self._steps.take(len(bits) // 16)
        for place in places:
            self._steps.take()
            on, at = divmod(place, len(self._times))
            yield begin + bits[on], self._times[at]

    def _choose(self, days: int) -> list[int]:
        """Which dates of a period with these days BYSETPOS chooses, counted from 0."""
        number = days.bit_count()
        chosen = self._chosen.get(number)
        if chosen is None:
            self._steps.take(1 + len(self._rule.by_position) // 4)
            chosen = self._chosen[number] = _places(self._rule, number * len(self._times))
        return chosen

    def _periods(self, day: int, last: int) -> Iterator[tuple[int, int]]:
        """(first day, the rule's days in it as bits) of each period that may have days from `day` on."""
        walk = {"WEEKLY": self._weeks, "MONTHLY": self._months, "YEARLY": self._years}[self._rule.frequency]
        for begin, days in walk(day):
            self._steps.take()
            if begin > last:
                return
            yield begin, days

    def _years(self, day: int) -> Iterator[tuple[int, int]]:
        year = date.fromordinal(day).year
        for number in range(year + (self._start.year - year) % self._rule.interval, MAXYEAR + 1, self._rule.interval):
            yield first_day(number), self._days.of(number)

    def _months(self, day: int) -> Iterator[tuple[int, int]]:
        at = date.fromordinal(day)
        month = at.year * 12 + at.month - 1
        ahead = (self._start.year * 12 + self._start.month - 1 - month) % self._rule.interval
        for number in range(month + ahead, (MAXYEAR + 1) * 12, self._rule.interval):
            year = number // 12
            yield first_day(year) + MONTHS[isleap(year)][number % 12][0], self._in_month(year, number % 12)

    def _in_month(self, year: int, month: int) -> int:
        first, length = MONTHS[isleap(year)][month]
        return self._days.of(year) >> first & (1 << length) - 1

    def _weeks(self, day: int) -> Iterator[tuple[int, int]]:
        first = self._start.toordinal() - (self._start.weekday() - self._rule.week_start) % 7
        every = 7 * self._rule.interval
        for begin in range(day - (day - first) % every, _LAST_DAY - 6, every):
            year = date.fromordinal(begin).year
            offset, length = begin - first_day(year), 365 + isleap(year)
            days = self._days.of(year) >> offset
            if offset + 7 > length:
                days |= self._days.of(year + 1) << length - offset
            yield begin, days & 0x7F

    def _never_comes(self, barren: int) -> bool:
        """Whether no period ever has a date, after so many in a row without one."""
        rule = self._rule
        if rule.frequency == "YEARLY":
            return barren > 400 // gcd(rule.interval, 400)
        if barren != _DOUBTFUL:
            return False
        if rule.frequency == "WEEKLY":
            most = len(rule.by_day) * len(self._times)
            return not any(abs(place) <= most for place in rule.by_position)
        common = gcd(rule.interval, 12)
        months = [month for month in range(12) if (month + 1 - self._start.month) % common == 0]
        years = {self._days.kind_of(year): year for year in range(2000, 2400)}.values()
        return not any(self._choose(self._in_month(year, month)) for year in years for month in months)


class ClockDates:
    """The dates after a first moment, by the zone's clocks and in UTC; they are counted from `start`.

    Clocks are set by a day at most (as in Samoa once). So only the dates of a few days are compared as moments in UTC.
    """

    def __init__(self, rule: Rule, start: datetime, first: datetime, zone: ZoneInfo, steps: Steps) -> None:
        rule = _with_defaults(rule, start)
        chooses = rule.by_position and rule.frequency != "DAILY"
        self._dates = ChosenDates(rule, start, steps) if chooses else DayDates(rule, start, steps)
        self._start = start.toordinal()
        self._first = first
        self._zone = zone

    def after(self, after: datetime, last: int) -> Iterator[tuple[datetime, datetime]]:
        """The dates from about `after` to the day `last`."""
        for local in self._dates.from_day(max(self._start, self._day_of(after) - 2), last):
            yield local, instant(local, self._zone)

    def count(self, after: datetime, enough: int) -> int:
        """How many dates there are up to the moment `after`; it may stop where there are `enough`."""
        if after <= self._first:
            return 0
        today = self._day_of(after)
        begin, end = self._start + 2, today - 2
        if end < begin:
            return self._count_moments(self._start, today + 1, after)
        found = self._count_moments(self._start, begin - 1, after)
        found += self._dates.count(begin, end, enough)
        return found + self._count_moments(end + 1, today + 1, after)

    def _count_moments(self, day: int, last: int, after: datetime) -> int:
        moments = (instant(local, self._zone) for local in self._dates.from_day(day, last))
        return sum(self._first < moment <= after for moment in moments)

    def _day_of(self, moment: datetime) -> int:
        return moment.astimezone(self._zone).toordinal()


def instant(local: datetime, zone: ZoneInfo) -> datetime:
    """The moment in UTC of a time by a zone's clocks.

    A time that comes twice means the first one. A time that the clocks skip is read with the offset before the gap, so
    it falls after the gap (RFC 5545, 3.3.5). `fold=0` means both.
    """
    return local.replace(tzinfo=zone, fold=0).astimezone(UTC)


def _times(rule: Rule, start: datetime) -> list[time]:
    """The times of day of a rule's dates."""
    parts = product(rule.by_hour or (start.hour,), rule.by_minute or (start.minute,), rule.by_second or (start.second,))
    return [time(hour, minute, second, start.microsecond) for hour, minute, second in parts]


def _places(rule: Rule, number: int) -> list[int]:
    """Which of so many dates BYSETPOS chooses, counted from 0."""
    places = {place - 1 if place > 0 else number + place for place in rule.by_position}
    return sorted(place for place in places if 0 <= place < number)


def _with_defaults(rule: Rule, start: datetime) -> Rule:
    """The rule, with what it leaves open taken from its start."""
    if rule.names_days or rule.frequency == "DAILY":
        return rule
    if rule.frequency == "WEEKLY":
        return replace(rule, by_day=((0, start.weekday()),))
    if rule.frequency == "YEARLY" and not rule.by_month:
        return replace(rule, by_month=frozenset({start.month}), by_month_day=frozenset({start.day}))
    return replace(rule, by_month_day=frozenset({start.day}))

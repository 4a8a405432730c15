"""The dates of rules that step by hours. Hours are real ones: a night in which clocks change has more or fewer of
them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from math import gcd
from zoneinfo import ZoneInfo

from core.tasks.rules import Rule
from core.tasks.year_days import DueDays, Steps

HOUR = timedelta(hours=1)
_WEEK = timedelta(days=7)
# Clocks that are set back at midnight show the end of the day before a second time.
_MARGIN = 2 * HOUR
# After so many looks in a row without a date, it is worked out whether the steps can ever reach one.
_DOUBTFUL = 24
_HOURS_OF_YEAR = 366 * 24


class HourDates:
    """The dates after a first moment in UTC."""

    def __init__(self, rule: Rule, first: datetime, zone: ZoneInfo, steps: Steps) -> None:
        self._rule = rule
        self._first = first.astimezone(UTC)
        self._zone = zone
        self._steps = steps
        self._every = rule.interval * HOUR
        self._days = DueDays(rule, self._first.date(), steps)
        self._hours = sum(1 << hour for hour in rule.by_hour) if rule.by_hour else (1 << 24) - 1
        # An hour of the week can be reached only if it fits the common divisor of the interval and a week's 168 hours.
        self._common = gcd(rule.interval, 168)
        weekdays = {weekday for _, weekday in rule.by_day} or set(range(7))
        hours = rule.by_hour or range(24)
        self._meant = {(24 * weekday + hour) % self._common for weekday in weekdays for hour in hours}
        self._pattern = 0
        self._known: dict[int, int] = {}

    def after(self, after: datetime, last: int) -> Iterator[tuple[datetime, datetime]]:
        """The dates from about `after` to the day `last`, by the zone's clocks and in UTC."""
        number = max(1, (after - self._first) // self._every)
        barren = 0
        while True:
            self._steps.take(5)
            moment = self._first + number * self._every
            local = moment.astimezone(self._zone).replace(tzinfo=None, fold=0)
            number += 1
            day = local.toordinal()
            if day > last:
                return
            if not self._days.has(local):
                following = next(self._days.from_day(day + 1, last), None)
                if following is None:
                    return
                begin = datetime.fromordinal(following).replace(tzinfo=self._zone).astimezone(UTC) - _MARGIN
                number = max(number, -((self._first - begin) // self._every))
            elif self._hours >> local.hour & 1:
                barren = 0
                yield local, moment
                continue
            elif not self._is_met(local) and self._keeps_offset(moment):
                number = max(number, (moment + _WEEK - self._first) // self._every + 1)
            barren += 1
            if barren == _DOUBTFUL and not self._is_ever_met():
                return

    def count(self, after: datetime, enough: int) -> int:
        """How many dates there are up to the moment `after`; it may stop where there are `enough`."""
        passed = (after - self._first) // self._every
        if not (self._rule.by_hour or self._rule.by_month or self._rule.names_days):
            return max(0, passed)
        self._pattern = _steps_of(self._rule.interval)
        found = 0
        for begin, end, offset in self._spans(self._first, self._first + passed * self._every):
            found += self._count_within(begin, end, offset)
            if found >= enough:
                break
        return found

    def _spans(self, begin: datetime, end: datetime) -> Iterator[tuple[datetime, datetime, timedelta]]:
        """(begin, end, offset from UTC) of each span with one offset; `begin` is not in the span, `end` is."""
        at, offset = begin, self._offset(begin)
        while at < end:
            week = min(at + _WEEK, end)
            changed = self._offset(week)
            if changed != offset:
                before, behind = at, week
                while behind - before > timedelta(seconds=1):
                    middle = before + (behind - before) // 2
                    before, behind = (middle, behind) if self._offset(middle) == offset else (before, middle)
                last = behind.replace(microsecond=0) - timedelta.resolution  # clocks change at a whole second
                if last > begin:
                    yield begin, last, offset
                begin = last
            at, offset = week, changed
        if end > begin:
            yield begin, end, offset

    def _offset(self, moment: datetime) -> timedelta:
        self._steps.take()
        return moment.astimezone(self._zone).utcoffset() or timedelta()

    def _count_within(self, begin: datetime, end: datetime, offset: timedelta) -> int:
        """How many dates there are after `begin` and up to `end`, between which the offset is one."""
        interval = self._rule.interval
        lowest = (begin - self._first) // self._every + 1
        highest = (end - self._first) // self._every
        found = 0
        for year in range((begin + offset).year, (end + offset).year + 1):
            # Where the first moment would lie, counted in hours of this year.
            place = (self._first + offset - datetime(year, 1, 1, tzinfo=UTC)) // HOUR
            steps = self._pattern << place % interval
            low, high = max(0, place + lowest * interval), min(_HOURS_OF_YEAR, place + highest * interval + 1)
            if high > low:
                wanted = self._hours_of(year) & steps
                found += (wanted >> low & (1 << high - low) - 1).bit_count()
        return found

    def _hours_of(self, year: int) -> int:
        """The hours of a year that the rule means, as bits."""
        kind = self._days.days.kind_of(year)
        hours = self._known.get(kind)
        if hours is None:
            self._steps.take(30)
            hours_of_day = f"{self._hours:024b}"
            days = f"{self._days.days.of(year):b}"
            hours = self._known[kind] = int(days.translate({48: "0" * 24, 49: hours_of_day}), 2)
        return hours

    def _is_met(self, local: datetime) -> bool:
        """Whether the steps from an hour on reach an hour and weekday that the rule means, on any date."""
        return (24 * local.weekday() + local.hour) % self._common in self._meant

    def _keeps_offset(self, moment: datetime) -> bool:
        """Whether the clocks keep their offset for a week."""
        return self._offset(moment) == self._offset(moment + _WEEK)

    def _is_ever_met(self) -> bool:
        """Whether the steps ever reach an hour that the rule means, with the offsets of two years."""
        offsets = {self._offset(self._first + weeks * 2 * _WEEK) for weeks in range(52)}
        return any(self._is_met(self._first + offset) for offset in offsets)


def _steps_of(interval: int) -> int:
    """One bit every so many hours, for more than a year."""
    return int(("0" * (interval - 1) + "1") * (_HOURS_OF_YEAR // interval + 1), 2)

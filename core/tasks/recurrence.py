"""Recurring tasks: the dates of a rule, and the task that follows a completed one.

The dates are worked out here and not by dateutil, which the tests compare them with: it looks for a date until the year
9999, also with an UNTIL, and takes five to eight seconds of a processor to find that a 30th of February is not among
them. Clients write rules, so whatever is done with one has to end soon.
"""

import re
from calendar import isleap, monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice, product, takewhile
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from core.tasks.rules import RecurrenceInvalid, Rule, parse_rule

# How many periods in a row may be without a date before the rule counts as having none: at least ten years of them, so
# that the 29th of February is found; of hours more than one.
_PERIODS = {"HOURLY": 10_000, "DAILY": 4000, "WEEKLY": 600, "MONTHLY": 150, "YEARLY": 40}
# How many days, or hours, are looked at in one go: more than a hundred years of days.
_LOOKED_AT_MAXIMUM = 40_000
_COUNT = re.compile(r"(?<![A-Z])COUNT=\+?[0-9]+")
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Following:
    """The task after a completed one.

    Attributes:
        due_date: in UTC.
        recurrence: its rule: with a COUNT, one that says how many are left; None: it is the last.
        nominal: the time that the rule means, in the user's zone, where the clocks skip it on that day.
    """

    due_date: datetime
    recurrence: str | None
    nominal: datetime | None = None


def require_next_date(text: str, due_date: datetime) -> None:
    """Refuses a rule by which no task would ever follow one that is due at `due_date` (aware).

    Raises:
        RecurrenceInvalid: there is no next date, or `parse_rule` refuses it.
    """
    start = due_date.astimezone(UTC).replace(tzinfo=None)
    rule = parse_rule(text)
    found = next(_after(rule, start, due_date, ZoneInfo("UTC"), due_date), None)
    if found is None or (rule.count is not None and rule.count < 2):
        raise RecurrenceInvalid("The rule has no next date.")


def following(
    recurrence: str,
    *,
    counted_from: str,
    due_date: datetime | None,
    nominal: datetime | None,
    completed_at: datetime,
    zone: ZoneInfo,
) -> Following | None:
    """The task that follows a completed one; None: it was the last.

    Dates that have passed when the task is completed are passed over, and count as used up (of a task that is a hundred
    years late, those of the first hundred).

    Args:
        recurrence: the completed task's rule, normalized.
        counted_from: `due_date`: the next of the rule's dates; `after_completion`: as if the task had been due on the
            day of its completion, at its usual time. A task without a due date is counted from its completion.
        due_date: the completed task's, aware.
        nominal: the completed task's `Following.nominal`, if its due date is still the one that came with it.
        completed_at: aware.
        zone: of the user.

    Raises:
        RecurrenceInvalid: the rule cannot be read.
    """
    rule = parse_rule(recurrence)
    try:
        if due_date is not None and counted_from == "due_date":
            start = due_date.astimezone(zone).replace(tzinfo=None, fold=0)
            if nominal is not None and _instant(nominal, zone) == due_date:
                start = nominal
            return _follow(rule, recurrence, start, due_date, zone, max(due_date, completed_at))
        start = completed_at.astimezone(zone).replace(tzinfo=None, microsecond=0, fold=0)
        if due_date is not None and rule.frequency != "HOURLY":
            start = datetime.combine(start.date(), (nominal or due_date.astimezone(zone)).time())
        first = _instant(start, zone)
        return _follow(rule, recurrence, start, first, zone, first)
    except (OverflowError, ValueError):
        return None  # beyond the years that there are


def _follow(
    rule: Rule, recurrence: str, start: datetime, first: datetime, zone: ZoneInfo, after: datetime
) -> Following | None:
    used = 1
    if rule.count is not None:
        dates = islice(_after(rule, start, first, zone, first), rule.count)
        used += sum(1 for _ in takewhile(lambda found: found[1] <= after, dates))
    found = next(_after(rule, start, first, zone, after), None)
    if found is None or (rule.count is not None and rule.count <= used):
        return None
    local, moment = found
    left = None if rule.count is None else rule.count - used
    is_last = left == 1 or next(_after(rule, local, moment, zone, moment), None) is None
    if left is not None:
        recurrence = _COUNT.sub(f"COUNT={left}", recurrence)
    is_skipped = moment.astimezone(zone).replace(tzinfo=None) != local
    return Following(moment, None if is_last else recurrence, local if is_skipped else None)


def zone_named(name: str) -> ZoneInfo:
    """The time zone; UTC for a name that is none (any more)."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")


def _instant(local: datetime, zone: ZoneInfo) -> datetime:
    """The moment that a time of a zone's clocks is, in UTC.

    Of a time that comes twice it is the first; one that is skipped is read with the offset before the gap, so that it
    falls behind it (RFC 5545, 3.3.5). Both is what `fold=0` means.
    """
    return local.replace(tzinfo=zone, fold=0).astimezone(UTC)


def _after(
    rule: Rule, start: datetime, first: datetime, zone: ZoneInfo, after: datetime
) -> Iterator[tuple[datetime, datetime]]:
    """The rule's dates behind the moment `after`, but for COUNT, as the zone's clocks have them and in UTC.

    They are counted from `start` (of the zone's clocks), which is the moment `first`. The search ends where many
    periods in a row had none, or a great many were looked at.
    """
    hourly = rule.frequency == "HOURLY"
    dates = _hourly(rule, first, zone, after) if hourly else _by_days(rule, start, zone, after)
    try:
        for local, moment in dates:
            if not _is_within(rule.until, local, moment):
                return
            if moment > after and moment > first:
                yield local, moment
    except (OverflowError, ValueError):
        return  # beyond the years that there are


def _is_within(until: date | datetime | None, local: datetime, moment: datetime) -> bool:
    if until is None:
        return True
    if not isinstance(until, datetime):
        return local.date() <= until
    return (moment if until.tzinfo is not None else local) <= until


def _hourly(rule: Rule, first: datetime, zone: ZoneInfo, after: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Steps of real hours: a night in which the clocks change has one more or less of them."""
    step = timedelta(hours=rule.interval)
    begin = max(1, (after - first) // step)
    barren = 0
    for number in range(begin, begin + _LOOKED_AT_MAXIMUM):
        moment = first + number * step
        local = moment.astimezone(zone).replace(tzinfo=None, fold=0)
        if _fits(rule, local.date()) and (not rule.by_hour or local.hour in rule.by_hour):
            barren = 0
            yield local, moment
        barren += 1
        if barren >= _PERIODS["HOURLY"]:
            return


def _by_days(rule: Rule, start: datetime, zone: ZoneInfo, after: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Days, weeks, months or years of the calendar, with the times of day that the rule or the start has."""
    rule = _with_defaults(rule, start)
    times = [
        time(hour, minute, second, start.microsecond)
        for hour, minute, second in product(
            rule.by_hour or (start.hour,), rule.by_minute or (start.minute,), rule.by_second or (start.second,)
        )
    ]
    barren = looked_at = 0
    number = _periods_between(rule, start.date(), after.astimezone(zone).date())
    while barren < _PERIODS[rule.frequency] and looked_at < _LOOKED_AT_MAXIMUM:
        barren += 1
        candidates = list(_days_of_period(rule, start.date(), number))
        looked_at += len(candidates)
        days = [day for day in candidates if _fits(rule, day)]
        dates = [datetime.combine(day, at) for day in days for at in times]
        if rule.by_position:
            places = {place - 1 if place > 0 else len(dates) + place for place in rule.by_position}
            dates = [dates[place] for place in sorted(places) if 0 <= place < len(dates)]
        for local in dates:
            barren = 0
            yield local, _instant(local, zone)
        number += 1


def _with_defaults(rule: Rule, start: datetime) -> Rule:
    """What the rule leaves open it takes from its start."""
    if rule.names_days or rule.frequency == "DAILY":
        return rule
    values = {name: getattr(rule, name) for name in Rule.__dataclass_fields__}
    if rule.frequency == "WEEKLY":
        return Rule(**{**values, "by_day": ((0, start.weekday()),)})
    values["by_month_day"] = frozenset({start.day})
    if rule.frequency == "YEARLY" and not rule.by_month:
        values["by_month"] = frozenset({start.month})
    return Rule(**values)


def _periods_between(rule: Rule, start: date, day: date) -> int:
    """The number of a period that surely does not lie behind `day`, so that years need not be gone through."""
    if day <= start:
        return 0
    passed = {
        "DAILY": (day - start).days,
        "WEEKLY": (day - start).days // 7,
        "MONTHLY": (day.year - start.year) * 12 + day.month - start.month,
        "YEARLY": day.year - start.year,
    }[rule.frequency]
    return max(0, passed // rule.interval - 1)


def _days_of_period(rule: Rule, start: date, number: int) -> Iterator[date]:
    """The days of a period, counted from the one in which `start` lies; months that the rule passes over have none."""
    steps = number * rule.interval
    if rule.frequency == "DAILY":
        yield start + steps * _DAY
        return
    if rule.frequency == "WEEKLY":
        first = start - (start.weekday() - rule.week_start) % 7 * _DAY + steps * 7 * _DAY
        yield from (first + place * _DAY for place in range(7))
        return
    if rule.frequency == "MONTHLY":
        months = start.year * 12 + start.month - 1 + steps
        year, wanted = months // 12, [months % 12 + 1]
    else:
        year, wanted = start.year + steps, list(range(1, 13))
    for month in wanted:
        if not rule.by_month or month in rule.by_month:
            yield from (date(year, month, day) for day in range(1, monthrange(year, month)[1] + 1))


def _fits(rule: Rule, day: date) -> bool:
    if rule.by_month and day.month not in rule.by_month:
        return False
    if rule.by_month_day:
        length = monthrange(day.year, day.month)[1]
        if day.day not in rule.by_month_day and day.day - length - 1 not in rule.by_month_day:
            return False
    if rule.by_year_day:
        place = day.timetuple().tm_yday
        if place not in rule.by_year_day and place - (365 + isleap(day.year)) - 1 not in rule.by_year_day:
            return False
    if rule.by_week and not _is_in_week(rule, day):
        return False
    return not rule.by_day or any(_is_nth(rule, day, nth, weekday) for nth, weekday in rule.by_day)


def _is_nth(rule: Rule, day: date, nth: int, weekday: int) -> bool:
    if day.weekday() != weekday:
        return False
    if nth == 0:
        return True
    if rule.frequency == "MONTHLY" or rule.by_month:
        place, length = day.day, monthrange(day.year, day.month)[1]
    else:
        place, length = day.timetuple().tm_yday, (365 + isleap(day.year))
    return nth == ((place - 1) // 7 + 1 if nth > 0 else -((length - place) // 7 + 1))


def _is_in_week(rule: Rule, day: date) -> bool:
    """Whether the week of the day has one of the numbers: week 1 is the first with four days of its year."""
    year = day.year + 1
    while day < (first := _first_week(year, rule.week_start)):
        year -= 1
    week = (day - first).days // 7 + 1
    weeks = (_first_week(year + 1, rule.week_start) - first).days // 7
    return week in rule.by_week or week - weeks - 1 in rule.by_week


def _first_week(year: int, week_start: int) -> date:
    fourth = date(year, 1, 4)
    return fourth - (fourth.weekday() - week_start) % 7 * _DAY

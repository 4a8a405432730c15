"""Recurrence as one would write it down: day after day and hour after hour, however long it takes.

`core.tasks.recurrence` takes short cuts; the tests compare it with this, which takes none.
"""

from calendar import isleap, monthrange
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby, product
from zoneinfo import ZoneInfo

from core.tasks.rules import Rule

DAY = timedelta(days=1)


def dates(
    rule: Rule, start: datetime, first: datetime, zone: ZoneInfo, until: datetime
) -> Iterator[tuple[datetime, datetime]]:
    """The dates behind the moment `first`, which is `start` on the zone's clocks, up to about the moment `until`."""
    found = _hourly(rule, first, zone, until) if rule.frequency == "HOURLY" else _by_days(rule, start, zone, until)
    for local, moment in found:
        if not _is_within(rule.until, local, moment):
            return
        if moment > first:
            yield local, moment


def _is_within(until: date | datetime | None, local: datetime, moment: datetime) -> bool:
    if until is None:
        return True
    if not isinstance(until, datetime):
        return local.date() <= until
    return (moment if until.tzinfo is not None else local) <= until


def _hourly(rule: Rule, first: datetime, zone: ZoneInfo, until: datetime) -> Iterator[tuple[datetime, datetime]]:
    moment = first
    while (moment := moment + timedelta(hours=rule.interval)) <= until:
        local = moment.astimezone(zone).replace(tzinfo=None, fold=0)
        if _fits(rule, local.date(), local) and (not rule.by_hour or local.hour in rule.by_hour):
            yield local, moment


def _by_days(rule: Rule, start: datetime, zone: ZoneInfo, until: datetime) -> Iterator[tuple[datetime, datetime]]:
    times = [
        time(hour, minute, second, start.microsecond)
        for hour, minute, second in product(
            rule.by_hour or (start.hour,), rule.by_minute or (start.minute,), rule.by_second or (start.second,)
        )
    ]
    begin = start.date().replace(month=1, day=1) - 7 * DAY
    days = (begin + number * DAY for number in range((until.date() - begin).days + 400))
    for period, members in groupby(days, lambda day: _period(rule, start.date(), day)):
        if period % rule.interval or period < 0:
            continue
        found = [datetime.combine(day, at) for day in members if _fits(rule, day, start) for at in times]
        if rule.by_position:
            places = {place - 1 if place > 0 else len(found) + place for place in rule.by_position}
            found = [found[place] for place in sorted(places) if 0 <= place < len(found)]
        for local in found:
            if local.date() >= start.date():
                yield local, local.replace(tzinfo=zone).astimezone(UTC)


def _period(rule: Rule, start: date, day: date) -> int:
    if rule.frequency == "DAILY":
        return (day - start).days
    if rule.frequency == "WEEKLY":
        return (day - start + (start.weekday() - rule.week_start) % 7 * DAY).days // 7
    if rule.frequency == "MONTHLY":
        return (day.year - start.year) * 12 + day.month - start.month
    return day.year - start.year


def _fits(rule: Rule, day: date, start: datetime) -> bool:
    length = monthrange(day.year, day.month)[1]
    if rule.by_month and day.month not in rule.by_month:
        return False
    if rule.by_month_day and day.day not in rule.by_month_day and day.day - length - 1 not in rule.by_month_day:
        return False
    if rule.by_year_day:
        place = day.timetuple().tm_yday
        if place not in rule.by_year_day and place - (365 + isleap(day.year)) - 1 not in rule.by_year_day:
            return False
    if rule.by_week and not _is_in_week(rule, day):
        return False
    if rule.by_day:
        return any(_is_nth(rule, day, nth, weekday) for nth, weekday in rule.by_day)
    if rule.names_days or rule.frequency in ("DAILY", "HOURLY"):
        return True
    if rule.frequency == "WEEKLY":
        return day.weekday() == start.weekday()
    return day.day == start.day and (rule.frequency == "MONTHLY" or bool(rule.by_month) or day.month == start.month)


def _is_nth(rule: Rule, day: date, nth: int, weekday: int) -> bool:
    if day.weekday() != weekday or nth == 0:
        return day.weekday() == weekday
    if rule.frequency == "MONTHLY" or rule.by_month:
        place, length = day.day, monthrange(day.year, day.month)[1]
    else:
        place, length = day.timetuple().tm_yday, (365 + isleap(day.year))
    return nth == ((place - 1) // 7 + 1 if nth > 0 else -((length - place) // 7 + 1))


def _is_in_week(rule: Rule, day: date) -> bool:
    year = day.year + 1
    while day < (first := _first_week(year, rule.week_start)):
        year -= 1
    week = (day - first).days // 7 + 1
    weeks = (_first_week(year + 1, rule.week_start) - first).days // 7
    return week in rule.by_week or week - weeks - 1 in rule.by_week


def _first_week(year: int, week_start: int) -> date:
    fourth = date(year, 1, 4)
    return fourth - (fourth.weekday() - week_start) % 7 * DAY

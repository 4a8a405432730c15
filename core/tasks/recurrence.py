"""Recurring tasks: the dates of a rule, and the task that follows a completed one.

The dates are worked out here and not by dateutil, with which the tests compare them. dateutil looks for a date until
the year 9999, also with an UNTIL. It takes five to eight seconds of a processor to find that no year has a 30th of
February. Clients write the rules, so all work on a rule must end soon: a search has a limited number of steps, and a
rule that needs more is refused.
"""

import contextlib
import re
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from core import clock
from core.tasks.due_dates import ClockDates, instant
from core.tasks.due_hours import HourDates
from core.tasks.rules import RecurrenceInvalid, RecurrenceTooExpensive, Rule, parse_rule
from core.tasks.year_days import Steps

STEPS_MAXIMUM = 1000
"""The steps that a rule may take when it is accepted: about a millisecond. To follow it may take twice as many,
since it is looked at later, and in a zone instead of UTC."""
_DAY_ENDS = time(23, 59, 59)
_FURTHEST_WEST = ZoneInfo("Etc/GMT+12")  # twelve hours behind UTC
_COUNT = re.compile(r"(?<![A-Z])COUNT=\+?[0-9]+")


@dataclass(frozen=True, slots=True)
class Following:
    """The task after a completed one.

    Attributes:
        due_date: in UTC.
        recurrence: its rule; with a COUNT, one that counts what is left; None: it is the last.
        nominal: the time that the rule means in the user's zone, where the clocks skip that time on the day.
        due_day: of a task that is due all day; its due date follows from it.
    """

    due_date: datetime
    recurrence: str | None
    nominal: datetime | None = None
    due_day: date | None = None


def require_next_date(
    text: str, due_date: datetime | None, *, of_day: bool = False, zone: ZoneInfo | None = None
) -> None:
    """Refuses a rule that gives no next date after `due_date`, or only after a long search.

    The search must also be short if the task were completed now.

    Args:
        text: normalized.
        due_date: aware; None: dates are counted from now on.
        of_day: the task is due all day, at the end of a day of UTC.
        zone: of the user; None: it is not known, and refused is what has no next date in any.

    Raises:
        RecurrenceInvalid: there is no next date, or it would take too long to find, or `parse_rule` refuses the rule.
    """
    now = clock.now().astimezone(UTC).replace(second=0, microsecond=0)
    due_date = now if due_date is None else due_date
    refusal = _refusal(text, due_date, max(due_date, now.replace(minute=0)), of_day, zone)
    if refusal is not None:
        raise RecurrenceInvalid(refusal)


@lru_cache(maxsize=4096)
def _refusal(text: str, due_date: datetime, late: datetime, of_day: bool, zone: ZoneInfo | None) -> str | None:
    """Why a rule is refused. Remembered, since many tasks have the same rule."""
    steps = Steps(STEPS_MAXIMUM)
    try:
        rule = parse_rule(text)
        zone = ZoneInfo("UTC") if of_day else zone or _earliest_zone(rule, due_date)
        rule = _of_any_days(rule) if of_day else rule
        start = due_date.astimezone(zone).replace(tzinfo=None)
        found = _next_date(rule, _dates(rule, start, due_date, zone, steps), due_date)
        if found is None or (rule.count is not None and rule.count < 2):
            return "The rule has no next date."
        if late > due_date:
            _follow(rule, text, start, due_date, zone, late, steps)
    except RecurrenceInvalid as error:
        return str(error)
    except OverflowError:
        return None  # the first or last day of all: it is looked at again when the task is completed
    return None


def following(
    recurrence: str,
    *,
    counted_from: str,
    due_date: datetime | None,
    nominal: datetime | None,
    completed_at: datetime,
    zone: ZoneInfo,
    due_day: date | None = None,
) -> Following | None:
    """The task that follows a completed one; None: it was the last.

    Dates that have passed when the task is completed are left out, but a COUNT counts them.

    Args:
        recurrence: the completed task's rule, normalized.
        counted_from: `due_date`: the next of the rule's dates; `after_completion`: as if the task had been due on the
            day of its completion, at its usual time. A task without a due date is counted from its completion.
        due_date: the completed task's, aware.
        nominal: the completed task's `Following.nominal`, if its due date is still the one that came with it.
        completed_at: aware.
        zone: of the user.
        due_day: of a task that is due all day: the next one is due on the day of the rule's next date, whatever times
            of day the rule names.

    Raises:
        RecurrenceInvalid: the rule cannot be read.
        RecurrenceTooExpensive: the next date would take too long to find.
    """
    rule = parse_rule(recurrence)
    steps = Steps(2 * STEPS_MAXIMUM)
    try:
        if due_day is not None:
            rule = _of_days(rule, zone)
            nominal = datetime.combine(due_day, _DAY_ENDS)
            due_date = instant(nominal, zone)
        if due_date is not None and counted_from == "due_date":
            start = due_date.astimezone(zone).replace(tzinfo=None, fold=0)
            if nominal is not None and instant(nominal, zone) == due_date:
                start = nominal
            after = max(due_date, completed_at)
            return _follow(rule, recurrence, start, due_date, zone, after, steps, all_day=due_day is not None)
        start = completed_at.astimezone(zone).replace(tzinfo=None, microsecond=0, fold=0)
        if due_date is not None and (rule.frequency != "HOURLY" or due_day is not None):
            start = datetime.combine(start.date(), (nominal or due_date.astimezone(zone)).time())
        first = instant(start, zone)
        return _follow(rule, recurrence, start, first, zone, first, steps, all_day=due_day is not None)
    except (OverflowError, ValueError):
        return None  # beyond the year 9999


def _earliest_zone(rule: Rule, due_date: datetime) -> ZoneInfo:
    """Where the due date is earliest by the clocks, if an UNTIL is told by them: there most dates are left."""
    until = rule.until
    if until is not None and not (isinstance(until, datetime) and until.tzinfo is not None):
        with contextlib.suppress(OverflowError):  # the first day of all
            due_date.astimezone(_FURTHEST_WEST)
            return _FURTHEST_WEST
    return ZoneInfo("UTC")


def _of_any_days(rule: Rule) -> Rule:
    """The rule as days follow it in some zone: the moment of an UNTIL may be of the next day there."""
    if isinstance(rule.until, datetime):
        with contextlib.suppress(OverflowError):  # the last day of all
            rule = replace(rule, until=rule.until + timedelta(days=1))
    return _of_days(rule, ZoneInfo("UTC"))


def _of_days(rule: Rule, zone: ZoneInfo) -> Rule:
    """The rule as days follow it: without times of day, and until the day in which it ends."""
    until = rule.until
    if isinstance(until, datetime):
        until = until.date() if until.tzinfo is None else until.astimezone(zone).date()
    return replace(rule, until=until, by_hour=(), by_minute=(), by_second=())


def _follow(
    rule: Rule,
    recurrence: str,
    start: datetime,
    first: datetime,
    zone: ZoneInfo,
    after: datetime,
    steps: Steps,
    *,
    all_day: bool = False,
) -> Following | None:
    dates = _dates(rule, start, first, zone, steps)
    used = 1 if rule.count is None else 1 + dates.count(after, rule.count)
    if rule.count is not None and rule.count <= used:
        return None
    found = _next_date(rule, dates, after)
    if found is None:
        return None
    local, moment = found
    left = None if rule.count is None else rule.count - used
    is_last = left == 1 or _is_last(rule, local, moment, zone, steps)
    if left is not None:
        recurrence = _COUNT.sub(f"COUNT={left}", recurrence)
    if all_day:
        return Following(moment, None if is_last else recurrence, due_day=local.date())
    is_skipped = moment.astimezone(zone).replace(tzinfo=None) != local
    return Following(moment, None if is_last else recurrence, local if is_skipped else None)


def _is_last(rule: Rule, local: datetime, moment: datetime, zone: ZoneInfo, steps: Steps) -> bool:
    """Whether no date follows. If that takes too long to find, the completion of the next task will say so."""
    try:
        return _next_date(rule, _dates(rule, local, moment, zone, steps), moment) is None
    except RecurrenceTooExpensive:
        return False


def _dates(rule: Rule, start: datetime, first: datetime, zone: ZoneInfo, steps: Steps) -> HourDates | ClockDates:
    """A rule's dates without its COUNT, counted from `start` (by the zone's clocks), which is the moment `first`."""
    if rule.frequency == "HOURLY":
        return HourDates(rule, first, zone, steps)
    return ClockDates(rule, start, first, zone, steps)


def zone_named(name: str) -> ZoneInfo:
    """The time zone of a name; UTC for a name that is unknown (by now)."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")


def _next_date(rule: Rule, dates: HourDates | ClockDates, after: datetime) -> tuple[datetime, datetime] | None:
    """The next date after a moment, by the zone's clocks and in UTC. The moment is not before the first date."""
    # A time that the clocks skip may belong to another day in UTC than its date says.
    last = date.max.toordinal() if rule.until is None else min(date.max.toordinal(), rule.until.toordinal() + 2)
    with contextlib.suppress(OverflowError, ValueError):  # beyond the year 9999
        for local, moment in dates.after(after, last):
            if not _is_within(rule.until, local, moment):
                return None
            if moment > after:
                return local, moment
    return None


def _is_within(until: date | datetime | None, local: datetime, moment: datetime) -> bool:
    if until is None:
        return True
    if not isinstance(until, datetime):
        return local.date() <= until
    return (moment if until.tzinfo is not None else local) <= until

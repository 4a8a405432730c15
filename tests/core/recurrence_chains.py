"""Tasks that follow one another by a rule, each completed as soon as it is there."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from core.tasks.recurrence import Following, following

BERLIN = ZoneInfo("Europe/Berlin")
SAO_PAULO = ZoneInfo("America/Sao_Paulo")
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def at(zone: ZoneInfo, *parts: int, fold: int = 0) -> datetime:
    return datetime(*parts, tzinfo=zone, fold=fold).astimezone(UTC)  # type: ignore[arg-type, misc]


def follow(
    rule: str,
    due: datetime | None,
    zone: ZoneInfo = BERLIN,
    *,
    completed: datetime | None = None,
    counted_from: str = "due_date",
    nominal: datetime | None = None,
) -> Following | None:
    return following(
        rule,
        counted_from=counted_from,
        due_date=due,
        nominal=nominal,
        completed_at=completed or due or NOW,
        zone=zone,
    )


def next_due(rule: str, due: datetime | None, zone: ZoneInfo = BERLIN, **more: object) -> datetime | None:
    found = follow(rule, due, zone, **more)  # type: ignore[arg-type]
    return None if found is None else found.due_date


def chain(rule: str, due: datetime, zone: ZoneInfo, length: int) -> list[str]:
    """The due dates of tasks that are each completed at once, as the zone's clocks have them."""
    found: list[str] = []
    nominal: datetime | None = None
    while len(found) < length:
        task = follow(rule, due, zone, nominal=nominal)
        if task is None:
            break
        due, nominal = task.due_date, task.nominal
        found.append(due.astimezone(zone).isoformat())
        if task.recurrence is None:
            break
        rule = task.recurrence
    return found

"""All-day tasks of users who change their time zone, and when days end."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.tasks.recurrence import following
from core.tasks.writes import days as days_module
from core.tasks.writes.days import move_some_days
from core.users.schemas import time_zones
from tests.harness import connection
from tests.worker.commands import apply, command, new_user
from tests.worker.imports.harness import imported, lines
from worker.days import move_days
from worker.runner import Services

IN_BERLIN = datetime(2030, 1, 31, 22, 59, 59, tzinfo=UTC)
IN_TOKYO = datetime(2030, 1, 31, 14, 59, 59, tzinfo=UTC)
FIELDS = {"title": "x", "due_day": "2030-01-31"}


@pytest.fixture
async def alice(owner: asyncpg.Connection) -> int:
    user_id = await new_user(owner)
    await owner.execute("UPDATE users SET time_zone = 'Europe/Berlin' WHERE id = $1", user_id)
    return user_id


async def dates(owner: asyncpg.Connection) -> list[tuple[datetime, int]]:
    return [tuple(row) for row in await owner.fetch("SELECT due_date, version FROM tasks ORDER BY id")]


async def test_whoever_dies_in_the_middle_is_followed_by_another(
    services: Services, owner: asyncpg.Connection, alice: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(days_module, "LOOKED_AT_ONCE", 2)
    await apply(services, *(command("task.create", alice, {"fields": FIELDS}) for _ in range(5)))
    await apply(services, command("user.update", alice, {"time_zone": "Asia/Tokyo"}))
    await move_some_days(services.pool)  # and no more of that one
    assert await dates(owner) == [(IN_TOKYO, 2)] * 2 + [(IN_BERLIN, 1)] * 3
    await services.cache.hset(f"tenfold:cache:user:{alice}", "v", "as it was")
    await move_days(services)
    assert await dates(owner) == [(IN_TOKYO, 2)] * 5
    assert not await services.cache.exists(f"tenfold:cache:user:{alice}")
    assert await owner.fetchval("SELECT days_moved_to FROM users WHERE id = $1", alice) is None


async def test_a_zone_that_changes_again_meanwhile_is_followed_from_the_beginning(
    services: Services, owner: asyncpg.Connection, alice: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(days_module, "LOOKED_AT_ONCE", 2)
    await apply(services, *(command("task.create", alice, {"fields": FIELDS}) for _ in range(3)))
    await apply(services, command("user.update", alice, {"time_zone": "Asia/Tokyo"}))
    await move_some_days(services.pool)
    await apply(services, command("user.update", alice, {"time_zone": "Europe/Paris"}))
    await move_days(services)
    assert await dates(owner) == [(IN_BERLIN, 3)] * 2 + [(IN_BERLIN, 1)], "it ends at the same moment there"


async def test_a_change_of_zone_waits_for_days_that_are_being_written(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    async with connection(services.settings.database_url) as writer:
        async with writer.transaction():
            await writer.execute(
                "INSERT INTO tasks (user_id, title, due_day, due_date)"
                " VALUES ($1, 'x', '2030-01-31', day_end('2030-01-31', held_time_zone($1)))",
                alice,
            )
            change = asyncio.create_task(apply(services, command("user.update", alice, {"time_zone": "Asia/Tokyo"})))
            await asyncio.sleep(0.3)
            assert not change.done()
        await change
    await move_days(services)
    assert await dates(owner) == [(IN_TOKYO, 2)]


async def test_of_a_file_the_day_counts_and_not_when_it_ended_elsewhere(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    row = {"title": "x", "external_id": "1", "due_day": "2030-01-31", "due_date": "2030-01-31T14:59:59Z"}
    await imported(services, owner, alice, lines(row), format="tenfold-ndjson")
    assert await dates(owner) == [(IN_BERLIN, 1)]
    await imported(services, owner, alice, lines(row), format="tenfold-ndjson", on_conflict="update")
    assert await dates(owner) == [(IN_BERLIN, 1)], "the same again changes nothing"
    later = row | {"due_day": "2030-02-01", "due_date": "2030-02-01T14:59:59Z"}
    await imported(services, owner, alice, lines(later), format="tenfold-ndjson", on_conflict="update")
    assert await dates(owner) == [(IN_BERLIN + timedelta(days=1), 2)]
    moment = {"title": "x", "external_id": "1", "due_date": "2030-02-02T10:00:00Z"}
    await imported(services, owner, alice, lines(moment), format="tenfold-ndjson", on_conflict="update")
    assert await owner.fetchrow("SELECT due_date, due_day FROM tasks") == (datetime(2030, 2, 2, 10, tzinfo=UTC), None)


# -- any day, any zone ----------------------------------------------------------------------------------------

BOUNDED = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
ZONES = st.sampled_from(sorted(name for name in time_zones() if "/" in name and not name.startswith("Etc/")))
DAYS = st.one_of(
    # When clocks are set: often at midnight, so that a day has no beginning, or its end comes twice.
    st.sampled_from([date(year, month, 1) + timedelta(days=n)
                     for year in (1999, 2010, 2011, 2018) for month in (2, 3, 4, 9, 10, 11) for n in range(28)]),
    st.dates(date(1972, 1, 1), date(2024, 12, 31)),  # of the time before, lists of zones do not tell the same
)  # fmt: skip


@BOUNDED
@given(zone=ZONES, day=DAYS)
async def test_a_day_ends_a_second_before_the_next_begins(owner: asyncpg.Connection, zone: str, day: date) -> None:
    end = await owner.fetchval("SELECT day_end($1, known_time_zone($2))", day, zone)
    there = ZoneInfo(zone)
    assert end.astimezone(there).date() <= day < (end + timedelta(seconds=1)).astimezone(there).date()


@BOUNDED
@given(zone=ZONES, day=DAYS, step=st.integers(1, 40), late=st.floats(-3, 100))
def test_a_daily_task_goes_from_day_to_day_whatever_the_clocks_do(zone: str, day: date, step: int, late: float) -> None:
    there = ZoneInfo(zone)
    completed_at = datetime.combine(day, datetime.min.time(), UTC) + timedelta(days=late)
    found = following(
        f"FREQ=DAILY;INTERVAL={step}",
        counted_from="due_date", due_date=None, nominal=None, completed_at=completed_at, zone=there, due_day=day,
    )  # fmt: skip
    assert found is not None
    assert found.due_day is not None
    passed = (found.due_day - day).days
    assert passed > 0
    assert passed % step == 0
    assert found.due_day >= completed_at.astimezone(there).date(), "what has passed is passed over"
    assert passed == step or (found.due_day - timedelta(days=step)) <= completed_at.astimezone(there).date()

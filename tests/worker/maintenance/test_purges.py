"""What is purged past its retention, what outlives it, and statistics that are taken after large imports."""

import uuid

import asyncpg

from core.maintenance.writes import purges
from tests.worker.maintenance.harness import order, runs
from worker.maintenance.runs import run_maintenance
from worker.runner import Services


async def insert_event(owner: asyncpg.Connection, user_id: int, days: int, state: str | None) -> int:
    event: int = await owner.fetchval(
        "INSERT INTO events (user_id, type, data, created_at) VALUES ($1, 'x', '{}', now() - make_interval(days => $2))"
        " RETURNING id",
        user_id,
        days,
    )
    if state is not None:
        channel = await owner.fetchval(
            "INSERT INTO channels (user_id, kind, url_encrypted, url_masked) VALUES ($1, 'webhook', '', '')"
            " RETURNING id",
            user_id,
        )
        await owner.execute(
            "INSERT INTO deliveries (event_id, channel_id, user_id, state) VALUES ($1, $2, $3, $4)",
            event, channel, user_id, state,
        )  # fmt: skip
    return event


async def test_events_are_purged_past_their_retention_unless_a_delivery_is_still_to_be_tried(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    await owner.execute("DELETE FROM events")
    for state in (None, "delivered", "dead"):
        await insert_event(owner, alice, 31, state)
    kept = [await insert_event(owner, alice, 31, state) for state in ("pending", "failed")]
    kept.append(await insert_event(owner, alice, 29, "delivered"))
    assert await purges.purge_events(services.pool, retention_days=30, chunk=2) == 3
    assert [row["id"] for row in await owner.fetch("SELECT id FROM events ORDER BY id")] == kept
    assert await owner.fetchval("SELECT count(*) FROM deliveries") == 3
    await owner.execute("DELETE FROM events")


async def test_reminders_that_are_pending_outlive_every_retention(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    for state in ("pending", "sent", "cancelled"):
        for days in (1, 31):
            await owner.execute(
                "INSERT INTO reminders (user_id, task_id, rule, due_at, state)"
                " VALUES ($1, 1, $3::text || $2::int, now() - make_interval(days => $2::int), $3)",
                alice, days, state,
            )  # fmt: skip
    assert await purges.purge_reminders(services.pool, retention_days=30) == 2
    assert await owner.fetchval("SELECT count(*) FROM reminders WHERE state = 'pending'") == 2
    await owner.execute("DELETE FROM reminders")


async def test_notifications_are_purged_past_their_retention(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    for days in (29, 31):
        await owner.execute(
            "INSERT INTO notifications (user_id, event, text, created_at)"
            " VALUES ($1, 'x', 'x', now() - make_interval(days => $2))",
            alice, days,
        )  # fmt: skip
    assert await purges.purge_notifications(services.pool, retention_days=30) == 1


async def ended_import(owner: asyncpg.Connection, user_id: int, rows: int, *, dry_run: bool = False) -> None:
    import_id = uuid.uuid4()
    async with owner.transaction():
        await owner.execute(
            "INSERT INTO imports (id, user_id, options, digest, bytes, rows_created, dry_run)"
            " VALUES ($1, $2, '{}', '', 1, $3, $4)",
            import_id, user_id, rows, dry_run,
        )  # fmt: skip
        await owner.execute(
            "INSERT INTO jobs (id, user_id, kind, state, finished_at) VALUES ($1, $2, 'import', 'succeeded', now())",
            import_id,
            user_id,
        )


async def test_statistics_are_taken_after_large_imports_and_not_again(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    async def look() -> int:
        await owner.execute(
            "INSERT INTO maintenance_runs (name, tick, state, arguments)"
            " VALUES ('refresh_statistics', clock_timestamp(), 'queued', '{}')"
        )
        await run_maintenance(services)
        return int((await runs(owner, "refresh_statistics"))[-1]["rows"])

    await ended_import(owner, alice, purges.LARGE_IMPORT_ROWS - 1)
    await ended_import(owner, alice, purges.LARGE_IMPORT_ROWS, dry_run=True)
    assert await look() == 0
    await ended_import(owner, alice, 1)
    assert await look() == purges.LARGE_IMPORT_ROWS
    assert await owner.fetchval("SELECT reltuples FROM pg_class WHERE relname = 'tasks'") >= 0
    assert await look() == 0
    await owner.execute("DELETE FROM maintenance_runs")
    assert await look() == 0, "also when the run that took them is on record no more"
    await order(services, alice, "refresh_statistics")
    await run_maintenance(services)
    assert (await runs(owner, "refresh_statistics"))[-1]["rows"] == 1, "an admin's order is carried out in any case"

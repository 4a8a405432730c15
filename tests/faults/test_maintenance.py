"""Workers that are killed in the middle of maintenance: another takes the run up, once, and brings it to its end."""

import contextlib
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import orjson
import pytest

from core.leases import LEASE_SECONDS
from core.maintenance.schedule import SCHEDULE
from core.maintenance.writes.purges import CHUNK
from core.settings import Settings
from tests.conftest import MakeSettings
from tests.faults.conftest import Measure
from tests.faults.harness import Tier, worker_for
from tests.harness import connection, eventually, insert_user

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]

WORKERS = 4
CHUNKS = 24
CHUNK_SECONDS = 0.25
KILLS = 3
LOOK_SECONDS = 5.0
PARTITION = "tasks_2021"

# Each claim of a run, by whom; and a purge that takes its time.
WATCHED = f"""
CREATE TABLE claims (run bigint, owner text);
GRANT INSERT ON claims TO tenfold_worker;
CREATE FUNCTION note_claim() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO claims VALUES (NEW.id, NEW.lease_owner);
    RETURN NULL;
END $$;
CREATE TRIGGER note_claim AFTER UPDATE ON maintenance_runs FOR EACH ROW
    WHEN (NEW.lease_owner IS NOT NULL AND NEW.lease_owner IS DISTINCT FROM OLD.lease_owner)
    EXECUTE FUNCTION note_claim();
CREATE FUNCTION take_time() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_sleep({CHUNK_SECONDS});
    RETURN NULL;
END $$;
CREATE TRIGGER take_time BEFORE DELETE ON notifications FOR EACH STATEMENT EXECUTE FUNCTION take_time()
"""

# The backends that are to record the end of a run, and wait for whoever holds its row.
SAYING_SO = """
FROM  pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%finished_at = clock_timestamp()%'
"""


class Crew:
    """Workers that maintain one database, and what they have on record."""

    def __init__(self, settings: Settings, owner: asyncpg.Connection, folder: Path) -> None:
        self.settings = settings
        self.owner = owner
        self._workers = [worker_for(settings, folder, f"worker-{n}", "maintenance") for n in range(WORKERS)]

    def start(self) -> None:
        for worker in self._workers:
            worker.start()

    def end(self) -> None:
        for worker in self._workers:
            worker.kill()

    async def run_of(self, name: str) -> asyncpg.Record | None:
        return await self.owner.fetchrow("SELECT * FROM maintenance_runs WHERE name = $1 ORDER BY id LIMIT 1", name)

    async def claimed(self, name: str, *, attempt: int) -> str:
        """Waits until a run is worked on for the so many-th time; returns by whom."""

        async def look() -> str | None:
            run = await self.run_of(name)
            return run["lease_owner"] if run is not None and run["attempts"] == attempt else None

        owner: str = await eventually(look, timeout=LEASE_SECONDS + 2 * LOOK_SECONDS)
        return owner

    async def ended(self, name: str) -> asyncpg.Record:
        async def look() -> asyncpg.Record | None:
            run = await self.run_of(name)
            return run if run is not None and run["finished_at"] is not None else None

        run: asyncpg.Record = await eventually(look, timeout=60)
        return run

    def kill(self, owner: str) -> Tier:
        """Kills the worker that made this claim."""
        [victim] = [worker for worker in self._workers if f"-{worker.pid}-" in owner]
        victim.kill()
        return victim

    async def lapse(self, owner: str) -> None:
        """As if the lease of a dead worker had run out."""
        await self.owner.execute(
            "UPDATE maintenance_runs SET lease_until = now() - interval '1 second' WHERE lease_owner = $1", owner
        )

    async def claims(self, run: asyncpg.Record) -> list[str]:
        return [row["owner"] for row in await self.owner.fetch("SELECT owner FROM claims WHERE run = $1", run["id"])]


@pytest.fixture
async def crew(make_settings: MakeSettings, tmp_path: Path) -> AsyncIterator[Crew]:
    settings = await make_settings()
    async with connection(settings.database_url) as owner:
        await owner.execute(WATCHED)
        made = Crew(settings, owner, tmp_path)
        try:
            yield made
        finally:
            made.end()


async def test_a_purge_whose_worker_is_killed_again_and_again_is_taken_up_once_each_time_and_ends(
    crew: Crew, measure: Measure
) -> None:
    user_id = await insert_user(crew.owner, "alice")
    await crew.owner.execute(
        "INSERT INTO notifications (user_id, event, text, created_at)"
        " SELECT $1, 'x', 'old', now() - interval '400 days' FROM generate_series(1, $2::int)",
        user_id,
        CHUNKS * CHUNK,
    )

    async def left() -> int:
        return int(await crew.owner.fetchval("SELECT count(*) FROM notifications"))

    crew.start()
    before = await left()
    for number in range(1, KILLS + 1):
        owner = await crew.claimed("purge_notifications", attempt=number)

        async def begun(before: int = before) -> bool:
            return await left() < before

        await eventually(begun, timeout=20)
        victim = crew.kill(owner)
        before = await left()
        assert before > CHUNK, "it had nearly ended before it was disturbed: there must be more rows"
        victim.start()
        if number < KILLS:
            await crew.lapse(owner)
    died = time.monotonic()
    await crew.claimed("purge_notifications", attempt=KILLS + 1)
    measure("taken up after", f"{time.monotonic() - died:.0f} s")
    run = await crew.ended("purge_notifications")
    assert (run["state"], run["attempts"], run["error"]) == ("succeeded", KILLS + 1, None)
    assert await left() == 0
    assert len(set(await crew.claims(run))) == len(await crew.claims(run)) == KILLS + 1
    states = await crew.owner.fetch("SELECT name, state FROM maintenance_runs WHERE state <> 'succeeded'")
    assert {row["state"] for row in states} <= {"queued", "running"}
    for name in SCHEDULE:
        assert (await crew.ended(name))["state"] == "succeeded"


@contextlib.asynccontextmanager
async def detaching(crew: Crew) -> AsyncIterator[asyncpg.Connection]:
    """A detaching has been claimed for the first time, and waits for this connection, which is reading tasks."""
    user_id = await insert_user(crew.owner, "admin", role="admin")
    await crew.owner.execute("SELECT create_task_partition('2021-01-01T00:00Z', '2022-01-01T00:00Z')")
    job_id = uuid.uuid4()
    await crew.owner.execute(
        "INSERT INTO jobs (id, user_id, kind, state) VALUES ($1, $2, 'maintenance', 'queued')", job_id, user_id
    )
    await crew.owner.execute(
        "INSERT INTO maintenance_runs (name, tick, state, job_id, arguments)"
        " VALUES ('detach_partition', now(), 'queued', $1, $2)",
        job_id,
        orjson.dumps({"name": PARTITION}).decode(),
    )
    async with connection(crew.settings.database_url) as reader:
        await reader.execute("BEGIN; SELECT FROM tasks LIMIT 1")
        crew.start()
        await crew.claimed("detach_partition", attempt=1)
        yield reader


async def is_attached(crew: Crew) -> bool:
    return bool(await crew.owner.fetchval("SELECT is_attached FROM task_partitions WHERE name = $1", PARTITION))


async def check_detached(crew: Crew, *, attempts: int) -> None:
    """It is, and its job says so, after so many claims."""
    run = await crew.ended("detach_partition")
    assert (run["state"], run["attempts"], run["rows"], run["error"]) == ("succeeded", attempts, 1, None)
    assert len(await crew.claims(run)) == attempts
    assert not await is_attached(crew)
    job = await crew.owner.fetchrow("SELECT state, status_code FROM jobs WHERE id = $1", run["job_id"])
    assert tuple(job) == ("succeeded", 200)


async def test_a_detaching_whose_worker_is_killed_while_it_waits_for_its_locks_is_done_by_another(crew: Crew) -> None:
    async with detaching(crew) as reader:
        for attempt in (1, 2):
            owner = await crew.claimed("detach_partition", attempt=attempt)
            assert await is_attached(crew)
            crew.kill(owner)
            await crew.lapse(owner)
        await crew.claimed("detach_partition", attempt=3)
        await reader.execute("COMMIT")
    await check_detached(crew, attempts=3)


async def test_a_detaching_whose_worker_is_killed_before_it_could_say_so_is_found_to_be_done(crew: Crew) -> None:
    async with detaching(crew) as reader, connection(crew.settings.database_url) as holder:
        owner = await crew.claimed("detach_partition", attempt=1)
        await holder.execute("BEGIN; SELECT FROM maintenance_runs WHERE name = 'detach_partition' FOR UPDATE")
        await reader.execute("COMMIT")

        async def detached() -> bool:
            return not await is_attached(crew)

        async def saying_so() -> int:
            return int(await crew.owner.fetchval(f"SELECT count(*) {SAYING_SO}"))

        await eventually(detached)
        await eventually(saying_so)
        crew.kill(owner)
        # PostgreSQL would carry out the last words of the dead.
        await crew.owner.execute(f"SELECT pg_terminate_backend(pid) {SAYING_SO}")
        await holder.execute(
            "UPDATE maintenance_runs SET lease_until = now() - interval '1 second' WHERE name = 'detach_partition'"
        )
        await holder.execute("COMMIT")
    await check_detached(crew, attempts=2)

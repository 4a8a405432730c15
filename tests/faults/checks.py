"""After the storm: is every acknowledged write there once, and nothing else?"""

import asyncio
import json
from collections.abc import Sequence

import asyncpg

from core import lanes
from core.jobs.pending import PENDING
from core.redis.clients import reply
from tests.faults.actor import Actor
from tests.faults.harness import Installation
from tests.faults.ledger import State, Write, without_request
from tests.faults.load import Load

SHOWN = 15


async def check_everything(
    system: Installation,
    load: Load,
    *,
    dead_letters: int = 0,
    known_jobs: int = 0,
    known_errors: Sequence[str] = (),
) -> None:
    """Ends the load, waits until the lanes are empty, and holds the ledger against the rows, jobs and replays.

    Args:
        system: whole again.
        load: whose ledger is checked.
        dead_letters: how many there must be.
        known_jobs: how many jobs are not the load's.
        known_errors: an error in a log that holds one of these is excused.

    Raises:
        AssertionError: with what is wrong.
    """
    await load.finish()
    await system.wait_until_quiet()
    for actor in load.actors:
        await actor.settle()
    ledger = load.ledger
    unanswered = [write.key for write in ledger.writes if write.outcome is None]
    faults = [*ledger.faults, *(f"{key} has no outcome" for key in unanswered)]
    faults += await _faults_in_rows(system, load, known_jobs)
    before = await _fingerprint(system)
    faults += await _faults_in_replays(load)
    if await _fingerprint(system) != before:
        faults.append("the replays changed rows")
    faults += await _faults_in_queue(system, dead_letters)
    faults += await _faults_in_job_lists(load)
    faults += [line for line in system.errors_in_logs() if not any(known in line for known in known_errors)]
    assert not faults, f"{len(faults)} faults:\n" + "\n".join(faults[:SHOWN]) + f"\n{system.logs()}"
    assert len(ledger.writes) > 30, f"hardly any load: {len(ledger.writes)} writes"


async def _faults_in_rows(system: Installation, load: Load, known_jobs: int) -> list[str]:
    connection = await asyncpg.connect(system.postgres.superuser_url())
    try:
        tasks = await connection.fetch("SELECT id, title, version, description, priority, status FROM tasks")
        jobs = await connection.fetch("SELECT id::text, user_id, kind, state, status_code FROM jobs")
    finally:
        await connection.close()
    return [*_faults_in_tasks(tasks, load), *_faults_in_jobs(jobs, load, known_jobs)]


def _faults_in_tasks(rows: list[asyncpg.Record], load: Load) -> list[str]:
    faults = []
    found: dict[str, asyncpg.Record] = {}
    for row in rows:
        if row["title"] in found:
            faults.append(f"twice: {row['title']}")
        found[row["title"]] = row
    known = load.ledger.tasks
    faults += [f"never sent: {title}" for title in found.keys() - known.keys()]
    for title, task in known.items():
        kept = found.get(title)
        if task.state is None:
            if kept is not None:
                faults.append(f"deleted and still there: {title}")
        elif kept is None:
            faults.append(f"acknowledged and missing: {title}")
        elif kept["id"] != task.id:
            faults.append(f"{title} has id {kept['id']}, {task.id} was told")
        else:
            stored = State(*(kept[name] for name in ("version", "title", "description", "priority", "status")))
            if stored != task.state:
                faults.append(f"is {stored}, must be {task.state}")
    return faults


def _faults_in_jobs(rows: list[asyncpg.Record], load: Load, known_jobs: int) -> list[str]:
    found = {row["id"]: row for row in rows}
    writes = {write.job_id: write for write in load.ledger.writes}
    faults = [f"a job that nobody sent: {dict(found[job_id])}" for job_id in found.keys() - writes.keys()]
    faults = [] if len(faults) == known_jobs else [f"{len(faults)} jobs, must be {known_jobs}", *faults]
    for job_id, write in writes.items():
        if job_id not in found:
            faults.append(f"{write.key} has no job row")
            continue
        job = found[job_id]
        told = None if write.outcome is None else write.outcome[0]
        right = (write.user.id, write.kind, told)
        if (job["user_id"], job["kind"], job["status_code"]) != right:
            faults.append(f"{write.key}: its job row is {dict(job)}, must have {right}")
        if job["state"] not in {"succeeded", "rejected"}:
            faults.append(f"{write.key}: its job ended as {job['state']}")
    return faults


async def _fingerprint(system: Installation) -> asyncpg.Record | None:
    connection = await asyncpg.connect(system.postgres.superuser_url())
    try:
        return await connection.fetchrow(
            "SELECT count(*), sum(version), max(updated_at), (SELECT count(*) FROM jobs) FROM tasks"
        )
    finally:
        await connection.close()


async def _faults_in_replays(load: Load) -> list[str]:
    """Every key once more, each actor its own: the first outcome, marked as replayed."""
    found = await asyncio.gather(*(_replay(actor, load.ledger.writes) for actor in load.actors))
    return [fault for faults in found for fault in faults]


async def _replay(actor: Actor, writes: list[Write]) -> list[str]:
    faults = []
    own = [write for write in writes if write.actor == actor.name]
    for begin in range(0, len(own), 10):
        some = own[begin : begin + 10]
        for write, answer in zip(some, await asyncio.gather(*map(actor.send, some)), strict=True):
            outcome = answer.status, without_request(answer.body)
            if outcome != write.outcome or answer.headers.get("Idempotent-Replayed") != "true":
                faults.append(f"{write.key} replayed: {outcome} {dict(answer.headers)}, first was {write.outcome}")
    return faults


async def _faults_in_queue(system: Installation, dead_letters: int) -> list[str]:
    async with system.queue_client() as queue:
        dead = await queue.xrange(lanes.DEAD_LETTERS)
        pending = await reply(queue.hgetall(PENDING))
    faults = [] if len(dead) == dead_letters else [f"{len(dead)} dead letters, must be {dead_letters}: {dead[:3]}"]
    return faults + [f"done, and still listed as queued: {json.loads(content)}" for content in pending.values()]


async def _faults_in_job_lists(load: Load) -> list[str]:
    faults = []
    for actor in {actor.user.id: actor for actor in load.actors}.values():
        answer = await actor.attempt("GET", "/jobs?state=queued,processing")
        if answer is None or answer.status != 200 or answer.body["items"]:
            faults.append(f"jobs that never end: {answer}")
    return faults

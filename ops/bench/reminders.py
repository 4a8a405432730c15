"""Reminders that come due, from their tasks to a receiver of webhooks."""

import asyncio
import re
import secrets
import time
import urllib.request
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg

from core import clock
from core.channels.signatures import Secret
from core.deliveries.messages import message_id
from core.encryption import SecretBox
from core.settings import Settings
from ops.bench.client import percentile
from ops.bench.rig import HOST, Process, Rig
from ops.bench.sample import Sample
from ops.faults import Fault

LEAD_SECONDS = 3.0
"""Seconds between the last reminder's making and the first one's time."""
PATIENCE_SECONDS = 180.0
LOOK_SECONDS = 0.25
OFFSET = timedelta(hours=1)
LATENESS = "tenfold_delivery_lateness_seconds"
# The worker reads its clock after the answer, so to it all reminders are a little later.
BEHIND_SECONDS = 0.25

_USERS = """
INSERT INTO users (username, email, password_hash, reminder_offsets)
SELECT $1 || number, $1 || number, 'none', ARRAY['PT1H'] FROM generate_series(1, $2) AS number
RETURNING id
"""
_CHANNELS = """
INSERT INTO channels (user_id, kind, url_encrypted, url_masked, secrets_encrypted, events)
SELECT c.user_id, 'webhook', c.url, 'http://127.0.0.1/***', ARRAY[c.secret], '{task.reminder}'
FROM   unnest($1::bigint[], $2::bytea[], $3::bytea[]) AS c (user_id, url, secret)
"""
# Reminders follow from the due dates, as always.
_TASKS = """
INSERT INTO tasks (user_id, title, description, due_date)
SELECT ($1::bigint[])[1 + number % cardinality($1::bigint[])], 'Water the plants (' || number || ')',
       'Those in the kitchen, and the big one by the door.', $2::timestamptz + number * $3::interval
FROM   generate_series(0, $4 - 1) AS number
"""
_OURS = """
SELECT d.id, d.message_id::text, d.state, d.attempts, r.due_at
FROM   reminders AS r
       LEFT JOIN deliveries AS d ON d.event_id = r.event_id
WHERE  r.user_id = ANY ($1::bigint[])
"""
# These questions use the indexes of what is still to be done, so they cost next to nothing.
_IS_OVER = """
SELECT NOT EXISTS (SELECT FROM reminders WHERE user_id = ANY ($1::bigint[]) AND state = 'pending')
   AND NOT EXISTS (SELECT FROM deliveries WHERE state IN ('pending', 'failed'))
   AND NOT EXISTS (SELECT FROM fan_outs)
"""


@dataclass(frozen=True, slots=True)
class Course:
    """Reminders, and whose they are.

    Attributes:
        number: how many there are.
        users: how many share them; each has a channel of its own, all to one receiver.
        a_second: how many come due each second; None: all in the same.
    """

    number: int
    users: int = 1
    a_second: int | None = None

    @property
    def step(self) -> timedelta:
        return timedelta() if self.a_second is None else timedelta(seconds=1 / self.a_second)


def remind(rig: Rig, course: Course) -> Sample:
    """All reminders of a course, sent and delivered by one worker; times count from when each was due.

    `seconds` is how long it took from the first one's time until the last one was on record as delivered.
    """
    # A user may have more than a digest would hold: here each reminder is to be delivered by itself.
    with rig.tier("time", REMINDER_DIGEST_OVER="1000", ALLOW_PRIVATE_TARGETS="true") as worker, rig.receiver() as hook:
        return asyncio.run(_remind(rig, worker, hook, course))


async def _remind(rig: Rig, worker: Process, hook: Process, course: Course) -> Sample:
    connection = await asyncpg.connect(rig.database_url)
    try:
        users = await _new_users(connection, rig.settings, f"http://{HOST}:{hook.port}/", course.users)
        first_due = await _fill(connection, users, course)
        before = _buckets(worker)
        seconds, cores = await _watched(rig, connection, users, first_due, hook, course)
        found = await connection.fetch(_OURS, users)
    finally:
        await connection.close()
    arrivals = _arrivals(hook)
    due = {message_id(row["message_id"], row["id"]): row["due_at"].timestamp() for row in found}
    lateness = sorted(arrived - due[name] for name, arrived in arrivals if name in due)
    after = _buckets(worker)
    errors = {
        "lost": course.number - len({name for name, _ in arrivals}),
        "received twice": len(arrivals) - len({name for name, _ in arrivals}),
        "not recorded as delivered": sum(row["state"] != "delivered" for row in found),
        "attempted again": sum((row["attempts"] or 0) > 1 for row in found),
        "unknown": len(arrivals) - len(lateness),
        "not as the metric has it": disagreement(lateness, {le: after[le] - before.get(le, 0) for le in after}),
    }
    return Sample(
        rate=course.number / seconds,
        seconds=seconds,
        p50_ms=percentile(lateness, 50) * 1000,
        p99_ms=percentile(lateness, 99) * 1000,
        longest_ms=percentile(lateness, 100) * 1000,
        errors={reason: count for reason, count in errors.items() if count},
        cores=cores,
        memory_mb=worker.memory_mb,
    )


async def _new_users(connection: asyncpg.Connection, settings: Settings, url: str, number: int) -> list[int]:
    """As many, each with a channel, whose ids are returned."""
    name = f"reminded-{secrets.token_hex(6)}-"
    users = [row["id"] for row in await connection.fetch(_USERS, name, number)]
    box = SecretBox.of(settings)
    secret = Secret.of(secrets.token_bytes(32), clock.now()).dump()
    await connection.execute(
        _CHANNELS,
        users,
        [box.seal(url, user_id=user, purpose="url") for user in users],
        [box.seal(secret, user_id=user, purpose="secret") for user in users],
    )
    return users


async def _fill(connection: asyncpg.Connection, users: list[int], course: Course) -> datetime:
    """Makes the tasks; returns when the first reminder is due. They are there well before."""
    patience = timedelta(seconds=LEAD_SECONDS + course.number / 5000)
    first_due = (clock.now() + patience).replace(microsecond=0)
    await connection.execute(_TASKS, users, first_due + OFFSET, course.step, course.number, timeout=PATIENCE_SECONDS)
    if clock.now() > first_due:
        raise Fault("the reminders were due before they were all there")
    return first_due


async def _watched(
    rig: Rig,
    connection: asyncpg.Connection,
    users: list[int],
    first_due: datetime,
    hook: Process,
    course: Course,
) -> tuple[float, dict[str, float]]:
    """Seconds until all is on record as delivered, and the cores that were used meanwhile."""
    await asyncio.sleep((first_due - clock.now()).total_seconds())
    before, started = rig.cpu_seconds(), time.monotonic()
    while not await connection.fetchval(_IS_OVER, users):
        if time.monotonic() - started > PATIENCE_SECONDS + course.number * course.step.total_seconds():
            break  # what is missing is counted as errors
        await asyncio.sleep(LOOK_SECONDS)
    elapsed = time.monotonic() - started
    seconds = (clock.now() - first_due).total_seconds()
    used = {name: cpu - before.get(name, 0.0) for name, cpu in rig.cpu_seconds().items()}
    return seconds, {name: cpu / elapsed for name, cpu in used.items()}


def _arrivals(hook: Process) -> list[tuple[str, float]]:
    lines = _get(hook, "/").decode().splitlines()
    return [(name, float(moment)) for name, _, moment in (line.partition(" ") for line in lines)]


def _buckets(worker: Process) -> dict[float, int]:
    """The worker's histogram of how late reminders were: upper bound in seconds → how many were not later."""
    text = _get(worker, "/metrics").decode()
    found = re.findall(rf'^{LATENESS}_bucket{{le="([^"]+)"}} (\S+)$', text, re.MULTILINE)
    return {float(bound): int(float(count)) for bound, count in found}


def disagreement(lateness: list[float], buckets: Mapping[float, int]) -> int:
    """How many reminders the metric has in other buckets than the receiver, at the bucket where it is the most."""
    most = len(lateness) - buckets.get(float("inf"), 0)
    for bound, count in buckets.items():
        least = bisect_right(lateness, bound - BEHIND_SECONDS)
        most = max(most, least - count, count - bisect_right(lateness, bound))
    return most


def _get(process: Process, path: str) -> bytes:
    with urllib.request.urlopen(f"http://{HOST}:{process.port}{path}", timeout=60) as answer:
        body: bytes = answer.read()
        return body

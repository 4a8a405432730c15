"""Sends reminders: what is due becomes notifications, events and, by a trigger, deliveries, all in one transaction.

The lock on a reminder's row is its lease: a worker that dies in the middle has sent nothing, and the next one takes it.
One worker at a time sends the reminders of one user, so that those which came due while none was running become one
digest.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson

from core.database.locks import PER_USER, Lock
from core.database.pools import Connection, Pool
from core.database.transactions import bounded_transaction
from core.notifications.texts import digest_text, reminder_text
from core.tasks.recurrence import zone_named

REMINDER = "task.reminder"
LATE = timedelta(seconds=60)
"""A reminder that is later than this says so, and many such of one user become a digest."""
DUE_AT_ONCE = 2000
USERS_AT_ONCE = 200
DIGEST_AT_ONCE = 10_000
"""The most reminders of one digest, and of all digests of one transaction."""
DIGESTING_SECONDS = 2.0
"""After so long a transaction begins no other digest, so that it ends in time. The next transaction goes on."""
DIGEST_TASKS = 50

# A user whose lock another worker holds is reminded by that worker.
_USERS = f"""
WITH due AS MATERIALIZED (
    SELECT DISTINCT first.user_id
    FROM   (SELECT user_id FROM reminders
            WHERE  state = 'pending' AND due_at <= $1 ORDER BY due_at LIMIT {DUE_AT_ONCE:d}) AS first
    ORDER  BY first.user_id
    LIMIT  {USERS_AT_ONCE:d}
), taken AS MATERIALIZED (
    SELECT number FROM locks
    WHERE  kind = '{Lock.reminders}' AND number IN (SELECT user_id % {PER_USER:d} FROM due)
    FOR    UPDATE SKIP LOCKED
)
SELECT user_id FROM due WHERE user_id % {PER_USER:d} IN (SELECT number FROM taken) ORDER BY user_id
"""  # noqa: S608

# Counted by themselves: the limit on what is sent at once must not cut one digest into many single reminders.
_OF_DIGESTS = """
SELECT u.user_id
FROM   unnest($1::bigint[]) AS u (user_id),
       LATERAL (SELECT count(*) AS reminders
                FROM   (SELECT FROM reminders AS r
                        WHERE  r.user_id = u.user_id AND r.state = 'pending' AND r.due_at < $2
                        LIMIT  $3::integer + 1) AS first_of_them) AS late
WHERE  late.reminders > $3
"""

# A task that is gone, or in a detached partition, is not found. The status is checked outside the sub-query: inside,
# PostgreSQL would use the index of open tasks by due date, and go through all tasks of the user to find one.
_DUE = f"""
SELECT r.id, r.user_id, r.task_id, r.due_at, t.title, t.due_date, t.due_day, u.time_zone, wanted.is_wanted,
       CASE WHEN t.status IN ('pending', 'in_progress', 'blocked') THEN t.task END AS task,
       nextval('events_id_seq') AS event_id
FROM   (SELECT * FROM reminders
        WHERE  user_id = ANY ($1::bigint[]) AND state = 'pending' AND due_at <= $2
        AND    (due_at >= $3 OR user_id <> ALL ($4::bigint[]))
        ORDER  BY due_at, id
        LIMIT  {DUE_AT_ONCE:d}
        FOR    UPDATE SKIP LOCKED) AS r
       LEFT JOIN LATERAL (SELECT t.title, t.due_date, t.due_day, t.status, task_json(t) AS task
                          FROM   tasks AS t
                          WHERE  t.user_id = r.user_id AND t.id = r.task_id
                          LIMIT  1) AS t ON true
       LEFT JOIN LATERAL (SELECT time_zone FROM users WHERE id = r.user_id LIMIT 1) AS u ON true
       LEFT JOIN LATERAL (SELECT true AS is_wanted FROM channels AS c
                          WHERE  c.user_id = r.user_id AND c.state = 'active' AND '{REMINDER}' = ANY (c.events)
                          LIMIT  1) AS wanted ON true
ORDER  BY r.due_at, r.id
"""  # noqa: S608

_DIGEST = f"""
UPDATE reminders AS r
SET    state = CASE WHEN due.is_open THEN 'sent' ELSE 'cancelled' END,
       sent_at = CASE WHEN due.is_open THEN $3::timestamptz END
FROM   (SELECT r.id, t.title, coalesce(t.status IN ('pending', 'in_progress', 'blocked'), false) AS is_open
        FROM   (SELECT * FROM reminders
                WHERE  user_id = $1 AND state = 'pending' AND due_at < $2
                ORDER  BY due_at, id
                LIMIT  {DIGEST_AT_ONCE:d}
                FOR    UPDATE SKIP LOCKED) AS r
               LEFT JOIN LATERAL (SELECT title, status FROM tasks AS t
                                  WHERE  t.user_id = r.user_id AND t.id = r.task_id LIMIT 1) AS t ON true) AS due
WHERE  r.id = due.id
RETURNING r.task_id, r.due_at, due.title, due.is_open
"""  # noqa: S608

_DIGEST_EVENT = f"""
SELECT nextval('events_id_seq') AS event_id,
       ARRAY(SELECT t.task
             FROM   unnest($2::bigint[]) WITH ORDINALITY AS wanted (id, place),
                    LATERAL (SELECT task_json(t) AS task FROM tasks AS t
                             WHERE  t.user_id = $1 AND t.id = wanted.id LIMIT 1) AS t
             ORDER  BY wanted.place) AS tasks
FROM   channels AS c
WHERE  c.user_id = $1 AND c.state = 'active' AND '{REMINDER}' = ANY (c.events)
LIMIT  1
"""  # noqa: S608

_EVENTS = f"""
INSERT INTO events (id, user_id, type, task_id, data)
OVERRIDING SYSTEM VALUE
SELECT e.id, e.user_id, '{REMINDER}', e.task_id, e.data::json
FROM   unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[]) AS e (id, user_id, task_id, data)
ORDER  BY e.id
"""  # noqa: S608

_NOTIFICATIONS = f"""
INSERT INTO notifications (user_id, event, task_id, text)
SELECT n.user_id, '{REMINDER}', n.task_id, n.text
FROM   unnest($1::bigint[], $2::bigint[], $3::text[]) AS n (user_id, task_id, text)
"""  # noqa: S608

_DONE = """
UPDATE reminders AS r
SET    state = d.state, sent_at = CASE WHEN d.state = 'sent' THEN $4::timestamptz END, event_id = d.event_id
FROM   unnest($1::bigint[], $2::text[], $3::bigint[]) AS d (id, state, event_id)
WHERE  r.id = d.id
"""


@dataclass(slots=True)
class Sent:
    """What became of reminders that were due.

    Attributes:
        lateness: of each one that was sent, in seconds.
        digests: how many were sent instead of single ones.
        cancelled: how many were of tasks that are gone or closed.
        calls_for_delivery: whether there are deliveries now.
    """

    lateness: list[float] = field(default_factory=list)
    digests: int = 0
    cancelled: int = 0
    calls_for_delivery: bool = False

    @property
    def reminders(self) -> int:
        return len(self.lateness) + self.cancelled


@dataclass(slots=True)
class _Rows:
    """The rows to be written."""

    events: list[tuple[int, int, int | None, str]] = field(default_factory=list)
    notifications: list[tuple[int, int | None, str]] = field(default_factory=list)
    done: list[tuple[int, str, int | None]] = field(default_factory=list)


async def send_due(pool: Pool, now: datetime, *, digest_over: int) -> Sent:
    """Sends some of the reminders that are due. If it sent none, none is left but those that others are sending.

    Args:
        pool: of workers.
        now: the present, aware.
        digest_over: more late reminders of one user than this become a digest.
    """
    sent, rows, late = Sent(), _Rows(), now - LATE
    has_enough_at = time.monotonic() + DIGESTING_SECONDS
    async with bounded_transaction(pool, fresh_plans=True) as connection:
        users = [row["user_id"] for row in await connection.fetch(_USERS, now)]
        if users:
            of_digests = [row["user_id"] for row in await connection.fetch(_OF_DIGESTS, users, late, digest_over)]
            for user_id in of_digests:
                if sent.reminders >= DIGEST_AT_ONCE or (sent.reminders and time.monotonic() >= has_enough_at):
                    break
                await _add_digest(connection, user_id, now, rows, sent)
            for reminder in await connection.fetch(_DUE, users, now, late, of_digests):
                _add_one(rows, dict(reminder), now, sent)
            await _write(connection, rows, now)
    sent.calls_for_delivery = bool(rows.events)
    return sent


def _add_one(rows: _Rows, reminder: Mapping[str, Any], now: datetime, sent: Sent) -> None:
    if reminder["task"] is None:
        rows.done.append((reminder["id"], "cancelled", None))
        sent.cancelled += 1
        return
    lateness = now - reminder["due_at"]
    sent.lateness.append(lateness.total_seconds())
    late_by = int(lateness.total_seconds()) if lateness > LATE else 0
    user_id, task_id = reminder["user_id"], reminder["task_id"]
    text = reminder_text(
        reminder["title"],
        reminder["due_date"],
        reminder["due_day"],
        zone_named(reminder["time_zone"]),
        is_late=late_by > 0,
    )
    rows.notifications.append((user_id, task_id, text))
    event_id = None
    if reminder["is_wanted"]:
        event_id = reminder["event_id"]
        data = {
            "task": orjson.Fragment(reminder["task"]),
            "reminder": {"due_at": reminder["due_at"], "late_by": late_by},
        }
        rows.events.append((event_id, user_id, task_id, orjson.dumps(data, option=orjson.OPT_UTC_Z).decode()))
    rows.done.append((reminder["id"], "sent", event_id))


async def _add_digest(connection: Connection, user_id: int, now: datetime, rows: _Rows, sent: Sent) -> None:
    """One event and one notification for all late reminders; each task stands in it once.

    A digest is not taken back because of one of its tasks, so its reminders do not name the event.
    """
    found = await connection.fetch(_DIGEST, user_id, now - LATE, now)
    reminders = sorted((row for row in found if row["is_open"]), key=lambda row: (row["due_at"], row["task_id"]))
    sent.cancelled += len(found) - len(reminders)
    if not reminders:
        return
    sent.lateness += [(now - reminder["due_at"]).total_seconds() for reminder in reminders]
    sent.digests += 1
    titles = {reminder["task_id"]: reminder["title"] for reminder in reminders}
    rows.notifications.append((user_id, None, digest_text(list(titles.values()))))
    event = await connection.fetchrow(_DIGEST_EVENT, user_id, list(titles)[:DIGEST_TASKS])
    if event is not None:
        data = {
            "tasks": [orjson.Fragment(task) for task in event["tasks"]],
            "total": len(titles),
            "reminder": {
                "due_at": reminders[0]["due_at"],
                "late_by": int((now - reminders[0]["due_at"]).total_seconds()),
            },
        }
        rows.events.append((event["event_id"], user_id, None, orjson.dumps(data, option=orjson.OPT_UTC_Z).decode()))


async def _write(connection: Connection, rows: _Rows, now: datetime) -> None:
    if rows.events:
        await connection.execute(_EVENTS, *map(list, zip(*rows.events, strict=True)))
    if rows.notifications:
        await connection.execute(_NOTIFICATIONS, *map(list, zip(*rows.notifications, strict=True)))
    if rows.done:
        await connection.execute(_DONE, *map(list, zip(*rows.done, strict=True)), now)

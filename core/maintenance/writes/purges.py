"""Removes rows past their retention that no other capability's writes remove; and has tasks analyzed."""

from core.database.pools import Pool
from core.database.transactions import delete_in_chunks

CHUNK = 5000
# With each event go its deliveries, up to fifty.
EVENTS_CHUNK = 1000
LARGE_IMPORT_ROWS = 10_000
# Statistics look at a sample of each partition.
LONGEST_ANALYZE_SECONDS = 1800.0

# Their deliveries go with them. An event stays while a delivery of it is still to be tried, or made.
_EVENTS = """
DELETE FROM events
WHERE  id = ANY (ARRAY(
    SELECT e.id
    FROM   events AS e
    WHERE  e.created_at < now() - make_interval(days => $1)
    AND    NOT EXISTS (SELECT FROM deliveries AS d WHERE d.event_id = e.id AND d.state IN ('pending', 'failed'))
    AND    NOT EXISTS (SELECT FROM fan_outs AS f WHERE f.user_id = e.user_id AND e.id = ANY (f.event_ids))
    LIMIT  $2
))
"""

_REMINDERS = """
DELETE FROM reminders
WHERE  id = ANY (ARRAY(
    SELECT id FROM reminders WHERE state <> 'pending' AND due_at < now() - make_interval(days => $1) LIMIT $2
))
"""

_NOTIFICATIONS = """
DELETE FROM notifications
WHERE  id = ANY (ARRAY(
    SELECT id FROM notifications WHERE created_at < now() - make_interval(days => $1) LIMIT $2
))
"""

# The sum over imports that have ended since the table was last analyzed. Jobs are kept much longer than the time
# between two looks, so none is missed.
_IMPORTED = """
SELECT coalesce(sum(i.rows_created + i.rows_updated), 0)::bigint
FROM   imports AS i JOIN jobs AS j USING (id)
WHERE  NOT i.dry_run
AND    j.finished_at > coalesce(pg_stat_get_last_analyze_time('tasks'::regclass), '-infinity')
"""


async def purge_events(pool: Pool, *, retention_days: int, chunk: int = EVENTS_CHUNK) -> int:
    """Deletes events past their retention with their deliveries, `chunk` a transaction; returns how many events."""
    return await delete_in_chunks(pool, _EVENTS, retention_days, chunk=chunk)


async def purge_reminders(pool: Pool, *, retention_days: int, chunk: int = CHUNK) -> int:
    """Deletes reminders that were sent or cancelled and came due before their retention; returns how many."""
    return await delete_in_chunks(pool, _REMINDERS, retention_days, chunk=chunk)


async def purge_notifications(pool: Pool, *, retention_days: int, chunk: int = CHUNK) -> int:
    """Deletes notifications past their retention, read or not; returns how many."""
    return await delete_in_chunks(pool, _NOTIFICATIONS, retention_days, chunk=chunk)


async def refresh_statistics(pool: Pool, *, always: bool) -> int:
    """Has PostgreSQL analyze the tasks again after imports that brought `LARGE_IMPORT_ROWS` or more together.

    autovacuum analyzes each partition, but never the partitioned table.

    Returns:
        How many rows were imported since it last did, at least 1 where it looked; 0: it did not.
    """
    imported: int = await pool.fetchval(_IMPORTED)
    if not always and imported < LARGE_IMPORT_ROWS:
        return 0
    await pool.execute("SELECT analyze_tasks()", timeout=LONGEST_ANALYZE_SECONDS)
    return max(imported, 1)

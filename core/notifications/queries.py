"""Reads of notifications."""

from dataclasses import dataclass

from core.database.read_pool import ReadPool
from core.database.reads import fetch_row, fetch_rows
from core.identity import ME, MY_ID
from core.ids import MAXIMUM_ID

NOTIFICATION_JSON = """
    (SELECT row_to_json(notification)::text
     FROM   (SELECT n.id, n.event, n.task_id, n.text, json_moment(n.read_at)::json AS read_at,
                    json_moment(n.created_at)::json AS created_at) AS notification)
"""

_LIST = f"""
SELECT n.id, {NOTIFICATION_JSON} AS notification
FROM   {ME},
       LATERAL (SELECT * FROM notifications
                WHERE  user_id = {MY_ID}
                AND    ($2::bigint IS NULL OR id < $2)
                AND    (NOT $3::boolean OR read_at IS NULL)
                ORDER  BY id DESC
                LIMIT  $4) AS n
"""  # noqa: S608


_COUNT_UNREAD = f"""
SELECT count(*) AS unread
FROM   {ME},
       LATERAL (SELECT 1 FROM notifications WHERE user_id = {MY_ID} AND read_at IS NULL LIMIT {MAXIMUM_ID}) AS n
"""  # noqa: S608


async def count_unread(pool: ReadPool, user_id: int) -> int:
    """How many of the user's own notifications were not read yet.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    row = await fetch_row(pool, _COUNT_UNREAD, pool.identities.user(user_id))
    assert row is not None, "an aggregate always gives a row"
    unread: int = row["unread"]
    return unread


@dataclass(frozen=True, slots=True)
class ListedNotification:
    """A notification as JSON, and its place in the order (newest first)."""

    body: str
    id: int


async def list_notifications(
    pool: ReadPool, user_id: int, *, before: int | None, unread: bool, limit: int
) -> list[ListedNotification]:
    """The user's own notifications, newest first.

    Args:
        pool: of the API.
        user_id: the caller.
        before: only those that are older than this one.
        unread: only those that were not read yet.
        limit: how many at most.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    rows = await fetch_rows(pool, _LIST, pool.identities.user(user_id), before, unread, limit)
    return [ListedNotification(row["notification"], row["id"]) for row in rows]

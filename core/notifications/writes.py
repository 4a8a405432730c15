"""Writes of notifications."""

from collections.abc import Sequence

from core.commands.effects import Effect
from core.commands.kinds import MarkAllNotifications, MarkNotification, Operation
from core.database.pools import Connection
from core.notifications.queries import NOTIFICATION_JSON

_MARK = f"""
WITH input AS MATERIALIZED (
    SELECT c.* FROM unnest($1::bigint[], $2::bigint[], $3::boolean[]) WITH ORDINALITY AS c (user_id, id, read, place)
), marked AS (
    UPDATE notifications AS n
    SET    read_at = CASE WHEN input.read THEN coalesce(n.read_at, now()) END
    FROM   input
    WHERE  n.id = input.id
    AND    n.user_id = input.user_id
    RETURNING n.id, {NOTIFICATION_JSON} AS notification
)
SELECT marked.notification
FROM   input LEFT JOIN marked USING (id)
ORDER  BY input.place
"""  # noqa: S608


async def mark_notifications(connection: Connection, marks: Sequence[Operation[MarkNotification]]) -> list[Effect]:
    """Marks notifications as read, or as unread."""
    rows = await connection.fetch(
        _MARK,
        [mark.user_id for mark in marks],
        [mark.payload["id"] for mark in marks],
        [mark.payload["read"] for mark in marks],
    )
    return [
        Effect(200, row["notification"])
        if row["notification"] is not None
        else Effect.rejected("not-found", "There is no such notification.")
        for row in rows
    ]


_MARK_ALL = "UPDATE notifications SET read_at = now() WHERE user_id = ANY ($1::bigint[]) AND read_at IS NULL"


async def mark_all_notifications(
    connection: Connection, orders: Sequence[Operation[MarkAllNotifications]]
) -> list[Effect]:
    """Marks all notifications of the users as read."""
    await connection.execute(_MARK_ALL, [order.user_id for order in orders])
    return [Effect(200, '{"unread":0}') for _ in orders]

"""Moves all-day tasks of users who have changed their time zone: their days end at another moment now.

`users.days_moved_to` says how far that has come, so whoever dies in the middle is followed by another.
"""

from dataclasses import dataclass

from core.database.pools import Pool
from core.database.transactions import bounded_transaction

LOOKED_AT_ONCE = 2000

_NEXT_USER = """
SELECT id, days_moved_to, known_time_zone(time_zone) AS time_zone
FROM   users
WHERE  days_moved_to IS NOT NULL
ORDER  BY id
LIMIT  1
FOR    NO KEY UPDATE SKIP LOCKED
"""

# There is no index by day: some tasks are looked at, whatever they are. What was moved already is not moved again.
_MOVE = """
WITH looked AS MATERIALIZED (
    SELECT id, due_day FROM tasks WHERE user_id = $1 AND id > $2 ORDER BY id LIMIT $4
), moved AS (
    UPDATE tasks AS t
    SET    due_date = day_end(t.due_day, $3), version = t.version + 1, updated_at = greatest(now(), t.updated_at)
    FROM   looked
    WHERE  t.user_id = $1
    AND    t.id = looked.id
    AND    looked.due_day IS NOT NULL
    AND    t.due_date <> day_end(t.due_day, $3)
    RETURNING t.id
)
SELECT (SELECT max(id) FROM looked) AS last_id, (SELECT count(*) FROM looked) AS looked,
       (SELECT count(*) FROM moved) AS moved
"""

_MOVED_TO = "UPDATE users SET days_moved_to = $2 WHERE id = $1"

# Unless the zone has changed once more.
_END = "UPDATE users SET days_moved_to = NULL WHERE id = $1 AND days_moved_to = $2"


@dataclass(frozen=True, slots=True)
class Moved:
    """Some tasks of a user that were moved.

    Attributes:
        last_id: the last task that was looked at.
        is_last: whether none is left.
    """

    user_id: int
    tasks: int
    last_id: int
    is_last: bool


async def move_some_days(pool: Pool) -> Moved | None:
    """Moves some all-day tasks of a user into the present time zone, and raises their versions.

    Returns:
        What was moved. Once it is the last, `end_moving` has to be called, when nobody can see how the tasks were.
        None: there is no such user, or others do this for all of them.
    """
    async with bounded_transaction(pool) as connection:
        user = await connection.fetchrow(_NEXT_USER)
        if user is None:
            return None
        row = await connection.fetchrow(_MOVE, user["id"], user["days_moved_to"], user["time_zone"], LOOKED_AT_ONCE)
        assert row is not None, "an aggregate always gives a row"
        last_id = row["last_id"] or user["days_moved_to"]
        await connection.execute(_MOVED_TO, user["id"], last_id)
        return Moved(user["id"], row["moved"], last_id, row["looked"] < LOOKED_AT_ONCE)


async def end_moving(pool: Pool, moved: Moved) -> None:
    """Notes that all was moved."""
    await pool.execute(_END, moved.user_id, moved.last_id)

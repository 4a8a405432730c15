"""A user's labels, and how many open tasks have each.

They are counted when somebody asks: for a million tasks that takes a second. So one count of a user goes on at a time,
and what took long is told again for a while instead of being counted anew.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import orjson

from core.database.read_pool import ReadPool
from core.database.reads import fetch_row
from core.identity import ME, MY_ID
from core.tasks.fields import OPEN_STATUSES

DEAR_OVER_USES = 50_000
"""Labels of tasks, all together, above which a count is dear: some 30 ms."""
KEPT_TIMES = 20
"""How many times as long as it took a dear count is told again, so that a twentieth of the time is spent counting."""
KEPT_PAGES = 100

_OPEN = ", ".join(f"'{status}'" for status in OPEN_STATUSES)

_PAGE = f"""
SELECT page.*
FROM   {ME},
       LATERAL (
           WITH counted AS MATERIALIZED (
               SELECT label COLLATE "C" AS name, count(*) FILTER (WHERE is_open) AS open, count(*) AS uses
               FROM   (SELECT unnest(labels) AS label, status IN ({_OPEN}) AS is_open
                       FROM   tasks
                       WHERE  user_id = {MY_ID} AND labels <> '{{}}') AS labelled
               GROUP  BY label
           ), listed AS (
               SELECT name, open
               FROM   counted
               WHERE  $2::bigint IS NULL OR open < $2 OR (open = $2 AND name > $3::text)
               ORDER  BY open DESC, name
               LIMIT  $4
           )
           SELECT (SELECT coalesce(sum(uses), 0)::bigint FROM counted) AS uses,
                  (SELECT coalesce(json_agg(listed ORDER BY open DESC, name), '[]')::text FROM listed) AS labels
           LIMIT  1
       ) AS page
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class LabelPage:
    """Some labels, the most used first; `is_new` where they were counted just now."""

    labels: list[dict[str, Any]]
    is_new: bool


class LabelCounts:
    """Counts labels for one API process."""

    def __init__(self) -> None:
        self._counting: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()
        self._kept: dict[tuple[Any, ...], tuple[float, list[dict[str, Any]]]] = {}

    async def page(self, pool: ReadPool, user_id: int, *, after: tuple[int, str] | None, limit: int) -> LabelPage:
        """The user's labels in the order of how many open tasks have them, then of their names.

        Args:
            pool: of the API.
            user_id: the caller.
            after: only those behind this count and name.
            limit: how many at most.

        Raises:
            DatabaseUnavailable: the database cannot answer.
        """
        key = (user_id, after, limit)
        lock = self._counting.setdefault(user_id, asyncio.Lock())
        async with lock:
            good_until, labels = self._kept.get(key, (0.0, []))
            started = time.monotonic()
            if started < good_until:
                return LabelPage(labels, is_new=False)
            row = await fetch_row(pool, _PAGE, pool.identities.user(user_id), *(after or (None, None)), limit)
            assert row is not None, "an aggregate always gives a row"
            labels = orjson.loads(row["labels"])
            self._kept.pop(key, None)
            if row["uses"] > DEAR_OVER_USES:
                if len(self._kept) >= KEPT_PAGES:
                    del self._kept[next(iter(self._kept))]
                now = time.monotonic()
                self._kept[key] = (now + KEPT_TIMES * (now - started), labels)
            return LabelPage(labels, is_new=True)

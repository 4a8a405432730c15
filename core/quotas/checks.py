"""Quotas: how much one user may have of what takes room or others' time; 0 is no limit.

They are checked when a command is applied, in its transaction: there a user's commands come one after the other.
"""

import collections
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from core.commands import Effect
from core.database.pools import Connection, Pool
from core.quotas.queries import FILES, Held
from core.quotas.refusals import quota_exceeded, refusal_of
from core.quotas.tasks import TaskQuota
from core.settings import Settings

_Check = Callable[[Connection, Sequence[dict[str, Any]]], Awaitable[dict[int, Effect]]]

_CHANNELS = """
SELECT user_id, count(*) AS channels
FROM   channels
WHERE  user_id = ANY ($1::bigint[]) AND state <> 'deleted'
GROUP  BY user_id
"""

_HELD = f"""
SELECT u.user_id, {FILES},
       (SELECT count(*) FROM maintenance_runs AS m JOIN jobs AS j ON j.id = m.job_id
        WHERE  m.state IN ('queued', 'running') AND j.user_id = u.user_id) AS maintenance
FROM   unnest($1::bigint[]) AS u (user_id)
"""  # noqa: S608


class Quotas:
    """All quotas, as a worker checks them; one a process."""

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self.tasks = TaskQuota(pool, settings.quota_tasks)
        self._pool = pool
        self._settings = settings
        self._checks: dict[str, _Check] = {
            "channel.create": self._refuse_channels,
            "export": partial(self._refuse_long_work, exports=1),
            "import": partial(self._refuse_long_work, exports=0),
            "maintenance": partial(self._refuse_long_work, exports=0),
        }

    async def close(self) -> None:
        """Ends what goes on in the background."""
        await self.tasks.close()

    async def refuse(self, connection: Connection, kind: str, arguments: Sequence[dict[str, Any]]) -> dict[int, Effect]:
        """Place → the refusal, for those operations of a kind that would pass a quota of their user.

        Args:
            connection: in the transaction that would carry them out.
            kind: of the operations.
            arguments: of each, with `user_id`.
        """
        if kind == "task.create":
            return await self.tasks.refuse(connection, [one["user_id"] for one in arguments])
        check = self._checks.get(kind)
        return {} if check is None else await check(connection, arguments)

    async def bytes_left(self, user_id: int, *, export_id: str) -> int | None:
        """How large the file of an export may become, beside what its user has stored otherwise; None: no limit."""
        limit = self._settings.quota_stored_bytes
        if not limit:
            return None
        row = await self._pool.fetchrow(_HELD, [user_id], export_id)
        assert row is not None, "there is a row for each user who is asked for"
        return max(0, limit - int(row["stored_bytes"]))

    def bytes_exceeded(self, left: int) -> Effect:
        """The refusal of a file that has no room in what `bytes_left` has told."""
        limit = self._settings.quota_stored_bytes
        return quota_exceeded("stored_bytes", limit=limit, used=limit - left)

    async def _refuse_channels(self, connection: Connection, arguments: Sequence[dict[str, Any]]) -> dict[int, Effect]:
        limit = self._settings.quota_channels
        rows = await connection.fetch(_CHANNELS, [one["user_id"] for one in arguments]) if limit else []
        used = collections.Counter({row["user_id"]: row["channels"] for row in rows})
        refused = {}
        for place, one in enumerate(arguments):
            if limit and used[one["user_id"]] >= limit:
                refused[place] = quota_exceeded("channels", limit=limit, used=used[one["user_id"]])
            else:
                used[one["user_id"]] += 1
        return refused

    async def _refuse_long_work(
        self, connection: Connection, arguments: Sequence[dict[str, Any]], *, exports: int
    ) -> dict[int, Effect]:
        users = list({one["user_id"] for one in arguments})
        held = {
            row["user_id"]: Held(
                row["waiting_jobs"] + row["maintenance"], row["exports_kept"], int(row["stored_bytes"])
            )
            for row in await connection.fetch(_HELD, users, None)
        }
        refused = {}
        for place, one in enumerate(arguments):
            have, size = held[one["user_id"]], one.get("bytes", 0)
            refusal = refusal_of(self._settings, have, exports=exports, size=size)
            if refusal is not None:
                refused[place] = refusal
            else:
                have.waiting_jobs += 1
                have.exports_kept += exports
                have.stored_bytes += size
        return refused

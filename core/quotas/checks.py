"""Quotas: how much one user may have of what takes room or others' time; 0 is no limit.

They are checked when a command is applied, in its transaction: there a user's commands come one after the other.
"""

import collections
from collections.abc import Sequence

from core.commands.effects import Effect
from core.commands.kinds import BeginExport, BeginImport, CreateChannel, CreateTask, Operation, OrderMaintenance
from core.database.pools import Connection, Pool
from core.quotas.queries import FILES, Held
from core.quotas.refusals import quota_exceeded, refusal_of
from core.quotas.tasks import TaskQuota
from core.settings import Settings

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

    async def close(self) -> None:
        """Ends what goes on in the background."""
        await self.tasks.close()

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

    # Each takes operations, in the transaction that would carry them out, and returns place → the refusal, of those
    # that would pass a quota of their user.

    async def refuse_tasks(
        self, connection: Connection, creations: Sequence[Operation[CreateTask]]
    ) -> dict[int, Effect]:
        """Refuses new tasks."""
        return await self.tasks.refuse(connection, [one.user_id for one in creations])

    async def refuse_channels(
        self, connection: Connection, creations: Sequence[Operation[CreateChannel]]
    ) -> dict[int, Effect]:
        """Refuses new channels."""
        limit = self._settings.quota_channels
        rows = await connection.fetch(_CHANNELS, [one.user_id for one in creations]) if limit else []
        used = collections.Counter({row["user_id"]: row["channels"] for row in rows})
        refused = {}
        for place, one in enumerate(creations):
            if limit and used[one.user_id] >= limit:
                refused[place] = quota_exceeded("channels", limit=limit, used=used[one.user_id])
            else:
                used[one.user_id] += 1
        return refused

    async def refuse_exports(
        self, connection: Connection, creations: Sequence[Operation[BeginExport]]
    ) -> dict[int, Effect]:
        """Refuses exports."""
        return await self._refuse_long_work(connection, [(one.user_id, 0) for one in creations], exports=1)

    async def refuse_imports(
        self, connection: Connection, creations: Sequence[Operation[BeginImport]]
    ) -> dict[int, Effect]:
        """Refuses imports."""
        return await self._refuse_long_work(connection, [(one.user_id, one.payload["bytes"]) for one in creations])

    async def refuse_maintenance(
        self, connection: Connection, orders: Sequence[Operation[OrderMaintenance]]
    ) -> dict[int, Effect]:
        """Refuses runs of maintenance."""
        return await self._refuse_long_work(connection, [(one.user_id, 0) for one in orders])

    async def _refuse_long_work(
        self, connection: Connection, wanted: Sequence[tuple[int, int]], *, exports: int = 0
    ) -> dict[int, Effect]:
        """`wanted`: of each the user, and the bytes that are to be stored."""
        held = {
            row["user_id"]: Held(
                row["waiting_jobs"] + row["maintenance"], row["exports_kept"], int(row["stored_bytes"])
            )
            for row in await connection.fetch(_HELD, list({user_id for user_id, _ in wanted}), None)
        }
        refused = {}
        for place, (user_id, size) in enumerate(wanted):
            have = held[user_id]
            refusal = refusal_of(self._settings, have, exports=exports, size=size)
            if refusal is not None:
                refused[place] = refusal
            else:
                have.waiting_jobs += 1
                have.exports_kept += exports
                have.stored_bytes += size
        return refused

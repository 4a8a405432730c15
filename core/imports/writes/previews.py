"""The first tasks that come of a file, as they would be answered, in the transaction of their chunk.

A dry run makes and changes its first tasks, too, one by one, and undoes each at once: so what it shows is what
PostgreSQL makes of the rows.
"""

from collections.abc import Sequence

import orjson

from core.database.faults import is_data_fault, is_missing_reference
from core.database.pools import Connection
from core.database.transactions import savepoint
from core.imports.claims import ClaimedImport
from core.imports.rows import TaskRow
from core.imports.writes.taskrows import Done, insert_rows, new_ids, update_rows
from core.partitions.writes import is_missing_partition

PREVIEW_TASKS = 20

_READ = """
SELECT t.task
FROM   unnest($2::bigint[]) WITH ORDINALITY AS r (id, place),
       LATERAL (SELECT task_json(t) AS task FROM tasks AS t WHERE t.user_id = $1 AND t.id = r.id LIMIT 1) AS t
ORDER  BY r.place
"""


class _TriedError(Exception):
    """Carries a task out of what is undone."""

    def __init__(self, task: str) -> None:
        super().__init__()
        self.task = task


async def preview_tasks(connection: Connection, claim: ClaimedImport, done: Done, *, wanted: int) -> list[str]:
    """The JSON of the first tasks that a chunk has made or changed, or would have, in the order of the rows.

    Of a dry run the new ones have no id. Rows that change what the run itself would have made show nothing.

    Args:
        connection: in the transaction of the chunk.
        claim: whose import it is.
        done: what became of the chunk's rows.
        wanted: how many at most.
    """
    if wanted <= 0:
        return []
    # Each half is in the order of the rows, so the first of both are among the first of each.
    new = zip(done.made[:wanted], done.made_ids[:wanted], strict=True)
    found = [*((row, task_id, True) for row, task_id in new)]
    found += [(row, task_id, False) for task_id, row in done.changed if task_id][:wanted]
    found.sort(key=lambda one: one[0].number)
    if claim.dry_run:
        tried = [await _tried(connection, claim, row, 0 if is_new else task_id) for row, task_id, is_new in found]
        return [task for task in tried if task is not None][:wanted]
    return await _read(connection, claim, [task_id for _, task_id, _ in found[:wanted]])


async def _read(connection: Connection, claim: ClaimedImport, task_ids: Sequence[int]) -> list[str]:
    return [row["task"] for row in await connection.fetch(_READ, claim.user_id, task_ids)]


async def _tried(connection: Connection, claim: ClaimedImport, row: TaskRow, task_id: int) -> str | None:
    """The task that a row would make, or make of the one with the id; None where the database refuses it."""
    try:
        async with savepoint(connection):
            if task_id:
                await update_rows(connection, claim, [(task_id, row)])
                [task] = await _read(connection, claim, [task_id])
            else:
                [new_id] = await new_ids(connection, 1)
                await insert_rows(connection, claim, [row], [new_id])
                [task] = await _read(connection, claim, [new_id])
                task = orjson.dumps(orjson.loads(task) | {"id": None}).decode()
            raise _TriedError(task)
    except _TriedError as tried:
        return tried.task
    except Exception as error:
        if not is_data_fault(error) or is_missing_reference(error) or is_missing_partition(error):
            raise
        return None

"""Turns a chunk's rows into tasks, in the chunk's transaction.

Each row has a key, by which an earlier import of it is found: `imported_tasks` says which task it became. A dry run
makes no tasks: what it would have made it notes under the user's negative id, until it has ended.

Long because each statement builds on what the one before has locked or written: they stand together.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.database.faults import is_data_fault, is_missing_reference
from core.database.pools import Connection
from core.database.transactions import savepoint
from core.imports.chunk_builder import Chunk
from core.imports.claims import ClaimedImport, Counts
from core.imports.rows import (
    FIELD_BITS,
    MOST_EQUALS,
    Notice,
    RowError,
    TaskRow,
    columns_of,
    conflict,
    content_and_occurrence,
    content_key,
)
from core.partitions.writes import is_missing_partition
from core.tasks.columns import names, parameter_arrays, parameter_columns, stored
from core.tasks.fields import IMPORTED, WRITABLE
from core.tasks.writes.statements import changed_due, insert_tasks

CHUNK_SECONDS = 60
"""The longest transaction of a chunk: a worker that is frozen in the middle of one holds nobody up for longer."""

# A plan is kept for as long as the connection lives, and may have been made when the tables were empty.
_ALWAYS_BY_INDEX = "SET LOCAL enable_seqscan = off"

# The LIMITs keep these loops over the index's entries. One for both tables would not: where the planner takes one of
# them for empty, it goes through all tasks of the user for each row.
_FIND = """
SELECT r.place, found.task_id, found.is_of_this_import
FROM   unnest($2::uuid[]) WITH ORDINALITY AS r (key, place),
       LATERAL (SELECT l.task_id, l.import_id = $3::text::uuid AS is_of_this_import
                FROM   imported_tasks AS l
                WHERE  l.user_id = $1 AND l.key = r.key
                LIMIT  1) AS found,
       LATERAL (SELECT FROM tasks AS t WHERE t.user_id = $1 AND t.id = found.task_id LIMIT 1) AS living
"""

# Not what an earlier dry run has noted, which may not be swept up yet.
_FIND_TRIED = """
SELECT r.place, found.task_id, true AS is_of_this_import
FROM   unnest($2::uuid[]) WITH ORDINALITY AS r (key, place),
       LATERAL (SELECT l.task_id
                FROM   imported_tasks AS l
                WHERE  l.user_id = -$1::bigint AND l.key = r.key AND l.import_id = $3::text::uuid
                LIMIT  1) AS found
"""

_COUNT_EQUALS = """
SELECT r.place, counted.equals
FROM   unnest($2::uuid[], $3::uuid[]) WITH ORDINALITY AS r (first, last, place),
       LATERAL (SELECT count(*) AS equals
                FROM   imported_tasks AS l
                WHERE  l.user_id = $1 AND l.key BETWEEN r.first AND r.last
                AND    l.import_id = $4::text::uuid
                LIMIT  1) AS counted
"""

_NEW_IDS = "SELECT array(SELECT next_task_id() FROM generate_series(1, $1) ORDER BY 1)"

_INTO_TASKS = insert_tasks(IMPORTED, user_id="$1", day_wins=True)

_INSERT = f"""
{_INTO_TASKS}
FROM   unnest($2::bigint[], {parameter_arrays(IMPORTED, first=3)}) AS r (id, {names(IMPORTED)})
"""

# Rows come sorted by key, so that neighbours in the index are written together. A key that is there stands for a task
# that is not there any more.
_REMEMBER = """
INSERT INTO imported_tasks (user_id, key, task_id, import_id)
SELECT $1, r.key, r.task_id, $4::text::uuid
FROM   unnest($2::uuid[], $3::bigint[]) AS r (key, task_id)
ON     CONFLICT (user_id, key) DO UPDATE SET task_id = excluded.task_id, import_id = excluded.import_id
"""

_STAGE = f"""
CREATE TEMPORARY TABLE staged_rows (id bigint, key uuid, {parameter_columns(IMPORTED)}) ON COMMIT DROP
"""

_REMEMBER_STAGED = """
INSERT INTO imported_tasks (user_id, key, task_id, import_id)
SELECT $1, r.key, r.id, $2::text::uuid FROM pg_temp.staged_rows AS r ORDER BY r.key
ON     CONFLICT (user_id, key) DO NOTHING
"""

_INSERT_STAGED = f"""
{_INTO_TASKS}
FROM   pg_temp.staged_rows AS r
"""

_SET_REMINDERS = """
UPDATE tasks AS t
SET    reminder_rules = string_to_array(r.rules, ' ')
FROM   unnest($2::bigint[], $3::text[]) AS r (id, rules)
WHERE  t.user_id = $1 AND t.id = r.id
AND    t.reminder_rules IS DISTINCT FROM string_to_array(r.rules, ' ')
"""

_SEEN_AGAIN = """
UPDATE imported_tasks SET import_id = $3::text::uuid WHERE user_id = $1 AND key = ANY ($2::uuid[])
"""


def _new_value(name: str) -> str:
    return f"CASE WHEN {_given(name)} THEN r.{name} ELSE t.{name} END"


def _given(name: str) -> str:
    return f"(r.given & {FIELD_BITS[name]} <> 0)"


# The day counts: in a file that was exported from another zone its end is another moment.
_DUE = changed_due(
    date_is_given=_given("due_date"),
    date="r.due_date",
    day_is_given=_given("due_day"),
    day=f"(CASE WHEN {_given('due_day')} THEN r.due_day END)",
    user_id="$1",
    day_wins=True,
)
_NEW_VALUES = (
    {field.name: _new_value(field.name) for field in WRITABLE}
    | _DUE
    | {
        # A creation date that the file does not tell is not changed; nor is a time of completion of what stays
        # completed.
        "created_at": f"CASE WHEN {_given('created_at')} "
        "THEN coalesce(r.created_at, t.created_at) ELSE t.created_at END",
        "completed_at": f"CASE WHEN {_new_value('status')} = 'completed' "
        f"THEN coalesce(CASE WHEN {_given('completed_at')} THEN r.completed_at END, "
        "t.completed_at, now()) END",
    }
)

# Each expression reads the row as it is when it is locked, so that a change made meanwhile is not undone.
_UPDATE_FROM = f"""
FROM   (SELECT u.id, u.given, {", ".join(f"{stored(field, f'u.{field.name}')} AS {field.name}" for field in IMPORTED)}
        FROM   unnest($2::bigint[], $3::integer[], {parameter_arrays(IMPORTED, first=4)})
               AS u (id, given, {names(IMPORTED)})
       ) AS r
WHERE  t.user_id = $1
AND    t.id = r.id
AND    ({", ".join(f"t.{name}" for name in _NEW_VALUES)})
       IS DISTINCT FROM
       ({", ".join(_NEW_VALUES.values())})
"""  # noqa: S608
_UPDATE = f"""
UPDATE tasks AS t
SET    {", ".join(f"{name} = {value}" for name, value in _NEW_VALUES.items())},
       updated_at = now(), version = t.version + 1
{_UPDATE_FROM}
"""  # noqa: S608
_UPDATE_FROM_TASKS = _UPDATE_FROM.replace("WHERE  t.user_id = $1", "JOIN   tasks AS t ON t.user_id = $1", 1)
_WOULD_UPDATE = f"SELECT count(*) {_UPDATE_FROM_TASKS}"


@dataclass(slots=True)
class Done:
    """What became of a chunk's rows in the database.

    Attributes:
        made, made_ids: the rows that became new tasks, and these tasks' ids (0 in a dry run), in their order.
        changed: tasks (0: a dry run would have made it) with the rows that may have changed them.
        known: what is told of rows whose tasks were known, and left as they are.
    """

    created: int = 0
    updated: int = 0
    skipped: int = 0
    errors: list[RowError] = field(default_factory=list)
    made: list[TaskRow] = field(default_factory=list)
    made_ids: list[int] = field(default_factory=list)
    changed: list[tuple[int, TaskRow]] = field(default_factory=list)
    known: list[Notice] = field(default_factory=list)

    def __add__(self, other: "Done") -> "Done":
        return Done(
            self.created + other.created,
            self.updated + other.updated,
            self.skipped + other.skipped,
            self.errors + other.errors,
            self.made + other.made,
            self.made_ids + other.made_ids,
            self.changed + other.changed,
            self.known + other.known,
        )


async def write_rows(connection: Connection, claim: ClaimedImport, before: Counts, chunk: Chunk) -> Done:
    """Makes and changes the tasks of a chunk; what the database refuses fails alone.

    Args:
        connection: in the transaction of the chunk.
        claim: whose import it is.
        before: the counts that the chunk follows.
        chunk: as it was read.
    """
    done = None
    if _expects_nothing_known(claim, before):
        done = await _write_as_new(connection, claim, chunk)
    if done is None:
        await connection.execute(_ALWAYS_BY_INDEX)
        done = await _write_rows_carefully(connection, claim, chunk.rows)
    return done


class _KnownRowsError(Exception):
    """Some of the rows were imported before."""


def _expects_nothing_known(claim: ClaimedImport, before: Counts) -> bool:
    """Whether this looks like a file that was never imported, as most are."""
    failed = before.failed if claim.on_conflict == "error" else 0
    return not (claim.dry_run or before.skipped or before.updated or failed)


async def _write_as_new(connection: Connection, claim: ClaimedImport, chunk: Chunk) -> Done | None:
    """The short way, without looking for earlier imports; None where some turned up, and nothing was written."""
    rows = chunk.rows
    if not rows:
        return None
    try:
        async with savepoint(connection):
            ids = await new_ids(connection, len(rows))
            await connection.execute(_STAGE)
            await connection.copy_records_to_table(
                "staged_rows",
                schema_name="pg_temp",
                records=zip(ids, chunk.keys, *chunk.columns, strict=True),
                timeout=CHUNK_SECONDS,
            )
            status = await connection.execute(_REMEMBER_STAGED, claim.user_id, claim.id, timeout=CHUNK_SECONDS)
            if int(status.rpartition(" ")[2]) < len(rows):
                raise _KnownRowsError
            await connection.execute(_INSERT_STAGED, claim.user_id, timeout=CHUNK_SECONDS)
            await _set_reminders(connection, claim, zip(ids, rows, strict=True))
    except _KnownRowsError:
        return None
    except Exception as error:
        if not is_data_fault(error) or is_missing_reference(error) or is_missing_partition(error):
            raise
        return None
    return Done(created=len(rows), made=rows, made_ids=ids)


async def _write_rows_carefully(connection: Connection, claim: ClaimedImport, rows: list[TaskRow]) -> Done:
    """As a set where that goes well, else half by half, so that rows which the database refuses fail alone."""
    if not rows:
        return Done()
    try:
        async with savepoint(connection):
            return await _write_rows(connection, claim, rows)
    except Exception as error:
        if not is_data_fault(error) or is_missing_reference(error) or is_missing_partition(error):
            raise
        if len(rows) == 1:
            refused = _refused_by_the_database(rows[0])
            return Done(errors=[refused])
    middle = len(rows) // 2
    first = await _write_rows_carefully(connection, claim, rows[:middle])
    second = await _write_rows_carefully(connection, claim, rows[middle:])
    return first + second


def _refused_by_the_database(row: TaskRow) -> RowError:
    return RowError(row.number, 1, None, "The database refused these values.", row.values, row.source)


async def _write_rows(connection: Connection, claim: ClaimedImport, rows: list[TaskRow]) -> Done:
    known = await _find_known(connection, claim, rows)
    done = Done()
    fresh: list[TaskRow] = []
    updates: list[tuple[int, TaskRow]] = []
    seen_again: list[TaskRow] = []
    for place, row in enumerate(rows):
        if place not in known:
            fresh.append(row)
            continue
        task_id, is_of_this_import = known[place]
        if row.is_of_content:
            seen_again.append(row)
        is_repeated = is_of_this_import and not row.is_of_content
        if claim.on_conflict == "error" or (claim.on_conflict == "skip" and is_repeated):
            done.errors.append(_known_already(row, task_id, is_repeated=is_repeated))
        elif claim.on_conflict == "update":
            updates.append((task_id, row))
        else:
            done.skipped += 1
            done.known.append(_left_as_it_is(row, task_id))
    done.made, done.made_ids = fresh, await _create(connection, claim, fresh)
    done.created = len(fresh)
    if updates:
        done.changed = updates
        done.updated = await _update(connection, claim, updates)
        done.skipped += len(updates) - done.updated
    if seen_again:
        await _note_again(connection, claim, seen_again)
    return done


def _left_as_it_is(row: TaskRow, task_id: int) -> Notice:
    what = "an equal task" if row.is_of_content else "a task with this external id"
    where = f" as task {task_id}" if task_id else ""
    return Notice(row.number, 0, None, f"Skipped: {what} was imported before{where}.")


def _known_already(row: TaskRow, task_id: int, *, is_repeated: bool) -> RowError:
    if row.is_of_content:
        return RowError(row.number, 1, None, "An equal task was imported before.", row.values, row.source)
    where = f": task {task_id}" if task_id else ""
    if is_repeated:
        return conflict(row, f"An earlier row of this file has this external id, too{where}.")
    return conflict(row, f"A task with this external id was imported before{where}.")


async def _find_known(connection: Connection, claim: ClaimedImport, rows: list[TaskRow]) -> dict[int, tuple[int, bool]]:
    """Place → id of the task that the row stands for already, and whether this import made it.

    In a dry run the id is 0 where this run would have made it.

    Rows without an external id are told apart by how many equal ones came before. Within a chunk that was counted;
    what earlier chunks had is added here, and shows itself by the first of the equals being of this import.
    """
    known = await _look_up(connection, claim, rows, range(len(rows)))
    equal = [place for place, (_, is_of_this) in known.items() if is_of_this and rows[place].is_of_content]
    if equal:
        moved = await _count_on(connection, claim, rows, equal)
        for place in moved:
            known.pop(place, None)
        known |= await _look_up(connection, claim, rows, moved)
    return known


async def _look_up(
    connection: Connection, claim: ClaimedImport, rows: list[TaskRow], places: Sequence[int]
) -> dict[int, tuple[int, bool]]:
    keys = [rows[place].key for place in places]
    found: dict[int, tuple[int, bool]] = {}
    for statement in (_FIND, _FIND_TRIED) if claim.dry_run else (_FIND,):
        for row in await connection.fetch(statement, claim.user_id, keys, claim.id, timeout=CHUNK_SECONDS):
            place = places[row["place"] - 1]
            task_id, is_of_this = found.get(place, (0, False))
            found[place] = (task_id or row["task_id"], is_of_this or row["is_of_this_import"])
    return found


async def _count_on(
    connection: Connection, claim: ClaimedImport, rows: list[TaskRow], equal: Sequence[int]
) -> list[int]:
    """Gives rows whose equals earlier chunks had the keys that follow; returns their places."""
    contents = list({content_and_occurrence(rows[place].key)[0] for place in equal})
    counted = await connection.fetch(
        _COUNT_EQUALS,
        -claim.user_id if claim.dry_run else claim.user_id,
        [content_key(content, 0) for content in contents],
        [content_key(content, MOST_EQUALS) for content in contents],
        claim.id,
        timeout=CHUNK_SECONDS,
    )
    equals = {contents[row["place"] - 1]: row["equals"] for row in counted}
    moved = []
    for place, row in enumerate(rows):
        if row.is_of_content:
            content, occurrence = content_and_occurrence(row.key)
            if content in equals:
                row.key = content_key(content, occurrence + equals[content])
                moved.append(place)
    return moved


async def _create(connection: Connection, claim: ClaimedImport, rows: list[TaskRow]) -> list[int]:
    """Makes tasks of rows; returns their ids, 0 in a dry run."""
    if not rows:
        return []
    ids = [0] * len(rows)
    if not claim.dry_run:
        ids = await new_ids(connection, len(rows))
        await insert_rows(connection, claim, rows, ids)
    await _remember(connection, claim, rows, ids)
    return ids


async def new_ids(connection: Connection, count: int) -> list[int]:
    """Ids for tasks, in their order."""
    ids: list[int] = await connection.fetchval(_NEW_IDS, count)
    return ids


async def insert_rows(
    connection: Connection, claim: ClaimedImport, rows: Sequence[TaskRow], ids: Sequence[int]
) -> None:
    """Makes tasks with these ids of rows."""
    await connection.execute(_INSERT, claim.user_id, ids, *columns_of(rows), timeout=CHUNK_SECONDS)
    await _set_reminders(connection, claim, zip(ids, rows, strict=True))


async def _remember(connection: Connection, claim: ClaimedImport, rows: list[TaskRow], ids: Sequence[int]) -> None:
    """Notes which row became which task."""
    keys = [row.key for row in rows]
    by_key = sorted(range(len(keys)), key=keys.__getitem__)
    await connection.execute(
        _REMEMBER,
        -claim.user_id if claim.dry_run else claim.user_id,
        [keys[place] for place in by_key],
        [ids[place] for place in by_key],
        claim.id,
        timeout=CHUNK_SECONDS,
    )


async def _update(connection: Connection, claim: ClaimedImport, updates: Sequence[tuple[int, TaskRow]]) -> int:
    """Changes tasks; returns how many had anything to be changed.

    What a dry run would have made it cannot compare with: rows that come back to it count as changed.
    """
    there = [(task_id, row) for task_id, row in updates if task_id]
    if claim.dry_run:
        changed = await connection.fetchval(_WOULD_UPDATE, *_as_update(claim, there), timeout=CHUNK_SECONDS)
        return int(changed) + len(updates) - len(there)
    return await update_rows(connection, claim, there)


async def update_rows(connection: Connection, claim: ClaimedImport, updates: Sequence[tuple[int, TaskRow]]) -> int:
    """Changes tasks, each to what its row says; returns how many had anything to be changed."""
    status = await connection.execute(_UPDATE, *_as_update(claim, updates), timeout=CHUNK_SECONDS)
    await _set_reminders(connection, claim, updates)
    return int(status.rpartition(" ")[2])


async def _set_reminders(connection: Connection, claim: ClaimedImport, tasks: Iterable[tuple[int, TaskRow]]) -> None:
    """Gives tasks the reminders of their own that their rows tell."""
    told = [(task_id, row.fields["reminders"]) for task_id, row in tasks if row.fields.get("reminders") is not None]
    if told:
        task_ids, rules = [task_id for task_id, _ in told], [" ".join(rules) for _, rules in told]
        await connection.execute(_SET_REMINDERS, claim.user_id, task_ids, rules, timeout=CHUNK_SECONDS)


def _as_update(claim: ClaimedImport, updates: Sequence[tuple[int, TaskRow]]) -> tuple[Any, ...]:
    rows = [row for _, row in updates]
    return claim.user_id, [task_id for task_id, _ in updates], [row.given for row in rows], *columns_of(rows)


async def _note_again(connection: Connection, claim: ClaimedImport, rows: list[TaskRow]) -> None:
    """So that later chunks can tell how many equals came before them."""
    if claim.dry_run:
        await _remember(connection, claim, rows, [0] * len(rows))
    else:
        keys = [row.key for row in rows]
        await connection.execute(_SEEN_AGAIN, claim.user_id, keys, claim.id, timeout=CHUNK_SECONDS)

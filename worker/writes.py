"""Drains a lane: reads entries, applies them as one transaction, publishes the outcomes, removes the entries.

Most batches take the short way: every wave as one set of statements, no savepoint, no look at earlier
outcomes. If that fails on the data, or finds a command that was carried out before, the transaction is rolled
back and the batch goes the careful way, in which a command that cannot be carried out is refused alone.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from core import lanes, metrics
from core.channels.writes import create_channels, delete_channels, rotate_secrets, try_channels, update_channels
from core.commands import Command, Effect, Entry, UnreadableEntry, decode_entry, encode_outcomes
from core.database import (
    Connection,
    is_data_fault,
    is_missing_reference,
    is_schema_fault,
    is_transient,
    locked_transaction,
    savepoint,
)
from core.deliveries.writes import redeliver
from core.exports.writes import cancel_exports, create_exports
from core.ids import MAXIMUM_ID, is_job_id
from core.imports.writes import cancel_imports, create_imports
from core.jobs import (
    LONG_WORK,
    StoredOutcome,
    call_bulk,
    call_maintenance,
    call_time,
    outcome_message,
    record_jobs,
    state_of,
    stored_outcomes,
)
from core.logs import get_logger
from core.maintenance.writes import order_maintenance
from core.notifications.writes import mark_notifications
from core.partitions import is_missing_partition
from core.reminders.writes import set_reminders
from core.tasks.writes import create_and_record_tasks, create_tasks, delete_tasks, owners_of_tasks, update_tasks
from core.users.writes import open_sessions, register_users, revoke_sessions, rotate_sessions, update_users
from worker.runner import Services, make_missing_partition

LINGER_MILLISECONDS = 100
LONGEST_DRAIN_SECONDS = 3.0
READ_ENTRIES = 16
REMOVE_SECONDS = 0.1
BATCH_MAXIMUM_OPERATIONS = 1000
# Two bigints make one advisory lock: this one is ours, the other is the lane.
LANE_LOCK_CLASS = 1_010_101

log = get_logger()

WriteInSet = Callable[[Connection, Sequence[dict[str, Any]]], Awaitable[list[Effect]]]

HANDLERS: dict[str, WriteInSet] = {
    "task.create": create_tasks,
    "task.update": update_tasks,
    "task.delete": delete_tasks,
    "task.reminders": set_reminders,
    "notification.update": mark_notifications,
    "user.register": register_users,
    "user.update": update_users,
    "session.open": open_sessions,
    "session.rotate": rotate_sessions,
    "session.revoke": revoke_sessions,
    "export": create_exports,
    "export.cancel": cancel_exports,
    "import": create_imports,
    "import.cancel": cancel_imports,
    "maintenance": order_maintenance,
    "channel.create": create_channels,
    "channel.update": update_channels,
    "channel.rotate": rotate_secrets,
    "channel.delete": delete_channels,
    "channel.test": try_channels,
    "delivery.redeliver": redeliver,
}
"""One handler for each kind of operation. A `task.batch` command is many operations of the first three kinds."""

COMMAND_KINDS = frozenset({*HANDLERS, "task.batch"})
CALLS_FOR_DELIVERY = frozenset({"channel.test", "delivery.redeliver"})
CANCELLATIONS = frozenset(f"{kind}.cancel" for kind in LONG_WORK)
_OF_A_TASK = frozenset({"task.update", "task.delete", "task.reminders"})


class AlreadyDone(Exception):
    """A command in the batch has a job row: the batch must go the careful way."""


class MissingPartition(Exception):
    """No partition is for a new task: it can be made, and the batch applied again."""


@dataclass(eq=False, slots=True)
class Operation:
    """One effect on one row, and which command asked for it."""

    kind: str
    arguments: dict[str, Any]
    effect: Effect | None = None

    @property
    def subject(self) -> tuple[str, Any] | None:
        """What must not be touched twice in one wave; None for a new row, which nobody else can touch."""
        if self.kind == "task.create":
            return None
        if self.kind in LONG_WORK or self.kind == "maintenance":
            return "job", self.arguments.get("job_id")
        if self.kind.startswith("task."):
            return "task", self.arguments.get("id")
        if self.kind in CANCELLATIONS:
            return "job", self.arguments.get("id")
        if self.kind == "user.register":
            return "name", str(self.arguments.get("username")).lower()
        return "user", self.arguments.get("user_id")


@dataclass(eq=False, slots=True)
class Work:
    """A command with its operations."""

    command: Command
    operations: list[Operation] = field(default_factory=list)
    is_refused_whole: bool = False

    def owners(self) -> frozenset[int]:
        """Whose rows the operations were about."""
        return frozenset(op.arguments.get("user_id", self.command.user_id) for op in self.operations)

    def effect(self) -> Effect:
        """What the whole command came to."""
        effects = [operation.effect for operation in self.operations if operation.effect is not None]
        if self.command.kind != "task.batch" or self.is_refused_whole:
            return effects[0]
        results = [_batch_result(effect) for effect in effects]
        return Effect(207, orjson.dumps({"results": results}).decode())


def _batch_result(effect: Effect) -> dict[str, Any]:
    if effect.error is not None:
        return {"status": effect.status_code, "error": effect.error}
    if effect.result is None:
        return {"status": effect.status_code}
    return {"status": effect.status_code, "task": orjson.Fragment(effect.result)}


def plan(command: Command) -> Work:
    """Splits a command into its operations; those that the API found invalid already have their effect."""
    if command.kind != "task.batch":
        arguments = {**command.payload, "user_id": command.user_id, "job_id": command.id}
        return Work(command, [Operation(command.kind, arguments)])
    operations = []
    for item in command.payload["operations"]:
        if "error" in item:
            operations.append(Operation("refused", {}, Effect(item["error"]["status"], error=item["error"])))
        else:
            arguments = {
                **item,
                "user_id": command.user_id,
                "any_owner": command.payload.get("any_owner", False),
            }
            operations.append(Operation(f"task.{item['op']}", arguments))
    return Work(command, operations)


def cut_into_waves(operations: Sequence[Operation]) -> list[list[Operation]]:
    """Groups operations so that each subject appears at most once in a wave and keeps its order over the waves."""
    waves: list[list[Operation]] = []
    last_wave: dict[tuple[str, Any], int] = {}
    for operation in operations:
        subject = operation.subject
        number = 0 if subject is None else last_wave.get(subject, -1) + 1
        if subject is not None:
            last_wave[subject] = number
        if number == len(waves):
            waves.append([])
        waves[number].append(operation)
    return waves


def _plan_safely(command: Command) -> Work:
    try:
        if command.kind not in COMMAND_KINDS:
            raise ValueError(f"no handler for the kind {command.kind!r}")
        work = plan(command)
        for operation in work.operations:
            _require_subject(operation)
        return work
    except (KeyError, TypeError, ValueError, AttributeError):
        log.exception("a command could not be read", command=command.id)
        return Work(command, [Operation("refused", {}, _internal_error())], is_refused_whole=True)


def _require_subject(operation: Operation) -> None:
    """Raises ValueError for what could not even be put into a wave, where it would fail with its whole batch."""
    if operation.effect is None and operation.kind not in HANDLERS:
        raise ValueError(f"no handler for the operation {operation.kind!r}")
    if operation.kind in _OF_A_TASK:
        task_id = operation.arguments.get("id")
        if type(task_id) is not int or abs(task_id) > MAXIMUM_ID:
            raise ValueError("a task's id is no id")
    if operation.kind in CANCELLATIONS and not is_job_id(str(operation.arguments.get("id"))):
        raise ValueError("a job's id is no id")


# -- applying ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Applied:
    """A command, its outcome in wire form, and whose tasks or profile it may have changed.

    `owners` is None where that cannot be told any more: an admin's command that was carried out before.
    """

    command: Command
    outcome: dict[str, Any]
    owners: frozenset[int] | None


async def apply_batch(services: Services, lane: int, commands: Sequence[Command]) -> list[Applied]:
    """Carries out commands in one transaction, each once.

    Raises:
        Exception: a transient fault; nothing was changed, and the same call may succeed later.
    """
    by_id: dict[str, Command] = {}
    for command in commands:
        by_id.setdefault(command.id, command)  # in the place of its first delivery
    firsts = list(by_id.values())
    applied = await _apply_once(services, lane, firsts)
    if len(firsts) < len(commands):
        kept = {id(command) for command in firsts}
        repeats = [command for command in commands if id(command) not in kept]
        async with services.pool.acquire() as connection:
            stored = await stored_outcomes(connection, [command.id for command in repeats])
        applied += [_applied_before(command, stored[command.id]) for command in repeats]
    return applied


async def _apply_once(services: Services, lane: int, commands: Sequence[Command]) -> list[Applied]:
    try:
        return await _apply_either_way(services, lane, commands)
    except MissingPartition:
        log.error("new tasks found no partition: it is made now")
    await make_missing_partition(services)
    return await _apply_either_way(services, lane, commands, refuse_without_partition=True)


async def _apply_either_way(
    services: Services, lane: int, commands: Sequence[Command], *, refuse_without_partition: bool = False
) -> list[Applied]:
    """The short way, else the careful one.

    Raises:
        MissingPartition: unless it is to be refused what finds no partition, so that it cannot stop its lane.
        Exception: a transient fault.
    """
    try:
        if all(command.kind == "task.create" for command in commands):
            return await _create(services, commands)
        return await _apply(services, lane, commands, careful=False)
    except Exception as error:
        if is_transient(error):
            raise
        if is_missing_partition(error) and not refuse_without_partition:
            raise MissingPartition from error
        if not isinstance(error, AlreadyDone) and not is_data_fault(error):
            log.exception("a batch failed and is applied command by command")
        metrics.BATCH_FALLBACKS.labels(type(error).__name__).inc()
    while True:
        try:
            return await _apply(
                services, lane, commands, careful=True, refuse_without_partition=refuse_without_partition
            )
        except AlreadyDone:
            # A drain that woke up recorded some of them in between, on the short way, which takes no lock. Their rows
            # are found now, so this ends.
            continue
        except Exception as error:
            if is_missing_partition(error):
                raise MissingPartition from error
            raise


async def _create(services: Services, commands: Sequence[Command]) -> list[Applied]:
    """The short way of most batches: nothing but new tasks, which no other command can have touched."""
    async with services.pool.acquire() as connection:
        effects = await create_and_record_tasks(connection, commands)
    metrics.COMMANDS.labels("task.create", "succeeded").inc(len(commands))
    return [
        Applied(command, outcome_message(command, effect), frozenset({command.user_id}))
        for command, effect in zip(commands, effects, strict=True)
    ]


async def _apply(
    services: Services,
    lane: int,
    commands: Sequence[Command],
    *,
    careful: bool,
    refuse_without_partition: bool = False,
) -> list[Applied]:
    # A drain that was presumed dead may wake up: the lock keeps it out until this transaction has ended.
    async with services.pool.acquire() as connection, locked_transaction(connection, LANE_LOCK_CLASS, lane):
        stored = await stored_outcomes(connection, [c.id for c in commands]) if careful else {}
        works = [_plan_safely(command) for command in commands if command.id not in stored]
        operations = [op for work in works for op in work.operations if op.effect is None]
        await _find_owners(connection, operations)
        for wave in cut_into_waves(operations):
            if careful:
                await _apply_wave_carefully(connection, wave, refuse_without_partition)
            else:
                await _apply_wave(connection, wave)
        done = [(work.command, work.effect()) for work in works]
        if done and await record_jobs(connection, done) != len(done):
            raise AlreadyDone
    for command, effect in done:
        metrics.COMMANDS.labels(command.kind, state_of(effect)).inc()
    earlier = [_applied_before(command, stored[command.id]) for command in commands if command.id in stored]
    return earlier + [
        Applied(work.command, outcome_message(work.command, effect), work.owners())
        for work, (_, effect) in zip(works, done, strict=True)
    ]


def _applied_before(command: Command, stored: StoredOutcome) -> Applied:
    owners = None if command.payload.get("any_owner") else frozenset({command.user_id})
    return Applied(command, stored.answer_to(command), owners)


async def _find_owners(connection: Connection, operations: Sequence[Operation]) -> None:
    """An admin names any task, but tasks are found by owner and id."""
    foreign = [op for op in operations if op.kind in _OF_A_TASK and op.arguments.get("any_owner")]
    if foreign:
        owners = await owners_of_tasks(connection, [op.arguments["id"] for op in foreign])
        for operation in foreign:
            operation.arguments["user_id"] = owners.get(operation.arguments["id"], operation.arguments["user_id"])


async def _apply_wave(connection: Connection, wave: Sequence[Operation]) -> None:
    by_kind: dict[str, list[Operation]] = defaultdict(list)
    for operation in wave:
        by_kind[operation.kind].append(operation)
    for kind, operations in by_kind.items():
        effects = await HANDLERS[kind](connection, [operation.arguments for operation in operations])
        for operation, effect in zip(operations, effects, strict=True):
            operation.effect = effect


async def _apply_wave_carefully(
    connection: Connection, wave: Sequence[Operation], refuse_without_partition: bool
) -> None:
    """As a set where that goes well, else half by half, so that a few poisonous operations cost few statements."""
    try:
        async with savepoint(connection):
            await _apply_wave(connection, wave)
    except Exception as error:
        # Accepted writes wait for a migration that is still to come; they are not refused for it.
        if is_transient(error) or is_schema_fault(error):
            raise
        if is_missing_partition(error) and not refuse_without_partition:
            raise
        if len(wave) == 1:
            wave[0].effect = _effect_of_fault(wave[0], error)
            return
        middle = len(wave) // 2
        await _apply_wave_carefully(connection, wave[:middle], refuse_without_partition)
        await _apply_wave_carefully(connection, wave[middle:], refuse_without_partition)


def _effect_of_fault(operation: Operation, error: Exception) -> Effect:
    if is_missing_reference(error):
        return Effect.rejected("invalid-token", "The user does not exist any more.")
    if is_data_fault(error):
        log.warning("the database refused an operation", kind=operation.kind, error=type(error).__name__)
        detail = "The database refused these values."
        return Effect.rejected("validation-error", detail, errors={"body": [detail]})
    log.error("an operation failed", kind=operation.kind, exc_info=error)
    return _internal_error()


def _internal_error() -> Effect:
    metrics.DEAD_LETTERS.inc()
    return Effect.rejected("internal-error", "The write could not be carried out; it was recorded for the operators.")


# -- draining ---------------------------------------------------------------------------------------------


async def drain_lane(services: Services, lane: int) -> None:
    """Applies what waits in a lane, and lingers for more; arq runs one drain of a lane at a time.

    The first read begins at the head. What follows is read from behind the last applied entry, so that removing
    entries, which waits for the queue server's disk as appending does, can be done for many at once, beside the next
    batch. What a worker that dies has not removed is read again, and found to be done.
    """
    deadline = time.monotonic() + LONGEST_DRAIN_SECONDS
    stream = lanes.stream(lane)
    last_id = b"0"
    consumed: list[bytes] = []
    remove_at = time.monotonic() + REMOVE_SECONDS
    removal: asyncio.Task[None] | None = None
    try:
        while time.monotonic() < deadline:
            reply = await services.queue.xread({stream: last_id}, count=READ_ENTRIES, block=LINGER_MILLISECONDS)
            if not reply:
                return
            consumed += await _apply_entries(services, lane, reply[0][1])
            last_id = consumed[-1]
            if time.monotonic() >= remove_at:
                if removal is not None:
                    await removal
                removal = asyncio.create_task(_remove(services, stream, consumed))
                consumed = []
                remove_at = time.monotonic() + REMOVE_SECONDS
    finally:
        if removal is not None:
            await removal
        if consumed:
            await _remove(services, stream, consumed)


async def _apply_entries(
    services: Services, lane: int, raw_entries: Sequence[tuple[bytes, dict[bytes, bytes]]]
) -> list[bytes]:
    """Applies a batch's worth of entries, tells their outcomes, and returns the ids of those that may be removed."""
    started = time.perf_counter()
    entries, consumed = await _decode(services, lane, raw_entries)
    commands = [command for entry in entries for command in entry.commands]
    if commands:
        applied = await apply_batch(services, lane, commands)
        await _tell(services, lane, entries, applied)
        _log_writes(services, applied)
        metrics.BATCH_COMMANDS.observe(len(commands))
        metrics.BATCH_DURATION.observe(time.perf_counter() - started)
    return consumed


def _log_writes(services: Services, applied: Sequence[Applied]) -> None:
    """A line for each: by the request id of the API's line, and the job that clients know."""
    for done in applied:
        command = done.command
        services.log_write(
            {
                "request_id": command.request_id,
                "job": command.id,
                "kind": command.kind,
                "user": command.user_id or None,
                "status": done.outcome["status_code"],
                "replayed": done.outcome["replayed"],
            }
        )


async def _remove(services: Services, stream: str, entry_ids: Sequence[bytes]) -> None:
    await services.queue.xdel(stream, *entry_ids)


async def _decode(
    services: Services, lane: int, raw_entries: Sequence[tuple[bytes, dict[bytes, bytes]]]
) -> tuple[list[Entry], list[bytes]]:
    """Reads entries up to a batch's size; what cannot be read goes to the dead letters and never stops its lane."""
    entries: list[Entry] = []
    consumed: list[bytes] = []
    operations = 0
    for entry_id, fields in raw_entries:
        try:
            entry = decode_entry(entry_id, fields)
        except UnreadableEntry as error:
            await _set_aside(services, lane, entry_id, fields, error)
            consumed.append(entry_id)
            continue
        size = sum(_count_operations(command) for command in entry.commands)
        if entries and operations + size > BATCH_MAXIMUM_OPERATIONS:
            break
        operations += size
        entries.append(entry)
        consumed.append(entry_id)
    return entries, consumed


def _count_operations(command: Command) -> int:
    operations = command.payload.get("operations")
    return len(operations) or 1 if isinstance(operations, list) else 1


async def _set_aside(
    services: Services, lane: int, entry_id: bytes, fields: dict[bytes, bytes], error: Exception
) -> None:
    log.error("unreadable lane entry set aside", lane=lane, entry=entry_id.decode(), error=str(error))
    metrics.DEAD_LETTERS.inc()
    letter: dict[Any, Any] = {b"lane": str(lane).encode(), b"entry": entry_id, b"error": str(error).encode(), **fields}
    await services.queue.xadd(lanes.DEAD_LETTERS, letter, maxlen=lanes.DEAD_LETTERS_MAXIMUM, approximate=True)


async def _tell(services: Services, lane: int, entries: Sequence[Entry], applied: Sequence[Applied]) -> None:
    """Makes the caches forget, and only then lets anybody know."""
    await _forget_owners(services, applied)
    origins = {id(command): entry.origin for entry in entries for command in entry.commands}
    messages: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for done in applied:
        messages[origins[id(done.command)]].append(done.outcome)
    pipeline = services.queue.pipeline(transaction=False)
    for origin, message in messages.items():
        pipeline.publish(lanes.outcomes_channel(origin), encode_outcomes(lane, message))
    pipeline.hdel(lanes.PENDING_JOBS, *(done.command.id for done in applied))
    *_, promised = await pipeline.execute()
    if promised:  # few are, else a user's own list would not be worth a round trip
        await lanes.strike_off(services.queue, ((done.command.user_id, done.command.id) for done in applied))
    if any(done.command.kind == "maintenance" for done in applied):
        await call_maintenance(services.queue)
    for kind in LONG_WORK.keys() & {done.command.kind for done in applied}:
        await call_bulk(services.queue, kind)
    if CALLS_FOR_DELIVERY & {done.command.kind for done in applied}:
        await call_time(services.queue, "deliver")


async def _forget_owners(services: Services, applied: Sequence[Applied]) -> None:
    if any(done.owners is None for done in applied):
        await services.invalidator.distrust_everything()
    await services.invalidator.forget_users({owner for done in applied for owner in done.owners or ()})


async def look_again(services: Services, job_id: str) -> None:
    """Enqueues a lane's drain again if something came in while the last one ended.

    arq refuses to enqueue an id that still runs, so a command that arrived in a drain's last moment called nobody.
    """
    lane = int(job_id.removeprefix("lane:"))
    if await services.queue.xlen(lanes.stream(lane)):
        await lanes.call_drain(services.queue, lane)

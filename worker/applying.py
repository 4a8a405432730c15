"""Applies commands to the database, a batch in one transaction, each command once.

Most batches take the short way: every wave as one set of statements, no savepoint, no look at earlier
outcomes. If that fails on the data, or finds a command that was carried out before, the transaction is rolled
back and the batch goes the careful way, in which a command that cannot be carried out is refused alone.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core import metrics
from core.commands import Command, Effect
from core.database import (
    Connection,
    is_data_fault,
    is_missing_reference,
    is_schema_fault,
    is_transient,
    locked_transaction,
    savepoint,
)
from core.jobs import StoredOutcome, outcome_message, record_jobs, state_of, stored_outcomes
from core.logs import get_logger
from core.partitions import is_missing_partition
from core.tasks.writes import create_and_record_tasks, owners_of_tasks
from worker.operations import HANDLERS, OF_A_TASK, Operation, cut_into_waves, internal_error, plan_safely
from worker.runner import Services, make_missing_partition

# Two bigints make one advisory lock: this one is ours, the other is the lane.
LANE_LOCK_CLASS = 1_010_101

log = get_logger()


class AlreadyDone(Exception):
    """A command in the batch has a job row: the batch must go the careful way."""


class MissingPartition(Exception):
    """No partition is for a new task: it can be made, and the batch applied again."""


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
        works = [plan_safely(command) for command in commands if command.id not in stored]
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
    foreign = [op for op in operations if op.kind in OF_A_TASK and op.arguments.get("any_owner")]
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
    return internal_error()

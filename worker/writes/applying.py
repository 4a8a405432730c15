"""Applies commands to the database, together in one transaction where that goes well, each command once.

What takes too long together goes its way alone, and what even then cannot be done within its time is refused. A batch
of operations goes its way in slices (worker/writes/slices.py).
"""

import time
from collections.abc import Sequence
from functools import partial
from itertools import groupby

from core import metrics
from core.commands.kinds import CREATE_TASK, WRITE_BATCH
from core.commands.wire import Command
from core.database.faults import is_data_fault, is_transient, is_unavailable
from core.database.pools import Connection
from core.jobs.outcomes import outcome_message, state_of
from core.jobs.queries import stored_outcomes
from core.jobs.writes import record_jobs
from core.lanes.writes import LANE_TRANSACTION_SECONDS, LaneLease
from core.logs import get_logger
from core.partitions.writes import is_missing_partition
from core.tasks.writes.changes import create_and_record_tasks
from worker.missing_partition import make_missing_partition
from worker.runner import Services
from worker.writes.alone import TooExpensive, Tries, alone, as_too_expensive, set_aside
from worker.writes.operations import Applied, Work, applied_before, plan_safely
from worker.writes.slices import BatchRun, begin_batches
from worker.writes.transactions import AlreadyDone, Overdue, carry_out

log = get_logger()


async def apply_batch(
    services: Services, lease: LaneLease, commands: Sequence[Command], suspects: Tries | None = None
) -> list[Applied]:
    """Carries out commands, each once.

    Args:
        services: of the worker.
        lease: of the drain.
        commands: in their order.
        suspects: where workers died on these: each is noted before it is tried, alone.

    Raises:
        LaneLost: the rest is another drain's.
        Exception: a transient fault; what was not carried out is carried out when the same is called again.
    """
    by_id: dict[str, Command] = {}
    for command in commands:
        by_id.setdefault(command.id, command)  # in the place of its first delivery
    applied: list[Applied] = []
    for is_batch, group in groupby(by_id.values(), key=lambda command: command.kind == WRITE_BATCH.name):
        if is_batch:
            applied += await _finish_batches(services, lease, list(group), suspects)
        elif suspects is not None:
            applied += [await _apply_suspect(services, lease, command, suspects) for command in group]
        else:
            applied += await _apply_group(services, lease, list(group))
    if len(by_id) < len(commands):
        kept = {id(command) for command in by_id.values()}
        repeats = [command for command in commands if id(command) not in kept]
        async with services.pool.acquire() as connection:
            stored = await stored_outcomes(connection, [command.id for command in repeats])
        applied += await applied_before(services.pool, repeats, stored)
    return applied


async def _finish_batches(
    services: Services, lease: LaneLease, commands: Sequence[Command], suspects: Tries | None
) -> list[Applied]:
    """One after the other: of a lane of single writes, where they came in before batches had lanes of their own."""
    applied = []
    for begun in await begin_batches(services, lease, commands, suspects):
        done: Applied | None = None if isinstance(begun, BatchRun) else begun
        while done is None and isinstance(begun, BatchRun):
            done = await begun.step()
        assert done is not None
        applied.append(done)
    return applied


async def _apply_group(services: Services, lease: LaneLease, commands: Sequence[Command]) -> list[Applied]:
    try:
        return await _apply_together(services, lease, commands)
    except Overdue:
        log.warning("commands took too long together and are applied one by one", commands=len(commands))
        metrics.BATCH_FALLBACKS.labels("Overdue").inc()
    return [await _apply_alone(services, lease, command) for command in commands]


async def _apply_together(
    services: Services,
    lease: LaneLease,
    commands: Sequence[Command],
    *,
    longest_seconds: float = LANE_TRANSACTION_SECONDS,
    in_a_transaction: bool = False,
) -> list[Applied]:
    """Carries out commands in one go.

    Args:
        services: of the worker.
        lease: of the drain.
        commands: no batches.
        longest_seconds: the time that it may take.
        in_a_transaction: also new tasks alone. Only there the wait for a lock is told from what takes long.
    """
    carefully = False
    if not in_a_transaction and all(command.kind == CREATE_TASK.name for command in commands):
        try:
            applied = await _create(services, commands, longest_seconds)
            if applied is not None:
                return applied
        except Exception as error:
            if is_unavailable(error):
                raise
            if is_missing_partition(error):
                log.error("new tasks found no partition: it is made now")
                await make_missing_partition(services)
            elif not is_data_fault(error):
                log.exception("new tasks failed together and are applied one by one")
            metrics.BATCH_FALLBACKS.labels(type(error).__name__).inc()
            carefully = True
    earlier: list[Applied] = []
    left = list(commands)
    while left:
        try:
            works = await carry_out(
                services,
                lease,
                partial(_plan, left),
                _record,
                carefully=carefully,
                longest_seconds=longest_seconds,
            )
        except AlreadyDone:
            # A drain that woke up may record some more in between, on the short way, which holds no lane. Their rows
            # are found then, so this ends.
            async with services.pool.acquire() as connection:
                stored = await stored_outcomes(connection, [command.id for command in left])
            done_before = [command for command in left if command.id in stored]
            earlier += await applied_before(services.pool, done_before, stored)
            left = [command for command in left if command.id not in stored]
            continue
        for work in works:
            metrics.COMMANDS.labels(work.command.kind, state_of(work.effect())).inc()
        return earlier + [
            Applied(work.command, outcome_message(work.command, work.effect()), work.owners()) for work in works
        ]
    return earlier


def _plan(commands: Sequence[Command]) -> list[Work]:
    return [plan_safely(command) for command in commands]


async def _record(connection: Connection, works: Sequence[Work]) -> None:
    if await record_jobs(connection, [(work.command, work.effect()) for work in works]) != len(works):
        raise AlreadyDone


async def _create(services: Services, commands: Sequence[Command], longest_seconds: float) -> list[Applied] | None:
    """The short way of most: nothing but new tasks, which no other command can have touched.

    Returns:
        None where a quota is in the way of some of them; nothing was changed.
    """
    started = time.monotonic()
    async with services.pool.acquire() as connection:
        if await services.quotas.tasks.refuse(connection, [command.user_id for command in commands]):
            return None
        try:
            effects = await create_and_record_tasks(connection, commands, longest_seconds=longest_seconds)
        except Exception as error:
            if is_transient(error) and time.monotonic() - started >= longest_seconds:
                raise Overdue from error
            raise
    metrics.COMMANDS.labels(CREATE_TASK.name, "succeeded").inc(len(commands))
    return [
        Applied(command, outcome_message(command, effect), frozenset({command.user_id}))
        for command, effect in zip(commands, effects, strict=True)
    ]


async def _apply_alone(services: Services, lease: LaneLease, command: Command) -> Applied:
    async def attempt(seconds: float) -> Applied:
        [applied] = await _apply_together(services, lease, [command], longest_seconds=seconds, in_a_transaction=True)
        return applied

    try:
        return await alone(services, lease, attempt)
    except TooExpensive:
        return await _refuse(services, lease, command)


async def _apply_suspect(services: Services, lease: LaneLease, command: Command, suspects: Tries) -> Applied:
    if not await suspects.begin_alone(command.id):
        return await _refuse(services, lease, command)
    applied = await _apply_alone(services, lease, command)
    await suspects.end_alone(command.id)
    return applied


async def _refuse(services: Services, lease: LaneLease, command: Command) -> Applied:
    """Records that a command is refused as too expensive, and keeps it with the dead letters."""
    try:
        [work] = await carry_out(services, lease, lambda: [as_too_expensive(plan_safely(command))], _record)
    except AlreadyDone:
        async with services.pool.acquire() as connection:
            stored = await stored_outcomes(connection, [command.id])
        [applied] = await applied_before(services.pool, [command], stored)
        return applied
    await set_aside(services, lease.lane, command)
    metrics.COMMANDS.labels(command.kind, "rejected").inc()
    return Applied(command, outcome_message(command, work.effect()), work.owners())

"""One transaction of a drain: operations, in sets, with the rows that say what became of them.

The short way carries out each wave as one set of statements. If that fails on the data, everything is rolled back and
the careful way puts each set under a savepoint and halves the sets that fail, until what cannot be carried out is
refused alone.
"""

import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence

from core import metrics
from core.authority import current_admins, forbidden
from core.commands.effects import Effect
from core.database.faults import is_data_fault, is_missing_reference, is_transient, is_unavailable
from core.database.pools import Connection
from core.database.transactions import savepoint
from core.lanes.writes import LANE_TRANSACTION_SECONDS, LaneLease, LaneLost, lane_transaction
from core.logs import get_logger
from core.partitions.writes import is_missing_partition
from core.tasks.due_days import DISAGREEMENT, disagreement
from core.tasks.queries import owners_of_tasks
from core.tasks.writes.changes import change_tasks
from worker.missing_partition import make_missing_partition
from worker.runner import Services
from worker.writes.operations import PlannedOperation, Work, cut_into_waves, internal_error

Plan = Callable[[], Sequence[Work]]
"""Makes the operations anew for each attempt, since what an attempt did to them is void when it fails."""
Record = Callable[[Connection, Sequence[Work]], Awaitable[None]]

log = get_logger()


class AlreadyDone(Exception):
    """Something of it was carried out before: nothing was changed, and the earlier outcome is the true one."""


class Overdue(TimeoutError):
    """It took longer than it may, or the database did; nothing was changed."""


class MissingPartition(Exception):
    """No partition is for a new task: it can be made, and the transaction tried again."""


async def carry_out(
    services: Services,
    lease: LaneLease,
    plan: Plan,
    record: Record,
    *,
    carefully: bool = False,
    longest_seconds: float = LANE_TRANSACTION_SECONDS,
) -> Sequence[Work]:
    """Carries out operations in one transaction.

    Args:
        services: of the worker.
        lease: of the drain.
        plan: makes the works.
        record: writes what came of them, in the same transaction; raises AlreadyDone where that is there.
        carefully: whether the short way has failed already.
        longest_seconds: the time that the transaction may take.

    Returns:
        The works, with their effects.

    Raises:
        AlreadyDone, Overdue, LaneLost: nothing was changed.
        Exception: a transient fault; nothing was changed, and the same call may succeed later.
    """
    attempt = _Attempt(services, lease, plan, record, longest_seconds)
    try:
        return await attempt.either_way(carefully)
    except MissingPartition:
        log.error("new tasks found no partition: it is made now")
    await make_missing_partition(services)
    attempt.refuses_without_partition = True
    return await attempt.either_way(carefully)


class _Attempt:
    def __init__(
        self, services: Services, lease: LaneLease, plan: Plan, record: Record, longest_seconds: float
    ) -> None:
        self._services = services
        self._lease = lease
        self._plan = plan
        self._record = record
        self._longest_seconds = longest_seconds
        self.refuses_without_partition = False
        """So that what finds no partition cannot stop its lane."""

    async def either_way(self, carefully: bool) -> Sequence[Work]:
        if not carefully:
            try:
                return await self._transact(self._apply_wave)
            except Exception as error:
                if is_unavailable(error) or isinstance(error, AlreadyDone | Overdue | LaneLost):
                    raise
                self._require_partition(error)
                if not is_data_fault(error):
                    log.exception("operations failed and are applied one by one")
                metrics.BATCH_FALLBACKS.labels(type(error).__name__).inc()
        try:
            return await self._transact(self._apply_wave_carefully)
        except Exception as error:
            self._require_partition(error)
            raise

    def _require_partition(self, error: Exception) -> None:
        if is_missing_partition(error) and not self.refuses_without_partition:
            raise MissingPartition from error

    async def _transact(
        self, apply_wave: Callable[[Connection, Sequence[PlannedOperation]], Awaitable[None]]
    ) -> Sequence[Work]:
        works = self._plan()
        operations = [op for work in works for op in work.operations if op.effect is None]
        async with self._services.pool.acquire() as connection:
            started = time.monotonic()
            try:
                async with lane_transaction(connection, self._lease, longest_seconds=self._longest_seconds):
                    await _find_owners(connection, operations)
                    for wave in cut_into_waves([op for op in operations if op.effect is None]):
                        await apply_wave(connection, wave)
                    await self._record(connection, works)
            except Exception as error:
                # The server hangs up when the time is over, and whichever statement comes then fails in its own way.
                if is_transient(error) and time.monotonic() - started >= self._longest_seconds:
                    raise Overdue from error
                raise
        return works

    async def _apply_wave(self, connection: Connection, wave: Sequence[PlannedOperation]) -> None:
        sets: dict[tuple[object, int], list[PlannedOperation]] = defaultdict(list)
        for operation in wave:
            sets[operation.write.handler, id(operation.budget)].append(operation)
        for operations in sets.values():
            write = operations[0].write
            refused = {} if write.refuse is None else await write.refuse(self._services.quotas, connection, operations)
            for place, effect in refused.items():
                operations[place].effect = effect
            allowed = [operation for place, operation in enumerate(operations) if place not in refused]
            if allowed:
                await _write_in_set(connection, allowed)

    async def _apply_wave_carefully(self, connection: Connection, wave: Sequence[PlannedOperation]) -> None:
        """As a set where that goes well, else half by half, so that a few poisonous operations cost few statements."""
        try:
            async with savepoint(connection):
                await self._apply_wave(connection, wave)
        except Exception as error:
            # Accepted writes wait for a migration that is still to come; they are not refused for it.
            if is_unavailable(error):
                raise
            if is_missing_partition(error) and not self.refuses_without_partition:
                raise
            if len(wave) == 1:
                wave[0].effect = _effect_of_fault(wave[0], error)
                return
            middle = len(wave) // 2
            await self._apply_wave_carefully(connection, wave[:middle])
            await self._apply_wave_carefully(connection, wave[middle:])


async def _find_owners(connection: Connection, operations: Sequence[PlannedOperation]) -> None:
    """An admin names any task, but tasks are found by owner and id; who is no admin any more has his own alone."""
    foreign = [op for op in operations if op.any_owner and op.subject is not None and op.subject[0] == "task"]
    if foreign:
        admins = await current_admins(connection, [op.user_id for op in foreign])
        owners = await owners_of_tasks(connection, [op.payload["id"] for op in foreign])
        for operation in foreign:
            caller, task_id = operation.user_id, operation.payload["id"]
            if caller not in admins and owners.get(task_id) != caller:
                operation.effect = forbidden(task_id=task_id)
            operation.user_id = owners.get(task_id, caller)


async def _write_in_set(connection: Connection, operations: Sequence[PlannedOperation]) -> None:
    write = operations[0].write
    if write.is_change:
        effects = await change_tasks(connection, operations, operations[0].budget)
    else:
        effects = await write.handler(connection, operations)
    for operation, effect in zip(operations, effects, strict=True):
        operation.effect = effect


def _effect_of_fault(operation: PlannedOperation, error: Exception) -> Effect:
    if is_missing_reference(error):
        return Effect.rejected("invalid-token", "The user does not exist any more.")
    if getattr(error, "sqlstate", None) == DISAGREEMENT:
        return disagreement()
    if is_data_fault(error):
        log.warning("the database refused an operation", kind=operation.kind.name, error=type(error).__name__)
        detail = "The database refused these values."
        return Effect.rejected("validation-error", detail, errors={"body": [detail]})
    log.error("an operation failed", kind=operation.kind.name, exc_info=error)
    return internal_error()

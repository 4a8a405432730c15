"""A batch on its way: it is carried out in slices, so that a thousand operations of one user hold nobody up.

Each slice is a transaction that takes about 50 ms and leaves what its operations came to in a row. The last one writes
the job's row instead. Where a slice takes too long, its operations are tried alone.
"""

import time
from collections.abc import Sequence

from core import metrics
from core.batches.queries import Slice, stored_slices
from core.batches.writes import forget_slices, record_slice
from core.commands.effects import Effect
from core.commands.wire import Command
from core.database.pools import Connection
from core.jobs.outcomes import StoredOutcome, outcome_message, state_of
from core.jobs.queries import stored_outcomes
from core.jobs.writes import record_jobs
from core.lanes.writes import LaneLease
from core.logs import get_logger
from core.tasks.folding import AnswerBudget
from worker.runner import Services
from worker.writes.alone import TooExpensive, Tries, alone, as_too_expensive, require_prompt_database, set_aside
from worker.writes.operations import Applied, Work, applied_before, batch_effect, plan_batch, plan_safely, results_text
from worker.writes.transactions import AlreadyDone, Overdue, carry_out

SLICE_SECONDS = 0.05
"""What a slice is to take: a worker's time between two looks at what others want."""
LONGEST_SLICE_SECONDS = 2.0
FIRST_SLICE_OPERATIONS = 40
SLICE_MAXIMUM_OPERATIONS = 250
BATCH_SECONDS = 60.0
"""The time that all slices of one batch may take together; thirty times what the dearest batch needs."""

log = get_logger()


class BatchRun:
    """One `task.batch` command, from where it stands."""

    def __init__(self, services: Services, lease: LaneLease, command: Command, suspects: Tries | None = None) -> None:
        """
        Args:
            services: of the worker.
            lease: of the drain.
            command: the batch.
            suspects: where workers died on this entry: each operation is noted before it is tried, alone.
        """
        self.command = command
        self._services = services
        self._lease = lease
        self._suspects = suspects
        whole = plan_safely(command)
        self._is_refused_whole = whole.is_refused_whole
        self._count = len(whole.operations)
        self._position = 0
        self._results: list[str] = []
        self._budget = AnswerBudget()
        self._owners: set[int] = set()
        self._size = 1 if suspects is not None else FIRST_SLICE_OPERATIONS
        self._busy_seconds = 0.0
        self._recorded: tuple[Slice, Effect | None] | None = None
        """What the last attempt wrote: a slice, and what the batch came to where that was the last one."""

    def carry_on(self, slices: Sequence[Slice]) -> None:
        """Goes to where the batch stands."""
        self._position = sum(done.operations for done in slices)
        self._results = [done.results for done in slices]
        self._budget = AnswerBudget.after(self._results)
        if slices and slices[-1].operations == 1:
            self._size = 1  # as it was then, because more had taken too long
        self._owners.add(self.command.user_id)

    async def step(self) -> Applied | None:
        """Carries out a slice; returns what the batch came to when it was the last one.

        Raises:
            LaneLost: the rest is another drain's.
            Exception: a transient fault; the slice may succeed later.
        """
        size = min(self._size, self._count - self._position)
        started = time.monotonic()
        try:
            if self._busy_seconds > BATCH_SECONDS:
                await require_prompt_database(self._services, self._lease)
                done = await self._refuse(self._count - self._position)
            elif self._suspects is not None:
                done = await self._step_as_suspect(self._suspects)
            else:
                done = await self._carry_out(size)
        except AlreadyDone:
            return await self._look_up()
        except Overdue:
            # One operation goes on at once, so that each drain gets further, however long a slice was waited for.
            metrics.BATCH_FALLBACKS.labels("Overdue").inc()
            self._size = 1
            return await self._step_alone()
        seconds = time.monotonic() - started
        self._busy_seconds += seconds
        if self._suspects is None:
            fitting = int(max(size, self._size // 2) * SLICE_SECONDS / max(seconds, 1e-4))
            self._size = max(1, min(fitting, 2 * self._size, SLICE_MAXIMUM_OPERATIONS))
        return done

    async def _carry_out(self, size: int, *, longest_seconds: float = LONGEST_SLICE_SECONDS) -> Applied | None:
        return self._advance(
            await carry_out(
                self._services,
                self._lease,
                lambda: [self._slice(size)],
                self._record,
                longest_seconds=longest_seconds,
            )
        )

    async def _refuse(self, size: int) -> Applied | None:
        """Refuses the next operations as too expensive."""
        items = self.command.payload["operations"]
        await set_aside(self._services, self._lease.lane, self.command, items[self._position])
        works = await carry_out(
            self._services, self._lease, lambda: [as_too_expensive(self._slice(size))], self._record
        )
        return self._advance(works)

    async def _step_alone(self) -> Applied | None:
        try:
            return await alone(self._services, self._lease, lambda seconds: self._carry_out(1, longest_seconds=seconds))
        except TooExpensive:
            return await self._refuse(1)
        except AlreadyDone:
            return await self._look_up()

    async def _step_as_suspect(self, suspects: Tries) -> Applied | None:
        name = f"{self.command.id}/{self._position}"
        if not await suspects.begin_alone(name):
            return await self._refuse(1)
        done = await self._carry_out(min(1, self._count))
        await suspects.end_alone(name)
        return done

    def _slice(self, size: int) -> Work:
        if self._is_refused_whole:
            return plan_safely(self.command)
        return plan_batch(self.command, self._position, self._position + size, self._budget)

    async def _record(self, connection: Connection, works: Sequence[Work]) -> None:
        """Also the last slice takes its place, so that no drain that holds this batch, too, can take it meanwhile."""
        [work] = works
        effects = work.effects()
        done = Slice(self._position, len(effects), results_text(effects))
        if not await record_slice(connection, self.command.id, done):
            raise AlreadyDone
        effect = self._effect(work, done) if self._is_last(work) else None
        self._recorded = done, effect
        if effect is not None:
            if await record_jobs(connection, [(self.command, effect)]) != 1:
                raise AlreadyDone
            await forget_slices(connection, self.command.id)
        elif await stored_outcomes(connection, [self.command.id]):  # ended since, and its slices are gone
            raise AlreadyDone

    def _is_last(self, work: Work) -> bool:
        return work.is_refused_whole or self._position + len(work.operations) >= self._count

    def _effect(self, last: Work, done: Slice) -> Effect:
        if last.is_refused_whole:
            return last.effect()
        return batch_effect([*self._results, *([done.results] if done.operations else [])])

    def _advance(self, works: Sequence[Work]) -> Applied | None:
        """After the commit."""
        [work] = works
        assert self._recorded is not None
        done, effect = self._recorded
        self._owners |= work.owners()
        self._budget = work.budget
        if effect is None:
            self._position += done.operations
            self._results.append(done.results)
            return None
        metrics.COMMANDS.labels(self.command.kind, state_of(effect)).inc()
        return Applied(self.command, outcome_message(self.command, effect), frozenset(self._owners))

    async def _look_up(self) -> Applied | None:
        """Where another drain has carried out something of it, or all."""
        stored, slices = await where_batches_stand(self._services, [self.command.id])
        if self.command.id in stored:
            [applied] = await applied_before(self._services.pool, [self.command], stored)
            return applied
        self.carry_on(slices.get(self.command.id, []))
        return None


async def where_batches_stand(
    services: Services, job_ids: Sequence[str]
) -> tuple[dict[str, StoredOutcome], dict[str, list[Slice]]]:
    """The outcomes of those that have ended, and the slices of those that were begun."""
    async with services.pool.acquire() as connection:
        # Slices first: what ends in between is then found as ended.
        slices = await stored_slices(connection, job_ids)
        return await stored_outcomes(connection, job_ids), slices


async def begin_batches(
    services: Services, lease: LaneLease, commands: Sequence[Command], suspects: Tries | None = None
) -> list[BatchRun | Applied]:
    """For each command what it came to, if it was carried out before; else its run, from where it stands."""
    stored, slices = await where_batches_stand(services, [command.id for command in commands])
    begun: list[BatchRun | Applied] = []
    for command in commands:
        if command.id in stored:
            begun += await applied_before(services.pool, [command], stored)
            continue
        run = BatchRun(services, lease, command, suspects)
        if command.id in slices:
            run.carry_on(slices[command.id])
        begun.append(run)
    return begun

"""What commands come to: each is cut into operations on one row, and these into waves that can be applied as sets."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from core import metrics
from core.authority import current_admins, seen_outcome
from core.commands.effects import Effect
from core.commands.kinds import OPERATIONS_OF_BATCHES, SET_REMINDERS, WRITE_BATCH, Operation
from core.commands.wire import Command
from core.database.pools import Pool
from core.jobs.outcomes import StoredOutcome
from core.logs import get_logger
from core.tasks.folding import AnswerBudget
from core.tasks.queries import owners_of_tasks
from worker.writes.table import WRITES, Subject, Write

log = get_logger()


@dataclass(eq=False, slots=True)
class PlannedOperation(Operation[Any]):
    """An operation, what is to be known before it is carried out, and what it came to.

    Attributes:
        subject: see `Write`.
        effect: None as long as it was not carried out.
        budget: of the batch to which it belongs, which all its operations share.
    """

    subject: Subject = None
    effect: Effect | None = None
    budget: AnswerBudget | None = None

    @property
    def write(self) -> Write[Any]:
        """What is to be done for it."""
        return WRITES[self.kind.name]


@dataclass(eq=False, slots=True)
class Work:
    """A command with its operations.

    Attributes:
        budget: what the results of a batch may still take, once its operations are carried out.
    """

    command: Command
    operations: list[PlannedOperation] = field(default_factory=list)
    is_refused_whole: bool = False
    budget: AnswerBudget = field(default_factory=AnswerBudget)

    def owners(self) -> frozenset[int]:
        """Whose rows the operations were about."""
        return frozenset(operation.user_id for operation in self.operations)

    def effects(self) -> list[Effect]:
        """What its operations came to, as far as they were carried out."""
        return [operation.effect for operation in self.operations if operation.effect is not None]

    def effect(self) -> Effect:
        """What a command of one operation came to, or one that was refused whole."""
        [operation] = self.operations
        assert operation.effect is not None
        return operation.effect


@dataclass(frozen=True, slots=True)
class Applied:
    """A command, its outcome in wire form, and whose tasks or profile it may have changed.

    `owners` is None where that cannot be told any more: an admin's command that was carried out before.
    """

    command: Command
    outcome: dict[str, Any]
    owners: frozenset[int] | None


async def applied_before(pool: Pool, repeats: Sequence[Command], stored: dict[str, StoredOutcome]) -> list[Applied]:
    """Commands whose jobs' rows were found; who is no admin (any more) is told what is about tasks of his own."""
    as_admin = [command.user_id for command in repeats if command.payload.get("any_owner")]
    unsaid = [stored[command.id].task_id for command in repeats if command.kind == SET_REMINDERS.name]
    admins: frozenset[int] = frozenset()
    owners_of: dict[int, int] = {}
    if as_admin or unsaid:
        async with pool.acquire() as connection:
            admins = await current_admins(connection, as_admin)
            owners_of = await owners_of_tasks(connection, [task_id for task_id in unsaid if task_id is not None])
    applied = []
    for command in repeats:
        first = stored[command.id]
        outcome = first.answer_to(command)
        if command.user_id not in admins:
            owner = owners_of.get(first.task_id or 0, command.user_id)
            outcome = seen_outcome(outcome, command.user_id, is_of_other=owner != command.user_id)
        owners = None if command.payload.get("any_owner") else frozenset({command.user_id})
        applied.append(Applied(command, outcome, owners))
    return applied


def results_text(effects: Sequence[Effect]) -> str:
    """The results of some operations of a batch, as JSON with commas between them."""
    return orjson.dumps([_batch_result(effect) for effect in effects]).decode()[1:-1]


def batch_effect(results: Sequence[str]) -> Effect:
    """What a batch came to, of the `results_text` of its slices."""
    return Effect(207, f'{{"results":[{",".join(results)}]}}')


def _batch_result(effect: Effect) -> dict[str, Any]:
    if effect.error is not None:
        return {"status": effect.status_code, "error": effect.error}
    if effect.result is None:
        return {"status": effect.status_code}
    return {"status": effect.status_code, "task": orjson.Fragment(effect.result)}


def plan(command: Command) -> Work:
    """Splits a command into its operations; those that the API found invalid already have their effect."""
    if command.kind == WRITE_BATCH.name:
        return plan_batch(command, 0, len(command.payload["operations"]), AnswerBudget())
    write = WRITES[command.kind]
    return Work(command, [_plan_operation(command, write, command.payload)])


def plan_batch(command: Command, first: int, end: int, budget: AnswerBudget) -> Work:
    """A batch's operations from one place to before another; `budget` is what those before have left."""
    operations, left = [], replace(budget)
    for item in command.payload["operations"][first:end]:
        if "error" in item:
            operations.append(_refused(command, Effect(item["error"]["status"], error=item["error"])))
        else:
            write = WRITES[OPERATIONS_OF_BATCHES[item["op"]].name]
            operations.append(_plan_operation(command, write, item, left))
    return Work(command, operations, budget=left)


def _plan_operation(
    command: Command, write: Write[Any], payload: Any, budget: AnswerBudget | None = None
) -> PlannedOperation:
    operation = PlannedOperation(
        write.kind,
        command.user_id,
        command.id,
        payload,
        any_owner=bool(command.payload.get("any_owner")),
        budget=budget,
    )
    operation.subject = write.subject(operation)
    return operation


def _refused(command: Command, effect: Effect) -> PlannedOperation:
    """An operation that is not to be carried out, whatever its kind."""
    return PlannedOperation(WRITE_BATCH, command.user_id, command.id, {}, effect=effect)


def cut_into_waves(operations: Sequence[PlannedOperation]) -> list[list[PlannedOperation]]:
    """Groups operations so that each subject keeps its order over the waves, and appears once in each.

    Changes of one task, all of one batch or none of any, go into one wave however many they are.
    """
    waves: list[list[PlannedOperation]] = []
    last: dict[tuple[str, Any], tuple[int, PlannedOperation]] = {}
    for operation in operations:
        subject, number = operation.subject, 0
        if subject is not None:
            if subject in last:
                number, before = last[subject]
                is_joined = operation.write.is_change and before.write.is_change and operation.budget is before.budget
                number += not is_joined
            last[subject] = number, operation
        if number == len(waves):
            waves.append([])
        waves[number].append(operation)
    return waves


def plan_safely(command: Command) -> Work:
    """As `plan`; what cannot be read is refused whole: in a wave it would fail with its whole batch."""
    try:
        return plan(command)
    except (KeyError, TypeError, ValueError, AttributeError):
        log.exception("a command could not be read", command=command.id)
        return Work(command, [_refused(command, internal_error())], is_refused_whole=True)


def internal_error() -> Effect:
    metrics.DEAD_LETTERS.inc()
    return Effect.rejected("internal-error", "The write could not be carried out; it was recorded for the operators.")

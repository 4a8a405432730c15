"""What commands come to: each is cut into operations on one row, and these into waves that can be applied as sets."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from core import metrics
from core.authority import current_admins, seen_outcome
from core.channels.writes import create_channels, delete_channels, rotate_secrets, try_channels, update_channels
from core.commands import Command, Effect
from core.database.pools import Connection, Pool
from core.deliveries.writes.orders import redeliver
from core.exports.writes.orders import cancel_exports, create_exports
from core.ids import MAXIMUM_ID, is_job_id
from core.imports.writes.orders import cancel_imports, create_imports
from core.jobs.outcomes import StoredOutcome
from core.jobs.queues import LONG_WORK
from core.logs import get_logger
from core.maintenance.writes.orders import order_maintenance
from core.notifications.writes import mark_notifications
from core.reminders.writes.planning import set_reminders
from core.tasks.folding import AnswerBudget
from core.tasks.queries import owners_of_tasks
from core.tasks.writes.changes import change_tasks, create_tasks
from core.users.writes.accounts import register_users, update_users
from core.users.writes.sessions import open_sessions, revoke_sessions, rotate_sessions

log = get_logger()

WriteInSet = Callable[[Connection, Sequence[dict[str, Any]]], Awaitable[list[Effect]]]

HANDLERS: dict[str, WriteInSet] = {
    "task.create": create_tasks,
    "task.update": change_tasks,
    "task.delete": change_tasks,
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
CANCELLATIONS = frozenset(f"{kind}.cancel" for kind in LONG_WORK)
OF_A_TASK = frozenset({"task.update", "task.delete", "task.reminders"})


@dataclass(eq=False, slots=True)
class Operation:
    """One effect on one row.

    Attributes:
        budget: of the batch to which it belongs, which all its operations share.
    """

    kind: str
    arguments: dict[str, Any]
    effect: Effect | None = None
    budget: AnswerBudget | None = None

    @property
    def is_change(self) -> bool:
        """Whether `change_tasks` carries it out, which takes any number of them on one task."""
        return self.kind in {"task.update", "task.delete"}

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
    """A command with its operations.

    Attributes:
        budget: what the results of a batch may still take, once its operations are carried out.
    """

    command: Command
    operations: list[Operation] = field(default_factory=list)
    is_refused_whole: bool = False
    budget: AnswerBudget = field(default_factory=AnswerBudget)

    def owners(self) -> frozenset[int]:
        """Whose rows the operations were about."""
        return frozenset(op.arguments.get("user_id", self.command.user_id) for op in self.operations)

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
    unsaid = [stored[command.id].task_id for command in repeats if command.kind == "task.reminders"]
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
    if command.kind != "task.batch":
        op = command.kind.rpartition(".")[2]
        arguments = {**command.payload, "op": op, "user_id": command.user_id, "job_id": command.id}
        return Work(command, [Operation(command.kind, arguments)])
    return plan_batch(command, 0, len(command.payload["operations"]), AnswerBudget())


def plan_batch(command: Command, first: int, end: int, budget: AnswerBudget) -> Work:
    """A batch's operations from one place to before another; `budget` is what those before have left."""
    operations, left = [], replace(budget)
    for item in command.payload["operations"][first:end]:
        if "error" in item:
            operations.append(Operation("refused", {}, Effect(item["error"]["status"], error=item["error"])))
        else:
            arguments = {
                **item,
                "user_id": command.user_id,
                "any_owner": command.payload.get("any_owner", False),
            }
            operations.append(Operation(f"task.{item['op']}", arguments, budget=left))
    return Work(command, operations, budget=left)


def cut_into_waves(operations: Sequence[Operation]) -> list[list[Operation]]:
    """Groups operations so that each subject keeps its order over the waves, and appears once in each.

    Changes of one task, all of one batch or none of any, go into one wave however many they are.
    """
    waves: list[list[Operation]] = []
    last: dict[tuple[str, Any], tuple[int, Operation]] = {}
    for operation in operations:
        subject, number = operation.subject, 0
        if subject is not None:
            if subject in last:
                number, before = last[subject]
                is_joined = operation.is_change and before.is_change and operation.budget is before.budget
                number += not is_joined
            last[subject] = number, operation
        if number == len(waves):
            waves.append([])
        waves[number].append(operation)
    return waves


def plan_safely(command: Command) -> Work:
    try:
        if command.kind not in COMMAND_KINDS:
            raise ValueError(f"no handler for the kind {command.kind!r}")
        work = plan(command)
        for operation in work.operations:
            _require_subject(operation)
        return work
    except (KeyError, TypeError, ValueError, AttributeError):
        log.exception("a command could not be read", command=command.id)
        return Work(command, [Operation("refused", {}, internal_error())], is_refused_whole=True)


def _require_subject(operation: Operation) -> None:
    """Raises ValueError for what could not even be put into a wave, where it would fail with its whole batch."""
    if operation.effect is None and operation.kind not in HANDLERS:
        raise ValueError(f"no handler for the operation {operation.kind!r}")
    if operation.kind in OF_A_TASK:
        task_id = operation.arguments.get("id")
        if type(task_id) is not int or abs(task_id) > MAXIMUM_ID:
            raise ValueError("a task's id is no id")
    if operation.kind in CANCELLATIONS and not is_job_id(str(operation.arguments.get("id"))):
        raise ValueError("a job's id is no id")


def internal_error() -> Effect:
    metrics.DEAD_LETTERS.inc()
    return Effect.rejected("internal-error", "The write could not be carried out; it was recorded for the operators.")

"""One row for each kind of command: what carries it out, which row it is about, and whom it wakes."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic

from core.channels.writes import create_channels, delete_channels, rotate_secrets, try_channels, update_channels
from core.commands import kinds
from core.commands.effects import Effect
from core.commands.kinds import Kind, Operation, P
from core.database.pools import Connection
from core.deliveries.writes.orders import redeliver
from core.exports.writes.orders import cancel_exports, create_exports
from core.ids import MAXIMUM_ID, is_job_id
from core.imports.writes.orders import cancel_imports, create_imports
from core.imports.writes.undos import begin_undos
from core.jobs.queues import DELIVER, RUN_EXPORTS, RUN_IMPORTS, RUN_MAINTENANCE, RUN_UNDOS, Call
from core.maintenance.writes.orders import order_maintenance
from core.notifications.writes import mark_all_notifications, mark_notifications
from core.quotas.checks import Quotas
from core.reminders.writes.planning import set_reminders
from core.tasks.writes.changes import change_tasks, create_tasks
from core.users.writes.accounts import register_users, update_users
from core.users.writes.sessions import open_sessions, revoke_sessions, rotate_sessions

Subject = tuple[str, Any] | None
"""What must not be touched twice in one wave; None: a new row, which nobody else can touch."""


@dataclass(frozen=True, slots=True, eq=False)
class Write(Generic[P]):
    """What a worker does for a kind of command.

    Attributes:
        kind: of the command, or of an operation of a batch.
        handler: carries out operations on different subjects, in few statements; their effects in the same order.
        subject: names what an operation is about; raises ValueError where a payload cannot be put into a wave.
        refuse: place → the refusal, of those operations that would pass a quota of their user.
        wakes: the job that goes on with it.
    """

    kind: Kind[P]
    handler: Callable[[Connection, Sequence[Operation[P]]], Awaitable[list[Effect]]]
    subject: Callable[[Operation[Any]], Subject]
    refuse: Callable[[Quotas, Connection, Sequence[Operation[P]]], Awaitable[dict[int, Effect]]] | None = None
    wakes: Call | None = None

    @property
    def is_change(self) -> bool:
        """Whether `change_tasks` carries it out, which takes any number of operations on one task."""
        return self.handler is change_tasks


def _new_row(_operation: Operation[Any]) -> Subject:
    return None


def _task(operation: Operation[Any]) -> Subject:
    task_id = operation.payload.get("id")
    if type(task_id) is not int or abs(task_id) > MAXIMUM_ID:
        raise ValueError("a task's id is no id")
    return "task", task_id


def _new_job(operation: Operation[Any]) -> Subject:
    return "job", operation.job_id


def _job(operation: Operation[Any]) -> Subject:
    job_id = operation.payload.get("id")
    if not is_job_id(str(job_id)):
        raise ValueError("a job's id is no id")
    return "job", job_id


def _name(operation: Operation[Any]) -> Subject:
    return "name", str(operation.payload.get("username")).lower()


def _user(operation: Operation[Any]) -> Subject:
    return "user", operation.user_id


# No annotation: it would hide from mypy whether a handler takes what its kind holds.
_TABLE = (
    Write(kinds.CREATE_TASK, create_tasks, _new_row, Quotas.refuse_tasks),
    Write(kinds.UPDATE_TASK, change_tasks, _task),
    Write(kinds.DELETE_TASK, change_tasks, _task),
    Write(kinds.SET_REMINDERS, set_reminders, _task),
    Write(kinds.REGISTER_USER, register_users, _name),
    Write(kinds.UPDATE_USER, update_users, _user),
    Write(kinds.OPEN_SESSION, open_sessions, _user),
    Write(kinds.ROTATE_SESSION, rotate_sessions, _user),
    Write(kinds.REVOKE_SESSION, revoke_sessions, _user),
    Write(kinds.BEGIN_EXPORT, create_exports, _new_job, Quotas.refuse_exports, RUN_EXPORTS),
    Write(kinds.CANCEL_EXPORT, cancel_exports, _job),
    Write(kinds.BEGIN_IMPORT, create_imports, _new_job, Quotas.refuse_imports, RUN_IMPORTS),
    Write(kinds.CANCEL_IMPORT, cancel_imports, _job),
    Write(kinds.UNDO_IMPORT, begin_undos, _job, wakes=RUN_UNDOS),
    Write(kinds.ORDER_MAINTENANCE, order_maintenance, _new_job, Quotas.refuse_maintenance, RUN_MAINTENANCE),
    Write(kinds.CREATE_CHANNEL, create_channels, _user, Quotas.refuse_channels),
    Write(kinds.UPDATE_CHANNEL, update_channels, _user),
    Write(kinds.ROTATE_SECRET, rotate_secrets, _user),
    Write(kinds.DELETE_CHANNEL, delete_channels, _user),
    Write(kinds.TEST_CHANNEL, try_channels, _user, wakes=DELIVER),
    Write(kinds.REDELIVER, redeliver, _user, wakes=DELIVER),
    Write(kinds.MARK_NOTIFICATION, mark_notifications, _user),
    Write(kinds.MARK_ALL_NOTIFICATIONS, mark_all_notifications, _user),
)

WRITES: dict[str, Write[Any]] = {write.kind.name: write for write in _TABLE}
"""Name of a kind → its row. A `task.batch` has none: it is many operations of other kinds."""

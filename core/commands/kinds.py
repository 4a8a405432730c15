"""Every kind of command: what its payload holds, and in which lanes it travels.

A payload is a TypedDict: mypy checks it where the API builds it and where the worker's handler reads it, and nothing is
converted on the way. What may be missing in it is `NotRequired`: what is left out, and what the version before this one
does not know yet, since its commands may wait in a lane when a worker of this version comes, and the other way round.

What a worker does for each kind stands in `worker/writes/table.py`.
"""

from dataclasses import dataclass
from typing import Any, Generic, Literal, NotRequired, TypedDict, TypeVar

P = TypeVar("P")


@dataclass(frozen=True, eq=False)
class Kind(Generic[P]):
    """A kind of command, with payloads of type `P`.

    Attributes:
        name: on the wire, and of the job; never changed.
        lanes: those that carry it (`core/lanes`).
    """

    name: str
    lanes: Literal["accounts", "writes", "batches"] = "writes"

    def of(self, payload: P) -> "Asked":
        """This kind, with a payload."""
        return self, payload


Asked = tuple[Kind[Any], Any]
"""What is asked of a worker: a kind, and a payload that mypy has seen to fit it."""


@dataclass(eq=False, slots=True)
class Operation(Generic[P]):
    """One effect on one row, as its handler gets it: a command is one, or a batch of them.

    Attributes:
        kind: of the operation; those of a batch are of kinds of their own.
        user_id: on whose behalf; of a task that an admin names, its owner.
        job_id: of the command.
        payload: as the kind says, unless an API was not in order: handlers may fail on it.
        any_owner: whether the caller was an admin, who may name tasks of others.
    """

    kind: Kind[P]
    user_id: int
    job_id: str
    payload: P
    any_owner: bool = False


# -- tasks ----------------------------------------------------------------------------------------------------


class CreateTask(TypedDict):
    fields: dict[str, Any]
    """Validated (`core/tasks/validation.py`), as they came."""


class UpdateTask(TypedDict):
    id: int
    fields: dict[str, Any]
    if_versions: list[int] | None
    """The task must have one of them; None: any."""
    any_owner: NotRequired[bool]


class DeleteTask(TypedDict):
    id: int
    if_versions: list[int] | None
    any_owner: NotRequired[bool]


class BatchedCreate(CreateTask):
    op: Literal["create"]


class BatchedUpdate(UpdateTask):
    op: Literal["update"]


class BatchedDelete(DeleteTask):
    op: Literal["delete"]


class BatchedRefusal(TypedDict):
    error: dict[str, Any]
    """The problem that the API found: it is the operation's outcome."""


BatchedOperation = BatchedCreate | BatchedUpdate | BatchedDelete | BatchedRefusal


class WriteBatch(TypedDict):
    operations: list[BatchedOperation]
    any_owner: NotRequired[bool]


class SetTaskReminders(TypedDict):
    id: int
    reminders: list[str] | None
    """None: those of the user."""
    any_owner: NotRequired[bool]


CREATE_TASK = Kind[CreateTask]("task.create")
UPDATE_TASK = Kind[UpdateTask]("task.update")
DELETE_TASK = Kind[DeleteTask]("task.delete")
WRITE_BATCH = Kind[WriteBatch]("task.batch", lanes="batches")
SET_REMINDERS = Kind[SetTaskReminders]("task.reminders")

OPERATIONS_OF_BATCHES: dict[str, Kind[Any]] = {"create": CREATE_TASK, "update": UPDATE_TASK, "delete": DELETE_TASK}
"""An item's `op` → the kind of operation that it is."""


# -- users and sessions ---------------------------------------------------------------------------------------


class RegisterUser(TypedDict):
    username: str
    email: str
    password_hash: str
    role: NotRequired[str]


class UpdateUser(TypedDict, total=False):
    email: str
    time_zone: str
    reminder_offsets: list[str]
    all_day_reminder_time: str
    password_hash: str


class OpenSession(TypedDict):
    session_id: str
    expires_at: str
    role: str
    """As the API knew it; the one of the moment counts."""
    place: NotRequired[str]
    """A digest of where the user logs in from."""


class RotateSession(TypedDict):
    session_id: str
    generation: int
    expires_at: str
    grace_seconds: NotRequired[int]
    """How long the generation before the newest gets the newest one again."""


class RevokeSession(TypedDict):
    session_id: str


REGISTER_USER = Kind[RegisterUser]("user.register", lanes="accounts")
UPDATE_USER = Kind[UpdateUser]("user.update", lanes="accounts")
OPEN_SESSION = Kind[OpenSession]("session.open", lanes="accounts")
ROTATE_SESSION = Kind[RotateSession]("session.rotate", lanes="accounts")
REVOKE_SESSION = Kind[RevokeSession]("session.revoke", lanes="accounts")


# -- long work ------------------------------------------------------------------------------------------------


class BeginExport(TypedDict):
    format: str
    filters: dict[str, Any]
    """As `TaskFilter.from_query` takes them, and `sort`."""
    all_users: bool
    bom: NotRequired[bool]


class CancelExport(TypedDict):
    id: str
    with_file: NotRequired[bool]
    """Whether the file of one that has succeeded is given up, too, instead of a refusal."""


class BeginImport(TypedDict):
    format: str
    filename: str | None
    dry_run: bool
    options: dict[str, Any]
    object: str
    """The upload's name in the storage."""
    digest: str
    bytes: int


class CancelImport(TypedDict):
    id: str


class UndoImport(TypedDict):
    id: str
    """Of the import."""


class OrderMaintenance(TypedDict):
    name: str
    arguments: NotRequired[dict[str, Any]]


BEGIN_EXPORT = Kind[BeginExport]("export")
CANCEL_EXPORT = Kind[CancelExport]("export.cancel")
BEGIN_IMPORT = Kind[BeginImport]("import")
CANCEL_IMPORT = Kind[CancelImport]("import.cancel")
UNDO_IMPORT = Kind[UndoImport]("import.undo")
ORDER_MAINTENANCE = Kind[OrderMaintenance]("maintenance")

LONG_WORK: dict[str, Kind[CancelExport] | Kind[CancelImport]] = {
    BEGIN_EXPORT.name: CANCEL_EXPORT,
    BEGIN_IMPORT.name: CANCEL_IMPORT,
}
"""Kinds of jobs that outlive their command → what ends one."""


# -- channels, deliveries and notifications -------------------------------------------------------------------


class CreateChannel(TypedDict):
    kind: str
    url: str
    """Sealed, as base64."""
    masked: str
    secret: str | None
    """Sealed, as base64; no secret but a webhook's."""
    events: list[str]
    quiet_hours: dict[str, Any] | None
    name: NotRequired[str | None]


class UpdateChannel(TypedDict):
    id: int
    name: NotRequired[str | None]
    events: NotRequired[list[str]]
    quiet_hours: NotRequired[dict[str, Any] | None]
    state: NotRequired[str]
    url: NotRequired[str]
    """Sealed, as base64; comes with `masked`."""
    masked: NotRequired[str]


class RotateSecret(TypedDict):
    id: int
    secret: str
    """Sealed, as base64."""


class DeleteChannel(TypedDict):
    id: int


class TestChannel(TypedDict):
    id: int


class Redeliver(TypedDict):
    id: int


class MarkNotification(TypedDict):
    id: int
    read: bool


class MarkAllNotifications(TypedDict):
    pass


CREATE_CHANNEL = Kind[CreateChannel]("channel.create")
UPDATE_CHANNEL = Kind[UpdateChannel]("channel.update")
ROTATE_SECRET = Kind[RotateSecret]("channel.rotate")
DELETE_CHANNEL = Kind[DeleteChannel]("channel.delete")
TEST_CHANNEL = Kind[TestChannel]("channel.test")
REDELIVER = Kind[Redeliver]("delivery.redeliver")
MARK_NOTIFICATION = Kind[MarkNotification]("notification.update")
MARK_ALL_NOTIFICATIONS = Kind[MarkAllNotifications]("notification.read_all")


KINDS: dict[str, Kind[Any]] = {kind.name: kind for kind in tuple(globals().values()) if isinstance(kind, Kind)}
"""Name → kind: all that are declared above."""

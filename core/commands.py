"""Commands and their outcomes: what the API asks of a worker, what it hears back, and their wire form."""

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from core.ids import MAXIMUM_ID

ANONYMOUS = 0
"""The `user_id` of a command whose user does not exist yet (registration)."""

MAXIMUM_COMMAND_BYTES = 8 << 20

_CANONICAL_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")

# Why a worker refuses: the problem's name → (status, title). The name is the last part of the problem's `type`.
REJECTIONS: dict[str, tuple[int, str]] = {
    "not-found": (404, "Not found"),
    "forbidden": (403, "Not allowed"),
    "username-taken": (409, "The username is taken"),
    "version-conflict": (412, "The task has another version"),
    "validation-error": (422, "The request is not valid"),
    "idempotency-key-reuse": (422, "The idempotency key belongs to another request"),
    "dropped": (409, "The write was dropped"),
    "too-expensive": (422, "It would take too much"),
    "invalid-token": (401, "The token is not valid"),
    "quota-exceeded": (409, "A quota is used up"),
    "channel-disabled": (409, "The channel is disabled"),
    "partition-conflict": (409, "The partition cannot be changed"),
    "job-not-cancellable": (409, "The job cannot be cancelled"),
    "import-empty": (422, "The file holds nothing to import"),
    "import-unreadable": (422, "The file cannot be read"),
    "import-wrong-format": (422, "The file is of another format"),
    "import-format-unknown": (415, "The file's format is not known"),
    "import-mapping-invalid": (422, "The mapping does not fit the file"),
    "import-too-large": (413, "The file is too large"),
    "import-too-many-errors": (422, "Too many rows failed"),
    "storage-full": (507, "There is no room for files"),
    "internal-error": (500, "Something went wrong on our side"),
}


def problem(name: str, detail: str, **extra: Any) -> dict[str, Any]:
    """A problem (RFC 9457) of a kind in `REJECTIONS`, as it stands in a job's `error`."""
    status, title = REJECTIONS[name]
    return {"type": f"/problems/{name}", "title": title, "status": status, "detail": detail, **extra}


@dataclass(slots=True)
class Command:
    """One change of state that a worker shall carry out once.

    Attributes:
        id: the job id, a UUID; two commands with one id have one effect between them.
        kind: `task.create`, `user.register` …; the worker has one handler for each.
        user_id: on whose behalf; `ANONYMOUS` where there is no user yet.
        payload: the handler's arguments, as JSON; never a secret.
        created_at: RFC 3339, when the API took it. Distinguishes a repeat from a second delivery.
        request_id: of the HTTP request, for the logs of both tiers.
        fingerprint: a keyed digest of the request, where the client gave an idempotency key.
        token: which waiter of the API process wants the outcome.
    """

    id: str
    kind: str
    user_id: int
    payload: dict[str, Any]
    created_at: str
    request_id: str | None = None
    fingerprint: str | None = None
    token: int = 0

    def encode(self) -> bytes:
        # As an object orjson would look each field up in the class, which takes it four times as long.
        return orjson.dumps(
            {
                "id": self.id,
                "kind": self.kind,
                "user_id": self.user_id,
                "payload": self.payload,
                "created_at": self.created_at,
                "request_id": self.request_id,
                "fingerprint": self.fingerprint,
                "token": self.token,
            }
        )


@dataclass(frozen=True, slots=True)
class Effect:
    """What one operation came to.

    Attributes:
        status_code: as HTTP would say it; 202 begins long work, whose job stays `queued` until a worker takes it up.
        result: finished JSON text, or None.
        error: a problem, where the operation was refused.
        task_id: the task that it was about, where there is one.
        version: of that task, where it is the result.
    """

    status_code: int
    result: str | None = None
    error: dict[str, Any] | None = None
    task_id: int | None = None
    version: int | None = None

    @classmethod
    def rejected(cls, name: str, detail: str, *, task_id: int | None = None, **extra: Any) -> "Effect":
        return cls(REJECTIONS[name][0], None, problem(name, detail, **extra), task_id)


@dataclass(slots=True)
class Outcome:
    """What became of a command, as the API process that waits for it hears it: an `Effect`, and whose."""

    id: str
    status_code: int
    result: str | None = None
    error: dict[str, Any] | None = None
    task_id: int | None = None
    version: int | None = None
    replayed: bool = False
    token: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a lane: the commands that one API process gathered."""

    id: bytes
    origin: str
    commands: list[Command] = field(default_factory=list)


class UnreadableEntry(Exception):
    """A lane entry that is no batch of commands; it goes to the dead letters."""


def encode_batch(encoded_commands: list[bytes]) -> bytes:
    """Joins commands that are already JSON into the body of one entry."""
    return b"[" + b",".join(encoded_commands) + b"]"


def decode_entry(entry_id: bytes, fields: dict[bytes, bytes]) -> Entry:
    """Reads a stream entry.

    Raises:
        UnreadableEntry: for anything that `encode_batch` did not make.
    """
    try:
        commands = [Command(**item) for item in orjson.loads(fields[b"commands"])]
        for command in commands:
            _require_sound(command)
        return Entry(entry_id, fields[b"origin"].decode(), commands)
    except (KeyError, TypeError, ValueError) as error:
        raise UnreadableEntry(str(error)) from error


def _require_sound(command: Command) -> None:
    """Raises ValueError or TypeError for what no job row could hold: such a row would fail with its whole batch."""
    if not _CANONICAL_UUID.match(command.id):
        raise ValueError("a command's id is no UUID in its canonical form")
    if type(command.user_id) is not int or not 0 <= command.user_id <= MAXIMUM_ID:
        raise ValueError("a command's user is no id")
    if datetime.fromisoformat(command.created_at).isoformat(timespec="microseconds") != command.created_at:
        raise ValueError("a command's time is not in the form in which it is compared")
    for text in (command.kind, command.request_id or "", command.fingerprint or ""):
        if not isinstance(text, str) or "\x00" in text:
            raise ValueError("a command's kind, request id or fingerprint is no text that PostgreSQL can hold")
    if not isinstance(command.payload, dict):
        raise TypeError("a command's payload is no object")


def encode_outcomes(lane: str, outcomes: list[dict[str, Any]]) -> bytes:
    """The message that a worker publishes: the fields of an `Outcome` each."""
    return orjson.dumps({"lane": lane, "outcomes": outcomes})


def decode_outcomes(message: bytes) -> tuple[str, list[Outcome]]:
    """Reads what `encode_outcomes` made: the lane's name and the outcomes."""
    content = orjson.loads(message)
    return content["lane"], [Outcome(**item) for item in content["outcomes"]]

"""What commands come to: as the worker decides it, and as the API process that waits for it hears it."""

from dataclasses import dataclass
from typing import Any

import orjson

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
    "not-ready": (409, "It is not there yet"),
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


def encode_outcomes(lane: str, outcomes: list[dict[str, Any]]) -> bytes:
    """The message that a worker publishes: the fields of an `Outcome` each."""
    return orjson.dumps({"lane": lane, "outcomes": outcomes})


def decode_outcomes(message: bytes) -> tuple[str, list[Outcome]]:
    """Reads what `encode_outcomes` made: the lane's name and the outcomes."""
    content = orjson.loads(message)
    return content["lane"], [Outcome(**item) for item in content["outcomes"]]

"""Outcomes of commands: as a job's row has them, and in their wire form."""

from dataclasses import dataclass
from typing import Any

import orjson

from core.commands.effects import Effect
from core.commands.wire import Command

BEGUN = 202
"""The status of a command that began long work, whose outcome its job will tell."""


@dataclass(frozen=True, slots=True)
class StoredOutcome:
    """What a job row says of a command that was carried out before; of long work, how far it has come."""

    status_code: int
    result: str | None
    error: str | None
    task_id: int | None
    fingerprint: str | None
    created_at: str

    def answer_to(self, command: Command) -> dict[str, Any]:
        """The outcome for `command`, which has this row's job id: the first outcome, or a refusal.

        A second delivery of the same command and a client's repeat differ in when they were taken.
        """
        if self.fingerprint != command.fingerprint:
            return outcome_message(command, key_reuse())
        error = None if self.error is None else orjson.loads(self.error)
        first = Effect(self.status_code, self.result, error, self.task_id, self._version())
        return outcome_message(command, first, replayed=self.created_at != command.created_at)

    def _version(self) -> int | None:
        """The task's, where the result is a task."""
        if self.task_id is None or self.result is None:
            return None
        version: int | None = orjson.loads(self.result).get("version")
        return version


def key_reuse() -> Effect:
    """The refusal of a command whose idempotency key belongs to another request."""
    return Effect.rejected(
        "idempotency-key-reuse",
        "This Idempotency-Key was used for another request: choose a new key for a new request.",
        errors={"Idempotency-Key": ["Was used for another request."]},
    )


def outcome_message(command: Command, effect: Effect, *, replayed: bool = False) -> dict[str, Any]:
    """An `Outcome` in its wire form.

    The result is a text in it, as PostgreSQL made it and as it will be answered: nobody on the way need read it.
    """
    return {
        "id": command.id,
        "status_code": effect.status_code,
        "result": effect.result,
        "error": effect.error,
        "task_id": effect.task_id,
        "version": effect.version,
        "replayed": replayed,
        "token": command.token,
    }


def state_of(effect: Effect) -> str:
    """The job state that an effect leads to."""
    if effect.status_code == BEGUN:
        return "queued"
    if effect.error is None:
        return "succeeded"
    return "failed" if effect.status_code >= 500 else "rejected"

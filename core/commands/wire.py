"""Commands on their way: how the entries of a lane are written and read."""

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from core.ids import MAXIMUM_ID

ANONYMOUS = 0
"""The `user_id` of a command whose user does not exist yet (registration)."""

_CANONICAL_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")


@dataclass(slots=True)
class Command:
    """One change of state that a worker shall carry out once.

    Attributes:
        id: the job id, a UUID; two commands with one id have one effect between them.
        kind: the name of one in `core/commands/kinds.py`.
        user_id: on whose behalf; `ANONYMOUS` where there is no user yet.
        payload: as the kind says, as JSON; never a secret.
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

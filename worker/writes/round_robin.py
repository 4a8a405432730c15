"""Drains a lane of batches: users take turns, a slice each, and all of them give way to single writes.

Of each user one batch is under way. Whoever sends many waits for himself: the others' batches pass between his slices.
"""

import asyncio
import sys
import time
from collections import deque
from dataclasses import dataclass

from core.commands.kinds import WRITE_BATCH
from core.commands.wire import Command
from worker.writes.applying import apply_batch
from worker.writes.drain import Drain
from worker.writes.operations import Applied
from worker.writes.publishing import publish
from worker.writes.slices import BatchRun, begin_batches

WINDOW_BYTES = 16 << 20
"""What is read ahead, so that somebody's hundred batches do not hide those of others."""
WINDOW_COMMANDS = 2000
READ_ENTRIES = 4
BUSY_SECONDS = 0.1
REST_SHARE = 0.5
"""Of the time that a slice took, while single writes are coming in."""


@dataclass(eq=False, slots=True)
class _Entry:
    """An entry whose batches are not all done."""

    id: bytes
    origin: str
    left: int
    bytes: int


@dataclass(eq=False, slots=True)
class _Turn:
    """A command that waits for its turns."""

    command: Command
    entry: _Entry
    begun: BatchRun | Applied | None
    """None: no batch, which is applied as it is."""


class RoundRobin:
    """Who is next: users in a circle, the commands of each in their order."""

    def __init__(self) -> None:
        self._of: dict[int, deque[_Turn]] = {}
        self._users: deque[int] = deque()
        self._entries: set[_Entry] = set()
        self._bytes = 0
        self._commands = 0

    def __len__(self) -> int:
        return self._commands

    @property
    def has_room(self) -> bool:
        return self._bytes < WINDOW_BYTES and self._commands < WINDOW_COMMANDS

    def add(self, turn: _Turn) -> None:
        user_id = turn.command.user_id
        if user_id not in self._of:
            self._of[user_id] = deque()
            self._users.append(user_id)
        self._of[user_id].append(turn)
        self._commands += 1
        if turn.entry not in self._entries:
            self._entries.add(turn.entry)
            self._bytes += turn.entry.bytes

    def next(self) -> _Turn:
        """The first command of the user whose turn it is, who then goes to the end of the circle."""
        user_id = self._users.popleft()
        self._users.append(user_id)
        return self._of[user_id][0]

    def done(self, turn: _Turn) -> bool:
        """The user's next command may come; returns whether the whole entry is done."""
        user_id = turn.command.user_id
        waiting = self._of[user_id]
        waiting.popleft()
        if not waiting:
            del self._of[user_id]
            self._users.remove(user_id)
        self._commands -= 1
        turn.entry.left -= 1
        if turn.entry.left:
            return False
        self._entries.remove(turn.entry)
        self._bytes -= turn.entry.bytes
        return True


async def take_turns(drain: Drain, deadline: float) -> None:
    """Carries out batches until none is left, or it is time to look who shall drain the lane."""
    turns = RoundRobin()
    while time.monotonic() < deadline:
        if turns.has_room:
            await _read(drain, turns)
        if not turns:
            return
        turn = turns.next()
        started = time.monotonic()
        done = await _step(drain, turn)
        if done is not None:
            await publish(drain.services, drain.lane, {id(done.command): turn.entry.origin}, [done])
            if turns.done(turn):
                drain.consumed(turn.entry.id)
        await drain.remove_now_and_then()
        await _give_way(drain, time.monotonic() - started)


async def _read(drain: Drain, turns: RoundRobin) -> None:
    raw_entries = await drain.read(count=READ_ENTRIES, linger=not turns)
    sizes = {entry_id: len(fields.get(b"commands", b"")) for entry_id, fields in raw_entries}
    for entry in await drain.decode(raw_entries, operations_maximum=sys.maxsize):
        if not entry.commands:
            drain.consumed(entry.id)
            continue
        batches = [command for command in entry.commands if command.kind == WRITE_BATCH.name]
        runs = await begin_batches(drain.services, drain.lease, batches, drain.suspects)
        begun = dict(zip(map(id, batches), runs, strict=True))
        waiting = _Entry(entry.id, entry.origin, len(entry.commands), sizes[entry.id])
        for command in entry.commands:
            turns.add(_Turn(command, waiting, begun.get(id(command))))


async def _step(drain: Drain, turn: _Turn) -> Applied | None:
    if isinstance(turn.begun, Applied):
        return turn.begun
    if turn.begun is None:
        [applied] = await apply_batch(drain.services, drain.lease, [turn.command], drain.suspects)
        return applied
    return await turn.begun.step()


async def _give_way(drain: Drain, seconds: float) -> None:
    """Lets those who wait for a single write have the processor, as long as there are any."""
    now = time.monotonic()
    others_are_busy = any(
        now - busy_at < BUSY_SECONDS for lane, busy_at in drain.state.busy_at.items() if lane != drain.lane
    )
    await asyncio.sleep(seconds * REST_SHARE if others_are_busy else 0)

"""When commands are sent to their lanes, and how many together: a state machine without a clock and without I/O.

Whoever owns it tells it what has happened, and gets the entries that shall be sent now. It also says when it wants to
look at the time again (`look_at`). Each lane is in one of three states:

                came                       worthwhile, or overdue
    ┌─────────┐ ───────────▶ ┌───────────┐ ──────────────────────▶ ┌───────────┐
    │ resting │              │ gathering │                         │ appending │
    └─────────┘ ◀─────────── └───────────┘ ◀────────────────────── └───────────┘
         ▲       withdrawn                  appended or refused,         │
         │                                  and some have come           │
         └───────────────────────────────────────────────────────────────┘
                        appended or refused, and nobody has come

An entry is *under way* from the moment in which it is sent until each of its commands is answered, or nobody waits for
it any more. What has gathered is

- *worthwhile* when fewer than two entries are under way, and nearly half of all who are asking have gathered: those who
  wait, those whose entry is under way, and the lane's share of those who were answered less than 8 ms ago and have not
  asked again. Of a large crowd 128 are enough. So two halves take turns: while the workers carry out one, this process
  answers the other and takes in what it asks next.
- *overdue* when nothing has moved for 25 ms: no entry was sent, and none was answered. The answers may not come.

A lone command is sent when its turn of the event loop is over: others may ask in the same turn.
"""

import contextlib
import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

NEVER = math.inf
AT_ONCE = 0.0


class Encoded(Protocol):
    """What is gathered: a command in its wire form, with a number that no other has."""

    @property
    def token(self) -> int: ...

    @property
    def encoded(self) -> bytes: ...


C = TypeVar("C", bound=Encoded)


@dataclass(frozen=True, slots=True)
class Bounds:
    """The figures of the policy.

    Attributes:
        overdue_seconds: so long nothing may move before what waits is sent all the same.
        return_seconds: so long those who were answered are expected to ask again.
        entries_under_way: of a lane, unless what waits is overdue.
        worthwhile_share: of all who are asking. A little less than half: one who does not come again must not hold up
            the others.
        worthwhile_commands: of a large crowd. Whoever waits for half of it has let the workers rest, and larger entries
            save nothing more.
        entry_commands: the most of one entry.
        entry_bytes: the most of one entry of several commands.
    """

    overdue_seconds: float = 0.025
    return_seconds: float = 0.008
    entries_under_way: int = 2
    worthwhile_share: float = 15 / 32
    worthwhile_commands: int = 128
    entry_commands: int = 256
    entry_bytes: int = 1 << 20


BOUNDS = Bounds()


@dataclass(eq=False, slots=True)
class Entry(Generic[C]):
    """Commands of one lane that are sent together, in their order; `left` of them are not answered yet."""

    lane: str
    commands: Sequence[C]
    left: int


@dataclass(eq=False, slots=True)
class _Lane(Generic[C]):
    name: str
    overdue_at: float
    waiting: deque[C] = field(default_factory=deque)
    unanswered: dict[int, Entry[C]] = field(default_factory=dict)
    under_way: int = 0
    is_appending: bool = False
    is_overdue: bool = False


class Gathering(Generic[C]):
    """The lanes of one kind; whoever was answered on one of them may ask on another the next time.

    Attributes:
        look_at: when `look` wants to be called; `AT_ONCE` means at the end of this turn of the event loop.
        waiting: lane → the commands that have not been sent yet; to be read only.
    """

    def __init__(self, lanes: Iterable[str], now: float, bounds: Bounds = BOUNDS) -> None:
        """
        Args:
            lanes: their names.
            now: seconds, as all times here, of a clock that never goes back.
            bounds: of the policy.
        """
        self.look_at = now + bounds.overdue_seconds
        self._bounds = bounds
        self._lanes: dict[str, _Lane[C]] = {name: _Lane(name, self.look_at) for name in lanes}
        self._each_lane = tuple(self._lanes.values())
        self.waiting: Mapping[str, Sequence[C]] = {name: lane.waiting for name, lane in self._lanes.items()}
        self._expected = 0
        """How many were answered a moment ago, together with others, and have not asked again."""
        self._forget_at = NEVER

    def is_under_way(self, lane: str) -> bool:
        """Whether an answer is missing."""
        return bool(self._lanes[lane].unanswered)

    def came(self, lane: str, command: C, now: float) -> Sequence[Entry[C]]:
        """A command shall be sent."""
        found = self._lanes[lane]
        found.waiting.append(command)
        if self._expected:
            self._expected -= 1
        elif not found.under_way:
            self.look_at = AT_ONCE
            return ()
        return self._to_send(now)

    def withdrawn(self, lane: str, command: C) -> None:
        """A command that has not been sent shall not be; of one that has been sent nothing is known here any more."""
        with contextlib.suppress(ValueError):
            self._lanes[lane].waiting.remove(command)

    def appended(self, entry: Entry[C], now: float) -> Sequence[Entry[C]]:
        """An entry is in its lane."""
        self._lanes[entry.lane].is_appending = False
        return self._to_send(now)

    def refused(self, entry: Entry[C], now: float) -> Sequence[Entry[C]]:
        """An entry is not in its lane, and will not be: its commands are answered."""
        lane = self._lanes[entry.lane]
        lane.is_appending = False
        for command in entry.commands:
            lane.unanswered.pop(command.token, None)
        if entry.left:  # else all of them had gone away before
            lane.under_way -= 1
        return self._to_send(now)

    def answered(self, lane: str, tokens: Iterable[int], now: float) -> Sequence[Entry[C]]:
        """Commands' outcomes are known, or nobody waits for them any more; may be told again, and of any token."""
        found = self._lanes[lane]
        has_ended = False
        for token in tokens:
            entry = found.unanswered.pop(token, None)
            if entry is None:
                continue
            entry.left -= 1
            if not entry.left:
                has_ended = True
                self._end(found, entry, now)
        return self._to_send(now) if has_ended else ()

    def look(self, now: float) -> Sequence[Entry[C]]:
        """The turn of the event loop is over, or it is time; to be called at `look_at`, and at any time."""
        if now >= self._forget_at:
            self._expected, self._forget_at = 0, NEVER
        self.look_at = self._forget_at
        for lane in self._each_lane:
            if now >= lane.overdue_at:
                lane.is_overdue, lane.overdue_at = True, NEVER
            self.look_at = min(self.look_at, lane.overdue_at)
        return self._to_send(now)

    def _to_send(self, now: float) -> Sequence[Entry[C]]:
        """The one decision: what each lane sends now."""
        bounds = self._bounds
        entries: tuple[Entry[C], ...] = ()
        for lane in self._each_lane:
            waiting = len(lane.waiting)
            if not waiting or lane.is_appending:
                continue
            if not lane.is_overdue:
                if lane.under_way >= bounds.entries_under_way:
                    continue
                asking = waiting + len(lane.unanswered) + self._expected / len(self._each_lane)
                if waiting < bounds.worthwhile_commands and waiting < asking * bounds.worthwhile_share:
                    continue
            entries = (*entries, self._send(lane, now))
        return entries

    def _send(self, lane: _Lane[C], now: float) -> Entry[C]:
        commands = self._take(lane.waiting)
        entry = Entry(lane.name, commands, len(commands))
        for command in commands:
            lane.unanswered[command.token] = entry
        lane.under_way += 1
        lane.is_appending = True
        self._moved(lane, now)
        return entry

    def _take(self, waiting: deque[C]) -> list[C]:
        commands: list[C] = []
        size = 0
        while waiting and len(commands) < self._bounds.entry_commands:
            size += len(waiting[0].encoded) + 1
            if commands and size > self._bounds.entry_bytes:
                break
            commands.append(waiting.popleft())
        return commands

    def _end(self, lane: _Lane[C], entry: Entry[C], now: float) -> None:
        lane.under_way -= 1
        self._moved(lane, now)
        if len(entry.commands) > 1:  # a lone client has nobody to wait for
            self._expected += len(entry.commands)
            self._forget_at = now + self._bounds.return_seconds
            self.look_at = min(self.look_at, self._forget_at)

    def _moved(self, lane: _Lane[C], now: float) -> None:
        """What waits may wait for answers again; not for ever, the others may not come."""
        lane.is_overdue = False
        lane.overdue_at = now + self._bounds.overdue_seconds
        self.look_at = min(self.look_at, lane.overdue_at)

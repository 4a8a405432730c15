"""The ledger: what was sent, what was answered, and what each task must therefore look like.

Each actor awaits one answer before its next write, and nobody else writes its tasks. So the outcome of every
write is known before it is sent, whatever is killed on the way: one effect a key, in the order of sending.
"""

import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from core.ids import job_id_for_key
from tests.faults.harness import User

TOLD = frozenset({200, 201, 204, 207, 404, 412})
"""Statuses that are outcomes; 202 is a promise."""


@dataclass(frozen=True, slots=True)
class State:
    """A task as it must look after a write."""

    version: int
    title: str
    description: str
    priority: int
    status: str

    def differs_from(self, task: dict[str, Any]) -> str | None:
        """What is wrong with a task as the service tells it; None where all is right."""
        told = State(*(task[name] for name in ("version", "title", "description", "priority", "status")))
        return None if told == self else f"is {told}, must be {self}"


@dataclass(eq=False, slots=True)
class Task:
    """A task and its states by the number of the write that led there; None: deleted."""

    title: str
    id: int | None = None
    states: list[tuple[int, State | None]] = field(default_factory=list)

    @property
    def state(self) -> State | None:
        return self.states[-1][1]

    def possible(self, settled: int) -> list[State | None]:
        """The states in which a reader may find it, when all writes up to number `settled` are answered."""
        known = max(i for i, (number, _) in enumerate(self.states) if number <= settled or i == 0)
        return [state for _, state in self.states[known:]]


@dataclass(frozen=True, slots=True)
class Expected:
    """What one operation must come to: its status, and the task's state or the version that it conflicts with."""

    status: int
    task: Task
    state: State | None = None
    current_version: int | None = None

    def fault_in(self, status: int, body: dict[str, Any] | None) -> str | None:
        """What is wrong with an answer (or with one result of a batch); learns a new task's id."""
        if status != self.status:
            return f"status {status}, must be {self.status} ({body})"
        if self.state is not None:
            assert body is not None
            if self.task.id is None:
                self.task.id = body["id"]
            if body["id"] != self.task.id:
                return f"is about task {body['id']}, must be {self.task.id}"
            return self.state.differs_from(body)
        if self.current_version is not None and (body or {}).get("current_version") != self.current_version:
            return f"conflicts with another version: {body}, must be {self.current_version}"
        return None


@dataclass(eq=False, slots=True)
class Write:
    """A request with its key, what it must come to, and what was said of it so far."""

    number: int
    user: User
    actor: str
    key: str
    method: str
    path: str
    body: dict[str, Any] | None
    if_match: str | None
    is_async: bool
    expected: list[Expected]
    is_batch: bool = False
    accepted: bool = False
    outcome: tuple[int, Any] | None = None

    @property
    def job_id(self) -> str:
        return job_id_for_key(self.user.id, self.key)

    @property
    def kind(self) -> str:
        if self.is_batch:
            return "task.batch"
        return {"POST": "task.create", "DELETE": "task.delete"}.get(self.method, "task.update")

    def fault_in(self, status: int, body: Any) -> str | None:
        """What is wrong with an outcome, told by an answer or by its job."""
        if not self.is_batch:
            return self.expected[0].fault_in(status, body)
        if status != 207:
            return f"status {status}, must be 207 ({body})"
        results = body["results"]
        if len(results) != len(self.expected):
            return f"{len(results)} results, must be {len(self.expected)}"
        faults = [
            expected.fault_in(result["status"], result.get("task") or result.get("error"))
            for expected, result in zip(self.expected, results, strict=True)
        ]
        return next((fault for fault in faults if fault), None)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request as the client saw it: `answer` is a status, or the name of what broke the connection."""

    user: User
    what: str
    started: float
    ended: float
    answer: int | str
    is_write: bool


@dataclass
class Ledger:
    """All of it, of all actors."""

    writes: list[Write] = field(default_factory=list)
    tasks: dict[str, Task] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def blame(self, fault: str) -> None:
        self.faults.append(fault)

    def note(self, user: User, what: str, started: float, answer: int | str, *, is_write: bool) -> None:
        self.attempts.append(Attempt(user, what, started, time.monotonic(), answer, is_write))

    def conclude(self, write: Write, status: int, body: Any, *, told_by: str) -> None:
        """Compares an outcome with what it must be, and with what was told before."""
        fault = write.fault_in(status, body)
        if fault is not None:
            self.blame(f"{write.actor} {write.kind} {write.key} ({told_by}): {fault}")
        outcome = status, without_request(body)
        if write.outcome is None:
            write.outcome = outcome
        elif write.outcome != outcome:
            self.blame(f"{write.key}: first {write.outcome}, then {outcome} ({told_by})")

    def answers(self, *, is_write: bool | None = None, since: float = 0.0) -> "Counter[int | str]":
        """How often each answer was given."""
        return Counter(
            a.answer for a in self.attempts if a.ended >= since and (is_write is None or a.is_write == is_write)
        )

    def seconds_until_written(self, since: float) -> dict[str, float]:
        """Lane → seconds from `since` to the first outcome (not a promise) of a write that was sent after it."""
        found: dict[str, float] = {}
        for attempt in self.attempts:
            if attempt.started > since and attempt.is_write and attempt.answer in TOLD:
                lane = attempt.user.lane
                found[lane] = min(found.get(lane, float("inf")), round(attempt.ended - since, 2))
        return found

    def longest_silence(self, since: float) -> float:
        """The longest time that any lane told no outcome, from `since` on."""
        told: dict[str, list[float]] = {attempt.user.lane: [since] for attempt in self.attempts}
        for attempt in self.attempts:
            if attempt.ended > since and attempt.is_write and attempt.answer in TOLD:
                told[attempt.user.lane].append(attempt.ended)
        return round(max(after - before for times in told.values() for before, after in pairwise(times)), 2)


def without_request(body: Any) -> Any:
    """A body without what tells one request from another."""
    if isinstance(body, dict) and "type" in body:
        return {name: value for name, value in body.items() if name not in {"request_id", "instance"}}
    return body

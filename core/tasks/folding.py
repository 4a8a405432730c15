"""What several operations on one task come to, one after the other, worked out without the database.

A task is a row of `tasks` as JSON; the values that clients gave stay as they came, for PostgreSQL to read.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import asyncpg
import orjson

from core.commands.effects import Effect
from core.tasks.due_days import disagreement
from core.tasks.fields import OPEN_STATUSES, WRITABLE
from core.tasks.kinds import FreeText, LabelList, Moment
from core.tasks.recurrence import Following
from core.tasks.rules import RecurrenceTooExpensive
from core.tasks.series import next_task, refused_rule, too_expensive

State = dict[str, Any]

ANSWERS_BYTES_MAXIMUM = 16 << 20
"""Of JSON, for all results of one batch together."""

# A task without its texts: names, numbers, times, and a rule.
_BARE_BYTES = 1024
_TEXTS = tuple(field.name for field in WRITABLE if isinstance(field.kind, FreeText | LabelList))
_TIMES = frozenset(field.name for field in WRITABLE if isinstance(field.kind, Moment))
_PATCHED = tuple(field.name for field in WRITABLE if field.name != "recurrence")
_OPEN = frozenset(OPEN_STATUSES)


@dataclass(slots=True)
class AnswerBudget:
    """How many bytes the results of one batch may still take.

    Once something did not go into it, nothing does: what a client has to send again is one piece.
    """

    left: int = ANSWERS_BYTES_MAXIMUM

    @classmethod
    def after(cls, results: Iterable[str]) -> "AnswerBudget":
        """What some results, as JSON, have left."""
        size, refused = 0, orjson.dumps(too_much(0).error).decode()  # no string holds it: its quotes stand alone
        for text in results:
            if refused in text:
                return cls(0)
            size += len(text)
        return cls(max(0, ANSWERS_BYTES_MAXIMUM - size))

    @property
    def is_spent(self) -> bool:
        return self.left == 0

    def take(self, size: int) -> bool:
        """Whether there was room for `size` bytes."""
        is_room = size <= self.left
        self.left = self.left - size if is_room else 0
        return is_room


@dataclass(frozen=True, slots=True)
class Found:
    """A task as it was found.

    Attributes:
        state: the row.
        time_zone: of its user.
        now: when the operations are carried out.
        touched_at: what `updated_at` becomes.
        day_ends: day → its end, of those that operations name.
    """

    state: State
    time_zone: str
    now: datetime
    touched_at: datetime
    day_ends: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """What one operation came to.

    Attributes:
        effect: None: 200, with the task in `state`.
        state: the task after it, or as it was deleted; None where there is nothing to tell.
        event: what channels are told; None: nothing.
        following: the next task, where one that recurs was completed.
    """

    effect: Effect | None
    state: State | None = None
    event: str | None = None
    following: Following | None = None


class Folding:
    """One task in the middle of its operations.

    Attributes:
        state: as it is now; None: there is none, or none any more.
        is_changed: whether it is not as it was found.
        detour: a state that it went through and that its reminders have to see before the last one: in it they were
            moved or cancelled, and the last one alone would not do that.
    """

    def __init__(self, found: Found | None) -> None:
        self._found = found
        self.state: State | None = None if found is None else found.state
        self._sizes = {} if self.state is None else {name: _size(self.state[name]) for name in _TEXTS}
        self._detours: dict[int, State] = {}

    @property
    def is_changed(self) -> bool:
        return self._found is not None and self.state is not self._found.state

    @property
    def detour(self) -> State | None:
        if self.state is None or not self._detours:
            return None
        rank = max(self._detours)
        return self._detours[rank] if rank > self._disturbance(self.state) else None

    def apply(self, change: Mapping[str, Any], budget: AnswerBudget | None) -> Step:
        """Carries out one operation.

        Args:
            change: as `change_tasks` takes it.
            budget: which the task's JSON has to go into.

        Raises:
            asyncpg.DataError: a value that the database would not have taken.
        """
        task_id, state = change["id"], self.state
        if budget is not None and budget.is_spent:
            return Step(too_much(task_id))
        if state is not None and change["op"] == "update" and (refusal := self._refused_rule(change)) is not None:
            return Step(refusal)
        if self._found is None or state is None:
            return Step(untouched(change, None))
        versions = change.get("if_versions")
        if versions is not None and state["version"] not in versions:
            return Step(untouched(change, state["version"]))
        if change["op"] == "delete":
            self.state = None
            return Step(Effect(204, task_id=task_id), state, "task.deleted")
        fields = self._with_due(state, change["fields"])
        if fields is None:
            return Step(disagreement(task_id))
        is_completed = fields.get("status") == "completed" and state["status"] != "completed"
        try:
            following = next_task(self._recurring(state), fields) if is_completed else None
        except RecurrenceTooExpensive:
            return Step(too_expensive(task_id))
        sizes = self._sizes | {name: _size(fields[name]) for name in _TEXTS if name in fields}
        if budget is not None and not budget.take(_BARE_BYTES + sum(sizes.values())):
            return Step(too_much(task_id))
        if not any(_differs(name, state[name], value) for name, value in fields.items()):
            return Step(None, state)
        self.state, self._sizes = self._patched(state, fields, is_completed=is_completed), sizes
        self._detours[self._disturbance(self.state)] = self.state
        if not is_completed:
            return Step(None, self.state, "task.updated")
        return Step(None, self.state, "task.completed", following)

    def _with_due(self, state: State, fields: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The fields, with due date and day as they will be where one is named; None: they do not agree."""
        if not fields.keys() & {"due_date", "due_day"}:
            return fields
        assert self._found is not None
        day, date = fields.get("due_day"), fields.get("due_date", state["due_date"])
        if day is not None:
            is_same = day == state["due_day"] and not _differs("due_date", state["due_date"], date)
            end = state["due_date"] if is_same and date is not None else self._found.day_ends[day]
            if "due_date" in fields and _differs("due_date", end, date):
                return None
            return {**fields, "due_date": end}
        if "due_date" not in fields:
            return {**fields, "due_date": None}
        is_same = not _differs("due_date", state["due_date"], date)
        return {"due_day": state["due_day"] if is_same else None, **fields}

    def _patched(self, state: State, fields: Mapping[str, Any], *, is_completed: bool) -> State:
        """As the statement for single updates does it."""
        assert self._found is not None
        patched = state | {name: fields[name] for name in _PATCHED if name in fields}
        if is_completed:
            patched["recurrence"] = None
        elif "recurrence" in fields:
            patched["recurrence"] = fields["recurrence"]
        if "status" in fields:
            since = state["completed_at"] or self._found.now
            patched["completed_at"] = since if fields["status"] == "completed" else None
        patched["updated_at"] = self._found.touched_at
        patched["version"] += 1
        return patched

    def _refused_rule(self, change: Mapping[str, Any]) -> Effect | None:
        assert self.state is not None
        fields, due_date = change["fields"], self.state["due_date"]
        if not fields.get("recurrence") or fields.keys() & {"due_date", "due_day"} or due_date is None:
            return None
        assert self._found is not None
        return refused_rule(change["id"], fields["recurrence"], _moment(due_date), self._found.time_zone)

    def _recurring(self, state: State) -> dict[str, Any]:
        assert self._found is not None
        return {
            "recurrence": state["recurrence"],
            "recurrence_from": state["recurrence_from"],
            "due_date": None if state["due_date"] is None else _moment(state["due_date"]),
            "due_day": state["due_day"],
            "recurrence_local": None if state["recurrence_local"] is None else _moment(state["recurrence_local"]),
            "time_zone": self._found.time_zone,
            "now": self._found.now,
        }

    def _disturbance(self, state: State) -> int:
        """What a state does to the reminders that the task had at first; the more the higher."""
        assert self._found is not None
        first = self._found.state
        if first["due_date"] is None and first["reminder_rules"] is None:
            return 0
        is_moved = (state["due_date"], state["due_day"]) != (first["due_date"], first["due_day"])
        is_open = state["status"] in _OPEN
        if is_moved and state["due_date"] is None:
            return 4
        if is_moved:
            return 3 if is_open else 2
        return 0 if is_open else 1


def _differs(name: str, value: Any, wanted: Any) -> bool:
    if name in _TIMES and value is not None and wanted is not None:
        return _moment(value) != _moment(wanted)
    return bool(value != wanted)


def untouched(change: Mapping[str, Any], version: int | None) -> Effect:
    """The refusal of a change of a task that stands at another version, or not at all (None)."""
    task_id = change["id"]
    # One that stands at a version though any would do was deleted by another lane while the statement waited for it.
    if version is None or change.get("if_versions") is None:
        return Effect.rejected("not-found", "There is no such task.", task_id=task_id)
    # Of an admin's change the owner is told: the outcome is kept, and may have to be kept from him some day.
    owner = {"user_id": change["user_id"]} if change.get("any_owner") else {}
    return Effect.rejected(
        "version-conflict",
        f"The task is at version {version}: read it again and repeat the change.",
        task_id=task_id,
        **owner,
        current_version=version,
    )


def too_much(task_id: int) -> Effect:
    """The refusal of an operation whose result does not go into the answer of its batch."""
    return Effect.rejected(
        "too-expensive",
        f"The results of this batch would take more than {ANSWERS_BYTES_MAXIMUM >> 20} MiB together: send this "
        "operation, and those behind it, in another one.",
        task_id=task_id,
    )


def _size(value: Any) -> int:
    return len(orjson.dumps(value))


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise asyncpg.DataError(f"no date: {text!r}") from None

"""The promise of set-based writes: any commands through batches and waves come to the same as one by one."""

import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import asyncpg
import hypothesis
import orjson
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from core import metrics
from core.commands.wire import ANONYMOUS, Command
from tests.harness import connection, insert_user
from tests.worker.commands import LANE, apply
from tests.worker.writes.any_commands import TARGETS, USERS, Abstract, sequences, sizes, sound_commands
from worker.runner import Services

BOUNDED = hypothesis.settings(
    deadline=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


class Side:
    """Makes commands of what is abstract, and what they came to comparable again."""

    def __init__(self) -> None:
        self.mark = uuid.uuid4().hex[:10]
        self.users: dict[str, int] = {}
        self.tasks: dict[str, int] = {}

    async def prepare(self, owner: asyncpg.Connection) -> None:
        for name in USERS:
            role = "admin" if name == "admin" else "user"
            self.users[name] = await insert_user(owner, f"{self.mark}-{name}", role=role)
        for target in TARGETS[:5]:
            whose = "alice" if target == "deleted" else target.split()[0]
            self.tasks[target] = await owner.fetchval(
                "INSERT INTO tasks (user_id, title) VALUES ($1, $2) RETURNING id", self.users[whose], target
            )
        await owner.execute("DELETE FROM tasks WHERE id = $1", self.tasks["deleted"])
        await owner.execute("DELETE FROM users WHERE id = $1", self.users["gone"])
        self.tasks["never"] = self.tasks["deleted"] + (1 << 40)

    def job_id(self, place: int) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self.mark} job {place}"))

    def session_id(self, number: int) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self.mark} session {number}"))

    def concrete(self, sequence: Sequence[Abstract]) -> list[Command]:
        made: list[Command] = []
        for place, abstract in enumerate(sequence):
            if abstract.kind == "repeat":
                if made and abstract.repeats is not None:
                    first = made[abstract.repeats % len(made)]
                    print_ = first.fingerprint if abstract.fingerprint == "same" else "another"
                    made.append(replace(first, created_at=abstract.created_at, fingerprint=print_, token=place))
                continue
            user_id = self.users.get(abstract.user, ANONYMOUS)
            made.append(
                Command(
                    self.job_id(place),
                    abstract.kind,
                    user_id,
                    self._payload(abstract),
                    abstract.created_at,
                    fingerprint=abstract.fingerprint,
                    token=place,
                )
            )
        return made

    def _payload(self, abstract: Abstract) -> dict[str, Any]:
        any_owner = {"any_owner": True} if abstract.user == "admin" else {}
        body = abstract.body
        if abstract.kind == "task.batch":
            return {"operations": [self._operation(item) for item in body["operations"]], **any_owner}
        if abstract.kind.startswith("task."):
            operation = self._operation(body)
            del operation["op"]
            return {**operation, **any_owner}
        if abstract.kind == "user.register":
            name = f"{self.mark}-{body['name']}"
            return {"username": name, "email": "x@example.com", "password_hash": "hash"}
        if abstract.kind.startswith("session."):
            return {
                "session_id": self.session_id(body["session"]),
                "generation": body["generation"],
                "expires_at": "2099-01-01T00:00:00+00:00",
                "role": "user",
            }
        return dict(body)

    def _operation(self, item: dict[str, Any]) -> dict[str, Any]:
        operation = dict(item)
        if "target" in operation:
            operation["id"] = self.tasks[operation.pop("target")]
        return operation

    async def state(
        self, owner: asyncpg.Connection, outcomes: Sequence[dict[str, Any]], made: Sequence[Command]
    ) -> Any:
        """All rows of this side and the outcomes, with names in the place of ids and without times."""
        everybody = list(self.users.values())
        registered = await owner.fetch("SELECT * FROM users WHERE username LIKE $1 || '%'", self.mark)
        tasks = await owner.fetch("SELECT * FROM tasks WHERE user_id = ANY ($1::bigint[])", everybody)
        sessions = await owner.fetch("SELECT * FROM sessions WHERE user_id = ANY ($1::bigint[])", everybody)
        jobs = await owner.fetch("SELECT * FROM jobs WHERE id = ANY ($1::uuid[])", [one.id for one in made])
        names = {row["id"]: row["username"].replace(self.mark, "registered") for row in registered}
        names |= {ANONYMOUS: "anonymous", **{user_id: name for name, user_id in self.users.items()}}
        names |= {task_id: name for name, task_id in self.tasks.items()}
        # A created task is named after the place of its command, and its operation's place in that.
        for place, outcome in enumerate(outcomes):
            result = outcome["result"] or {}
            for number, one in enumerate(result.get("results", [{"task": result}])):
                if "title" in one.get("task", {}):
                    names.setdefault(one["task"]["id"], f"made by {place}.{number}")

        def known(value: Any, key: str = "") -> Any:
            if isinstance(value, dict):
                return {k: known(v, k) for k, v in value.items()}
            if isinstance(value, list):
                return [known(item) for item in value]
            if key in {"id", "user_id", "task_id"} and isinstance(value, int):
                return names.get(value, "UNKNOWN")
            if key in {"created_at", "updated_at", "started_at", "finished_at", "issued_at", "refreshed_at"}:
                return "a time" if value else value
            if key in {"completed_at", "revoked_at"}:
                return value is not None
            if isinstance(value, str):
                return value.replace(self.mark, "MARK")
            return value

        places = {self.job_id(place): place for place in range(40)}
        sessions_by_id = {self.session_id(number): number for number in (1, 2)}

        def row(record: asyncpg.Record) -> str:
            values = dict(record)
            identifier = str(values["id"])
            if identifier in places:
                values["id"] = f"job {places[identifier]}"
            elif identifier in sessions_by_id:
                values["id"] = f"session {sessions_by_id[identifier]}"
            for name in ("result", "error"):
                if values.get(name):
                    values[name] = orjson.loads(values[name])
            text = orjson.dumps(known(values), option=orjson.OPT_SORT_KEYS, default=str).decode()
            for identifier, number in sessions_by_id.items():
                text = text.replace(identifier, f"session {number}")
            return text

        def heard(outcome: dict[str, Any]) -> str:
            values = {**outcome, "id": f"job {places[outcome['id']]}"}
            text = orjson.dumps(known(values), option=orjson.OPT_SORT_KEYS).decode()
            for identifier, number in sessions_by_id.items():
                text = text.replace(identifier, f"session {number}")
            return text

        return {
            "users": sorted(map(row, registered)),
            "tasks": sorted(map(row, tasks)),
            "sessions": sorted(map(row, sessions)),
            "jobs": sorted(map(row, jobs)),
            "outcomes": [heard(outcome) for outcome in outcomes],
        }


def in_batches(made: Sequence[Command], cuts: Sequence[int]) -> list[list[Command]]:
    """Cut into batches of the sizes given, over and over."""
    batches: list[list[Command]] = []
    position = number = 0
    while position < len(made):
        size = cuts[number % len(cuts)]
        batches.append(list(made[position : position + size]))
        position += size
        number += 1
    return batches


async def carried_out(services: Services, batches: Sequence[Sequence[Command]]) -> list[dict[str, Any]]:
    return [outcome for one in batches for outcome in await apply(services, *one, lane=LANE)]


@BOUNDED
@given(sequence=sequences, cuts=sizes)
async def test_commands_in_batches_come_to_the_same_as_one_by_one(
    services: Services, sequence: list[Abstract], cuts: list[int]
) -> None:
    results = []
    async with connection(services.settings.database_url) as owner:
        for sizes_of_batches in ([1], cuts):
            side = Side()
            await side.prepare(owner)
            made = side.concrete(sequence)
            outcomes = await carried_out(services, in_batches(made, sizes_of_batches))
            results.append(await side.state(owner, outcomes, made))
    one_by_one, together = results
    for what in one_by_one:
        assert together[what] == one_by_one[what], what
    assert "UNKNOWN" not in orjson.dumps(together).decode(), "every id was told by an outcome or known before"


@BOUNDED
@given(sequence=st.lists(sound_commands, min_size=2, max_size=14))
async def test_a_batch_in_sets_comes_to_the_same_as_one_by_one(services: Services, sequence: list[Abstract]) -> None:
    """All in one batch that never falls back to one command at a time."""
    results = []
    before = fallbacks()
    async with connection(services.settings.database_url) as owner:
        for size in (1, len(sequence)):
            side = Side()
            await side.prepare(owner)
            made = side.concrete(sequence)
            outcomes = await carried_out(services, in_batches(made, [size]))
            results.append(await side.state(owner, outcomes, made))
    one_by_one, together = results
    for what in one_by_one:
        assert together[what] == one_by_one[what], what
    assert fallbacks() == before


def fallbacks() -> float:
    return sum(
        sample.value
        for sample in next(iter(metrics.BATCH_FALLBACKS.collect())).samples
        if sample.name.endswith("_total")
    )


@BOUNDED
@given(sequence=sequences, cuts=sizes, again=sizes)
async def test_commands_delivered_again_change_nothing_and_give_the_same_outcomes(
    services: Services, sequence: list[Abstract], cuts: list[int], again: list[int]
) -> None:
    async with connection(services.settings.database_url) as owner:
        side = Side()
        await side.prepare(owner)
        made = side.concrete(sequence)
        outcomes = await carried_out(services, in_batches(made, cuts))
        before = await side.state(owner, outcomes, made)
        repeated = await carried_out(services, in_batches(made, again))
        after = await side.state(owner, repeated, made)
    assert after == before


@BOUNDED
@given(sequence=sequences, cuts=sizes)
async def test_every_command_has_one_job_row_that_agrees_with_its_first_outcome(
    services: Services, sequence: list[Abstract], cuts: list[int]
) -> None:
    async with connection(services.settings.database_url) as owner:
        side = Side()
        await side.prepare(owner)
        made = side.concrete(sequence)
        outcomes = await carried_out(services, in_batches(made, cuts))
        rows = {
            str(row["id"]): row
            for row in await owner.fetch("SELECT * FROM jobs WHERE id = ANY ($1::uuid[])", [one.id for one in made])
        }
    assert set(rows) == {one.id for one in made}
    seen: set[str] = set()
    for one, outcome in zip(made, outcomes, strict=True):
        if one.id in seen:
            continue
        seen.add(one.id)
        row = rows[one.id]
        assert (row["status_code"], row["kind"], row["user_id"]) == (outcome["status_code"], one.kind, one.user_id)
        assert orjson.loads(row["result"] or "null") == outcome["result"]
        assert orjson.loads(row["error"] or "null") == outcome["error"]
        expected = (
            "succeeded" if outcome["error"] is None else "failed" if outcome["status_code"] >= 500 else "rejected"
        )
        assert row["state"] == expected
        assert row["finished_at"] >= row["started_at"]

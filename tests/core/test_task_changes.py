"""Many changes of the same tasks at once come to the same as one after the other, and cost hardly more than one."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import hypothesis
import orjson
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import strategies as st

from core.commands.effects import Effect
from core.commands.kinds import DELETE_TASK, UPDATE_TASK, Operation
from core.database.pools import Connection, Pool
from core.tasks.fields import DESCRIPTION_MAXIMUM, LABEL_MAXIMUM, LABELS_MAXIMUM, TITLE_MAXIMUM
from core.tasks.folding import AnswerBudget, too_much
from core.tasks.schemas import BATCH_MAXIMUM
from core.tasks.writes.changes import LARGEST_TASK_BYTES, change_tasks
from tests.core.conftest import Cast
from tests.harness import insert_user
from worker.writes.operations import results_text

EVENTS = ["task.created", "task.updated", "task.completed", "task.deleted"]
NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
PAST, SOON, LATER = ((NOON + timedelta(days=days)).isoformat(timespec="seconds") for days in (-400, 3, 40))
RULES = ("FREQ=DAILY", "FREQ=WEEKLY;COUNT=3", "FREQ=DAILY;UNTIL=20200101", "FREQ=MONTHLY;BYMONTHDAY=31")
TIMES = ("created_at", "updated_at", "due_date")
TASKS = ("plain", "recurring", "with reminders", "sent", "never")

fields = st.fixed_dictionaries(
    {},
    optional={
        "title": st.sampled_from(("one", "dr\u00e9i \U0001f600", '"\\\n')),
        "description": st.sampled_from((None, "words", "\x01")),
        "priority": st.sampled_from((1, 10)),
        "status": st.sampled_from(("pending", "in_progress", "completed", "completed", "cancelled")),
        "due_date": st.sampled_from((None, PAST, SOON, LATER)),
        "labels": st.sampled_from(([], ["a", "b"])),
        "recurrence": st.sampled_from((None, *RULES)),
        "recurrence_from": st.sampled_from(("due_date", "after_completion")),
    },
)
few_fields = st.one_of(
    fields,
    st.just({}),
    st.sampled_from(({"status": "completed"}, {"status": "pending"}, {"status": "pending", "recurrence": RULES[0]})),
    st.sampled_from(tuple({"due_date": due} for due in (None, PAST, SOON, LATER))),
)
if_versions = st.sampled_from((None, None, None, [1], [2], [1, 3], [2, 4, 5], []))
changes_of_tasks = st.lists(
    st.one_of(
        *[st.builds(lambda t, f, v: ("update", t, f, v), st.sampled_from(TASKS), few_fields, if_versions)] * 6,
        st.builds(lambda t, v: ("delete", t, {}, v), st.sampled_from(TASKS), if_versions),
    ),
    min_size=2,
    max_size=20,
)


class Side:
    """A user with tasks of each sort, and a channel that wants to hear of all that happens."""

    async def prepare(self, owner: asyncpg.Connection) -> None:
        self.user = await insert_user(owner, uuid.uuid4().hex)
        await owner.execute(
            "UPDATE users SET reminder_offsets = '{P1D,PT1H}', time_zone = 'Europe/Luxembourg' WHERE id = $1", self.user
        )
        self.channel = await owner.fetchval(
            "INSERT INTO channels (user_id, kind, url_encrypted, url_masked, events) VALUES ($1, 'json', '', '', $2)"
            " RETURNING id",
            self.user,
            EVENTS,
        )
        self.tasks = {"never": 1}
        for name, values in {
            "plain": {"updated_at": LATER},
            "recurring": {"due_date": SOON, "recurrence": RULES[1], "labels": ["home"]},
            "with reminders": {"due_date": SOON, "reminder_rules": ["PT2H", LATER], "description": "words"},
            "sent": {"due_date": PAST, "recurrence": RULES[0]},
        }.items():
            row = {"user_id": self.user, "title": name, "created_at": PAST, "updated_at": PAST, **values}
            row |= {column: datetime.fromisoformat(row[column]) for column in row if column in TIMES}
            places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
            self.tasks[name] = await owner.fetchval(
                f"INSERT INTO tasks ({', '.join(row)}) VALUES ({places}) RETURNING id", *row.values()
            )
        # One that was told already, but has not arrived.
        event = await owner.fetchval(
            "INSERT INTO events (user_id, type, task_id, data) VALUES ($1, 'task.reminder', $2, '{}') RETURNING id",
            self.user,
            self.tasks["sent"],
        )
        await owner.execute(
            "INSERT INTO deliveries (event_id, channel_id, user_id) VALUES ($1, $2, $3)", event, self.channel, self.user
        )
        await owner.execute(
            "UPDATE reminders SET state = 'sent', sent_at = due_at, event_id = $2 WHERE task_id = $1",
            self.tasks["sent"],
            event,
        )
        await owner.execute("DELETE FROM events WHERE user_id = $1 AND type <> 'task.reminder'", self.user)

    def concrete(self, changes: Sequence[Any]) -> list[dict[str, Any]]:
        return [
            {"op": op, "user_id": self.user, "id": self.tasks[task], "fields": fields, "if_versions": versions}
            for op, task, fields, versions in changes
        ]

    async def state(self, connection: Connection, effects: Sequence[Effect]) -> dict[str, Any]:
        """All that it came to, with names for ids."""
        tasks = await connection.fetch("SELECT * FROM tasks WHERE user_id = $1 ORDER BY id", self.user)
        named = {task_id: name for name, task_id in self.tasks.items()}
        # Not by their ids: those of one millisecond rise only until their number begins anew.
        made = [{**task, "user_id": None} for task in tasks if task["id"] not in named]
        for number, task in enumerate(sorted(made, key=lambda task: str({**task, "id": None}))):
            named[task["id"]] = f"next {number}"

        def known(text: str | None) -> str | None:
            if text is None:
                return None
            text = text.replace(f'"user_id":{self.user},', '"user_id":"me",')
            for task_id, name in named.items():
                text = text.replace(f'"id":{task_id},', f'"id":"{name}",')
            return text

        events = await connection.fetch("SELECT * FROM events WHERE user_id = $1 ORDER BY id", self.user)
        told: dict[str, list[Any]] = {}
        for event in events:
            told.setdefault(named[event["task_id"]], []).append((event["type"], known(event["data"])))
        reminders = await connection.fetch("SELECT * FROM reminders WHERE user_id = $1", self.user)
        deliveries = await connection.fetch(
            "SELECT e.type, d.state FROM deliveries AS d JOIN events AS e ON e.id = d.event_id WHERE d.user_id = $1",
            self.user,
        )
        return {
            "effects": [
                (one.status_code, known(one.result), one.error, named[one.task_id or 0], one.version) for one in effects
            ],
            "tasks": sorted(
                ({**task, "id": named[task["id"]], "user_id": None} for task in tasks), key=lambda task: str(task["id"])
            ),
            "events": told,
            "reminders": sorted(
                str((named[r["task_id"]], r["rule"], r["is_own"], r["due_at"], r["state"], r["sent_at"]))
                for r in reminders
                if r["state"] != "cancelled"  # which is there or is not: nobody acts on it, and a reopening plans anew
            ),
            "deliveries": sorted(map(tuple, deliveries)),
        }


@hypothesis.settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(changes=changes_of_tasks)
@example([("update", "sent", {"status": status}, None) for status in ("cancelled", "pending")])
@example([("update", "sent", {"due_date": due}, None) for due in (SOON, PAST)])
@example([("update", "sent", {"due_date": due}, None) for due in (LATER, None, PAST)])
@example(
    [("update", "sent", {"due_date": SOON}, None)]
    + [("update", "sent", {"status": status, "due_date": PAST}, None) for status in ("cancelled", "pending")]
)
@example([("update", "with reminders", {"due_date": due}, None) for due in (PAST, SOON)])
@example(
    [("update", "sent", fields, None) for fields in ({"status": "completed"}, {"due_date": None}, {"due_date": SOON})]
)
async def test_changes_of_the_same_tasks_together_come_to_the_same_as_one_after_the_other(
    owner: asyncpg.Connection, workers: Pool, changes: list[Any]
) -> None:
    one_by_one, together = Side(), Side()
    await one_by_one.prepare(owner)
    await together.prepare(owner)
    async with workers.acquire() as connection, connection.transaction():  # in one, in which it is one time
        effects = [await _change(connection, [change]) for change in one_by_one.concrete(changes)]
        expected = await one_by_one.state(connection, [effect for [effect] in effects])
        found = await together.state(connection, await _change(connection, together.concrete(changes)))
    for what in expected:
        assert found[what] == expected[what], what


UNSOUND = ("x" * 256, "", None, "\x00")


@pytest.mark.parametrize("title", UNSOUND)
async def test_a_state_that_the_table_would_refuse_fails_though_another_follows_it(
    owner: asyncpg.Connection, workers: Pool, cast: Cast, title: str | None
) -> None:
    [task] = await _tasks(owner, cast.alice)
    changes = [_update(cast.alice, task, title=title), _update(cast.alice, task, title="sound")]
    async with workers.acquire() as connection:
        with pytest.raises(asyncpg.PostgresError) as raised:
            async with connection.transaction():
                await _change(connection, changes)
    assert (raised.value.sqlstate or "")[:2] in {"22", "23"}
    assert await owner.fetchval("SELECT version FROM tasks WHERE id = $1", task) == 1


@pytest.mark.parametrize("values", [{"due_date": "no date"}, {"priority": 70_000}, {"status": "nonsense"}])
async def test_so_does_a_value_that_it_cannot_read(
    owner: asyncpg.Connection, workers: Pool, cast: Cast, values: dict[str, Any]
) -> None:
    [task] = await _tasks(owner, cast.alice, recurrence="FREQ=DAILY")
    changes = [_update(cast.alice, task, **values), _update(cast.alice, task, status="completed")]
    async with workers.acquire() as connection, connection.transaction():
        with pytest.raises(asyncpg.PostgresError) as raised:
            await _change(connection, changes)
    assert (raised.value.sqlstate or "")[:2] in {"22", "23"}


async def _statements(workers: Pool, changes: list[dict[str, Any]]) -> list[str]:
    """What is sent to the database for them, but for asyncpg's own questions."""
    sent: list[str] = []
    async with workers.acquire() as connection, connection.transaction():
        with connection.query_logger(lambda query: sent.append(query.query)):
            await _change(connection, changes)
    return [query for query in sent if "pg_catalog" not in query and "'jit'" not in query]


@pytest.mark.parametrize("shape", ["titles", "due dates", "complete and reopen", "wrong versions", "deleted"])
async def test_a_thousand_changes_of_one_task_are_as_few_statements_as_two(
    owner: asyncpg.Connection, workers: Pool, cast: Cast, shape: str
) -> None:
    def changes(task: int, number: int) -> list[dict[str, Any]]:
        if shape == "titles":
            return [_update(cast.alice, task, title=f"{n}") for n in range(number)]
        if shape == "due dates":
            return [_update(cast.alice, task, due_date=(SOON, LATER)[n % 2]) for n in range(number)]
        if shape == "complete and reopen":
            back = {"status": "pending", "recurrence": RULES[0]}
            return [_update(cast.alice, task, **({"status": "completed"}, back)[n % 2]) for n in range(number)]
        if shape == "wrong versions":
            return [{**_update(cast.alice, task, title="x"), "if_versions": [99]} for _ in range(number)]
        return [{"op": "delete", "user_id": cast.alice, "id": task}] * number

    few, many = await _tasks(owner, cast.alice, 2, recurrence=RULES[0])
    expected = await _statements(workers, changes(few, 2))
    assert len(await _statements(workers, changes(many, BATCH_MAXIMUM))) <= len(expected) + 1


async def test_what_names_no_task_twice_takes_one_statement(
    owner: asyncpg.Connection, workers: Pool, cast: Cast
) -> None:
    tasks = await _tasks(owner, cast.alice, 20)
    sent = await _statements(workers, [_update(cast.alice, task, title="x") for task in tasks])
    assert len(sent) == 1


LARGE = "\x01" * DESCRIPTION_MAXIMUM


@pytest.mark.parametrize("number", [1, 200])
async def test_results_that_do_not_go_into_a_budget_are_refused_with_all_behind_them(
    owner: asyncpg.Connection, workers: Pool, cast: Cast, number: int
) -> None:
    tasks = await _tasks(owner, cast.alice, number, description=LARGE)
    changes = [_update(cast.alice, tasks[n % number], title=f"{n}") for n in range(200)]
    changes.append({"op": "delete", "user_id": cast.alice, "id": tasks[0]})
    budget = AnswerBudget()
    async with workers.acquire() as connection, connection.transaction():
        first = await _change(connection, changes[:100], budget)
        last = await _change(connection, changes[100:], budget)
    effects = first + last
    statuses = [effect.status_code for effect in effects]
    done = statuses.count(200)
    assert statuses == [200] * done + [422] * (201 - done)
    assert 130 <= done <= 140
    assert sum(len(effect.result or "") for effect in effects) <= 16 << 20
    refusal = effects[-1].error
    assert refusal is not None
    assert refusal["type"] == "/problems/too-expensive"
    assert await owner.fetchval("SELECT count(*) FROM tasks WHERE version > 1") == min(done, number)


async def test_whoever_carries_a_batch_on_knows_what_its_results_have_left() -> None:
    assert AnswerBudget.after(["x" * 1000, "y" * 24]).left == (16 << 20) - 1024
    assert AnswerBudget.after(["x" * (17 << 20)]).is_spent
    refused = results_text([Effect(200, '{"title":"x"}'), too_much(1), Effect(204)])
    assert AnswerBudget.after([refused]).is_spent
    told = orjson.dumps({"title": orjson.dumps(too_much(1).error).decode()}).decode()
    assert not AnswerBudget.after(
        [results_text([Effect(200, told), Effect.rejected("too-expensive", "Too long.")])]
    ).is_spent


async def test_no_task_is_larger_than_what_is_reckoned_with(
    owner: asyncpg.Connection, workers: Pool, cast: Cast
) -> None:
    [task] = await _tasks(owner, cast.alice)
    largest = {
        "title": "\x01" * TITLE_MAXIMUM,
        "description": LARGE,
        "labels": [("\x01" * LABEL_MAXIMUM)] * LABELS_MAXIMUM,
        "recurrence": "FREQ=DAILY;BYMONTH=" + "1," * 240 + "1",
    }
    async with workers.acquire() as connection, connection.transaction():
        [alone] = await _change(connection, [_update(cast.alice, task, **largest)])
        budget = AnswerBudget(LARGEST_TASK_BYTES)
        _, again = await _change(connection, [_update(cast.alice, task, priority=n) for n in (1, 2)], budget)
    assert len(alone.result or "") <= LARGEST_TASK_BYTES
    assert again.status_code == 422
    assert budget.is_spent


async def test_a_failed_attempt_takes_nothing_from_the_budget(
    owner: asyncpg.Connection, workers: Pool, cast: Cast
) -> None:
    [task] = await _tasks(owner, cast.alice)
    budget = AnswerBudget()
    changes = [_update(cast.alice, task, title="x"), _update(cast.alice, task, title=None)]
    async with workers.acquire() as connection:
        with pytest.raises(asyncpg.PostgresError):
            async with connection.transaction():
                await _change(connection, changes, budget)
    assert budget == AnswerBudget()


async def _tasks(owner: asyncpg.Connection, user_id: int, number: int = 1, **values: Any) -> list[int]:
    row = {"due_date": datetime.fromisoformat(SOON), **values}
    places = ", ".join(f"${place}" for place in range(3, len(row) + 3))
    rows = await owner.fetch(
        f"INSERT INTO tasks (user_id, title, {', '.join(row)})"
        f" SELECT $1, 'a task', {places} FROM generate_series(1, $2) RETURNING id",
        user_id,
        number,
        *row.values(),
    )
    return [row["id"] for row in rows]


async def _change(
    connection: Connection, changes: Sequence[dict[str, Any]], budget: AnswerBudget | None = None
) -> list[Effect]:
    operations: list[Operation[Any]] = [
        Operation(UPDATE_TASK if change["op"] == "update" else DELETE_TASK, change["user_id"], "", change)
        for change in changes
    ]
    return await change_tasks(connection, operations, budget)


def _update(user_id: int, task_id: int, **values: Any) -> dict[str, Any]:
    return {"op": "update", "user_id": user_id, "id": task_id, "fields": values}

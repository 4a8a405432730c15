"""What becomes of a file's rows: tasks with every field, or errors that are told by row."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import asyncpg
import orjson
import pytest

from core import metrics
from core.imports.writes import rowreports
from tests.worker.imports.harness import counts, errors, imported, lines, numbered, titles
from worker.runner import Services


async def test_rows_become_tasks_in_the_order_of_the_file(
    services: Services, owner: asyncpg.Connection, alice: int, small_chunks: None
) -> None:
    done = await imported(services, owner, alice, numbered(10))
    assert done["state"] == "succeeded"
    assert counts(done) == (10, 10, 0, 0, 0)
    assert await titles(owner, alice) == [f"task {number}" for number in range(10)]


async def test_every_field_arrives(services: Services, owner: asyncpg.Connection, alice: int) -> None:
    row = {
        "title": "  Renew  ",
        "description": "two\nlines",
        "priority": 2,
        "status": "completed",
        "due_date": "2026-01-31T17:00:00+01:00",
        "labels": ["a b", 'quo"te', "back\\slash", "{}"],
        "created_at": "2020-02-03T04:05:06Z",
        "completed_at": "2021-02-03T04:05:06.789Z",
    }
    await imported(services, owner, alice, lines(row))
    task = await owner.fetchrow("SELECT * FROM tasks WHERE user_id = $1", alice)
    assert task is not None
    assert (task["title"], task["description"], task["priority"]) == ("Renew", "two\nlines", 2)
    assert (task["status"], task["labels"]) == ("completed", row["labels"])
    assert task["due_date"] == datetime(2026, 1, 31, 16, tzinfo=UTC)
    assert task["created_at"] == datetime(2020, 2, 3, 4, 5, 6, tzinfo=UTC)
    assert task["completed_at"].replace(microsecond=0) == datetime(2021, 2, 3, 4, 5, 6, tzinfo=UTC)
    assert task["version"] == 1


async def test_what_a_row_does_not_say_has_the_defaults(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    before = datetime.now(UTC)
    await imported(services, owner, alice, lines({"title": "bare"}, {"title": "done", "status": "completed"}))
    bare, done = await owner.fetch("SELECT * FROM tasks WHERE user_id = $1 ORDER BY id", alice)
    assert (bare["priority"], bare["status"], bare["description"], bare["labels"]) == (5, "pending", None, [])
    assert bare["completed_at"] is None
    assert before <= bare["created_at"] <= datetime.now(UTC)
    assert before <= done["completed_at"] <= datetime.now(UTC)


async def test_recurrence_arrives_and_a_rule_that_no_task_can_follow_is_an_error_of_its_row(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    due = "2099-03-02T09:00:00Z"
    content = lines(
        {"title": "a", "due_date": due, "recurrence": "freq=weekly", "recurrence_from": "after_completion"},
        {"title": "b", "due_date": due, "recurrence": "FREQ=MINUTELY"},
        {"title": "c", "due_date": due, "recurrence": "FREQ=DAILY;UNTIL=20200101"},
        {"title": "d", "recurrence_from": "yesterday"},
        {"title": "a", "due_date": due},
    )
    done = await imported(services, owner, alice, content)
    assert counts(done) == (5, 2, 0, 0, 3)
    rows = await owner.fetch("SELECT recurrence, recurrence_from FROM tasks WHERE user_id = $1 ORDER BY id", alice)
    assert [tuple(row) for row in rows] == [("FREQ=WEEKLY", "after_completion"), (None, "due_date")]
    told = await errors(owner, str(done["id"]))
    assert [(row, column) for row, column, _ in told] == [(2, "recurrence"), (3, "recurrence"), (4, "recurrence_from")]
    assert [message for _, _, message in told[:2]] == [
        "FREQ must be one of HOURLY, DAILY, WEEKLY, MONTHLY, YEARLY.",
        "The rule has no next date.",
    ]
    assert (await imported(services, owner, alice, content))["rows_skipped"] == 2


async def test_update_sets_and_clears_the_recurrence_if_the_row_says_so(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    for said, expected in (
        ({"recurrence": "FREQ=DAILY"}, "FREQ=DAILY"),
        ({"priority": 2}, "FREQ=DAILY"),
        ({"recurrence": "FREQ=WEEKLY"}, "FREQ=WEEKLY"),
        ({"recurrence": None}, None),
    ):
        await imported(services, owner, alice, lines({"title": "a", "external_id": "1", **said}), on_conflict="update")
        assert await owner.fetchval("SELECT recurrence FROM tasks WHERE user_id = $1", alice) == expected


async def test_a_row_that_is_wrong_is_told_and_the_others_go_in(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    content = lines({"title": "good"}, {"title": ""}, {"title": "x", "priority": 11, "due_date": "soon"}) + b"{\n"
    done = await imported(services, owner, alice, content + lines({"title": "last"}))
    assert done["state"] == "succeeded"
    assert counts(done) == (5, 2, 0, 0, 3)
    found = await errors(owner, str(done["id"]))
    assert [(row, column) for row, column, _ in found] == [(2, "title"), (3, "priority"), (3, "due_date"), (4, None)]
    assert await titles(owner, alice) == ["good", "last"]


async def test_an_error_is_told_with_the_row_as_it_stands_in_the_file(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    done = await imported(services, owner, alice, lines({"title": "x", "priority": 11, "status": "odd"}))
    rows = await owner.fetch(
        'SELECT "values"::text AS v FROM import_errors WHERE import_id = $1 ORDER BY number', done["id"]
    )
    assert orjson.loads(rows[0]["v"]) == {"title": "x", "priority": 11, "status": "odd"}
    assert rows[1]["v"] is None, "kept once a row"


async def test_kept_errors_and_their_values_are_bounded_and_the_count_goes_on(
    services: Services, owner: asyncpg.Connection, alice: int, small_chunks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rowreports, "KEPT_ERRORS_MAXIMUM", 4)
    monkeypatch.setattr(rowreports, "KEPT_ROWS_TOTAL", 40)
    done = await imported(services, owner, alice, lines(*({"title": "", "status": "s"} for _ in range(7))))
    assert done["rows_failed"] == 7
    kept = await owner.fetch(
        'SELECT row, "values" FROM import_errors WHERE import_id = $1 ORDER BY row, number', done["id"]
    )
    assert [row["row"] for row in kept] == [1, 1, 2, 2]
    assert [row["values"] is not None for row in kept] == [True, False, False, False]


async def test_what_the_database_refuses_fails_alone(services: Services, owner: asyncpg.Connection, alice: int) -> None:
    await owner.execute("ALTER TABLE tasks ADD CONSTRAINT odd CHECK (title <> 'task 5') NOT VALID")
    try:
        done = await imported(services, owner, alice, numbered(9))
    finally:
        await owner.execute("ALTER TABLE tasks DROP CONSTRAINT odd")
    assert counts(done) == (9, 8, 0, 0, 1)
    assert await errors(owner, str(done["id"])) == [(6, None, "The database refused these values.")]
    assert "task 5" not in await titles(owner, alice)


async def test_the_pages_of_the_user_are_forgotten(
    services: Services, owner: asyncpg.Connection, alice: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgotten: list[int] = []

    class Invalidator:
        async def forget_users(self, users: Any) -> None:
            forgotten.extend(users)

    with_ear = replace(services, invalidator=Invalidator())  # type: ignore[arg-type]
    await imported(with_ear, owner, alice, numbered(1))
    assert forgotten
    assert set(forgotten) == {alice}


# -- looking after


async def test_rows_are_counted_by_what_became_of_them(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    def value(outcome: str) -> float:
        return metrics.IMPORT_ROWS.labels("tenfold-ndjson", outcome)._value.get()

    before = {outcome: value(outcome) for outcome in ("created", "skipped", "failed")}
    await imported(services, owner, alice, lines({"title": "a", "external_id": "1"}))
    await imported(services, owner, alice, lines({"title": "a", "external_id": "1"}, {"title": ""}))
    assert {outcome: value(outcome) - before[outcome] for outcome in before} == {
        "created": 1,
        "skipped": 1,
        "failed": 1,
    }

"""Imports in the worker: what becomes of rows, conflicts, errors and ends; what dies is carried on."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import asyncpg
import orjson
import pytest

from core import metrics
from core.formats.registry import FORMATS
from core.formats.rows import BadRow, Certainty, FileReport, Format, Head, ImportRefused, ReadOptions, Row, Rows
from core.imports import reading
from core.imports.claims import ClaimedImport
from core.imports.waiting import unfinished_imports
from core.imports.writes import chunks, rowerrors
from core.imports.writes.work import claim_import, release_import
from core.jobs.queues import BULK_QUEUE
from core.leases import LeaseLost
from tests.harness import eventually
from tests.worker.commands import apply, command, new_user
from tests.worker.imports import begin, counts, errors, imported, lines, ordered, state_of, titles, upload
from worker import imports, maintenance
from worker.imports import run_imports
from worker.runner import Services


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three rows."""
    monkeypatch.setattr(reading, "CHUNK_ROWS", 3)


def numbered(count: int, **more: Any) -> bytes:
    return lines(*({"title": f"task {number}", **more} for number in range(count)))


# -- rows


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
    monkeypatch.setattr(rowerrors, "KEPT_ERRORS_MAXIMUM", 4)
    monkeypatch.setattr(rowerrors, "KEPT_VALUES_TOTAL", 40)
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


# -- the same again


async def test_the_same_file_again_makes_nothing_new(
    services: Services, owner: asyncpg.Connection, alice: int, small_chunks: None
) -> None:
    content = lines(
        {"title": "with id", "external_id": "7"},
        *({"title": "thrice"} for _ in range(3)),
        {"title": "other"},
        *({"title": "thrice"} for _ in range(4)),
    )
    first = await imported(services, owner, alice, content)
    second = await imported(services, owner, alice, content)
    assert counts(first) == (9, 9, 0, 0, 0)
    assert counts(second) == (9, 0, 0, 9, 0)
    assert len(await titles(owner, alice)) == 9


async def test_one_more_of_equal_rows_without_an_id_is_one_more_task(
    services: Services, owner: asyncpg.Connection, alice: int, small_chunks: None
) -> None:
    await imported(services, owner, alice, lines(*({"title": "same"} for _ in range(7))))
    again = await imported(services, owner, alice, lines(*({"title": "same"} for _ in range(9))))
    assert counts(again) == (9, 2, 0, 7, 0)
    assert len(await titles(owner, alice)) == 9


async def test_a_task_that_was_deleted_comes_again(services: Services, owner: asyncpg.Connection, alice: int) -> None:
    content = lines({"title": "a", "external_id": "1"}, {"title": "b"}, {"title": "c"})
    await imported(services, owner, alice, content)
    await owner.execute("DELETE FROM tasks WHERE user_id = $1 AND title IN ('a', 'b')", alice)
    assert counts(await imported(services, owner, alice, content)) == (3, 2, 0, 1, 0)


async def test_an_external_id_belongs_to_its_user_and_its_program(
    services: Services, owner: asyncpg.Connection, alice: int, bob: int, odd_format: list[Any]
) -> None:
    content = lines({"title": "a", "external_id": "1"})
    odd_format[:] = [Row(1, {"title": "a", "external_id": "1"}, {})]
    for user in (alice, bob):
        assert (await imported(services, owner, user, content))["rows_created"] == 1
        assert (await imported(services, owner, user, b"x", format="odd"))["rows_created"] == 1


async def test_a_repeated_external_id_in_one_file_is_one_task(
    services: Services, owner: asyncpg.Connection, alice: int, small_chunks: None
) -> None:
    content = lines(*({"title": f"t{n}", "external_id": str(n % 2)} for n in range(8)))
    done = await imported(services, owner, alice, content)
    assert counts(done) == (8, 2, 0, 0, 6)
    assert await titles(owner, alice) == ["t0", "t1"]
    told = await owner.fetch('SELECT row, "column", message FROM import_errors WHERE import_id = $1', done["id"])
    assert [row["row"] for row in told] == [3, 4, 5, 6, 7, 8]
    assert {row["column"] for row in told} == {"external_id"}
    assert all("external id, too" in row["message"] for row in told)


async def test_update_changes_what_the_row_says_and_nothing_else(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    await imported(
        services,
        owner,
        alice,
        lines(
            {"title": "a", "external_id": "1", "priority": 3, "description": "d", "labels": ["x"]},
            {"title": "b", "external_id": "2"},
        ),
    )
    content = lines(
        {"title": "a", "external_id": "1", "status": "completed", "completed_at": "2025-01-01T00:00:00Z"},
        {"title": "b", "external_id": "2"},
        {"title": "c", "external_id": "3"},
    )
    done = await imported(services, owner, alice, content, on_conflict="update")
    assert counts(done) == (3, 1, 1, 1, 0)
    a, b, _ = await owner.fetch("SELECT * FROM tasks WHERE user_id = $1 ORDER BY id", alice)
    assert (a["priority"], a["description"], a["labels"], a["status"], a["version"]) == (3, "d", ["x"], "completed", 2)
    assert a["completed_at"] == datetime(2025, 1, 1, tzinfo=UTC)
    assert b["version"] == 1
    back = await imported(
        services, owner, alice, lines({"title": "a", "external_id": "1", "status": "pending"}), on_conflict="update"
    )
    assert back["rows_updated"] == 1
    assert await owner.fetchval("SELECT completed_at FROM tasks WHERE id = $1", a["id"]) is None


async def test_update_merges_rows_of_one_file_that_are_about_one_task(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    content = lines(
        {"title": "a", "external_id": "1", "priority": 3},
        {"title": "a", "external_id": "1", "description": "later"},
        {"title": "a", "external_id": "1"},
    )
    done = await imported(services, owner, alice, content, on_conflict="update")
    assert counts(done) == (3, 1, 1, 1, 0)
    task = await owner.fetchrow("SELECT * FROM tasks WHERE user_id = $1", alice)
    assert task is not None
    assert (task["priority"], task["description"]) == (3, "later")


async def test_error_tells_of_each_row_that_is_there_already(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    await imported(services, owner, alice, lines({"title": "a", "external_id": "1"}, {"title": "b"}))
    content = lines(
        {"title": "a", "external_id": "1"},
        {"title": "b"},
        {"title": "c", "external_id": "2"},
        {"title": "d", "external_id": "2"},
    )
    done = await imported(services, owner, alice, content, on_conflict="error")
    assert counts(done) == (4, 1, 0, 0, 3)
    task_id = await owner.fetchval("SELECT id FROM tasks WHERE user_id = $1 AND title = 'a'", alice)
    assert await errors(owner, str(done["id"])) == [
        (1, "external_id", f"A task with this external id was imported before: task {task_id}."),
        (2, None, "An equal task was imported before."),
        (4, "external_id", "Row 3 has this external id, too."),
    ]


# -- dry runs


@pytest.mark.parametrize("on_conflict", ["skip", "update", "error"])
async def test_a_dry_run_tells_the_same_and_writes_nothing(
    services: Services, owner: asyncpg.Connection, alice: int, small_chunks: None, on_conflict: str
) -> None:
    await imported(services, owner, alice, lines({"title": "old", "external_id": "1"}, *[{"title": "same"}] * 4))
    content = lines(
        {"title": "new", "external_id": "1"},
        *[{"title": "same"}] * 6,
        {"title": ""},
        {"title": "x", "external_id": "2"},
        {"title": "y", "external_id": "2"},
    )
    before = await titles(owner, alice)
    tried = await imported(services, owner, alice, content, dry_run=True, on_conflict=on_conflict)
    assert await titles(owner, alice) == before
    assert await owner.fetchval("SELECT count(*) FROM imported_tasks WHERE user_id < 0") == 0
    again = await imported(services, owner, alice, content, dry_run=True, on_conflict=on_conflict)
    done = await imported(services, owner, alice, content, on_conflict=on_conflict)
    assert tried["state"] == done["state"] == "succeeded"
    assert counts(tried) == counts(again) == counts(done)
    told = [[(row, column) for row, column, _ in await errors(owner, str(one["id"]))] for one in (tried, again, done)]
    assert told[0] == told[1] == told[2]


async def test_what_a_cancelled_dry_run_has_noted_misleads_no_other(
    services: Services, owner: asyncpg.Connection, alice: int, small_chunks: None, paused: "Paused"
) -> None:
    content = lines(*({"title": f"task {n}"} for n in range(1, 11)))
    import_id = await begin(services, alice, content, format="paused", dry_run=True)
    running = asyncio.create_task(run_imports(services))
    await paused.reached(7)
    await eventually(lambda: has_read(owner, import_id, 6))
    await apply(services, command("import.cancel", alice, {"id": import_id}))
    noted = await owner.fetch("SELECT * FROM imported_tasks WHERE user_id = -$1::bigint", alice)
    assert noted
    paused.go_on()
    await running
    assert await owner.fetchval("SELECT count(*) FROM imported_tasks WHERE user_id < 0") == 0
    await owner.copy_records_to_table("imported_tasks", records=noted)
    assert counts(await imported(services, owner, alice, content, format="paused", dry_run=True))[1] == 10


# -- ends


async def test_a_file_that_cannot_be_read_on_ends_as_failed_and_what_came_before_stays(
    services: Services, owner: asyncpg.Connection, alice: int, odd_format: list[Any]
) -> None:
    odd_format[:] = [Row(1, {"title": "a"}, {}), ImportRefused("import-unreadable", "It breaks off in line 2.")]
    done = await imported(services, owner, alice, b"x", format="odd")
    assert (done["state"], done["status_code"]) == ("failed", 422)
    assert orjson.loads(done["error"])["type"] == "/problems/import-unreadable"
    assert orjson.loads(done["error"])["detail"] == "It breaks off in line 2."
    assert counts(done) == (1, 1, 0, 0, 0)


async def test_an_empty_file_fails(services: Services, owner: asyncpg.Connection, alice: int) -> None:
    done = await imported(services, owner, alice, b"")
    assert orjson.loads(done["error"])["type"] == "/problems/import-empty"


async def test_more_errors_than_allowed_end_it(
    services: Services, owner: asyncpg.Connection, alice: int, small_chunks: None
) -> None:
    content = lines({"title": "a"}, {"title": ""}, {"title": "b"}, {"title": ""}, {"title": "never"})
    done = await imported(services, owner, alice, content, max_errors=1)
    assert orjson.loads(done["error"])["type"] == "/problems/import-too-many-errors"
    assert counts(done) == (4, 2, 0, 0, 2)
    fine = await imported(services, owner, alice, content, max_errors=2)
    assert fine["state"] == "succeeded"


async def test_a_format_that_breaks_ends_the_import_and_not_the_worker(
    services: Services, owner: asyncpg.Connection, alice: int, odd_format: list[Any]
) -> None:
    odd_format[:] = [Row(1, {"title": "a"}, {}), ZeroDivisionError()]
    done = await imported(services, owner, alice, b"x", format="odd")
    assert (done["state"], done["status_code"]) == ("failed", 500)
    assert "ZeroDivision" not in done["error"]


async def test_an_upload_that_is_gone_ends_the_import(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    import_id = await begin(services, alice, numbered(1))
    await services.storage.delete((await state_of(owner, import_id))["object"])
    await run_imports(services)
    done = await state_of(owner, import_id)
    assert done["state"] == "failed"
    assert orjson.loads(done["error"])["type"] == "/problems/import-unreadable"


async def test_the_upload_is_deleted_when_the_import_has_ended(
    services: Services, owner: asyncpg.Connection, alice: int, tmp_path: Path
) -> None:
    await imported(services, owner, alice, numbered(1))
    await imported(services, owner, alice, b"")
    assert files_in(tmp_path) == []


async def test_an_end_tells_counts_progress_and_times(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    done = await imported(services, owner, alice, lines({"title": "a"}, {"title": ""}))
    assert orjson.loads(done["result"]) == {"read": 2, "created": 1, "updated": 0, "skipped": 0, "failed": 1}
    assert orjson.loads(done["progress"]) == {"done": 2, "total": 2, "failed": 1}
    assert done["started_at"] <= done["finished_at"]
    assert done["bytes_read"] == done["bytes"]
    assert done["busy_seconds"] > 0


# -- cancelling


async def test_a_queued_import_is_cancelled(
    services: Services, owner: asyncpg.Connection, alice: int, bob: int
) -> None:
    import_id = await begin(services, alice, numbered(3))
    [foreign] = await apply(services, command("import.cancel", bob, {"id": import_id}))
    assert foreign["status_code"] == 404
    [cancelled] = await apply(services, command("import.cancel", alice, {"id": import_id}))
    assert cancelled["status_code"] == 204
    await run_imports(services)
    await imports.clean_up_imports(services)
    done = await state_of(owner, import_id)
    assert (done["state"], done["object"]) == ("cancelled", None)
    assert await titles(owner, alice) == []
    [again] = await apply(services, command("import.cancel", alice, {"id": import_id}))
    assert again["status_code"] == 409


async def test_an_import_that_is_cancelled_in_the_batch_that_begins_it_is_cancelled(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    order = await ordered(services, alice, numbered(3))
    outcomes = await apply(services, order, command("import.cancel", alice, {"id": order.id}))
    assert [outcome["status_code"] for outcome in outcomes] == [202, 204]
    await run_imports(services)
    assert (await state_of(owner, order.id))["state"] == "cancelled"
    assert await titles(owner, alice) == []


async def test_a_running_import_stops_within_a_chunk(
    services: Services, owner: asyncpg.Connection, alice: int, small_chunks: None, paused: "Paused"
) -> None:
    import_id = await begin(services, alice, b"x", format="paused")
    running = asyncio.create_task(run_imports(services))
    await paused.reached(4)
    await eventually(lambda: has_read(owner, import_id, 3))
    [cancelled] = await apply(services, command("import.cancel", alice, {"id": import_id}))
    paused.go_on()
    await running
    assert cancelled["status_code"] == 204
    done = await state_of(owner, import_id)
    assert (done["state"], done["rows_read"], done["object"]) == ("cancelled", 3, None)
    assert len(await titles(owner, alice)) == 3


# -- carrying on


async def test_an_import_goes_on_behind_the_last_whole_chunk(
    services: Services, owner: asyncpg.Connection, alice: int, small_chunks: None, paused: "Paused"
) -> None:
    import_id = await begin(services, alice, b"x", format="paused")
    running = asyncio.create_task(run_imports(services))
    await paused.reached(8)
    await eventually(lambda: has_read(owner, import_id, 6))
    running.cancel()
    await asyncio.wait({running})
    paused.go_on()
    left = await state_of(owner, import_id)
    assert (left["rows_read"], left["lease_owner"], left["attempts"]) == (6, None, 0)
    await run_imports(services)
    done = await state_of(owner, import_id)
    assert done["state"] == "succeeded"
    assert counts(done) == (10, 10, 0, 0, 0)
    assert await titles(owner, alice) == [f"task {number}" for number in range(1, 11)]


async def test_of_a_dead_worker_an_import_is_taken_over_when_its_lease_has_lapsed(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    import_id = await begin(services, alice, numbered(3))
    assert await claim_import(services.pool, "the dead") is not None
    await run_imports(services)
    assert (await state_of(owner, import_id))["rows_read"] == 0
    await owner.execute("UPDATE imports SET lease_until = now() - interval '1 second'")
    await run_imports(services)
    assert (await state_of(owner, import_id))["state"] == "succeeded"


async def test_who_was_presumed_dead_writes_nothing_more(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    await begin(services, alice, numbered(3))
    sleeper = await claim_import(services.pool, "sleeper")
    assert sleeper is not None
    await owner.execute("UPDATE imports SET lease_until = now() - interval '1 second'")
    assert await claim_import(services.pool, "heir") is not None
    with pytest.raises(LeaseLost):
        await chunks.write_chunk(
            services.pool,
            sleeper,
            sleeper.counts,
            await read_whole(services, sleeper),
            FileReport(),
            seconds=0,
            quota=services.quotas.tasks,
        )
    assert await titles(owner, alice) == []


async def test_a_chunk_that_was_committed_before_its_answer_was_lost_is_not_written_twice(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    await begin(services, alice, numbered(3))
    claim = await claim_import(services.pool, "me")
    assert claim is not None
    chunk = await read_whole(services, claim)
    written = (services.pool, claim, claim.counts, chunk, FileReport())
    first = await chunks.write_chunk(*written, seconds=0, quota=services.quotas.tasks)
    assert await chunks.write_chunk(*written, seconds=0, quota=services.quotas.tasks) == first
    assert len(await titles(owner, alice)) == 3


async def test_an_import_that_always_kills_its_worker_is_given_up(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    import_id = await begin(services, alice, numbered(1))
    await owner.execute("UPDATE imports SET attempts = $1", imports.ATTEMPTS_MAXIMUM)
    await run_imports(services)
    done = await state_of(owner, import_id)
    assert (done["state"], done["status_code"], done["object"]) == ("failed", 500, None)


async def test_a_worker_that_is_told_to_stop_leaves_the_import_at_a_checkpoint(
    services: Services, owner: asyncpg.Connection, alice: int, small_chunks: None, paused: "Paused"
) -> None:
    import_id = await begin(services, alice, b"x", format="paused")
    running = asyncio.create_task(run_imports(services))
    await paused.reached(4)
    services.stopping.set()
    paused.go_on()
    await running
    left = await state_of(owner, import_id)
    assert (left["state"], left["lease_owner"]) == ("processing", None)
    assert left["rows_read"] in (3, 6)


# -- turns


async def test_the_imports_of_one_user_run_one_after_the_other(
    services: Services, owner: asyncpg.Connection, alice: int, bob: int
) -> None:
    first, _, third = [await begin(services, user, numbered(1)) for user in (alice, alice, bob)]
    claims = [await claim_import(services.pool, f"worker {n}") for n in range(3)]
    assert [claim.id for claim in claims if claim is not None] == [first, third]


async def test_who_was_served_least_recently_is_next(
    services: Services, owner: asyncpg.Connection, alice: int, bob: int
) -> None:
    first, second = [await begin(services, user, numbered(1)) for user in (alice, bob)]
    claim = await claim_import(services.pool, "me")
    assert claim is not None
    assert claim.id == first
    await release_import(services.pool, claim)
    following = await claim_import(services.pool, "me")
    assert following is not None
    assert following.id == second


async def test_a_small_import_does_not_wait_for_a_large_one(
    services: Services, owner: asyncpg.Connection, alice: int, bob: int, small_chunks: None, paused: "Paused"
) -> None:
    paused.rows = 150
    large = await begin(services, alice, b"x", format="paused")
    running = asyncio.create_task(run_imports(services))
    await paused.reached(4)
    small = await begin(services, bob, numbered(5))
    also_running = asyncio.create_task(run_imports(services))
    await eventually(lambda: claimed(owner, small))
    paused.go_on()
    await asyncio.gather(running, also_running)
    ended = {key: (await state_of(owner, key))["finished_at"] for key in (large, small)}
    assert ended[small] < ended[large]


async def test_an_import_gives_its_place_up_when_its_turn_is_over_and_another_waits(
    services: Services, owner: asyncpg.Connection, alice: int, bob: int, small_chunks: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(imports, "TURN_SECONDS", 0.0)
    large, small = await begin(services, alice, numbered(30)), await begin(services, bob, numbered(1))
    await run_imports(services)
    first, second = await state_of(owner, large), await state_of(owner, small)
    assert second["finished_at"] < first["finished_at"]
    assert counts(first) == (30, 30, 0, 0, 0)
    assert len(await titles(owner, alice)) == 30


def dear_to_dos(count: int) -> bytes:
    """Each with a rule of its own, which is refused when all that it may cost is used up."""
    to_dos = (
        f"BEGIN:VTODO\r\nUID:{number}\r\nSUMMARY:x\r\nDUE:20310301T{number % 24:02}{number // 24 % 60:02}00Z\r\n"
        f"RRULE:FREQ=DAILY;INTERVAL={601 + 7 * (number // 1440)};BYMONTH=2;BYMONTHDAY=29;BYDAY=MO\r\nEND:VTODO\r\n"
        for number in range(count)
    )
    return "".join(["BEGIN:VCALENDAR\r\n", *to_dos, "END:VCALENDAR\r\n"]).encode()


async def test_rows_that_cost_much_keep_no_other_import_waiting(
    services: Services, owner: asyncpg.Connection, alice: int, bob: int
) -> None:
    large = await begin(services, alice, dear_to_dos(9000), format="icalendar")
    running = asyncio.create_task(run_imports(services))
    await eventually(lambda: claimed(owner, large))
    used = time.process_time()
    small = await begin(services, bob, numbered(1))
    other = asyncio.create_task(run_imports(services))

    async def is_done() -> bool:
        return bool((await state_of(owner, small))["finished_at"])

    await eventually(is_done, timeout=30)
    assert time.process_time() - used < 2, "one turn of the other, and a little for itself"
    assert (await state_of(owner, large))["finished_at"] is None
    services.stopping.set()
    await asyncio.gather(running, other)
    done = await state_of(owner, large)
    assert 0 < done["rows_read"] == done["rows_created"]
    assert "Repeats: FREQ=DAILY" in await owner.fetchval("SELECT max(description) FROM tasks WHERE user_id = $1", alice)


async def test_a_chunk_of_rows_that_cost_much_ends_early(
    services: Services, owner: asyncpg.Connection, alice: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "CHUNK_SECONDS", 0.0)
    sizes = []

    async def noted(pool: Any, claim: Any, before: Any, chunk: reading.Chunk, *more: Any, **named: Any) -> Any:
        sizes.append(chunk.read)
        return await chunks.write_chunk(pool, claim, before, chunk, *more, **named)

    monkeypatch.setattr(imports, "write_chunk", noted)
    assert counts(await imported(services, owner, alice, numbered(30))) == (30, 30, 0, 0, 0)
    assert sizes == [8, 8, 8, 6]
    assert await titles(owner, alice) == [f"task {number}" for number in range(30)]


# -- looking after


async def test_a_forgotten_import_is_called_for_again(services: Services, alice: int) -> None:
    await begin(services, alice, numbered(1))
    await services.queue.flushdb()
    await maintenance.sweep_imports(services)
    assert await services.queue.zcard(BULK_QUEUE) == 1
    await run_imports(services)
    await services.queue.flushdb()
    await maintenance.sweep_imports(services)
    assert await services.queue.zcard(BULK_QUEUE) == 0


async def test_uploads_that_no_import_needs_are_purged_when_they_are_old(
    services: Services, owner: asyncpg.Connection, alice: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "UPLOAD_KEPT_SECONDS", -1.0)
    orphan = await upload(services, b"nobody's")
    import_id = await begin(services, alice, numbered(1))
    await maintenance.purge_uploads(services, {})
    assert await services.storage.size((await state_of(owner, import_id))["object"])
    assert [name async for names in services.storage.names_older_than("imports", -1) for name in names] != [orphan]
    await run_imports(services)
    assert (await state_of(owner, import_id))["state"] == "succeeded"


async def test_how_many_wait_and_for_how_long_is_measured(
    services: Services, owner: asyncpg.Connection, alice: int, bob: int
) -> None:
    for user in (alice, alice, bob):
        await begin(services, user, numbered(1))
    await owner.execute("UPDATE imports SET turn_at = now() - interval '1 minute'")
    assert await claim_import(services.pool, "me") is not None
    found = await unfinished_imports(services.pool)
    assert {state: imports for state, (imports, _) in found.items()} == {"queued": 2, "processing": 1}
    assert 60 <= found["queued"][1] < 90
    await owner.execute("UPDATE imports SET lease_until = NULL")
    await run_imports(services)
    assert await unfinished_imports(services.pool) == {}


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


# -- parts


class Paused:
    """A format that waits where it is told to."""

    def __init__(self) -> None:
        self.rows = 10
        self.place = 0
        self._go = False
        self._waits = 0

    async def reached(self, row: int) -> None:
        self._waits = row
        await eventually(self._is_there)

    async def _is_there(self) -> bool:
        return self.place >= self._waits

    def go_on(self) -> None:
        self._go = True

    def read(self, stream: BinaryIO, options: ReadOptions, report: FileReport) -> Rows:
        for number in range(1, self.rows + 1):
            self.place = number
            while not self._go and 0 < self._waits <= number:
                time.sleep(0.005)
            yield Row(number, {"title": f"task {number}"}, {})


def files_in(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file()]


def never(head: Head) -> Certainty:
    return 0


@pytest.fixture
async def paused(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Paused]:
    made = Paused()
    monkeypatch.setitem(FORMATS, "paused", Format("paused", "Paused", never, made.read))
    yield made
    made.go_on()


@pytest.fixture
def odd_format(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the format `odd` reads out of any file; exceptions are raised."""
    items: list[Row | BadRow | Exception] = []

    def read(stream: BinaryIO, options: ReadOptions, report: FileReport) -> Rows:
        for item in items:
            if isinstance(item, Exception):
                raise item
            yield item

    monkeypatch.setitem(FORMATS, "odd", Format("odd", "Odd", never, read))
    return items


async def claimed(owner: asyncpg.Connection, import_id: str) -> bool:
    return (await state_of(owner, import_id))["state"] != "queued"


async def has_read(owner: asyncpg.Connection, import_id: str, rows: int) -> bool:
    return bool((await state_of(owner, import_id))["rows_read"] >= rows)


async def read_whole(services: Services, claim: ClaimedImport) -> reading.Chunk:
    reader = reading.ImportReader(
        lambda: services.storage.open(claim.object),
        claim.format,
        reading.read_options(claim.options, users_time_zone="UTC"),
        on_conflict=claim.on_conflict,
        maximum_bytes=1 << 20,
    )
    return await asyncio.to_thread(reader.read_chunk)


async def test_the_same_file_again_reads_about_as_many_rows_as_it_has(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    """Whatever the planner believes of tables that nobody has analyzed: they were empty a moment ago."""
    content = numbered(3000)
    await owner.execute(
        "INSERT INTO tasks (user_id, title) SELECT $1, 'others' FROM generate_series(1, 20000)", await new_user(owner)
    )
    await owner.execute("VACUUM ANALYZE tasks, imported_tasks")
    await imported(services, owner, alice, content)

    async def rows_read() -> int:
        await asyncio.sleep(1.1)  # backends tell their counts once a second
        await owner.execute("SELECT pg_stat_clear_snapshot()")
        return int(
            await owner.fetchval(
                "SELECT sum(seq_tup_read) + sum(idx_tup_fetch) FROM pg_stat_user_tables "
                "WHERE relname LIKE 'tasks%' OR relname = 'imported_tasks'"
            )
        )

    before = await rows_read()
    done = await imported(services, owner, alice, content)
    assert counts(done) == (3000, 0, 0, 3000, 0)
    assert await rows_read() - before < 20 * 3000

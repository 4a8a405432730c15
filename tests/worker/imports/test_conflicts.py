"""The same file again: rows that are there already are skipped, brought up to date, or refused."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import asyncpg

from core.formats.rows import Row
from tests.worker.commands import new_user
from tests.worker.imports.harness import counts, errors, imported, lines, numbered, titles
from worker.runner import Services


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


# -- parts


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

"""What the file of an export holds: each form, and the tasks that the caller asked for and may see."""

import csv
import io
from datetime import datetime
from typing import Any

import asyncpg
import icalendar
import orjson
import pytest

from core.exports import files
from tests.worker.commands import insert_task, new_user
from tests.worker.exports.harness import exported, order, row_of, tasks_as_json
from worker.exports import run_exports
from worker.runner import Services

# -- forms


async def test_ndjson_has_a_line_for_each_task_as_the_api_answers_it(
    services: Services, owner: asyncpg.Connection, alice: int, tricky: list[int]
) -> None:
    lines = (await exported(services, owner, alice, "ndjson")).decode().split("\n")
    assert lines.pop() == ""
    assert [orjson.loads(line) for line in lines] == await tasks_as_json(owner, alice)


async def test_json_is_an_array_of_the_same(
    services: Services, owner: asyncpg.Connection, alice: int, tricky: list[int]
) -> None:
    assert orjson.loads(await exported(services, owner, alice, "json")) == await tasks_as_json(owner, alice)


async def test_an_array_whose_lines_arrive_in_any_pieces_is_joined_by_commas() -> None:
    for pieces in ([b"1\n", b"2\n3\n"], [b"1\n2", b"\n", b"3\n"], [b"1\n2\n3\n"]):
        written: list[bytes] = []
        counts: list[int] = []

        class Connection:
            async def copy_from_query(self, *_: Any, output: Any, pieces: list[bytes] = pieces, **__: Any) -> None:
                for piece in pieces:
                    await output(piece)

        async def write(data: bytes, written: list[bytes] = written) -> None:
            written.append(data)

        await files.write_file(Connection(), files.Selection(1, files.TaskFilter()), "json", write, counts.append)  # type: ignore[arg-type]
        assert (orjson.loads(b"".join(written)), sum(counts)) == ([1, 2, 3], 3)


async def test_csv_holds_every_field_and_guards_what_a_spreadsheet_would_take_for_a_formula(
    services: Services, owner: asyncpg.Connection, alice: int, tricky: list[int]
) -> None:
    text = (await exported(services, owner, alice, "csv")).decode()
    [header, *records] = csv.reader(io.StringIO(text, newline=""))
    tasks = await tasks_as_json(owner, alice)
    assert set(header) == set(tasks[0])
    for task, record in zip(tasks, records, strict=True):
        cells = dict(zip(header, record, strict=True))
        for name in ("title", "description"):
            guard = "'" if task[name][0] in "=+-@\t\r'" else ""
            assert cells[name] == guard + task[name]
        labels = ",".join(label.replace("\\", "\\\\") for label in task["labels"])
        assert cells["labels"] == ("'" if labels and labels[0] in "=+-@\t\r'" else "") + labels
        for name in ("due_date", "created_at", "updated_at", "completed_at"):
            assert bool(cells[name]) == bool(task[name])
            if task[name]:
                assert cells[name].endswith("Z")
                assert datetime.fromisoformat(cells[name]) == datetime.fromisoformat(task[name])
        for name in ("id", "user_id", "priority", "status", "version"):
            assert cells[name] == str(task[name])


async def test_ics_is_read_by_a_calendar_program(
    services: Services, owner: asyncpg.Connection, alice: int, tricky: list[int]
) -> None:
    calendar = icalendar.Calendar.from_ical(await exported(services, owner, alice, "ics"))
    todos = calendar.walk("VTODO")
    controls = dict.fromkeys(set(range(32)) - {9, 10})
    for task, todo in zip(await tasks_as_json(owner, alice), todos, strict=True):
        assert todo.errors == []
        assert str(todo["uid"]) == f"tenfold-{task['id']}"
        for name, property_name in (("title", "summary"), ("description", "description")):
            assert str(todo[property_name]) == task[name].replace("\r", "\n").translate(controls)
        assert todo["priority"] == min(task["priority"], 9)
        assert str(todo["x-tenfold-status"]) == task["status"]
        assert ("completed" in todo) is (str(todo["status"]) == "COMPLETED") is (task["status"] == "completed")
        assert ("due" in todo) is (task["due_date"] is not None)


async def test_lines_of_a_calendar_are_folded_between_characters_and_unfold_to_the_same(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    texts = ["\\" * 200, "読" * 100, ";,\\n" * 60, "a" * 63 + "\\;" * 40]
    for text in texts:
        await insert_task(owner, alice, title=text[:255], description=text)
    data = await exported(services, owner, alice, "ics")
    lines = data.split(b"\r\n")
    assert max(map(len, lines)) <= 75
    assert all(line.decode() is not None for line in lines), "no character is cut in two"
    todos = icalendar.Calendar.from_ical(data).walk("VTODO")
    assert [str(todo["description"]) for todo in todos] == texts


@pytest.mark.parametrize(
    ("export_format", "expected"),
    [("ndjson", b""), ("json", b"[]\n"), ("csv", b"id,user_id,title,"), ("ics", b"BEGIN:VCALENDAR\r\n")],
)
async def test_no_task_is_a_file_too(
    services: Services, owner: asyncpg.Connection, alice: int, export_format: str, expected: bytes
) -> None:
    data = await exported(services, owner, alice, export_format)
    assert data.startswith(expected)
    assert data.count(b"\n") == {"ndjson": 0, "json": 1, "csv": 1, "ics": 4}[export_format]


@pytest.mark.parametrize("export_format", ["csv", "ndjson", "json", "ics"])
async def test_rows_are_counted_as_they_are_written(
    services: Services, owner: asyncpg.Connection, alice: int, tricky: list[int], export_format: str
) -> None:
    export_id = await order(services, alice, export_format)
    await run_exports(services)
    row = await row_of(owner, export_id)
    assert row["rows"] == len(tricky)
    assert orjson.loads(row["progress"]) == {"done": len(tricky), "total": len(tricky), "failed": 0}


async def test_records_are_counted_whatever_their_pieces() -> None:
    for size in (1, 2, 7, 1000):
        counted: list[int] = []
        rows = files._CsvRows(counted.append)
        text = b'id,title\n1,"a ""b""\n\nc"\n2,\n3,"\n"\n'
        for start in range(0, len(text), size):
            rows.see(text[start : start + size])
        assert sum(counted) == 3


# -- which tasks


async def test_an_export_holds_the_callers_own_tasks_alone(
    services: Services, owner: asyncpg.Connection, alice: int, bob: int
) -> None:
    own, foreign = await insert_task(owner, alice), await insert_task(owner, bob)
    ids = [orjson.loads(line)["id"] for line in (await exported(services, owner, alice, "ndjson")).splitlines()]
    assert ids == [own]
    assert await exported(services, owner, alice, "ndjson", filters={"user_id": bob}) == b""
    admin = await new_user(owner, role="admin")
    everybodys = await exported(services, owner, admin, "ndjson", all_users=True)
    assert [orjson.loads(line)["id"] for line in everybodys.splitlines()] == [own, foreign]
    bobs = await exported(services, owner, admin, "ndjson", all_users=True, filters={"user_id": bob})
    assert [orjson.loads(line)["id"] for line in bobs.splitlines()] == [foreign]


async def test_filters_and_sort_are_those_of_lists(services: Services, owner: asyncpg.Connection, alice: int) -> None:
    for priority, status, title in ((3, "pending", "a 100% $1 '"), (1, "pending", "b"), (2, "blocked", "a")):
        await insert_task(owner, alice, priority=priority, status=status, title=title)

    async def priorities(**filters: Any) -> list[int]:
        lines = (await exported(services, owner, alice, "ndjson", filters=filters)).splitlines()
        return [orjson.loads(line)["priority"] for line in lines]

    assert await priorities(sort="priority") == [1, 2, 3]
    assert await priorities(sort="-priority", status=["pending"]) == [3, 1]
    assert await priorities(priority=[1, 2], priority_max=1) == [1]
    assert await priorities(q="100% $1 '") == [3]
    assert await priorities(overdue=True) == []
    assert await priorities(due_before="2026-01-01T00:00:00+00:00") == []


async def test_a_file_is_one_snapshot(services: Services, owner: asyncpg.Connection, alice: int) -> None:
    await insert_task(owner, alice)
    async with files.snapshot(services.pool) as reader:
        selection = files.Selection.of(alice, {})
        assert await files.count_tasks(reader, selection) == 1
        await insert_task(owner, alice)
        assert await files.count_tasks(reader, selection) == 1

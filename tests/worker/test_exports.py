"""Exports in the worker: what their files hold, that they end, that they are written once, and who looks after them."""

import asyncio
import csv
import io
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import icalendar
import orjson
import pytest

from core import lanes
from core.commands.wire import encode_batch
from core.database.pools import worker_pool
from core.exports import files
from core.exports.writes.work import claim_export, renew_export
from core.jobs.queues import BULK_QUEUE
from core.jobs.writes import purge_jobs
from core.storage import ObjectWriter, Storage
from tests.harness import eventually
from tests.worker.commands import apply, command, insert_task, new_user
from worker import exports
from worker.exports import EXPORTS_AT_ONCE, run_exports
from worker.maintenance.scheduled import delete_expired_exports, delete_orphaned_exports
from worker.maintenance.sweeps import CALLS_MAXIMUM, sweep_exports
from worker.runner import Services
from worker.writes.lanes import drain_lane

TRICKY = (
    "=1+1", "+49 30", "-5", "@home", "'quoted", "\tindented", "\rreturned", "''twice", 'say "hi"', "a,b;c", "ends\\",
    "two\nlines", "\\.", "\x01\x02\x03", "Überweisung 読み ☕ 👩‍👩‍👧", "\u2028", "C:\\New\\n", "[", ",", "{}",
)  # fmt: skip


@pytest.fixture
async def tricky(owner: asyncpg.Connection, alice: int) -> list[int]:
    """Alice's tasks, whose texts are what programs stumble over."""
    moment = datetime(2026, 3, 29, 1, 30, 0, 123456, UTC)
    return [
        await insert_task(
            owner,
            alice,
            title=text,
            description=text * 2,
            priority=number % 10 + 1,
            status=("pending", "completed", "blocked", "in_progress", "cancelled")[number % 5],
            completed_at=moment if number % 5 == 1 else None,
            due_date=moment if number % 2 else None,
            labels=[text.replace(",", ""), "plain", "=sum"][: number % 4] if text != "," else [],
        )
        for number, text in enumerate(TRICKY)
    ]


def ordered(user_id: int, export_format: str = "ndjson", **payload: Any) -> Any:
    return command("export", user_id, {"format": export_format, "filters": {}, "all_users": False, **payload})


async def order(services: Services, user_id: int, export_format: str = "ndjson", **payload: Any) -> str:
    """Begins an export and returns its id."""
    ordering = ordered(user_id, export_format, **payload)
    [outcome] = await apply(services, ordering)
    assert outcome["status_code"] == 202
    return str(ordering.id)


async def row_of(owner: asyncpg.Connection, export_id: str) -> dict[str, Any]:
    row = await owner.fetchrow(
        "SELECT j.*, e.* FROM exports AS e JOIN jobs AS j USING (id) WHERE id = $1::text::uuid", export_id
    )
    assert row is not None
    return dict(row)


async def content(services: Services, owner: asyncpg.Connection, export_id: str) -> bytes:
    """What the file of an export holds that has succeeded."""
    row = await row_of(owner, export_id)
    assert (row["state"], row["error"]) == ("succeeded", None)
    found = b"".join([piece async for piece in services.storage.stream(row["object"], 0, row["bytes"])])
    assert len(found) == row["bytes"] == await services.storage.size(row["object"])
    return found


async def exported(
    services: Services, owner: asyncpg.Connection, user_id: int, export_format: str, **payload: Any
) -> bytes:
    export_id = await order(services, user_id, export_format, **payload)
    await run_exports(services)
    return await content(services, owner, export_id)


async def tasks_as_json(owner: asyncpg.Connection, user_id: int) -> list[dict[str, Any]]:
    rows = await owner.fetch(
        "SELECT (to_jsonb(t) - '{recurrence_local,reminder_rules}'::text[])::text AS task FROM tasks AS t"
        " WHERE user_id = $1 ORDER BY id",
        user_id,
    )
    return [orjson.loads(row["task"]) for row in rows]


async def objects(services: Services) -> list[str]:
    pages = [page async for page in services.storage.names_older_than("exports", -60)]
    return [name for page in pages for name in page]


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


# -- their course


async def test_an_export_is_queued_then_done_and_its_file_expires(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    export_id = await order(services, alice)
    row = await row_of(owner, export_id)
    assert (row["kind"], row["state"], row["started_at"], row["finished_at"], row["status_code"]) == (
        *("export", "queued"),
        *(None, None, None),
    )
    await run_exports(services)
    row = await row_of(owner, export_id)
    assert (row["state"], row["status_code"], row["attempts"], row["lease_owner"]) == ("succeeded", 200, 1, None)
    assert (row["expires_at"] - row["finished_at"]).total_seconds() == pytest.approx(24 * 3600, abs=5)


async def test_a_command_that_arrives_twice_begins_one_export(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    ordering = ordered(alice)
    outcomes = [*await apply(services, ordering), *await apply(services, ordering)]
    assert [outcome["status_code"] for outcome in outcomes] == [202, 202]
    assert await owner.fetchval("SELECT count(*) FROM exports") == 1


async def test_a_new_export_calls_a_worker(services: Services, alice: int) -> None:
    body = encode_batch([ordered(alice).encode()])
    await services.queue.xadd(lanes.stream("0"), {"origin": "x", "commands": body})
    await drain_lane(services, "0")
    assert await services.queue.zcard(BULK_QUEUE) == 1


class HeldStorage(Storage):
    """Lets nobody write on before it is told so."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()

    def writer(self, name: str) -> ObjectWriter:
        writer = super().writer(name)
        write = writer.write

        async def held(data: bytes) -> None:
            self.reached.set()
            await self.go_on.wait()
            await write(data)

        writer.write = held  # type: ignore[method-assign]
        return writer


@pytest.fixture
def held(services: Services) -> Services:
    return replace(services, storage=HeldStorage(services.storage.url))


async def test_a_cancelled_export_stops_in_a_moment_and_leaves_nothing(
    services: Services, held: Services, owner: asyncpg.Connection, alice: int, tricky: list[int]
) -> None:
    export_id = await order(services, alice)
    running = asyncio.create_task(run_exports(held))
    await held.storage.reached.wait()  # type: ignore[attr-defined]
    [outcome] = await apply(services, command("export.cancel", alice, {"id": export_id}))
    assert outcome["status_code"] == 204
    await asyncio.wait_for(running, 5)
    assert (await row_of(owner, export_id))["state"] == "cancelled"
    assert await objects(services) == []


async def test_a_cancellation_in_the_last_moment_deletes_the_file(
    services: Services, owner: asyncpg.Connection, alice: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_id = await order(services, alice)
    finish = exports.finish_export

    async def cancelled_first(*arguments: Any, **more: Any) -> bool:
        await apply(services, command("export.cancel", alice, {"id": export_id}))
        assert len(await objects(services)) == 1
        return await finish(*arguments, **more)

    monkeypatch.setattr(exports, "finish_export", cancelled_first)
    await run_exports(services)
    row = await row_of(owner, export_id)
    assert (row["state"], row["object"]) == ("cancelled", None)
    assert await objects(services) == []


async def test_only_an_own_export_that_has_not_ended_can_be_cancelled(
    services: Services, owner: asyncpg.Connection, alice: int, bob: int
) -> None:
    export_id = await order(services, alice)

    async def cancel(user_id: int, target: str, **more: Any) -> int:
        [outcome] = await apply(services, command("export.cancel", user_id, {"id": target, **more}))
        return int(outcome["status_code"])

    assert await cancel(bob, export_id, with_file=True) == 404
    assert await cancel(alice, "00000000-0000-7000-8000-000000000000") == 404
    assert (await row_of(owner, export_id))["state"] == "queued"
    await run_exports(services)
    assert await cancel(alice, export_id) == 409
    assert await cancel(alice, export_id, with_file=True) == 204
    assert await cancel(alice, export_id, with_file=True) == 409
    row = await row_of(owner, export_id)
    assert row["state"] == "succeeded"
    assert row["expires_at"] <= datetime.now(UTC)


async def test_a_cancelled_export_is_not_taken_up(services: Services, owner: asyncpg.Connection, alice: int) -> None:
    export_id = await order(services, alice)
    await apply(services, command("export.cancel", alice, {"id": export_id}))
    await run_exports(services)
    row = await row_of(owner, export_id)
    assert (row["state"], row["started_at"], row["attempts"]) == ("cancelled", None, 0)


async def test_an_export_that_is_cancelled_in_the_batch_that_begins_it_ends_as_cancelled(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    ordering, unknown = ordered(alice), "00000000-0000-7000-8000-000000000000"
    outcomes = await apply(
        services,
        command("export.cancel", alice, {"id": unknown}),
        ordering,
        command("export.cancel", alice, {"id": ordering.id}),
    )
    assert [outcome["status_code"] for outcome in outcomes] == [404, 202, 204]
    await sweep_exports(services)
    assert await services.queue.zcard(BULK_QUEUE) == 1
    await run_exports(services)
    row = await row_of(owner, ordering.id)
    assert (row["state"], row["started_at"], row["object"]) == ("cancelled", None, None)
    assert row["finished_at"] is not None
    await sweep_exports(services)
    assert await services.queue.zcard(BULK_QUEUE) == 1


async def test_two_workers_write_an_export_once(
    services: Services, held: Services, owner: asyncpg.Connection, alice: int, tricky: list[int]
) -> None:
    export_id = await order(services, alice)
    running = asyncio.create_task(run_exports(held))
    await held.storage.reached.wait()  # type: ignore[attr-defined]
    await run_exports(services)
    assert (await row_of(owner, export_id))["state"] == "processing"
    held.storage.go_on.set()  # type: ignore[attr-defined]
    await running
    row = await row_of(owner, export_id)
    assert (row["state"], row["attempts"]) == ("succeeded", 1)
    assert len(await objects(services)) == 1


async def test_of_a_user_one_export_runs_at_a_time_and_another_users_goes_first(
    services: Services, alice: int, bob: int
) -> None:
    firsts = [await order(services, alice) for _ in range(2)]
    bobs = await order(services, bob)
    claimed = [await claim_export(services.pool, f"owner-{number}") for number in range(3)]
    assert [one.id if one else None for one in claimed] == [firsts[0], bobs, None]


async def test_a_killed_workers_export_is_begun_anew_and_the_dead_one_can_end_nothing(
    services: Services, held: Services, owner: asyncpg.Connection, alice: int, tricky: list[int]
) -> None:
    export_id = await order(services, alice)
    frozen = asyncio.create_task(run_exports(held))
    await held.storage.reached.wait()  # type: ignore[attr-defined]
    before = await row_of(owner, export_id)
    await owner.execute("UPDATE exports SET lease_until = now() - interval '1 second'")
    await run_exports(services)
    row = await row_of(owner, export_id)
    assert (row["state"], row["attempts"]) == ("succeeded", 2)
    assert row["object"] != f"exports/{export_id}/{before['lease_owner'].rpartition('-')[2]}"
    held.storage.go_on.set()  # type: ignore[attr-defined]
    await frozen
    after = await row_of(owner, export_id)
    assert (after["object"], after["etag"]) == (row["object"], row["etag"])
    assert await objects(services) == [row["object"]]


async def test_a_stopping_workers_export_is_free_at_once_and_counts_no_attempt(
    services: Services, held: Services, owner: asyncpg.Connection, alice: int, tricky: list[int]
) -> None:
    export_id = await order(services, alice)
    stopping = asyncio.create_task(run_exports(held))
    await held.storage.reached.wait()  # type: ignore[attr-defined]
    stopping.cancel()
    await asyncio.wait({stopping})
    await run_exports(services)
    row = await row_of(owner, export_id)
    assert (row["state"], row["attempts"]) == ("succeeded", 1)


async def test_progress_is_told_while_it_runs(
    services: Services, held: Services, owner: asyncpg.Connection, alice: int, tricky: list[int]
) -> None:
    export_id = await order(services, alice)
    running = asyncio.create_task(run_exports(held))

    async def told() -> Any:
        return (await row_of(owner, export_id))["progress"]

    assert orjson.loads(await eventually(told)) == {"done": len(tricky), "total": len(tricky), "failed": 0}
    held.storage.go_on.set()  # type: ignore[attr-defined]
    await running


async def test_a_lease_that_was_taken_over_cannot_be_renewed(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    await order(services, alice)
    first = await claim_export(services.pool, "first")
    assert first is not None
    assert await renew_export(services.pool, first, rows=1, size=1, total=2)
    await owner.execute("UPDATE exports SET lease_until = now() - interval '1 second'")
    assert await claim_export(services.pool, "second") is not None
    assert not await renew_export(services.pool, first, rows=1, size=1, total=2)


async def test_an_export_that_fails_for_good_says_so_and_is_not_tried_again(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    export_id = await order(services, alice, filters={"sort": "nonsense"})
    await run_exports(services)
    row = await row_of(owner, export_id)
    assert (row["state"], row["status_code"], row["attempts"]) == ("failed", 500, 1)
    assert orjson.loads(row["error"])["type"] == "/problems/internal-error"
    assert "nonsense" not in row["error"]


async def test_an_export_that_kills_its_workers_is_given_up_in_the_end(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    export_id = await order(services, alice)
    await owner.execute("UPDATE exports SET attempts = $1", exports.ATTEMPTS_MAXIMUM)
    await run_exports(services)
    assert (await row_of(owner, export_id))["state"] == "failed"


async def test_an_export_waits_for_a_store_that_cannot_be_used(
    services: Services, owner: asyncpg.Connection, alice: int, tmp_path: Path
) -> None:
    export_id = await order(services, alice)
    (tmp_path / "file").write_text("no folder")
    await run_exports(replace(services, storage=Storage((tmp_path / "file").as_uri())))
    row = await row_of(owner, export_id)
    assert (row["state"], row["attempts"]) == ("processing", 0)
    await run_exports(services)
    assert (await row_of(owner, export_id))["state"] == "succeeded"


async def test_exports_take_no_more_than_their_places(
    services: Services, held: Services, owner: asyncpg.Connection
) -> None:
    users = [await new_user(owner) for _ in range(EXPORTS_AT_ONCE + 1)]
    for user in users:
        await insert_task(owner, user)
        await order(services, user)
    running = [asyncio.create_task(run_exports(held)) for _ in range(EXPORTS_AT_ONCE + 2)]
    states = "SELECT state, count(*) FROM jobs GROUP BY 1"

    async def begun() -> bool:
        return dict(await owner.fetch(states)).get("processing") == EXPORTS_AT_ONCE

    await eventually(begun)
    await asyncio.sleep(0.1)
    assert dict(await owner.fetch(states)) == {"processing": EXPORTS_AT_ONCE, "queued": 1}
    held.storage.go_on.set()  # type: ignore[attr-defined]
    await asyncio.gather(*running)
    assert dict(await owner.fetch(states)) == {"succeeded": EXPORTS_AT_ONCE + 1}, "a place that is free is taken again"


async def test_an_export_keeps_its_lease_where_a_process_may_have_one_connection(
    services: Services, owner: asyncpg.Connection, alice: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "RENEW_SECONDS", 0.01)
    await insert_task(owner, alice)
    export_id = await order(services, alice)
    single = await worker_pool(services.settings, size=1)
    storage = HeldStorage(services.storage.url)
    running = asyncio.create_task(run_exports(replace(services, pool=single, storage=storage)))

    async def told() -> Any:
        return (await row_of(owner, export_id))["progress"]

    await eventually(told)
    storage.go_on.set()
    await running
    await single.close()
    assert (await row_of(owner, export_id))["state"] == "succeeded"


# -- looked after


async def test_a_sweep_calls_a_worker_for_what_nobody_carries_out_and_only_then(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    await sweep_exports(services)
    assert await services.queue.zcard(BULK_QUEUE) == 0
    await order(services, alice)
    await sweep_exports(services)
    assert await services.queue.zcard(BULK_QUEUE) == 1
    await claim_export(services.pool, "somebody")
    await sweep_exports(services)
    assert await services.queue.zcard(BULK_QUEUE) == 1
    await owner.execute("UPDATE exports SET lease_until = now() - interval '1 second'")
    await sweep_exports(services)
    assert await services.queue.zcard(BULK_QUEUE) == 2


async def test_calls_do_not_pile_up_while_no_worker_is_there(services: Services, alice: int) -> None:
    await order(services, alice)
    for _ in range(CALLS_MAXIMUM + 5):
        await sweep_exports(services)
    assert await services.queue.zcard(BULK_QUEUE) == CALLS_MAXIMUM


async def test_an_expired_file_is_deleted_and_its_export_told_of_for_some_days_more(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    export_id = await order(services, alice)
    await run_exports(services)
    await delete_expired_exports(services, {})
    assert len(await objects(services)) == 1
    await owner.execute("UPDATE exports SET expires_at = now()")
    await delete_expired_exports(services, {})
    assert await objects(services) == []
    assert (await row_of(owner, export_id))["object"] is None
    await owner.execute("UPDATE exports SET expires_at = now() - interval '8 days'")
    await delete_expired_exports(services, {})
    assert await owner.fetchval("SELECT count(*) FROM jobs WHERE kind = 'export'") == 0


async def test_the_purge_of_jobs_leaves_exports_alone(
    services: Services, owner: asyncpg.Connection, alice: int
) -> None:
    await order(services, alice)
    await run_exports(services)
    await owner.execute("UPDATE jobs SET created_at = now() - interval '1 year'")
    await purge_jobs(services.pool, retention_hours=1)
    assert await owner.fetchval("SELECT count(*) FROM jobs WHERE kind = 'export'") == 1


async def test_a_file_that_nobody_knows_of_is_deleted_when_it_cannot_belong_to_a_running_export(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with services.storage.writer("exports/orphan/1") as writer:
        await writer.write(b"x")
        await writer.commit()
    await delete_orphaned_exports(services, {})
    assert await objects(services) == ["exports/orphan/1"]
    monkeypatch.setattr("worker.maintenance.scheduled.LONGEST_EXPORT_SECONDS", -25 * 3600)
    await delete_orphaned_exports(services, {})
    assert await objects(services) == []

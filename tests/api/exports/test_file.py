"""The file of an export: whole, in parts, by its tag, and gone in the end; imported, it is the same tasks."""

import asyncio
import codecs
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import icalendar
import pytest

from core.storage import Storage
from tests.api.exports.harness import fetched, finished, ordered
from tests.api.problems import assert_problem
from tests.factories import create_task, create_tasks, insert_tasks
from tests.harness import Service, eventually

# -- the file


@pytest.mark.parametrize(
    ("export_format", "media_type"),
    [
        ("csv", "text/csv; charset=utf-8; header=present"),
        ("ndjson", "application/x-ndjson"),
        ("json", "application/json"),
        ("ics", "text/calendar; charset=utf-8"),
    ],
)
async def test_a_file_tells_what_it_is_and_what_to_call_it(
    exporting: Service, export_format: str, media_type: str
) -> None:
    file = await fetched(exporting.alice, export_format)
    assert file.status == 200
    assert file.headers["Content-Type"] == media_type
    name = f"tenfold-tasks-{datetime.now(UTC):%Y-%m-%d}.{export_format}"
    assert file.headers["Content-Disposition"] == f'attachment; filename="{name}"'
    assert file.headers["Accept-Ranges"] == "bytes"
    assert int(file.headers["Content-Length"]) == len(file.body)
    assert "X-Request-Id" in file.headers


async def test_a_head_tells_the_same_without_the_file(exporting: Service, export: dict[str, Any]) -> None:
    get, head = await exporting.alice.get(export["file"]), await exporting.alice.request("HEAD", export["file"])
    assert (head.status, head.body) == (200, b"")
    for name in ("ETag", "Last-Modified", "Content-Length", "Content-Type", "Content-Disposition", "Accept-Ranges"):
        assert head.headers[name] == get.headers[name]


@pytest.mark.parametrize(
    ("wanted", "start", "end"),
    [("bytes=0-9", 0, 10), ("bytes=10-", 10, None), ("bytes=-7", -7, None), ("bytes=5-999999", 5, None),
     ("bytes=-999999", 0, None), ("bytes = 3-3", 3, 4)],
)  # fmt: skip
async def test_a_part_of_the_file_can_be_had(
    exporting: Service, export: dict[str, Any], wanted: str, start: int, end: int | None
) -> None:
    whole = (await exporting.alice.get(export["file"])).body
    part = await exporting.alice.get(export["file"], headers={"Range": wanted})
    assert (part.status, part.body) == (206, whole[start:end])
    first = start % len(whole)
    assert part.headers["Content-Range"] == f"bytes {first}-{first + len(part.body) - 1}/{len(whole)}"
    assert int(part.headers["Content-Length"]) == len(part.body)


@pytest.mark.parametrize("wanted", ["bytes=999999-", "bytes=-0"])
async def test_a_part_that_the_file_has_not_is_416(exporting: Service, export: dict[str, Any], wanted: str) -> None:
    answer = await exporting.alice.get(export["file"], headers={"Range": wanted})
    assert_problem(answer, 416, "range-not-satisfiable")
    assert answer.headers["Content-Range"] == f"bytes */{export['bytes']}"


@pytest.mark.parametrize("wanted", ["bytes=5-3", "bytes=", "bytes=a-b", "lines=1-2", "bytes=0-1,3-4", "bytes=-", "x"])
async def test_a_range_that_is_none_is_passed_over(exporting: Service, export: dict[str, Any], wanted: str) -> None:
    answer = await exporting.alice.get(export["file"], headers={"Range": wanted})
    assert (answer.status, len(answer.body)) == (200, export["bytes"])


async def test_a_range_of_another_file_gets_the_whole(exporting: Service, export: dict[str, Any]) -> None:
    head = (await exporting.alice.request("HEAD", export["file"])).headers

    async def status(condition: str) -> int:
        headers = {"Range": "bytes=0-9", "If-Range": condition}
        return (await exporting.alice.get(export["file"], headers=headers)).status

    assert await status(head["ETag"]) == 206
    assert await status(head["Last-Modified"]) == 206
    assert await status('"other"') == 200
    assert await status("W/" + head["ETag"]) == 200, "RFC 9110, 13.1.5: a weak tag never matches"
    assert await status(format_datetime(datetime(2020, 1, 1, tzinfo=UTC), usegmt=True)) == 200
    assert await status("nonsense") == 200


async def test_a_file_that_the_client_has_is_not_sent_again(exporting: Service, export: dict[str, Any]) -> None:
    head = (await exporting.alice.request("HEAD", export["file"])).headers
    for headers in (
        {"If-None-Match": head["ETag"]},
        {"If-None-Match": f'"x", {head["ETag"]}'},
        {"If-None-Match": "*"},
        {"If-Modified-Since": head["Last-Modified"]},
    ):
        answer = await exporting.alice.get(export["file"], headers=headers)
        assert (answer.status, answer.body, answer.headers["ETag"]) == (304, b"", head["ETag"]), headers
    earlier = format_datetime(datetime.now(UTC) - timedelta(days=1), usegmt=True)
    for headers in (
        {"If-None-Match": '"other"', "If-Modified-Since": head["Last-Modified"]},
        {"If-Modified-Since": earlier},
        {"If-Modified-Since": "nonsense"},
        {"If-Modified-Since": f"Tue, 15 Nov {10**20} 12:45:26 GMT"},
    ):
        assert (await exporting.alice.get(export["file"], headers=headers)).status == 200, headers


async def test_equal_files_have_equal_tags_and_other_files_others(exporting: Service) -> None:
    await create_tasks(exporting.alice, [{}])
    one, two = [(await fetched(exporting.alice, "csv")).headers["ETag"] for _ in range(2)]
    other = (await fetched(exporting.alice, "json")).headers["ETag"]
    assert one == two != other


async def test_before_it_is_ready_the_file_is_409_and_when_to_come_again(service: Service) -> None:
    export_id = await ordered(service.alice)  # which nobody carries out
    answer = await service.alice.get(f"/exports/{export_id}/file")
    assert_problem(answer, 409, "not-ready")
    assert int(answer.headers["Retry-After"]) > 0


async def test_after_its_time_the_file_is_410_and_the_export_says_so(
    exporting: Service, export: dict[str, Any]
) -> None:
    await exporting.rows("UPDATE exports SET expires_at = now()")
    assert_problem(await exporting.alice.get(export["file"]), 410, "export-expired")
    shown = (await exporting.alice.get(f"/exports/{export['id']}")).json
    assert (shown["state"], shown["file"]) == ("succeeded", None)
    assert datetime.fromisoformat(shown["expires_at"]) <= datetime.now(UTC)


async def test_a_file_that_is_lost_is_410(exporting: Service, export: dict[str, Any]) -> None:
    [row] = await exporting.rows("SELECT object FROM exports WHERE id = $1::text::uuid", export["id"])
    await Storage.of(exporting.settings).delete(row["object"])
    assert_problem(await exporting.alice.get(export["file"]), 410, "export-expired")


async def test_a_failed_export_has_no_file_and_tells_why(exporting: Service) -> None:
    export_id = await ordered(exporting.alice)
    await finished(exporting.alice, export_id)
    await exporting.rows('UPDATE exports SET filters = \'{"sort":"nonsense"}\', expires_at = NULL, object = NULL')
    await exporting.rows("UPDATE jobs SET state = 'queued' WHERE kind = 'export'")
    await ordered(exporting.bob)  # calls a worker

    async def failed() -> Any:
        shown = (await exporting.alice.get(f"/exports/{export_id}")).json
        return shown if shown["state"] == "failed" else None

    shown = await eventually(failed)
    assert shown["error"]["type"] == "/problems/internal-error"
    assert (shown["file"], shown["expires_at"]) == (None, None)
    assert_problem(await exporting.alice.get(f"/exports/{export_id}/file"), 404, "not-found")


async def test_many_can_fetch_a_file_at_once(exporting: Service, export: dict[str, Any]) -> None:
    answers = await asyncio.gather(*(exporting.alice.get(export["file"]) for _ in range(20)))
    assert {answer.body for answer in answers} == {answers[0].body}
    assert len(answers[0].body) == export["bytes"]


async def test_a_csv_for_spreadsheets_begins_with_a_byte_order_mark_and_is_read_again(exporting: Service) -> None:
    await create_tasks(exporting.alice, [{"title": "Überweisung"}])
    plain = await fetched(exporting.alice, "csv", bom=False)
    marked = await fetched(exporting.alice, "csv", bom=True)
    assert marked.body == codecs.BOM_UTF8 + plain.body
    shown = (await exporting.alice.get("/exports?limit=2")).items
    assert [(export["bom"], export["rows"], export["bytes"]) for export in shown] == [
        (True, 1, len(marked.body)),
        (False, 1, len(plain.body)),
    ]
    answer = await exporting.bob.request("POST", "/imports", data=marked.body)
    assert answer.status == 202, answer

    async def arrived() -> Any:
        return (await exporting.bob.get("/tasks")).items

    assert [task["title"] for task in await eventually(arrived)] == ["Überweisung"]


# -- there and back


NASTY = (
    "=1+1", "+49 30", "-5", "@home", "'quoted", "''twice", "'=both", 'say "hi"', '"', "a,b;c", "ends\\", "\\n", "\\.",
    "a\u2028b", "\x01\x1b\x7f", "Überweisung 読み ☕ 👩‍👩‍👧", "[", ",", "{}", "null", "0001", "1e5", "TRUE",
)  # fmt: skip
NASTY_DESCRIPTIONS = (
    *NASTY,
    "\u2028",
    "two\nlines",
    "\tindented",
    "\rreturned",
    "\r\n",
    "\n",
    " spaced ",
    "x" * 20_000,
)


@pytest.mark.parametrize("export_format", ["csv", "ndjson", "json"])
async def test_what_is_exported_is_imported_again_as_equal_tasks(exporting: Service, export_format: str) -> None:
    moments = [datetime(2019, 2, 3, 4, 5, 6, 789_012, UTC), datetime(1970, 1, 1, tzinfo=UTC), None]
    rows = [
        {
            "title": NASTY[number % len(NASTY)],
            "description": text,
            "priority": number % 10 + 1,
            "status": ("pending", "completed", "blocked", "in_progress", "cancelled")[number % 5],
            "completed_at": moments[number % 2] if number % 5 == 1 else None,
            "due_date": moments[number % 3],
            "created_at": moments[number % 2],
            "labels": [label.replace(",", "") for label in ("=sum", NASTY[number % len(NASTY)] + "!", "a b\\")][
                : number % 4
            ],
            "recurrence": (None, "FREQ=WEEKLY;BYDAY=MO,TH", None, "FREQ=MONTHLY;BYMONTHDAY=-1;COUNT=5")[number % 4],
            "recurrence_from": ("due_date", "after_completion")[number % 2],
        }
        for number, text in enumerate([*NASTY_DESCRIPTIONS, None])
    ]
    await insert_tasks(exporting, exporting.alice, rows)
    file = await fetched(exporting.alice, export_format)
    answer = await exporting.bob.request("POST", f"/imports?format=tenfold-{export_format}", data=file.body)
    assert answer.status == 202, answer

    async def ended() -> Any:
        found = await exporting.bob.get(f"/imports/{answer.json['id']}", headers={"Prefer": "wait=5"})
        return found.json if found.json["finished_at"] else None

    imported = await eventually(ended)
    errors = (await exporting.bob.get(f"/imports/{imported['id']}/errors")).items
    assert (imported["state"], imported["created"], errors) == ("succeeded", len(rows), [])
    columns = (
        "title, description, priority, status, due_date, labels, created_at, completed_at, recurrence, recurrence_from"
    )
    of_user = f"SELECT {columns} FROM tasks WHERE user_id = $1 ORDER BY id"
    there, back = [await exporting.rows(of_user, user.id) for user in (exporting.alice, exporting.bob)]
    assert back == there


async def test_a_calendar_tells_of_a_task_what_other_programs_know_and_what_only_we_do(exporting: Service) -> None:
    wanted = {
        "title": "rec",
        "due_date": "2030-01-01T10:00:00Z",
        "recurrence": "FREQ=WEEKLY",
        "recurrence_from": "after_completion",
        "status": "blocked",
        "priority": 10,
    }
    task = await create_task(exporting.alice, **wanted)
    await exporting.alice.put(f"/tasks/{task['id']}/reminders", {"reminders": ["P1D", "PT1H"]})
    file = await fetched(exporting.alice, "ics")
    lines = file.body.decode().split("\r\n")
    for line in (
        f"UID:tenfold-{task['id']}", "DTSTART:20300101T100000Z", "DUE:20300101T100000Z", "RRULE:FREQ=WEEKLY",
        "PRIORITY:9", "X-TENFOLD-PRIORITY:10", "STATUS:NEEDS-ACTION", "X-TENFOLD-STATUS:blocked",
        "X-TENFOLD-RECURRENCE-FROM:after_completion", "TRIGGER;RELATED=END:-P1D", "TRIGGER;RELATED=END:-PT1H",
    ):  # fmt: skip
        assert line in lines
    [todo] = icalendar.Calendar.from_ical(file.body).walk("VTODO")
    assert todo.errors == []
    assert todo.start == todo.end == datetime(2030, 1, 1, 10, tzinfo=UTC)
    assert len(todo.alarms.times) == 2
    answer = await exporting.bob.request("POST", "/imports", data=file.body)

    async def arrived() -> Any:
        return (await exporting.bob.get("/tasks")).items

    assert answer.status == 202, answer
    [back] = await eventually(arrived)
    assert {name: back[name] for name in wanted} == wanted

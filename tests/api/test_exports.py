"""Exports over HTTP: ordered, followed, fetched whole or in parts, cancelled, and gone in the end."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import orjson
import pytest

from core.storage import Storage
from tests.api.problems import assert_problem
from tests.conftest import MakeService
from tests.factories import create_tasks, insert_tasks
from tests.harness import Answer, Client, Service, WorkerInProcess, away, eventually

UNKNOWN = "00000000-0000-7000-8000-000000000000"


@pytest.fixture(scope="session")
async def _exporting(_shared_service: Service) -> AsyncIterator[None]:
    """A worker for exports beside the shared service's."""
    worker = WorkerInProcess(_shared_service.settings, ("bulk",))
    await worker.start()
    yield
    await worker.stop()


@pytest.fixture
async def exporting(_exporting: None, service: Service) -> Service:
    """The shared service, which carries exports out."""
    return service


async def ordered(client: Client, export_format: str = "ndjson", **filters: Any) -> str:
    """Orders an export and returns its id."""
    answer = await client.post("/exports", {"format": export_format, **filters})
    assert answer.status == 202, answer
    export_id: str = answer.json["id"]
    return export_id


async def finished(client: Client, export_id: str) -> dict[str, Any]:
    """The export when it has ended."""

    async def ended() -> Any:
        answer = await client.get(f"/exports/{export_id}", headers={"Prefer": "wait=5"})
        return answer.json if answer.json["finished_at"] else None

    export: dict[str, Any] = await eventually(ended)
    return export


async def fetched(client: Client, export_format: str = "ndjson", **filters: Any) -> Answer:
    export = await finished(client, await ordered(client, export_format, **filters))
    assert export["state"] == "succeeded", export
    return await client.get(export["file"])


def ids(answer: Answer) -> list[int]:
    return [orjson.loads(line)["id"] for line in answer.body.splitlines()]


# -- ordering


async def test_an_export_is_ordered_followed_and_fetched(exporting: Service) -> None:
    tasks = await create_tasks(exporting.alice, [{"priority": 1}, {"priority": 2}])
    answer = await exporting.alice.post("/exports", {"format": "ndjson", "priority": [2, 3], "sort": "-id"})
    assert answer.status == 202
    assert answer.headers["Location"] == f"/exports/{answer.json['id']}"
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.json == {
        "id": answer.json["id"], "kind": "export", "state": "queued", "created_at": answer.json["created_at"],
        "started_at": None, "finished_at": None, "progress": None, "status_code": None, "result": None, "error": None,
        "format": "ndjson", "filters": {"priority": [2, 3], "sort": "-id"}, "rows": 0, "bytes": None,
        "expires_at": None, "file": None,
    }  # fmt: skip
    export = await finished(exporting.alice, answer.json["id"])
    assert export == answer.json | {
        "state": "succeeded", "created_at": export["created_at"], "started_at": export["started_at"],
        "finished_at": export["finished_at"], "progress": {"done": 1, "total": 1, "failed": 0}, "status_code": 200,
        "rows": 1, "bytes": export["bytes"], "expires_at": export["expires_at"],
        "file": f"/exports/{export['id']}/file",
    }  # fmt: skip
    kept = datetime.fromisoformat(export["expires_at"]) - datetime.fromisoformat(export["finished_at"])
    assert kept.total_seconds() == pytest.approx(24 * 3600, abs=5)
    file = await exporting.alice.get(export["file"])
    assert [orjson.loads(line) for line in file.body.splitlines()] == [tasks[1]]
    assert len(file.body) == export["bytes"]


async def test_filters_are_taken_as_json_and_as_a_query_says_them(exporting: Service) -> None:
    tasks = await create_tasks(
        exporting.alice,
        [{"priority": 1, "status": "blocked"}, {"priority": 2, "title": "Pay the tax"}, {"priority": 3}],
    )
    expected = [task["id"] for task in tasks]
    for filters, wanted in (
        ({}, [0, 1, 2]),
        ({"priority": "1,3"}, [0, 2]),
        ({"priority": [3, 1]}, [0, 2]),
        ({"priority_min": 2, "status": ["pending"]}, [1, 2]),
        ({"status": "blocked"}, [0]),
        ({"q": "pay TAX"}, [1]),
        ({"overdue": True}, []),
        ({"overdue": False, "sort_by_priority": True}, [0, 1, 2]),
        ({"sort": "-priority"}, [2, 1, 0]),
        ({"due_before": "2030-01-01T00:00:00Z"}, []),
    ):
        assert ids(await fetched(exporting.alice, **filters)) == [expected[place] for place in wanted], filters


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "format"),
        ({"format": "xml"}, "format"),
        ({"format": None}, "format"),
        ({"format": "csv", "limit": 5}, "limit"),
        ({"format": "csv", "cursor": "x"}, "cursor"),
        ({"format": "csv", "priority": [0]}, "priority"),
        ({"format": "csv", "priority": []}, "priority"),
        ({"format": "csv", "priority": [1.5]}, "priority"),
        ({"format": "csv", "priority": [True]}, "priority"),
        ({"format": "csv", "priority": {"min": 1}}, "priority"),
        ({"format": "csv", "priority": 1.5}, "priority"),
        ({"format": "csv", "status": ["pending,blocked"]}, "status"),
        ({"format": "csv", "status": [1]}, "status"),
        ({"format": "csv", "priority_min": "1"}, "priority_min"),
        ({"format": "csv", "priority_min": 5, "priority_max": 4}, "priority_min"),
        ({"format": "csv", "overdue": "true"}, "overdue"),
        ({"format": "csv", "overdue": None}, "overdue"),
        ({"format": "csv", "q": " \t "}, "q"),
        ({"format": "csv", "q": 5}, "q"),
        ({"format": "csv", "sort": "title"}, "sort"),
        ({"format": "csv", "sort": "id", "sort_by_priority": True}, "sort"),
        ({"format": "csv", "due_before": "tomorrow"}, "due_before"),
        ({"format": "csv", "user_id": 0}, "user_id"),
        ({"format": "csv", "user_id": 1 << 63}, "user_id"),
    ],
)
async def test_what_cannot_be_exported_is_refused_by_field(service: Service, body: dict[str, Any], field: str) -> None:
    problem = assert_problem(await service.alice.post("/exports", body), 422, "validation-error")
    assert list(problem["errors"]) == [field]


async def test_a_body_that_is_no_object_is_refused(service: Service) -> None:
    for body in ([], "csv", 1, None):
        assert (await service.alice.post("/exports", data=orjson.dumps(body))).status == 422


async def test_a_user_exports_their_own_tasks_and_an_admin_everybodys_or_one_users(exporting: Service) -> None:
    [own] = await create_tasks(exporting.alice, [{}])
    [foreign] = await create_tasks(exporting.bob, [{}])
    assert ids(await fetched(exporting.alice)) == [own["id"]]
    assert ids(await fetched(exporting.alice, user_id=exporting.bob.id)) == []
    assert ids(await fetched(exporting.admin)) == [own["id"], foreign["id"]]
    assert ids(await fetched(exporting.admin, user_id=exporting.bob.id)) == [foreign["id"]]


async def test_the_same_key_orders_one_export_and_tells_how_far_it_is(exporting: Service) -> None:
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    first = await exporting.alice.post("/exports", {"format": "csv"}, headers=headers)
    await finished(exporting.alice, first.json["id"])
    again = await exporting.alice.post("/exports", {"format": "csv"}, headers=headers)
    assert (again.status, again.headers["Idempotent-Replayed"]) == (202, "true")
    assert (again.json["id"], again.json["state"]) == (first.json["id"], "succeeded")
    assert again.headers["Location"] == first.headers["Location"]
    other = await exporting.alice.post("/exports", {"format": "json"}, headers=headers)
    assert_problem(other, 422, "idempotency-key-reuse")
    assert len((await exporting.alice.get("/exports")).items) == 1


async def test_an_export_that_waits_in_its_lane_is_told_and_can_be_cancelled(make_service: MakeService) -> None:
    service = await make_service(with_worker=False, queues=("writes", "bulk"), WRITE_WAIT_SECONDS="0.2")
    answer = await service.alice.post("/exports", {"format": "csv", "q": "x"}, headers={"Prefer": "respond-async"})
    assert (answer.status, answer.headers["Preference-Applied"]) == (202, "respond-async")
    path = answer.headers["Location"]
    waiting = await service.alice.get(path)
    assert (waiting.status, waiting.json) == (200, answer.json)
    assert (await service.charlie.get(path)).status == 404
    assert_problem(await service.alice.get(f"{path}/file"), 409, "not-ready")
    assert (await service.alice.delete(path)).status == 202
    await service.worker.start()

    async def state() -> Any:
        found = (await service.alice.get(path)).json["state"]
        return found if found != "queued" else None

    assert await eventually(state) == "cancelled"


async def test_a_queue_that_is_away_takes_no_export(make_service: MakeService, breakable_servers: Any) -> None:
    service = await make_service(on=breakable_servers, with_worker=False)
    async with away(breakable_servers.queue):
        assert_problem(await service.alice.post("/exports", {"format": "csv"}), 503, "queue-unavailable")


# -- following


async def test_the_job_of_an_export_is_a_job_like_any(exporting: Service) -> None:
    export_id = await ordered(exporting.alice)
    await finished(exporting.alice, export_id)
    job = (await exporting.alice.get(f"/jobs/{export_id}")).json
    assert (job["kind"], job["state"], job["status_code"], job["result"]) == ("export", "succeeded", 200, None)
    listed = await exporting.alice.get("/jobs?kind=export")
    assert [job["id"] for job in listed.items] == [export_id]


async def test_exports_are_listed_newest_first_page_by_page(exporting: Service) -> None:
    orders = [await ordered(exporting.alice) for _ in range(5)]
    await ordered(exporting.bob)
    found: list[str] = []
    path = "/exports?limit=2"
    while path:
        page = await exporting.alice.get(path)
        found += [export["id"] for export in page.items]
        cursor = page.json["next_cursor"]
        path = f"/exports?limit=2&cursor={cursor}" if cursor else ""
    assert found == orders[::-1]
    assert_problem(await exporting.alice.get("/exports?cursor=x"), 400, "invalid-cursor")
    assert_problem(await exporting.alice.get("/exports?limit=1001"), 422, "validation-error")
    assert_problem(await exporting.alice.get("/exports?state=queued"), 422, "validation-error")


async def test_another_users_export_is_not_there(exporting: Service) -> None:
    export_id = await ordered(exporting.alice)
    await finished(exporting.alice, export_id)
    for client in (exporting.bob, exporting.admin):
        for method, path in (("GET", ""), ("GET", "/file"), ("DELETE", "")):
            answer = await client.request(method, f"/exports/{export_id}{path}")
            assert_problem(answer, 404, "not-found")
        assert (await client.get("/exports")).items == []
    assert (await exporting.alice.get(f"/exports/{export_id}/file")).status == 200


@pytest.mark.parametrize("text", [UNKNOWN, "1", "x", UNKNOWN.upper() + "0"])
async def test_an_export_that_is_not_there_is_404(service: Service, text: str) -> None:
    for method, path in (("GET", ""), ("GET", "/file"), ("DELETE", "")):
        assert_problem(await service.alice.request(method, f"/exports/{text}{path}"), 404, "not-found")


# -- the file


@pytest.fixture
async def export(exporting: Service) -> dict[str, Any]:
    """Alice's finished export of some tasks."""
    await insert_tasks(exporting, exporting.alice, [{"title": f"task {number} ü"} for number in range(50)])
    return await finished(exporting.alice, await ordered(exporting.alice, "csv"))


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
    await exporting.rows('UPDATE exports SET filters = \'{"sort": "nonsense"}\', expires_at = NULL, object = NULL')
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


# -- ending


@pytest.mark.parametrize("collection", ["exports", "jobs"])
async def test_an_export_that_has_not_ended_is_cancelled(service: Service, collection: str) -> None:
    export_id = await ordered(service.alice)  # which nobody carries out
    assert (await service.alice.delete(f"/{collection}/{export_id}")).status == 204
    shown = (await service.alice.get(f"/exports/{export_id}")).json
    assert (shown["state"], shown["file"]) == ("cancelled", None)
    assert_problem(await service.alice.get(f"/exports/{export_id}/file"), 404, "not-found")
    again = await service.alice.delete(f"/{collection}/{export_id}")
    assert_problem(again, 409, "job-not-cancellable")


async def test_deleting_a_finished_export_deletes_its_file_but_its_job_has_ended(
    exporting: Service, export: dict[str, Any]
) -> None:
    assert_problem(await exporting.alice.delete(f"/jobs/{export['id']}"), 409, "job-not-cancellable")
    assert (await exporting.alice.get(export["file"])).status == 200
    assert (await exporting.alice.delete(f"/exports/{export['id']}")).status == 204
    assert_problem(await exporting.alice.get(export["file"]), 410, "export-expired")


async def test_a_cancellation_has_one_effect_however_often_it_is_sent(service: Service) -> None:
    export_id = await ordered(service.alice)
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    answers = [await service.alice.delete(f"/exports/{export_id}", headers=headers) for _ in range(2)]
    assert [answer.status for answer in answers] == [204, 204]
    assert answers[1].headers["Idempotent-Replayed"] == "true"

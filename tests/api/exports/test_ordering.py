"""Exports are ordered and followed; what cannot be exported is refused by its field."""

import uuid
from datetime import datetime
from typing import Any

import orjson
import pytest

from tests.api.exports.harness import UNKNOWN, fetched, finished, ids, ordered
from tests.api.problems import assert_problem
from tests.conftest import MakeService
from tests.factories import create_tasks
from tests.harness import Service, away, eventually

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
        "format": "ndjson", "bom": False, "filters": {"priority": [2, 3], "sort": "-id"}, "rows": 0, "bytes": None,
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
        ({"format": "csv", "bom": "true"}, "bom"),
        ({"format": "csv", "bom": None}, "bom"),
        ({"format": "json", "bom": True}, "bom"),
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

"""Imports are listed, their errors told in pages or as a CSV that can be mended, and they can be cancelled."""

import csv
import io
import uuid

import orjson
import pytest

from tests.api.imports.harness import counts, imported, lines, sent
from tests.api.problems import assert_problem
from tests.harness import Service

# -- reading


async def test_wrong_rows_are_told_in_pages(importing: Service) -> None:
    content = lines(*[{"title": ""}, {"title": "x", "priority": 0}] * 3, {"title": "good"})
    done = await imported(importing.alice, content, format="tenfold-ndjson")
    assert (done["state"], counts(done)) == ("succeeded", (7, 1, 0, 0, 6))
    path = f"/imports/{done['id']}/errors"
    first = await importing.alice.get(f"{path}?limit=4")
    assert [error["row"] for error in first.items] == [1, 2, 3, 4]
    assert first.items[1] == {
        "row": 2,
        "column": "priority",
        "message": "Must be greater than or equal to 1 and less than or equal to 10.",
        "values": {"title": "x", "priority": 0},
    }
    second = await importing.alice.get(f"{path}?limit=4&cursor={first.json['next_cursor']}")
    assert [error["row"] for error in second.items] == [5, 6]
    assert second.json["next_cursor"] is None
    other = await imported(importing.alice, lines({"title": ""}))
    foreign = await importing.alice.get(f"/imports/{other['id']}/errors?cursor={first.json['next_cursor']}")
    assert_problem(foreign, 400, "invalid-cursor")


async def test_errors_of_a_csv_are_a_csv_that_can_be_mended_and_sent_again(importing: Service) -> None:
    content = b'Title,Prio,Notes\r\ngood,1,"a, b"\r\nbad,99,"=1+1"\r\n,2,\r\n'
    mapping = orjson.dumps({"columns": {"Title": "title", "Prio": "priority", "Notes": "description"}}).decode()
    done = await imported(importing.alice, content, mapping=mapping)
    assert counts(done) == (3, 1, 0, 0, 2)
    answer = await importing.alice.get(f"/imports/{done['id']}/errors", headers={"Accept": "text/csv"})
    assert answer.headers["Content-Type"].startswith("text/csv")
    assert "attachment" in answer.headers["Content-Disposition"]
    header, *rows = csv.reader(io.StringIO(answer.body.decode(), newline=""))
    assert header == ["Title", "Prio", "Notes", "error"]
    assert [row[:3] for row in rows] == [["bad", "99", "'=1+1"], ["", "2", ""]]
    assert rows[0][3].startswith("Prio: ")
    mended = answer.body.replace(b"99", b"3").replace(b"\r\n,2", b"\r\nnow with a title,2")
    again = await imported(importing.alice, mended, mapping=mapping)
    assert counts(again) == (2, 2, 0, 0, 0)


async def test_a_report_of_errors_can_be_sent_back_again_and_again(importing: Service) -> None:
    content = b"title,description,priority\r\n=sum,@all,11\r\ngood,,1\r\n"
    for _ in range(3):
        done = await imported(importing.alice, content, format="tenfold-csv")
        assert done["failed"] == 1
        answer = await importing.alice.get(f"/imports/{done['id']}/errors", headers={"Accept": "text/csv"})
        content = answer.body
        assert content.splitlines()[0] == b"title,description,priority,error"
        assert content.splitlines()[1].startswith(b"'=sum,'@all,11,priority: ")
    assert (await imported(importing.alice, content.replace(b"11", b"10", 1), format="tenfold-csv"))["created"] == 1
    task = (await importing.alice.get("/user/tasks?sort=-id&limit=1")).items[0]
    assert (task["title"], task["description"], task["priority"]) == ("=sum", "@all", 10)


async def test_errors_of_another_file_are_a_csv_of_rows_columns_and_messages(importing: Service) -> None:
    done = await imported(importing.alice, lines({"title": "", "priority": 0}), format="tenfold-ndjson")
    answer = await importing.alice.get(f"/imports/{done['id']}/errors", headers={"Accept": "text/csv"})
    header, *rows = csv.reader(io.StringIO(answer.body.decode(), newline=""))
    assert header == ["row", "column", "error", "values"]
    assert [row[:2] for row in rows] == [["1", "title"], ["1", "priority"]]
    assert orjson.loads(rows[0][3]) == {"title": "", "priority": 0}


async def test_many_errors_arrive_whole(importing: Service) -> None:
    done = await imported(importing.alice, lines(*[{"title": ""}] * 3500), format="tenfold-ndjson")
    answer = await importing.alice.get(f"/imports/{done['id']}/errors", headers={"Accept": "text/csv"})
    assert len(answer.body.splitlines()) == 3501


@pytest.mark.parametrize(
    ("accept", "is_csv"),
    [
        ("application/json, text/csv;q=0.5", False),
        ("application/json;q=0.5, text/csv", True),
        ("*/*", False),
        ("text/csv;q=0", False),
        ("text/csv;q=x", False),
    ],
)
async def test_the_form_of_errors_is_what_is_preferred(importing: Service, accept: str, is_csv: bool) -> None:
    done = await imported(importing.alice, lines({"title": ""}))
    answer = await importing.alice.get(f"/imports/{done['id']}/errors", headers={"Accept": accept})
    assert answer.headers["Content-Type"].startswith("text/csv") is is_csv


async def test_imports_are_listed_newest_first_in_pages(importing: Service) -> None:
    made = [(await imported(importing.alice, lines({"title": f"{n}"})))["id"] for n in range(3)]
    first = await importing.alice.get("/imports?limit=2")
    assert [found["id"] for found in first.items] == [made[2], made[1]]
    second = await importing.alice.get(f"/imports?limit=2&cursor={first.json['next_cursor']}")
    assert [found["id"] for found in second.items] == [made[0]]
    assert (await importing.bob.get("/imports")).items == []
    jobs = await importing.alice.get("/jobs?kind=import")
    assert [job["id"] for job in jobs.items] == made[::-1]


async def test_what_belongs_to_another_does_not_exist(importing: Service) -> None:
    done = await imported(importing.alice, lines({"title": ""}))
    for path in (f"/imports/{done['id']}", f"/imports/{done['id']}/errors"):
        for client in (importing.bob, importing.charlie, importing.admin):
            assert_problem(await client.get(path), 404, "not-found")
    assert_problem(await importing.bob.delete(f"/imports/{done['id']}"), 404, "not-found")
    assert_problem(await importing.alice.get(f"/imports/{uuid.uuid4()}"), 404, "not-found")
    assert_problem(await importing.alice.get("/imports/7"), 404, "not-found")


# -- cancelling


@pytest.mark.parametrize("path", ["/imports/{}", "/jobs/{}"])
async def test_an_import_is_cancelled(service: Service, path: str) -> None:
    answer = await sent(service.alice, lines({"title": "never"}))
    import_id = answer.json["id"]
    assert (await service.alice.delete(path.format(import_id))).status == 204
    assert (await service.alice.get(f"/imports/{import_id}")).json["state"] == "cancelled"
    assert_problem(await service.alice.delete(path.format(import_id)), 409, "job-not-cancellable")


async def test_an_import_that_has_ended_cannot_be_cancelled(importing: Service) -> None:
    done = await imported(importing.alice, lines({"title": "done"}))
    assert_problem(await importing.alice.delete(f"/imports/{done['id']}"), 409, "job-not-cancellable")

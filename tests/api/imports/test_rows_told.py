"""Rows that failed are given back to be mended; what was replaced is told; the first tasks are shown."""

from typing import Any

import orjson
import pytest

from tests.api.imports.harness import counts, imported, lines, sent, titles
from tests.api.problems import assert_problem
from tests.harness import Service

# -- rows that failed

ICS = (
    "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VTODO\r\nUID:a\r\nSUMMARY:good\r\nEND:VTODO\r\n"
    "BEGIN:VTODO\r\nUID:b\r\nSUMMARY:bad\r\nEND:VCALENDAR\r\n"
)


@pytest.mark.parametrize(
    ("content", "query", "media_type", "wrong", "right"),
    [
        (
            lines({"title": "good"}, {"title": "bad", "priority": 11}), {"format": "tenfold-ndjson"},
            "application/x-ndjson", b"11", b"10",
        ),
        (
            b'[{"title":"good"},{"title":"bad","priority":11}]', {"format": "tenfold-json"}, "application/json",
            b"11", b"10",
        ),
        (b"title,priority\r\ngood,1\r\nbad,11\r\n", {"format": "tenfold-csv"}, "text/csv", b"11", b"10"),
        (ICS.encode(), {}, "text/calendar", b"", b""),
        (
            b'[{"number":1,"title":"good","url":"https://github.com/o/r/issues/1"},"bad"]', {"format": "github-json"},
            "application/json", b'"bad"', b'{"number":2,"title":"bad"}',
        ),
        ("Task;Größe\r\ngood;ä\r\n;ö\r\n".encode("cp1252"), {"encoding": "cp1252"}, "text/csv", b"\r\n;", b"\r\nbad;"),
    ],
    ids=["ndjson", "json", "csv", "icalendar", "github", "windows-1252"],
)  # fmt: skip
async def test_rows_that_failed_are_given_back_mended_and_imported(
    importing: Service, content: bytes, query: dict[str, str], media_type: str, wrong: bytes, right: bytes
) -> None:
    done = await imported(importing.alice, content, **query)
    assert counts(done) == (2, 1, 0, 0, 1)
    answer = await importing.alice.get(f"/imports/{done['id']}/errors/file")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith(media_type)
    assert "attachment" in answer.headers["Content-Disposition"]
    assert b"good" not in answer.body
    again = await imported(importing.alice, answer.body.replace(wrong, right), **query)
    assert (again["format"], counts(again)) == (done["format"], (1, 1, 0, 0, 0))
    assert sorted(await titles(importing.alice)) == ["bad", "good"]
    assert "error" not in str((await importing.alice.get("/user/tasks")).items).lower()


async def test_a_file_of_failed_rows_that_nobody_mended_fails_again_for_the_same_reasons(importing: Service) -> None:
    own = {"format": "tenfold-ndjson"}
    first = await imported(importing.alice, lines({"title": "", "priority": 0}, {"title": "x", "priority": 99}), **own)
    answer = await importing.alice.get(f"/imports/{first['id']}/errors/file")
    second = await imported(importing.alice, answer.body, **own)
    assert counts(second) == (2, 0, 0, 0, 2)
    told = [(await importing.alice.get(f"/imports/{one['id']}/errors")).items for one in (first, second)]
    assert [(e["row"], e["column"], e["message"]) for e in told[0]] == [
        (e["row"], e["column"], e["message"]) for e in told[1]
    ]


async def test_what_on_conflict_error_refuses_is_given_back_whole(importing: Service) -> None:
    board = {"lists": [{"id": "l", "name": "Doing", "idBoard": "b"}], "labelNames": {}, "shortUrl": "u", "prefs": {}}
    cards = [{"id": f"{number:024x}", "name": f"card {number}", "idList": "l", "desc": "d" * 600} for number in (1, 2)]
    content = orjson.dumps({**board, "cards": cards})
    await imported(importing.alice, content)
    refused = await imported(importing.alice, content, on_conflict="error")
    assert counts(refused) == (2, 0, 0, 0, 2)
    given = orjson.loads((await importing.alice.get(f"/imports/{refused['id']}/errors/file")).body)
    assert [{name: value for name, value in card.items() if name != "error"} for card in given["cards"]] == cards
    assert given["lists"] == board["lists"]


async def test_a_row_that_is_too_large_is_not_given_back_and_its_error_says_so(importing: Service) -> None:
    done = await imported(
        importing.alice, lines({"title": "", "description": "x" * 70_000}, {"title": ""}), format="tenfold-ndjson"
    )
    errors = (await importing.alice.get(f"/imports/{done['id']}/errors")).items
    assert "too large to be given back" in errors[0]["message"]
    assert errors[0]["values"] is None
    answer = await importing.alice.get(f"/imports/{done['id']}/errors/file")
    [line] = answer.body.splitlines()
    assert orjson.loads(line)["title"] == ""


async def test_many_failed_rows_come_whole(importing: Service) -> None:
    done = await imported(importing.alice, lines(*[{"title": ""}] * 3500), format="tenfold-ndjson")
    answer = await importing.alice.get(f"/imports/{done['id']}/errors/file")
    assert len(answer.body.splitlines()) == 3500


@pytest.mark.parametrize("accept", ["application/json", "text/csv"])
@pytest.mark.parametrize("query", [{}, {"format": "csv"}])
async def test_our_own_list_of_errors_sent_by_mistake_is_refused_with_what_to_do(
    importing: Service, accept: str, query: dict[str, str]
) -> None:
    done = await imported(importing.alice, lines({"title": ""}))
    errors = await importing.alice.get(f"/imports/{done['id']}/errors", headers={"Accept": accept})
    answer = await sent(importing.alice, errors.body, **query)
    assert_problem(answer, 422, "import-wrong-format")
    assert "/errors/file" in answer.json["detail"]


# -- warnings


async def test_what_was_replaced_or_left_out_is_told_in_pages(importing: Service, warning_format: Any) -> None:
    done = await imported(importing.alice, b"x", format="warning")
    assert counts(done) == (4, 2, 0, 1, 1)
    assert (done["warned"], done["result"]["warned"]) == (1, 1)
    path = f"/imports/{done['id']}/warnings"
    everything = (await importing.alice.get(path)).items
    assert everything == [
        {"row": 1, "column": "Prio", "message": "“?” is no priority: 5 was taken."},
        {"row": 1, "column": None, "message": "Something else."},
        {"row": 3, "column": None, "message": "A pull request is no task."},
    ]
    first = await importing.alice.get(f"{path}?limit=2")
    second = await importing.alice.get(f"{path}?limit=2&cursor={first.json['next_cursor']}")
    assert first.items + second.items == everything
    assert second.json["next_cursor"] is None
    errors = await importing.alice.get(f"/imports/{done['id']}/errors?cursor={first.json['next_cursor']}")
    assert_problem(errors, 400, "invalid-cursor")


# -- the first tasks


async def test_a_preview_shows_the_first_tasks_as_they_are_answered(importing: Service) -> None:
    content = lines(*({"title": f"task {number}", "priority": 2, "labels": ["x"]} for number in range(30)))
    done = await imported(importing.alice, content)
    preview = await importing.alice.get(f"/imports/{done['id']}/preview")
    tasks = (await importing.alice.get("/user/tasks?limit=20")).items
    assert preview.json == {"items": tasks, "next_cursor": None}


async def test_a_preview_of_a_dry_run_shows_tasks_without_ids_and_makes_none(importing: Service) -> None:
    content = lines(
        {"title": "one", "due_date": "2030-01-31T17:00:00+01:00", "status": "completed"},
        {"title": ""},
        {"title": "two", "description": "d"},
    )
    tried = await imported(importing.alice, content, dry_run="true")
    shown = (await importing.alice.get(f"/imports/{tried['id']}/preview")).items
    assert await titles(importing.alice) == []
    done = await imported(importing.alice, content)
    made = (await importing.alice.get(f"/imports/{done['id']}/preview")).items
    assert [task["id"] for task in shown] == [None, None]
    assert shown[0]["due_date"] == "2030-01-31T16:00:00Z"
    moments = {"id", "created_at", "updated_at", "completed_at"}
    assert [{name: value for name, value in task.items() if name not in moments} for task in shown] == [
        {name: value for name, value in task.items() if name not in moments} for task in made
    ]


async def test_a_preview_of_an_update_shows_what_the_task_becomes(importing: Service) -> None:
    await imported(importing.alice, lines({"title": "old", "external_id": "1", "priority": 3}))
    [before] = (await importing.alice.get("/user/tasks")).items
    content = lines({"title": "new", "external_id": "1"})
    tried = await imported(importing.alice, content, dry_run="true", on_conflict="update")
    [shown] = (await importing.alice.get(f"/imports/{tried['id']}/preview")).items
    assert (shown["id"], shown["title"], shown["priority"]) == (before["id"], "new", 3)
    assert (await importing.alice.get("/user/tasks")).items == [before]


async def test_what_belongs_to_another_does_not_exist(importing: Service) -> None:
    done = await imported(importing.alice, lines({"title": ""}, {"title": "x"}))
    for path in ("errors/file", "warnings", "preview"):
        for client in (importing.bob, importing.admin):
            assert_problem(await client.get(f"/imports/{done['id']}/{path}"), 404, "not-found")


async def test_lists_become_labels_and_columns_statuses_by_option_and_a_dry_run_shows_it(importing: Service) -> None:
    lists = [{"id": str(place), "name": name, "idBoard": "b"} for place, name in enumerate(["En cours", "Garden"])]
    cards = [
        {"id": f"{place:024x}", "idBoard": "b", "idList": str(place), "name": f"card {place}", "pos": 1}
        for place in range(2)
    ]
    content = orjson.dumps({"shortUrl": "u", "prefs": {}, "lists": lists, "cards": cards})
    plain = await imported(importing.alice, content, dry_run="true")
    shown = (await importing.alice.get(f"/imports/{plain['id']}/preview")).items
    assert [(task["status"], task["labels"], task["description"]) for task in shown] == [
        ("pending", [], "List: En cours"),
        ("pending", [], "List: Garden"),
    ]
    tried = await imported(importing.alice, content, dry_run="true", lists_as="labels", columns_as="statuses")
    shown = (await importing.alice.get(f"/imports/{tried['id']}/preview")).items
    assert [(task["status"], task["labels"]) for task in shown] == [("in_progress", []), ("pending", ["Garden"])]
    await imported(importing.alice, content, lists_as="labels", columns_as="statuses")
    made = (await importing.alice.get("/user/tasks")).items
    assert [(task["status"], task["labels"]) for task in made] == [("in_progress", []), ("pending", ["Garden"])]


async def test_a_row_that_is_known_already_is_skipped_and_says_why(importing: Service) -> None:
    content = b"Task,Note\nPay the rent,a\nWater the plants,b\n"
    await imported(importing.alice, content)
    again = await imported(importing.alice, content)
    assert (again["skipped"], again["warned"]) == (2, 0)
    told = (await importing.alice.get(f"/imports/{again['id']}/warnings")).items
    ids = {task["id"] for task in (await importing.alice.get("/user/tasks")).items}
    assert {warning["row"] for warning in told} == {1, 2}
    assert {warning["message"] for warning in told} == {
        f"Skipped: an equal task was imported before as task {task_id}." for task_id in ids
    }

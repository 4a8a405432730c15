"""Google Tasks: Takeout's file, and what the API answers."""

import json
from typing import Any

import pytest

from core.formats.programs.google_tasks import FORMAT
from core.formats.registry import head_of
from tests.core.formats.harness import BERLIN, read

TASK: dict[str, Any] = {
    "kind": "tasks#task",
    "id": "t1",
    "title": "Buy milk",
    "notes": "Two litres.",
    "due": "2026-01-31T17:30:00Z",
    "updated": "2026-01-03T10:00:00Z",
    "status": "needsAction",
    "links": [{"type": "email", "description": "Mail", "link": "https://mail.google.com/x"}],
}


def takeout(*tasks: object) -> str:
    lists = [{"kind": "tasks#tasks", "id": "l", "title": "My list", "items": list(tasks)}, {"kind": "tasks#tasks"}]
    return json.dumps({"kind": "tasks#taskLists", "items": lists})


def test_a_task_of_takeout() -> None:
    assert read(FORMAT, takeout(TASK)).one == {
        "title": "Buy milk",
        "description": "Two litres.\n\nList: My list\nLink: Mail https://mail.google.com/x",
        "due_date": "2026-01-31T17:30:00+00:00",
        "external_id": "t1",
    }


def test_a_child_names_its_parent_and_may_come_first() -> None:
    child = {"id": "t2", "title": "Ask for change", "parent": "t1"}
    assert read(FORMAT, takeout(child, TASK)).fields[0]["description"].startswith("Part of: Buy milk")


@pytest.mark.parametrize("due", ["2026-01-31T00:00:00.000Z", "2026-01-31T00:00:00Z", "2026-01-31"])
def test_a_due_day_ends_when_the_readers_day_does(due: str) -> None:
    fields = read(FORMAT, takeout({**TASK, "due": due}), time_zone=BERLIN).one
    assert fields["due_date"] == "2026-01-31T22:59:59+00:00"


@pytest.mark.parametrize(
    ("changes", "status", "completed_at"),
    [
        ({"status": "completed", "completed": "2026-01-02T10:00:00Z"}, "completed", "2026-01-02T10:00:00+00:00"),
        ({"status": "completed"}, "completed", "2026-01-03T10:00:00+00:00"),
        ({"deleted": True}, "cancelled", None),
        ({"status": None}, None, None),
    ],
)
def test_statuses(changes: dict[str, Any], status: str | None, completed_at: str | None) -> None:
    fields = read(FORMAT, takeout({**TASK, **changes})).one
    assert (fields.get("status"), fields.get("completed_at")) == (status, completed_at)


@pytest.mark.parametrize("title", [None, "", " "])
def test_titles_may_be_empty(title: str | None) -> None:
    assert read(FORMAT, takeout({**TASK, "title": title})).one["title"] == "(untitled)"


def test_one_list_as_the_api_answers_it_is_read() -> None:
    text = json.dumps({"kind": "tasks#tasks", "etag": "x", "items": [TASK, TASK]})
    assert [row.number for row in read(FORMAT, text).good] == [1, 2]
    assert FORMAT.recognise(head_of(text.encode(), "", True)) == 3


@pytest.mark.parametrize(
    ("document", "name"),
    [
        ({"kind": "tasks#taskLists", "items": []}, "import-empty"),
        ({"kind": "tasks#taskLists"}, "import-empty"),
        ("text", "import-wrong-format"),
    ],
)
def test_a_file_without_tasks_is_refused(document: object, name: str) -> None:
    result = read(FORMAT, json.dumps(document))
    assert result.refused is not None
    assert result.refused.name == name


def test_a_value_that_is_none_costs_no_row_and_is_told_by_its_name() -> None:
    result = read(FORMAT, takeout({**TASK, "due": "tomorrow"}, {**TASK, "status": "x"}, 7, TASK))
    assert result.warned == [(1, "due"), (2, "status")]
    assert [(row.number, row.message) for row in result.bad] == [(3, "Not an object.")]
    assert len(result.good) == 3


@pytest.mark.parametrize(("text", "certainty"), [(takeout(TASK), 3), ('{"kind": "youtube#video"}', 0), ("kind", 0)])
def test_recognising(text: str, certainty: int) -> None:
    assert FORMAT.recognise(head_of(text.encode(), "", True)) == certainty

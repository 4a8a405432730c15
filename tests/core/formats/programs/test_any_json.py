"""JSON of any program: members are columns, and mean what a CSV's columns of that name do."""

import json
from typing import Any

import pytest

from core.formats.programs.any_json import FORMAT
from core.formats.registry import head_of
from tests.core.formats.harness import BERLIN, read


def fields(document: Any, **options: Any) -> list[dict[str, Any]]:
    result = read(FORMAT, document if isinstance(document, str) else json.dumps(document), **options)
    assert result.refused is None, result.refused
    return result.fields


def test_a_list_of_objects_is_read_as_a_csv_of_their_members() -> None:
    result = read(
        FORMAT, json.dumps([{"title": "a", "priority": "High", "done": True}, {"title": "b", "owner": "ann"}])
    )
    assert result.report.mapping == {
        "columns": {"title": "title", "priority": "priority", "done": "status", "owner": "detail"}
    }
    assert result.fields == [
        {"title": "a", "priority": 3, "status": "completed"},
        {"title": "b", "description": "owner: ann"},
    ]


@pytest.mark.parametrize(
    "text",
    [
        '{"title": "a"}\n{"title": "b"}\n',
        '{\n "title": "a"\n}\n{\n "title": "b"\n}\n',
        '[{"title": "a"}][{"title": "b"}]',
        '{"meta": {"page": 1}, "tasks": [{"title": "a"}, {"title": "b"}], "users": [{"login": "x"}]}',
        '{\n "data": {"search": {"items": [\n{"title": "a"},\n{"title": "b"}]}}\n}',
        '\ufeff[{"title": "a"}, {"title": "b"}]',
    ],
)
def test_the_objects_may_stand_anywhere(text: str) -> None:
    assert [row["title"] for row in fields(text)] == ["a", "b"]
    assert [row["title"] for row in read(FORMAT, text.encode("utf-16")).fields] == ["a", "b"]


def test_one_object_is_a_task_by_itself() -> None:
    assert fields('{"title": "a", "tags": ["x"]}') == [{"title": "a", "labels": ["x"]}]


def test_tasks_of_lists_know_their_list() -> None:
    document = {"lists": [{"name": "Doing", "tasks": [{"text": "a"}]}, {"name": "Home", "tasks": [{"text": "b"}]}]}
    assert fields(document) == [
        {"title": "a", "description": "list: Doing"},
        {"title": "b", "description": "list: Home"},
    ]
    assert fields(document, columns_as="statuses")[0] == {"title": "a", "status": "in_progress"}
    assert fields(document, lists_as="labels")[0] == {"title": "a", "labels": ["Doing"]}


def test_objects_inside_stand_for_their_names_or_are_columns_of_their_own() -> None:
    issue = {
        "key": "AB-1",
        "fields": {
            "summary": "Mend the roof",
            "status": {"name": "Done", "id": "3"},
            "priority": {"name": "High"},
            "duedate": "2030-02-01",
            "labels": ["a", "b"],
            "assignee": {"displayName": "Ann"},
        },
    }
    assert fields({"issues": [issue]}, time_zone=BERLIN) == [
        {
            "title": "Mend the roof",
            "external_id": "AB-1",
            "status": "completed",
            "priority": 3,
            "due_date": "2030-02-01T22:59:59+00:00",
            "due_day": "2030-02-01",
            "labels": ["a", "b"],
            "description": "fields.assignee: Ann",
        }
    ]


def test_a_member_that_only_later_objects_have_is_not_lost() -> None:
    objects = [{"title": f"{number}"} for number in range(300)] + [{"title": "last", "owner": "ann"}]
    assert fields(objects)[-1] == {"title": "last", "description": "owner: ann"}


def test_a_mapping_says_what_members_mean() -> None:
    mapping = {"columns": {"t": "title", "p": {"field": "priority", "values": {"A": 1}}}}
    result = read(FORMAT, '[{"t": "a", "p": "A"}, {"t": "b", "p": "Z"}, {"t": ""}]', mapping=mapping)
    assert result.fields == [{"title": "a", "priority": 1}]
    assert [(row.number, row.column) for row in result.bad] == [(2, "p"), (3, "t")]


def test_only_a_title_can_cost_a_row_and_the_rest_is_told() -> None:
    result = read(FORMAT, '[{"title": "a", "priority": "?", "due": "TBD"}, {"title": ""}, 7]')
    assert result.fields == [{"title": "a", "description": "priority: ?\ndue: TBD"}]
    assert result.warned == [(1, "priority"), (1, "due")]
    assert [(row.number, row.message) for row in result.bad] == [(2, "The title is empty."), (3, "Not an object.")]


def test_a_line_that_is_broken_or_too_long_costs_no_other() -> None:
    result = read(FORMAT, '{"title": "a"}\n{"title": \n{"title": "' + "x" * (2 << 20) + '"}\n{"title": "b"}\n')
    assert [row["title"] for row in result.fields] == ["a", "b"]
    assert [row.number for row in result.bad] == [2, 3]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("[]", "import-empty"),
        ("", "import-empty"),
        ('[{"title": "a"}', "import-unreadable"),
        ('[{"a": 1}]', "import-mapping-invalid"),
        ("[" + json.dumps({f"m{number}": 1 for number in range(1001)}) + "]", "import-too-large"),
    ],
)
def test_what_holds_no_tasks_is_refused(text: str, name: str) -> None:
    refused = read(FORMAT, text).refused
    assert refused is not None
    assert refused.name == name


@pytest.mark.parametrize(
    ("text", "certainty"),
    [
        ('[{"anything": 1}]', 1),
        ("[]", 1),
        ('{"todos": [{"text": "a", "name": "b"}]}', 1),
        ('{"title": "a"}\n', 1),
        ('{"hello": "world"}', 0),
        ('{"a": [{"b": 1}]}', 0),
        ("title,due\n", 0),
    ],
)
def test_recognising(text: str, certainty: int) -> None:
    assert FORMAT.recognise(head_of(text.encode(), "", True)) == certainty

"""Objects of a JSON document: members of a type, and rows."""

from typing import Any

import pytest

from core.formats.json_object import JsonObject, row_of_object
from core.formats.parsed_task import ParsedTask
from core.formats.rows import BadRow, Row, RowWarning, SkippedRow, excerpt


@pytest.mark.parametrize(
    ("method", "value", "found"),
    [
        ("text", {}, ""),
        ("text", [{}], ""),
        ("flag", "perhaps", False),
        ("flag", 2, False),
        ("flag", [], False),
        ("number", "one", 0),
        ("number", [], 0),
        ("number", "1e999", 0),
        ("texts", [{}, "a"], ["a"]),
    ],
)
def test_what_can_mean_nothing_is_left_out_and_told_by_its_name(method: str, value: Any, found: Any) -> None:
    item = JsonObject({"m": value}, "outer")
    assert getattr(item, method)("m") == found
    assert [warning.column for warning in item.warnings] == ["outer.m"]
    assert "was left out" in item.warnings[0].message


@pytest.mark.parametrize(
    ("method", "value", "found"),
    [
        ("text", 7, "7"),
        ("text", True, "true"),
        ("text", {"name": "Spring"}, "Spring"),
        ("text", ["a", None, {"title": "b"}], "a, b"),
        ("flag", "true", True),
        ("flag", 1, True),
        ("flag", "no", False),
        ("number", "1.5", 1.5),
        ("items", "a", ["a"]),
        ("items", [None, 1], [1]),
        ("items", {"nodes": [1, None]}, [1]),
        ("items", {"edges": [{"node": 1}, None]}, [1]),
        ("texts", "bug, ui", ["bug", "ui"]),
        ("texts", [{"name": "bug"}, "ui", None], ["bug", "ui"]),
        ("texts", {"nodes": [{"name": "bug"}]}, ["bug"]),
        ("texts", {"login": "ann"}, ["ann"]),
    ],
)
def test_a_member_of_another_type_is_taken_for_what_it_can_mean(method: str, value: Any, found: Any) -> None:
    item = JsonObject({"m": value})
    assert getattr(item, method)("m") == found
    assert item.warnings == []


@pytest.mark.parametrize("content", [{}, {"m": None}])
def test_a_member_that_is_absent_or_null_is_nothing(content: dict[str, object]) -> None:
    item = JsonObject(content)
    assert (item.text("m"), item.flag("m"), item.number("m"), item.items("m")) == ("", False, 0, [])
    assert item.object("m").content == {}
    assert "m" not in item
    assert item.warnings == []


def test_a_text_can_stand_for_an_object() -> None:
    item = JsonObject({"comments": ["good", {"body": "better"}, None, []], "user": 7})
    assert [comment.text("body") for comment in item.objects("comments", "body")] == ["good", "better", ""]
    assert item.object("user").content == {}
    assert [warning.column for warning in item.warnings] == ["user"]


def test_what_cannot_be_read_is_a_warning_of_the_row() -> None:
    content = {"name": ["x"], "id": 7, "desc": "y" * 1000, "flag": {}}

    def parse(item: JsonObject) -> ParsedTask | str:
        item.flag("flag")
        return "A template." if "template" in item else ParsedTask(item.text("name"))

    row = row_of_object(3, content, {}, parse)
    assert row == Row(
        3,
        {"title": "x"},
        {"id": 7, "desc": "y" * 499 + "…"},
        {},
        (RowWarning("flag", "true or false is expected; “{}” was left out."),),
    )
    assert row_of_object(4, {"template": 1}, {}, parse) == SkippedRow(4, "A template.", {"template": 1})
    assert isinstance(row_of_object(5, "no object", {}, parse), BadRow)


def test_what_is_shown_can_be_stored() -> None:
    values = excerpt({"nul": "a\0b", "half": "\ud83d", "f": 1.5})
    assert values == {"nul": "a�b", "half": "?", "f": 1.5}

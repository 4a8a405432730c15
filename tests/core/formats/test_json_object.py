"""Objects of a JSON document: members of a type, and rows."""

import pytest

from core.formats.json_object import JsonObject, row_of_object
from core.formats.parsed_task import ParsedTask
from core.formats.rows import BadRow, Row, excerpt
from core.formats.values import WrongValue


@pytest.mark.parametrize(
    ("method", "value"),
    [
        ("text", []),
        ("text", True),
        ("text", {}),
        ("flag", "true"),
        ("flag", 1),
        ("number", "1"),
        ("number", True),
        ("list", {}),
        ("list", "a"),
        ("object", [1]),
        ("object", "a"),
    ],
)
def test_a_member_of_another_type_is_told_by_its_name(method: str, value: object) -> None:
    with pytest.raises(WrongValue) as caught:
        getattr(JsonObject({"m": value}, "outer"), method)("m")
    assert caught.value.column == "outer.m"


@pytest.mark.parametrize("content", [{}, {"m": None}])
def test_a_member_that_is_absent_or_null_is_nothing(content: dict[str, object]) -> None:
    item = JsonObject(content)
    assert (item.text("m"), item.flag("m"), item.number("m"), item.list("m")) == ("", False, 0, [])
    assert item.object("m").content == {}
    assert "m" not in item


def test_a_wrong_value_makes_a_bad_row_with_column_and_what_is_worth_showing() -> None:
    def parse(item: JsonObject) -> ParsedTask:
        return ParsedTask(item.text("name"))

    content = {"name": ["x"], "id": 7, "desc": "y" * 1000, "nested": {"a": 1}}
    bad = row_of_object(3, content, {"title": "name"}, parse)
    assert bad == BadRow(3, "name", "A text is expected.", {"id": 7, "desc": "y" * 499 + "…"})
    assert isinstance(row_of_object(4, {"name": "x"}, {"title": "name"}, parse), Row)
    assert isinstance(row_of_object(5, "no object", {}, parse), BadRow)


def test_what_is_shown_can_be_stored() -> None:
    values = excerpt({"nul": "a\0b", "half": "\ud83d", "f": 1.5})
    assert values == {"nul": "a�b", "half": "?", "f": 1.5}

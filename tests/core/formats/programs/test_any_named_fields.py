"""Columns and members of any program that are called exactly as a field of ours are."""

import json
from typing import Any

import pytest

from core.formats.csv.mapping import FIELDS
from core.formats.csv.words import EXACT, word_of
from core.formats.programs import any_csv, any_json
from core.tasks.fields import IMPORTED
from core.tasks.validation import load_import
from tests.core.formats.harness import BERLIN, Result, read

RULE = "FREQ=WEEKLY;BYDAY=MO"


def both(fields: dict[str, str], **options: Any) -> list[Result]:
    """A row as CSV and as JSON."""
    cells = [f'"{cell}"' for cell in fields.values()]
    return [
        read(any_csv.FORMAT, f"{','.join(fields)}\n{','.join(cells)}\n", **options),
        read(any_json.FORMAT, json.dumps([fields]), **options),
    ]


def test_every_field_that_imports_take_is_known_by_its_name() -> None:
    for field in IMPORTED:
        assert field.name in FIELDS
        assert word_of(field.name) in EXACT[field.name]


def test_they_are_taken() -> None:
    for result in both(
        {"title": "QQ", "due_day": "2030-01-31", "recurrence": RULE, "recurrence_from": "after_completion"},
        time_zone=BERLIN,
    ):
        assert result.one == {
            "title": "QQ",
            "due_day": "2030-01-31",
            "due_date": "2030-01-31T22:59:59+00:00",
            "recurrence": RULE,
            "recurrence_from": "after_completion",
        }
        assert result.warned == []
        load_import(result.one)


@pytest.mark.parametrize("name", ["due_day", "Due Day", "DueDay", "due_day*"])
def test_a_day_is_known_however_its_name_is_written(name: str) -> None:
    assert read(any_csv.FORMAT, f"title,{name}\nQQ,31.01.2030\n").one["due_day"] == "2030-01-31"


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("due_day", "TBD"),
        ("due_day", "2030-01-31 17:00"),
        ("recurrence", "FREQ=NONSENSE"),
        ("recurrence", "every week"),
        ("recurrence_from", "the moon"),
    ],
)
def test_an_odd_cell_is_a_warning_of_its_row(name: str, cell: str) -> None:
    for result in both({"title": "QQ", name: cell}):
        assert result.one.keys() == {"title", "description"}
        assert cell in result.one["description"]
        assert result.warned == [(1, name)]


def test_nothing_is_nothing() -> None:
    for cell in ("", "none", "-"):
        fields = {"title": "QQ", "due_day": cell, "recurrence": cell, "recurrence_from": cell}
        assert [result.one for result in both(fields)] == [{"title": "QQ"}, {"title": "QQ"}]


@pytest.mark.parametrize(
    ("due_date", "is_same"),
    [
        ("2030-01-31", True),
        ("2030-01-31T22:59:59Z", True),
        ("2030-01-31T23:59:59Z", True),
        ("2030-02-01", False),
        ("2030-01-31T17:00:00+01:00", False),
    ],
)
def test_a_day_goes_before_another_due_date(due_date: str, is_same: bool) -> None:
    for result in [
        *both({"title": "QQ", "due_day": "2030-01-31", "due_date": due_date}, time_zone=BERLIN),
        *both({"title": "QQ", "due_date": due_date, "due_day": "2030-01-31"}, time_zone=BERLIN),
    ]:
        assert result.one["due_day"] == "2030-01-31"
        assert result.one["due_date"] == "2030-01-31T22:59:59+00:00"
        assert result.warned == ([] if is_same else [(1, "due_day")])
        assert ("description" in result.one) is not is_same


def test_a_rule_needs_no_due_date_and_one_that_days_cannot_follow_is_told() -> None:
    for result in both({"title": "QQ", "recurrence": RULE}):
        assert result.one == {"title": "QQ", "recurrence": RULE}
    for rule in ("FREQ=HOURLY", "FREQ=DAILY;BYHOUR=9"):
        for result in both({"title": "QQ", "recurrence": rule, "due_day": "2030-01-31"}):
            load_import(result.one)
            assert ("recurrence" in result.one) is (result.warned == [])


def test_a_mapping_may_name_them() -> None:
    mapping = {
        "columns": {
            "What": "title",
            "Day": "due_day",
            "From": {"field": "recurrence_from", "values": {"done": "after_completion"}},
        }
    }
    result = read(any_csv.FORMAT, "What,Day,From\nA,2030-01-31,done\nB,TBD,\nC,,moon\n", mapping=mapping)
    assert result.fields == [
        {
            "title": "A",
            "due_day": "2030-01-31",
            "due_date": "2030-01-31T23:59:59+00:00",
            "recurrence_from": "after_completion",
        }
    ]
    assert [(row.number, row.column) for row in result.bad] == [(2, "Day"), (3, "From")]
    mapping["columns"]["From"] = {"field": "recurrence_from", "values": {"done": "moon"}}
    refused = read(any_csv.FORMAT, "What,Day,From\nA,,\n", mapping=mapping).refused
    assert refused is not None
    assert refused.name == "import-mapping-invalid"

"""Tenfold's JSON array, and what all streamed JSON has in common."""

import collections
import contextlib
import json
import tracemalloc

import pytest

from core.formats.programs.tenfold_json import FORMAT
from core.formats.registry import head_of
from core.formats.rows import FileReport, ImportRefused, ReadOptions
from core.formats.streams.json_stream import ITEM_MAXIMUM
from tests.core.formats.harness import BERLIN, Repeated, read
from tests.core.formats.programs.test_tenfold_ndjson import FULL


def test_items_are_rows_as_lines_of_ndjson_are() -> None:
    result = read(FORMAT, json.dumps([FULL, {"title": "b", "titel": 1}]))
    assert [row.number for row in result.good] == [1, 2]
    assert result.fields[0]["external_id"] == "tenfold:868875411161089"
    assert "version" not in result.fields[0]
    assert result.fields[1] == {"title": "b", "titel": 1}


@pytest.mark.parametrize("layout", [{"indent": 2}, {"separators": (",", ":")}])
def test_items_that_lie_across_blocks_are_whole(layout: dict[str, object]) -> None:
    tasks = [{"title": f"Aufgabe {number} 🔑", "description": 'ä"\\' * (number % 997)} for number in range(2000)]
    text = json.dumps(tasks, ensure_ascii=False, **layout)  # type: ignore[arg-type]
    assert read(FORMAT, text).fields == tasks


@pytest.mark.parametrize(
    "item", ['"text"', "1", "-12.5e3", "null", "[1, [2]]", '{"title": NaN}', '{"title": "\\ud800"}', "1" * 5000]
)
def test_an_item_that_is_no_task_is_one_bad_row_among_good_ones(item: str) -> None:
    result = read(FORMAT, f'[{{"title": "a"}}, {item}, {{"title": "c"}}]')
    assert [row.number for row in result.good] == [1, 3]
    assert [row.number for row in result.bad] == [2]
    assert result.refused is None


def test_bytes_that_are_not_utf_8_spoil_their_row_only() -> None:
    result = read(FORMAT, b'[{"title": "\xfc"}, {"title": "b"}]')
    assert [row.number for row in result.bad] == [1]
    assert result.fields == [{"title": "b"}]


def test_a_number_that_lies_across_blocks_is_one_item() -> None:
    result = read(FORMAT, "[" + " " * (256 * 1024 - 3) + '123456, {"title": "b"}]')
    assert [row.number for row in result.bad] == [1]
    assert [row.number for row in result.good] == [2]


def test_several_arrays_one_after_the_other_are_one_list() -> None:
    result = read(FORMAT, '[{"title": "a"}]\n[{"title": "b"}][]')
    assert [(row.number, row.fields["title"]) for row in result.good] == [(1, "a"), (2, "b")]


@pytest.mark.parametrize(
    "rest",
    ["", ",", ', {"title"', ', {"title": "b', ', {"title": "b"', ', {"title": "b\\', ', {"title": tr', ', {"title": -'],
)
def test_rows_before_a_truncation_are_given_and_then_it_is_told(rest: str) -> None:
    result = read(FORMAT, '[\n{"title": "a"}' + rest)
    assert result.fields == [{"title": "a"}]
    assert result.refused is not None
    assert result.refused.name == "import-unreadable"
    assert "breaks off" in result.refused.detail
    assert "line 2" in result.refused.detail


def test_what_is_not_json_is_told_with_its_place_after_the_rows_before() -> None:
    result = read(FORMAT, '[\n{"title": "a"},\n  {"title": "b" "priority": 1},\n' + '{"title": "c"},\n' * 9 + "]")
    assert result.fields == [{"title": "a"}]
    assert result.refused is not None
    assert "line 3, column 17" in result.refused.detail


@pytest.mark.parametrize("text", ["title,description\na,b\n", "<rss/>", "]", "hello"])
def test_what_is_no_json_at_all_is_refused(text: str) -> None:
    result = read(FORMAT, text)
    assert result.rows == []
    assert result.refused is not None
    assert result.refused.name == "import-unreadable"


@pytest.mark.parametrize("text", ["", " \n", "[]", "[ ]", "[][]"])
def test_no_items_are_an_empty_file(text: str) -> None:
    result = read(FORMAT, text)
    assert result.refused is not None
    assert result.refused.name == "import-empty"


@pytest.mark.parametrize("depth", [1000, 10_000, 500_000])
@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_deep_nesting_is_refused_or_a_bad_row(depth: int, opening: str) -> None:
    result = read(FORMAT, '[{"title": "a"}, ' + opening * depth)
    assert result.fields == [{"title": "a"}]
    assert result.refused is not None
    assert result.refused.name == "import-unreadable"
    closing = {"[": "]", '{"a":': "}"}[opening]
    closed = read(FORMAT, '[{"title": "a"}, ' + opening * depth + "1" + closing * depth + "]")
    assert closed.fields[0] == {"title": "a"}


def test_an_item_that_is_too_long_ends_the_reading_with_its_place() -> None:
    long = json.dumps({"title": "b", "description": "x" * ITEM_MAXIMUM})
    result = read(FORMAT, '[{"title": "a"},\n' + long + ',\n{"title": "c"}]')
    assert result.fields == [{"title": "a"}]
    assert result.refused is not None
    assert "line 2, column 1" in result.refused.detail


def test_an_item_of_the_greatest_length_is_read() -> None:
    item = json.dumps({"title": "a", "description": ""})
    item = item.replace('""', '"' + "x" * (ITEM_MAXIMUM - len(item)) + '"')
    assert len(item) == ITEM_MAXIMUM
    assert len(read(FORMAT, f"[{item}]").good) == 1


@pytest.mark.parametrize(
    "unit", [b'{"title": "a", "description": "b"},\n', b'"x', b"x", b"[", b'{"a":', b" ", b"1", b"\\"]
)
def test_memory_does_not_grow_with_the_file(unit: bytes) -> None:
    stream = Repeated(b'[{"title": "a"},', unit, 6_000_000)
    tracemalloc.start()
    try:
        with contextlib.suppress(ImportRefused):
            collections.deque(FORMAT.read(stream, ReadOptions(BERLIN), FileReport()), maxlen=0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 12 * ITEM_MAXIMUM


@pytest.mark.parametrize(
    ("text", "certainty"),
    [
        ('[{"title": "a"}, {"title": "b", "recurrence_from": "due_date"}]', 3),
        ('[\n  {\n    "id": 868875411161089,\n    "title": "' + "x" * 70_000, 3),
        ('[{"title": "a", "external_id": "tenfold:7"}]', 3),
        ('[{"title": "a", "id": 1, "version": 1, "completed_at": null}]', 0),
        ('[{"title": "a"}, {"title": "b", "labels": ["x"]}]', 0),
        ('[{"title": "a", "number": 1}]', 0),
        ("[]", 0),
        ('[{"name": "a"}]', 0),
        ('{"title": "a"}', 0),
        ("title\n", 0),
    ],
)
def test_recognising(text: str, certainty: int) -> None:
    assert FORMAT.recognise(head_of(text.encode(), "", True)) == certainty

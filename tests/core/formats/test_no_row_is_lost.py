"""Rows of any size, anywhere in a file: each is a task, or is told as one that failed or was left out."""

import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from core.formats.programs import any_csv, any_json, ical, jira_xml, tenfold_csv, tenfold_ndjson
from core.formats.streams.json_stream import ITEM_MAXIMUM
from tests.core.formats.harness import read

SIZES = st.lists(
    st.one_of(
        st.integers(0, 100), st.sampled_from([60_000, 130_000, 131_073, 200_000, 262_144, 400_000, 900_000, 1_100_000])
    ),
    min_size=1,
    max_size=6,
)
PROPERTY = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def text_of(size: int, *, has_lines: bool) -> str:
    return ("zzzz\n" * (size // 5 + 1))[:size] if has_lines else "z" * size


@PROPERTY
@given(SIZES, st.sampled_from(",;\t|"), st.booleans(), st.booleans())
@example([900_000, 1], ",", False, False)
@example([1, 900_000, 1], ",", False, False)
@example([300_000, 1], ";", True, True)
def test_of_a_csv(sizes: list[int], delimiter: str, is_quoted: bool, has_lines: bool) -> None:
    quote = '"' if is_quoted else ""
    rows = [
        f"T{number}{delimiter}{quote}{text_of(size, has_lines=is_quoted and has_lines)}{quote}\n"
        for number, size in enumerate(sizes)
    ]
    for format_ in (any_csv.FORMAT, tenfold_csv.FORMAT):
        result = read(format_, f"title{delimiter}description\n{''.join(rows)}")
        assert result.refused is None
        assert [row.number for row in result.rows] == list(range(1, len(sizes) + 1))
        assert len(result.bad) == sum(size > 131_072 for size in sizes)


@PROPERTY
@given(SIZES)
def test_of_lines_and_of_lists_of_objects(sizes: list[int]) -> None:
    rows = [json.dumps({"title": f"T{number}", "description": "z" * size}) for number, size in enumerate(sizes)]
    lines = "\n".join(rows)
    # Whether lines of any program follow the first is seen in the beginning of a file; else it is refused as a whole.
    result = read(any_json.FORMAT, lines)
    assert result.refused or len(result.rows) == len(sizes)
    result = read(any_json.FORMAT, f"[{','.join(rows)}]")
    if max(map(len, rows)) > ITEM_MAXIMUM:
        assert result.refused
    else:
        assert (result.refused, len(result.rows)) == (None, len(sizes))
    result = read(tenfold_ndjson.FORMAT, lines)
    assert (result.refused, len(result.rows)) == (None, len(sizes))


@PROPERTY
@given(SIZES)
def test_of_icalendar_and_xml(sizes: list[int]) -> None:
    to_dos = "".join(
        f"BEGIN:VTODO\r\nUID:u{number}\r\nSUMMARY:T{number}\r\nDESCRIPTION:{'z' * size}\r\nEND:VTODO\r\n"
        for number, size in enumerate(sizes)
    )
    result = read(ical.FORMAT, f"BEGIN:VCALENDAR\r\n{to_dos}END:VCALENDAR\r\n")
    assert result.refused is None
    assert len(result.rows) == len(sizes)
    items = "".join(
        f"<item><title>T{number}</title><key>A-{number}</key><summary>T{number}</summary>"
        f"<description>{'z' * size}</description></item>"
        for number, size in enumerate(sizes)
    )
    result = read(jira_xml.FORMAT, f"<rss><channel>{items}</channel></rss>")
    assert result.refused is None
    assert len(result.rows) == len(sizes)


@pytest.mark.parametrize("size", [150_000, 300_000, 900_000])
def test_a_huge_cell_of_the_header_loses_no_row_without_a_word(size: int) -> None:
    result = read(any_csv.FORMAT, f"title,{'z' * size}\nA,b\nB,c\n")
    assert result.refused or len(result.rows) == 3  # the header is told as a row that failed


def test_a_huge_line_that_a_spreadsheet_has_wrapped_is_told() -> None:
    lines = ["title,description,status", '"A,""a, b"",open";;', f'"B,""{"z" * 200_000}"",open";;', "C,c,open;;"]
    result = read(any_csv.FORMAT, "\n".join([lines[0] + ";;", *lines[1:]]) + "\n")
    assert result.refused is None
    assert [row.fields["title"] for row in result.good] == ["A", "C"]
    assert [row.number for row in result.bad] == [2]


def test_what_follows_a_huge_row_tells_the_columns() -> None:
    result = read(any_csv.FORMAT, f"name,notes\nA,{'z' * 900_000}\nB,c\n")
    assert [row.fields for row in result.good] == [{"title": "B", "description": "c"}]
    assert [row.number for row in result.bad] == [1]

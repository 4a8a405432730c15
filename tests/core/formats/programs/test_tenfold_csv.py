"""Tenfold's own CSV."""

import csv
import io
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.formats.programs.tenfold_csv import FORMAT
from core.formats.rows import Head
from core.tasks.validation import load_import
from tests.core.formats.harness import BERLIN, read

ID = ((1_790_000_000_000 - 1_577_836_800_000) << 12) + 7  # of a task made in 2026


def certainty(text: str) -> int:
    return FORMAT.recognise(Head(text.encode(), text, "", True))


def test_all_fields_are_read() -> None:
    result = read(
        FORMAT,
        "id,title,description,priority,status,due_date,labels,created_at,updated_at,completed_at,external_id,version\n"
        '7,"Renew, at last","two\nlines",3,completed,2026-01-31T17:00:00+01:00,"a,b c",2025-01-01T00:00:00Z,'
        "2025-02-01T00:00:00Z,2025-03-01T00:00:00Z,jira:A-1,4\n",
    )
    assert result.one == {
        "title": "Renew, at last",
        "description": "two\nlines",
        "priority": 3,
        "status": "completed",
        "due_date": "2026-01-31T17:00:00+01:00",
        "labels": ["a", "b c"],
        "created_at": "2025-01-01T00:00:00Z",
        "completed_at": "2025-03-01T00:00:00Z",
        "external_id": "jira:A-1",
    }
    load_import(result.one)
    assert result.report.columns is not None
    assert result.report.columns[:2] == ["id", "title"]


def test_columns_come_in_any_order_and_only_the_title_must() -> None:
    assert read(FORMAT, "priority,TITLE\n2,a\n,b\n").fields == [{"priority": 2, "title": "a"}, {"title": "b"}]


def test_an_id_becomes_the_external_id_where_there_is_none() -> None:
    result = read(FORMAT, "id,title,external_id\n7,a,\n8,b,x\n,c,\n")
    assert result.fields == [
        {"title": "a", "external_id": "tenfold:7"},
        {"title": "b", "external_id": "x"},
        {"title": "c"},
    ]


@pytest.mark.parametrize(
    ("cell", "title"),
    [
        ("'=1+1", "=1+1"),
        ("'+49 30", "+49 30"),
        ("'-5", "-5"),
        ("'@home", "@home"),
        ("'\ttab", "\ttab"),
        ("''quoted'", "'quoted'"),
        ("'tis so", "'tis so"),
        ("'", "'"),
        ("=1+1", "=1+1"),
    ],
)
def test_a_formulas_guard_is_taken_off(cell: str, title: str) -> None:
    result = read(FORMAT, f"title,description,labels,external_id\n{cell},{cell},{cell},{cell}\n")
    assert result.one == {
        "title": title,
        "description": title,
        "labels": [title.strip()],
        "external_id": title,
    }


def test_labels_are_split_at_commas_that_are_not_escaped() -> None:
    result = read(FORMAT, 'title,labels\na,"x, y\\,z,,back\\\\slash,\\n"\n')
    assert result.one["labels"] == ["x", "y,z", "back\\slash", "\\n"]


def test_a_spreadsheets_dates_are_read_in_the_time_zone() -> None:
    result = read(
        FORMAT,
        "title;due_date;created_at\n"
        "a;31.12.2024 14:30;31.12.2024\nb;2024-12-31;13/04/2024 10:00\nc;;03/04/2024 10:00\n",
        time_zone=BERLIN,
    )
    assert [(row.get("due_date"), row.get("created_at")) for row in result.fields] == [
        ("2024-12-31T13:30:00+00:00", "2024-12-30T23:00:00+00:00"),
        ("2024-12-31T22:59:59+00:00", "2024-04-13T08:00:00+00:00"),
        (None, "2024-04-03T08:00:00+00:00"),
    ]


def test_what_is_no_date_fails_its_row_with_the_column() -> None:
    result = read(FORMAT, "title,due_date\na,2024-02-31\nb,soon\nc,03/04/2024\nd,2024-02-01\n")
    assert [(row.number, row.column) for row in result.bad] == [(1, "due_date"), (2, "due_date"), (3, "due_date")]
    assert "there is no 2024-02-31" in result.bad[0].message
    assert result.bad[0].values == ["a", "2024-02-31"]
    assert [row.number for row in result.good] == [4]


def test_what_the_api_would_refuse_is_left_for_the_validation() -> None:
    result = read(FORMAT, "title,priority,status\na,high,Done\n,11,\n")
    assert result.fields == [{"title": "a", "priority": "high", "status": "Done"}, {"priority": 11}]


def test_missing_cells_at_the_end_are_empty_and_additional_ones_wrong_unless_blank() -> None:
    result = read(FORMAT, "title,description,priority\na\nb,x,1,,\nc,one, two,1\n")
    assert result.fields == [{"title": "a"}, {"title": "b", "description": "x", "priority": 1}]
    assert "4 cells, the header 3" in result.bad[0].message


def test_a_column_that_is_not_ours_is_refused() -> None:
    refused = read(FORMAT, "title,due\na,b\n").refused
    assert refused is not None
    assert refused.name == "import-wrong-format"
    assert "'due'" in refused.detail


def test_a_header_without_a_title_and_one_with_two_are_refused() -> None:
    for header in ("description,priority", "title,title"):
        refused = read(FORMAT, f"{header}\na,1\n").refused
        assert refused is not None
        assert refused.name == "import-wrong-format"


def test_a_header_of_ours_is_recognised() -> None:
    assert certainty(f"id,title\n{ID},a\n") == 3
    assert certainty("title;recurrence_from\na;\n") == 3
    assert certainty("title,version,completed_at\na,1,\n") == 3
    assert certainty("title,external_id\na,tenfold:7\n") == 3
    assert certainty(f"id,title,error\n{ID},a,wrong\n") == 3


def test_a_header_of_everybodys_is_not_ours() -> None:
    assert certainty("title,description,priority\na,b,1\n") == 0
    assert certainty("title;due_date\na;\n") == 0
    assert certainty("id,title\n1,a\n") == 0
    assert certainty(f"id,title,version,completed_at\n{ID},a,1,\n2,b,1,\n") == 0
    assert certainty("id,title,version,completed_at\nAB-1,a,1,\n") == 0
    assert certainty("id,title,recurrence_from\n99999999999999999999,a,due_date\n") == 0
    assert certainty("title,state,number\na,open,1\n") == 0
    assert certainty("description,priority\na,1\n") == 0
    assert certainty('{"title": "a"}\n') == 0
    assert certainty("") == 0


_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\ufeff"), min_size=1, max_size=20)


@given(_TEXT.filter(lambda text: text.strip()), st.lists(_TEXT.map(str.strip).filter(bool), max_size=3))
def test_what_is_guarded_and_escaped_comes_back(title: str, labels: list[str]) -> None:
    def guarded(text: str) -> str:
        return f"'{text}" if text[:1] in tuple("=+-@\t\r'") else text

    cell = ",".join(label.replace("\\", "\\\\").replace(",", "\\,") for label in labels)
    out = io.StringIO(newline="")
    csv.writer(out).writerows([["title", "labels", "priority"], [guarded(title), guarded(cell), "5"]])
    assert read(FORMAT, out.getvalue()).one == {"title": title, "priority": 5} | ({"labels": labels} if labels else {})


def test_a_row_costs_a_few_microseconds() -> None:
    row = "Renew the TLS certificates of host 12,The old ones end on Friday.,3,pending,2026-01-31T17:00:00+00:00\n"
    data = "title,description,priority,status,due_date\n" + row * 50_000
    began = time.process_time()
    assert len(read(FORMAT, data).good) == 50_000
    # 2.4 µs where it was measured; this is to notice when it becomes ten times that.
    assert time.process_time() - began < 50_000 * 25e-6

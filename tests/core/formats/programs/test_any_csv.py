"""A CSV of any program, by a mapping."""

from typing import Any

import pytest

from core.formats.csv.mapping import FIELDS
from core.formats.programs.any_csv import FORMAT
from core.formats.rows import Head
from core.tasks.validation import load_import
from tests.core.formats.harness import BERLIN, read

HOUSE = "Task,Notes,Prio,State,By,Kind,No.\n"


def refusal(mapping: Any, data: str = HOUSE + "Paint,white,A,open,2024-01-31,walls,7\n") -> str:
    refused = read(FORMAT, data, mapping=mapping).refused
    assert refused is not None
    assert refused.name == "import-mapping-invalid"
    return refused.detail


def test_columns_become_the_fields_that_a_mapping_says() -> None:
    result = read(
        FORMAT,
        f"{HOUSE}Paint,white,A,open,2024-01-31,walls,7\nMow,,c,DONE,,garden,8\n",
        mapping={
            "columns": {
                "Task": "title",
                "Notes": "description",
                "Prio": {"field": "priority", "values": {"A": 1, "B": 5, "*": 9}},
                "State": "status",
                "By": "due_date",
                "Kind": "labels",
                "No.": {"field": "external_id", "prefix": "house-"},
            },
            "constants": {"labels": ["home"]},
        },
        time_zone=BERLIN,
    )
    assert result.fields == [
        {
            "title": "Paint",
            "description": "white",
            "priority": 1,
            "status": "pending",
            "due_date": "2024-01-31T22:59:59+00:00",
            "due_day": "2024-01-31",
            "labels": ["home", "walls"],
            "external_id": "house-7",
        },
        {"title": "Mow", "priority": 9, "status": "completed", "labels": ["home", "garden"], "external_id": "house-8"},
    ]
    assert result.good[0].columns["due_date"] == "By"
    assert result.report.mapping is None


def test_a_file_without_a_header_is_mapped_by_numbers() -> None:
    result = read(FORMAT, "7;Paint;3\n8;Mow;4\n", mapping={"columns": {"2": "title", "3": "priority"}, "header": False})
    assert result.fields == [{"title": "Paint", "priority": 3}, {"title": "Mow", "priority": 4}]
    assert [row.number for row in result.good] == [1, 2]
    assert result.report.columns == ["1", "2", "3"]


def test_a_header_is_passed_over_though_columns_are_mapped_by_numbers() -> None:
    result = read(FORMAT, "Task;Prio\nPaint;3\n", mapping={"columns": {"1": "title", "2": "priority"}, "header": True})
    assert result.one == {"title": "Paint", "priority": 3}


def test_several_columns_go_into_the_description() -> None:
    result = read(
        FORMAT,
        "Task,Why,How,Who,Remark,Link,Above\nPaint,ugly,brush,Eve,soon,https://example.com/1,House\n",
        mapping={
            "columns": {
                "Task": "title",
                "Why": "description",
                "How": "description",
                "Who": "detail",
                "Remark": "note",
                "Link": "source",
                "Above": "parent",
            }
        },
    )
    assert result.one["description"] == (
        "Part of: House\n\nugly\n\nbrush\n\nWho: Eve\nSource: https://example.com/1\n\nComment:\nsoon"
    )


def test_a_repeated_name_means_all_columns_of_it() -> None:
    result = read(FORMAT, "Task,Tag,Tag,Tag\nPaint,a,,b\n", mapping={"columns": {"Task": "title", "Tag": "labels"}})
    assert result.one["labels"] == ["a", "b"]


def test_a_column_that_is_not_named_or_is_null_is_passed_over() -> None:
    assert read(FORMAT, "Task,a,b\nPaint,1,2\n", mapping={"columns": {"Task": "title", "a": None}}).one == {
        "title": "Paint"
    }


def test_constants_stand_in_for_empty_cells() -> None:
    result = read(
        FORMAT,
        "Task,Prio,State\nPaint,,\nMow,2,done\n",
        mapping={
            "columns": {"Task": "title", "Prio": "priority", "State": "status"},
            "constants": {"priority": 8, "status": "blocked", "description": "moved"},
        },
    )
    assert result.fields == [
        {"title": "Paint", "priority": 8, "status": "blocked", "description": "moved"},
        {"title": "Mow", "priority": 2, "status": "completed", "description": "moved"},
    ]


def test_a_value_of_null_is_nothing() -> None:
    mapping = {"columns": {"Task": "title", "Prio": {"field": "priority", "values": {"-1": None}}}}
    assert read(FORMAT, "Task,Prio\nPaint,-1\n", mapping=mapping).one == {"title": "Paint"}


@pytest.mark.parametrize(
    ("date_format", "due"),
    [("day-first", "2024-04-03"), ("month-first", "2024-03-04"), ("%m/%d/%Y", "2024-03-04")],
)
def test_a_date_format_is_heeded(date_format: str, due: str) -> None:
    mapping = {"columns": {"Task": "title", "By": "due_date"}, "date_format": date_format}
    assert read(FORMAT, "Task,By\nPaint,03/04/2024\n", mapping=mapping).one["due_date"] == f"{due}T23:59:59+00:00"


def test_a_date_that_does_not_have_its_format_fails_its_row() -> None:
    mapping = {"columns": {"Task": "title", "By": "due_date"}, "date_format": "%d.%m.%y %H:%M"}
    result = read(FORMAT, "Task,By\nPaint,03.04.24 10:00\nMow,2024-04-03\n", mapping=mapping, time_zone=BERLIN)
    assert [row["due_date"] for row in result.fields] == ["2024-04-03T08:00:00+00:00"]
    assert [(row.number, row.column, row.message) for row in result.bad] == [
        (2, "By", "“2024-04-03” is no date of the form %d.%m.%y %H:%M.")
    ]


def test_an_ambiguous_date_fails_its_row_and_names_the_remedy() -> None:
    result = read(FORMAT, "Task,By\nPaint,03/04/2024\n", mapping={"columns": {"Task": "title", "By": "due_date"}})
    assert "date_format" in result.bad[0].message


def test_words_that_a_mapping_does_not_know_fail_their_row_with_the_column() -> None:
    result = read(
        FORMAT,
        "Task,Prio,State\na,purple,open\nb,3,marinating\nc,11,open\n,3,open\nd,high,in progress\n",
        mapping={"columns": {"Task": "title", "Prio": "priority", "State": "status"}},
    )
    assert [(row.number, row.column) for row in result.bad] == [(1, "Prio"), (2, "State"), (3, "Prio"), (4, "Task")]
    assert result.fields == [{"title": "d", "priority": 3, "status": "in_progress"}]


def test_a_date_of_completion_completes_unless_the_status_says_otherwise() -> None:
    data = "Task,State,Closed\na,closed,2024-01-01\nb,open,2024-01-01\nc,open,None\n"
    by_date = read(FORMAT, data, mapping={"columns": {"Task": "title", "Closed": "completed_at"}})
    assert [row.get("status") for row in by_date.fields] == ["completed", "completed", None]
    by_status = read(FORMAT, data, mapping={"columns": {"Task": "title", "State": "status", "Closed": "completed_at"}})
    assert by_status.fields == [
        {"title": "a", "status": "completed", "completed_at": "2024-01-01T00:00:00+00:00"},
        {"title": "b", "status": "pending", "description": "Closed: 2024-01-01T00:00:00+00:00"},
        {"title": "c", "status": "pending"},
    ]
    for fields in by_date.fields + by_status.fields:
        load_import(fields)


@pytest.mark.parametrize("cell", ['["a", "b"]', "['a', 'b']", "a; b", "a|b", "a\nb"])
def test_labels_are_split_however_a_program_joins_them(cell: str) -> None:
    quoted = '"' + cell.replace('"', '""') + '"'
    mapping = {"columns": {"Task": "title", "Tags": "labels"}}
    assert read(FORMAT, f"Task,Tags\nPaint,{quoted}\n", mapping=mapping).one["labels"] == ["a", "b"]


@pytest.mark.parametrize(
    ("mapping", "says"),
    [
        ({"columns": {"Job": "title"}}, "no column “Job”; its columns are “Task”, “Notes”"),
        ({"columns": {"8": "title"}}, "no column “8”"),
        ({"columns": {"0": "title"}}, "no column “0”"),
        ({"columns": {"9" * 5000: "title"}}, "no column"),
        ({"columns": {"Task": "name"}}, "'name', which is no field; fields are title"),
        ({"columns": {"Task": 3}}, "needs a field"),
        ({"columns": {"Task": {"values": {}}}}, "needs a field"),
        ({"columns": {"Task": {"field": ["title"]}}}, "no field"),
        ({"columns": {"Task": {"field": "title", "wordmap": {}}}}, "unknown member “wordmap”"),
        ({"columns": {"Task": {"field": "title", "prefix": 3}}}, "“prefix”"),
        (
            {"columns": {"Task": "title", "Prio": {"field": "priority", "values": {"A": 11}}}},
            "“A” of the column “Prio”",
        ),
        ({"columns": {"Task": "title", "State": {"field": "status", "values": {"x": "odd"}}}}, "becomes 'odd'"),
        ({"columns": {"Task": "title", "Kind": {"field": "labels", "values": {"x": 1}}}}, "no text"),
        ({"columns": {"Task": "title", "Kind": {"field": "labels", "values": ["x"]}}}, "“values”"),
        ({"columns": {"Notes": "description"}}, "No column becomes the title"),
        ({"columns": {"Task": "title", "Notes": "title"}}, "“Task” and “Notes” both become title"),
        ({"columns": {}}, "no “columns”"),
        ({"columns": ["Task"]}, "no “columns”"),
        ({}, "no “columns”"),
        ({"columns": {"Task": "title"}, "rows": 1}, "unknown member “rows”"),
        ({"columns": {"Task": "title"}, "header": "yes"}, "true or false"),
        ({"columns": {"Task": "title"}, "constants": ["x"]}, "an object"),
        ({"columns": {"Task": "title"}, "constants": {"title": "x"}}, "'title' cannot be a constant"),
        ({"columns": {"Task": "title"}, "constants": {"priority": "high"}}, "The constant priority is 'high'"),
        ({"columns": {"Task": "title"}, "date_format": "soon"}, "'soon'"),
        ({"columns": {"Task": "title"}, "date_format": ["%d"]}, "date_format"),
    ],
)
def test_a_mapping_that_cannot_be_used_is_refused_and_says_why(mapping: dict[str, Any], says: str) -> None:
    assert says in refusal(mapping)


def test_a_file_without_anything_like_a_title_is_refused() -> None:
    refused = read(FORMAT, "1,2\n3,4\n").refused
    assert refused is not None
    assert refused.name == "import-mapping-invalid"
    assert "mapping" in refused.detail


@pytest.mark.parametrize("data", ["", "\n\n", "Title,Due\n", "Title,Due\n,\n"])
def test_a_file_without_rows_is_empty(data: str) -> None:
    refused = read(FORMAT, data).refused
    assert refused is not None
    assert refused.name == "import-empty"


def test_a_title_that_is_too_long_is_cut_and_kept_whole_in_the_description() -> None:
    title = "long " * 100
    fields = read(FORMAT, f"Title,Due\n{title},\n").one
    assert len(fields["title"]) <= 255
    assert fields["description"] == title.strip()
    load_import(fields)


def test_every_field_of_a_mapping_is_understood() -> None:
    for field in FIELDS:
        columns = {"Task": "title", "X": field} if field != "title" else {"Task": "title"}
        words = {"priority": "3", "status": "open", "recurrence_from": "after_completion"}
        cell = "2024-01-01" if field.endswith(("_at", "_date", "_day")) else words.get(field, "x")
        result = read(FORMAT, f"Task,X\na,{cell}\n", mapping={"columns": columns})
        assert result.one["title"] == "a"
        assert len(result.one) > 1 or field == "title"


@pytest.mark.parametrize(
    ("text", "filename", "certainty"),
    [
        ("Title,Due\na,b\n", "", 1),
        ("a;b\nc;d\n", "backlog", 1),
        ("Paint\nMow\n", "tasks.csv", 1),
        ("Paint\nMow\n", "", 0),
        ("One, two.\nThree, four, five.\nSix.\n", "letter.txt", 0),
        ('{"a": 1,\n"b": 2}\n', "tasks.csv", 0),
        ("[1,\n2]\n", "", 0),
        ("<a>,\n</a>,\n", "", 0),
        ("BEGIN:VCALENDAR,\nb,c\n", "", 0),
        ("PK\x03\x04,a\nb,c\n", "tasks.csv", 0),
        ("\x89a,b\x00\nc,d\n", "tasks.csv", 0),
        ("Title,Due\n\0\0\0\0,b\n", "", 1),
        ("", "", 0),
    ],
)
def test_what_looks_like_a_csv_is_recognised_for_want_of_a_better(text: str, filename: str, certainty: int) -> None:
    assert FORMAT.recognise(Head(text.encode(), text, filename, True)) == certainty

"""Todoist's CSV."""

import pytest

from core.formats.programs.todoist import FORMAT
from core.formats.rows import Head
from tests.core.formats.harness import BERLIN, read

HEADER = "TYPE,CONTENT,DESCRIPTION,PRIORITY,INDENT,AUTHOR,RESPONSIBLE,DATE,DATE_LANG,TIMEZONE,DURATION,DURATION_UNIT"
OLD_HEADER = "TYPE,CONTENT,PRIORITY,INDENT,AUTHOR,RESPONSIBLE,DUE_DATE,DUE_DATE_LANG"


@pytest.mark.parametrize(("theirs", "ours"), [("1", 1), ("2", 4), ("3", 7), ("4", 10)])
def test_a_priority_becomes_ours(theirs: str, ours: int) -> None:
    assert read(FORMAT, f"{HEADER}\ntask,a,,{theirs},1,,,,,,,\n").one == {"title": "a", "priority": ours}


def test_an_empty_priority_is_the_default() -> None:
    assert read(FORMAT, f"{HEADER}\ntask,a,,,,,,,,,,\n").one == {"title": "a"}


def test_a_priority_that_todoist_does_not_have_is_told() -> None:
    result = read(FORMAT, f"{HEADER}\ntask,a,,5,1,,,,,,,\ntask,b,,1,1,,,,,,,\n")
    assert result.warned == [(1, "PRIORITY")]
    assert result.fields[0] == {"title": "a", "description": "PRIORITY: 5"}


def test_an_indentation_that_is_no_number_is_told() -> None:
    result = read(FORMAT, f"{HEADER}\ntask,a,,1,deep,,,,,,,\n")
    assert result.warned == [(1, "INDENT")]


def test_indentation_tells_the_parent() -> None:
    result = read(
        FORMAT,
        f"{HEADER}\n"
        "task,one,,4,1,,,,,,,\ntask,two,,4,2,,,,,,,\ntask,three,,4,3,,,,,,,\ntask,four,,4,2,,,,,,,\ntask,five,,4,1,,,,,,,\n",
    )
    assert [row.get("description") for row in result.fields] == [
        None,
        "Part of: one",
        "Part of: two",
        "Part of: one",
        None,
    ]


def test_an_indentation_without_a_parent_is_the_first_level() -> None:
    assert [
        row.get("description") for row in read(FORMAT, f"{HEADER}\ntask,a,,,4,,,,,,,\ntask,b,,,4,,,,,,,\n").fields
    ] == [
        None,
        "Part of: a",
    ]


def test_notes_follow_their_task_and_sections_are_named() -> None:
    result = read(
        FORMAT,
        f"\ufeff{HEADER}\nmeta,view_style=list,,,,,,,,,,\nnote,too early,,,,,,,,,,\nsection,House,,,,,,,,,,\n"
        'task,paint,with a brush,4,1,,Eve,,,,15,minute\nnote,"one\n",,,,,,,,,,\n,,,,,,,,,,,\nnote,two,,,,,,,,,,\n',
    )
    assert result.one["description"] == (
        "with a brush\n\nSection: House\nResponsible: Eve\nDuration: 15 minute\n\nComment:\none\n\nComment:\ntwo"
    )
    assert result.good[0].number == 4
    assert result.report.ignored == {"settings of the view": 1, "notes without a task": 1}


def test_an_attachment_becomes_its_name_and_address() -> None:
    note = '""file_name"":""plan.pdf"",""file_url"":""https:\\/\\/example.com\\/plan.pdf""'
    result = read(FORMAT, f'{HEADER}\ntask,a,,,,,,,,,,\nnote,"see [[file {{{note}}}]] [[file {{broken}}]]",,,,,,,,,,\n')
    assert "see Attachment: plan.pdf https://example.com/plan.pdf [[file {broken}]]" in result.one["description"]


def test_labels_are_taken_out_of_the_content() -> None:
    fields = read(FORMAT, f'{HEADER}\ntask,"* mail eve@example.com, soon @30min @/munich",,,,,,,,,,\n').one
    assert fields == {"title": "mail eve@example.com, soon", "labels": ["30min", "/munich"]}


def test_a_content_of_labels_only_stays_the_title() -> None:
    assert read(FORMAT, f"{HEADER}\ntask,@home,,,,,,,,,,\n").one["title"] == "@home"


def test_a_task_without_a_content_is_untitled() -> None:
    assert read(FORMAT, f"{HEADER}\ntask,,text,,,,,,,,,\n").one == {"title": "(untitled)", "description": "text"}


def test_a_date_is_due_at_the_end_of_its_day_in_its_own_time_zone() -> None:
    result = read(
        FORMAT,
        f"{HEADER}\ntask,a,,,,,,2025-10-4,en,Asia/Jerusalem,,\ntask,b,,,,,,2025-10-04 10:00,en,,,\n"
        "task,c,,,,,,2025-10-04,en,Middle/Earth,,\n",
        time_zone=BERLIN,
    )
    assert [row["due_date"] for row in result.fields] == [
        "2025-10-04T20:59:59+00:00",
        "2025-10-04T08:00:00+00:00",
        "2025-10-04T21:59:59+00:00",
    ]


@pytest.mark.parametrize(
    ("date", "line"),
    [
        ("every day", "Repeats: every day"),
        ("jeden Montag", "Repeats: jeden Montag"),
        ("next monday at 5pm", "Due: next monday at 5pm"),
        ("4 Jan", "Due: 4 Jan"),
    ],
)
def test_a_date_in_words_goes_into_the_description(date: str, line: str) -> None:
    assert read(FORMAT, f"{HEADER}\ntask,a,,,,,,{date},en,,,\n").one == {"title": "a", "description": line}


def test_a_date_in_digits_that_does_not_exist_is_told() -> None:
    result = read(FORMAT, f"{HEADER}\ntask,a,,,,,,2025-02-30,en,,,\ntask,b,,,2,,,,,,,\n")
    assert result.warned == [(1, "DATE")]
    assert "there is no 2025-02-30" in result.good[0].warnings[0].message
    assert result.fields == [
        {"title": "a", "description": "Due: 2025-02-30"},
        {"title": "b", "description": "Part of: a"},
    ]


def test_a_deadline_is_the_due_date_unless_there_is_another() -> None:
    result = read(
        FORMAT,
        "TYPE,CONTENT,PRIORITY,INDENT,DATE,DEADLINE\ntask,a,,,,2025-10-04\ntask,b,,,2025-10-01,2025-10-04\n",
    )
    assert result.fields == [
        {"title": "a", "due_date": "2025-10-04T23:59:59+00:00", "due_day": "2025-10-04"},
        {
            "title": "b",
            "due_date": "2025-10-01T23:59:59+00:00",
            "due_day": "2025-10-01",
            "description": "Deadline: 2025-10-04",
        },
    ]
    assert result.good[0].columns["due_date"] == "DEADLINE"


def test_a_content_torn_at_its_commas_is_put_together() -> None:
    result = read(
        FORMAT, f"{OLD_HEADER}\ntask,Read reviews (G2, Capterra, Product Hunt) @web,3,1,,,,,\ntask,plain,2,1,,,,,\n"
    )
    assert result.fields == [
        {"title": "Read reviews (G2, Capterra, Product Hunt)", "priority": 7, "labels": ["web"]},
        {"title": "plain", "priority": 4},
    ]


def test_numbers_in_a_torn_content_are_not_taken_for_its_priority() -> None:
    result = read(FORMAT, f"{OLD_HEADER}\ntask,Choose (1, 2, 3, 4, 5) of them,4,1,,,,,\n")
    assert result.one == {"title": "Choose (1, 2, 3, 4, 5) of them", "priority": 10}


def test_a_torn_content_beside_a_description_is_put_together_too() -> None:
    result = read(FORMAT, f"{HEADER}\ntask,Enable settings (branch, merge),,2,1,,,,,,,,\n")
    assert result.one == {"title": "Enable settings (branch, merge)", "priority": 4}


def test_a_row_shifted_beyond_repair_fails_and_tells_why() -> None:
    result = read(FORMAT, f"{OLD_HEADER}\ntask,one, two, three,x,y,z,a,b,c\ntask,fine,1,1,,,,\n")
    assert [(row.number, row.column) for row in result.bad] == [(1, "CONTENT")]
    assert "must stand in quotes" in result.bad[0].message
    assert [row["title"] for row in result.fields] == ["fine"]


def test_a_short_row_is_read() -> None:
    assert read(FORMAT, f"{HEADER}\ntask\ntask,b\n").fields == [{"title": "(untitled)"}, {"title": "b"}]


def test_a_file_of_sections_only_has_no_rows() -> None:
    result = read(FORMAT, f"{HEADER}\nsection,House,,,,,,,,,,\n")
    assert result.rows == []
    assert result.refused is None


def test_another_header_is_refused() -> None:
    refused = read(FORMAT, "title,note\na,b\n").refused
    assert refused is not None
    assert refused.name == "import-wrong-format"


@pytest.mark.parametrize(
    ("text", "certainty"),
    [
        (HEADER + "\ntask,a\n", 3),
        (OLD_HEADER.replace(",", ";"), 3),
        ("TYPE,CONTENT\n", 2),
        ("title,type\n", 0),
        ("", 0),
    ],
)
def test_a_header_of_todoists_is_recognised(text: str, certainty: int) -> None:
    assert FORMAT.recognise(Head(text.encode(), text, "", True)) == certainty

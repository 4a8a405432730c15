"""Toodledo's CSV."""

import pytest

from core.formats.programs.toodledo import FORMAT
from core.formats.rows import Head
from core.tasks.validation import load_import
from tests.core.formats.harness import BERLIN, read

HEADER = (
    '"TASK","FOLDER","CONTEXT","GOAL","LOCATION","STARTDATE","STARTTIME","DUEDATE","DUETIME","REPEAT","LENGTH","TIMER",'
    '"PRIORITY","TAG","STATUS","STAR","NOTE","COMPLETED"'
)


def task(**cells: str) -> str:
    names = HEADER.replace('"', "").split(",")
    return ",".join(f'"{cells[name]}"' if name in cells else "" for name in names) + "\n"


def test_a_task_is_read() -> None:
    result = read(
        FORMAT,
        f"{HEADER}\n"
        + task(
            TASK="Call",
            FOLDER="Personal",
            CONTEXT="Phone",
            STARTDATE="2017-09-01",
            DUEDATE="2017-09-14",
            DUETIME="5:30 pm",
            REPEAT="Monthly",
            LENGTH="30",
            PRIORITY="2",
            TAG="tag1, tag2",
            STATUS="Next Action",
            STAR="Yes",
            NOTE="one\ntwo",
        ),
        time_zone=BERLIN,
    )
    assert result.one == {
        "title": "Call",
        "priority": 2,
        "due_date": "2017-09-14T15:30:00+00:00",
        "labels": ["tag1", "tag2", "starred"],
        "description": (
            "one\ntwo\n\nStatus: Next Action\nFolder: Personal\nContext: Phone\nStart: 2017-09-01\n"
            "Repeats: Monthly\nLength: 30"
        ),
    }
    load_import(result.one)


@pytest.mark.parametrize(
    ("theirs", "ours"), [("3", 1), ("2", 2), ("1", 5), ("0", 7), ("-1", 10), ("3 Top", 1), ("-1 Negative", 10)]
)
def test_a_priority_becomes_ours(theirs: str, ours: int) -> None:
    assert read(FORMAT, f"{HEADER}\n{task(TASK='a', PRIORITY=theirs)}").one["priority"] == ours


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("Active", "in_progress"), ("Waiting", "blocked"), ("Hold", "blocked"), ("Canceled", "cancelled"), ("None", None)],
)
def test_a_status_becomes_ours(theirs: str, ours: str | None) -> None:
    assert read(FORMAT, f"{HEADER}\n{task(TASK='a', STATUS=theirs)}").one.get("status") == ours


def test_a_date_without_a_time_is_the_end_of_its_day_and_zeros_are_none() -> None:
    result = read(FORMAT, f"{HEADER}\n{task(TASK='a', DUEDATE='2017-09-14')}{task(TASK='b', DUEDATE='0000-00-00')}")
    assert [row.get("due_date") for row in result.fields] == ["2017-09-14T23:59:59+00:00", None]


def test_what_has_a_date_of_completion_is_completed() -> None:
    result = read(FORMAT, f"{HEADER}\n{task(TASK='a', COMPLETED='2017-09-14')}{task(TASK='b', COMPLETED='0000-00-00')}")
    assert result.fields == [
        {"title": "a", "status": "completed", "completed_at": "2017-09-14T00:00:00+00:00"},
        {"title": "b"},
    ]


def test_what_toodledo_does_not_have_is_told_with_the_column() -> None:
    result = read(FORMAT, f"{HEADER}\n{task(TASK='a', PRIORITY='7')}{task(TASK='b', DUEDATE='2017-02-30')}")
    assert result.warned == [(1, "PRIORITY"), (2, "DUEDATE")]


def test_another_header_is_refused() -> None:
    refused = read(FORMAT, "title,note\na,b\n").refused
    assert refused is not None
    assert refused.name == "import-wrong-format"


@pytest.mark.parametrize(("text", "certainty"), [(HEADER, 3), ("TASK,NOTE\n", 0), ("", 0)])
def test_a_header_of_toodledos_is_recognised(text: str, certainty: int) -> None:
    assert FORMAT.recognise(Head(text.encode(), text, "", True)) == certainty

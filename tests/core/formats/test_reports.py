"""Small files that once were read wrongly, with what they are now; each stands for its kind."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from core.formats.registry import FORMATS, head_of, recognise
from core.formats.rows import FileReport, ReadOptions, Row
from core.tasks.validation import load_import
from tests.core.formats.harness import BERLIN, read
from tests.core.formats.programs import to_dos

COLLECTION = Path(__file__).parents[4] / "shared" / "data" / "reports"
REPORTS = sorted(file for file in COLLECTION.glob("*.*") if file.suffix != ".sh")
FORMAT_OF = {".csv": "csv", ".ics": "icalendar", "github": "github-json", "mstodo": "microsoft-todo-json"}
WARNED = {"02-errors-of-json.ics": 1, "04a-one-of-four-due-dates-tbd.csv": 1, "04b-one-of-100-priorities-odd.csv": 1}


def recognised(data: str, filename: str = "") -> str | None:
    found = recognise(head_of(data.encode(), filename, True))
    return found and found.name


@pytest.mark.skipif(not REPORTS, reason="the collection of reports is not beside this checkout")
@pytest.mark.parametrize("file", REPORTS, ids=lambda file: file.name)
def test_every_row_of_a_reported_file_is_a_task(file: Path) -> None:
    data = file.read_bytes()
    format_ = recognise(head_of(data, file.name, True))
    assert format_ is not None
    assert format_.name == next(name for part, name in FORMAT_OF.items() if part in file.name.lower())
    rows = list(format_.read(io.BytesIO(data), ReadOptions(BERLIN), FileReport()))
    assert rows
    for row in rows:
        assert isinstance(row, Row), row
        assert load_import(row.fields)
    assert sum(bool(row.warnings) for row in rows if isinstance(row, Row)) == WARNED.get(file.name, 0)


@pytest.mark.parametrize(
    "data",
    [
        "id,title\n1,Water the plants\n2,Call the plumber\n",
        "Title,Priority\nMend the roof,High\n",
        "title,description,status\nMend the roof,x,Done\n",
        "title,priority,labels\na,1,x\n",
    ],
)
def test_a_csv_of_words_that_everybody_uses_is_not_ours(data: str) -> None:
    assert recognised(data, "tasks.csv") == "csv"
    rows = read(FORMATS["csv"], data).good
    assert len(rows) == data.count("\n") - 1
    assert not any("external_id" in row.fields for row in rows)


@pytest.mark.parametrize(
    "data", ['[{"id": 1, "title": "a"}]', '{"id": 1, "title": "a"}\n{"id": 2, "title": "b"}\n', '[{"title": "a"}]']
)
def test_json_of_words_that_everybody_uses_is_not_ours(data: str) -> None:
    assert recognised(data) == "json"


def test_all_that_is_wrong_with_a_row_of_ours_is_told() -> None:
    data = "title,priority,status,due_date,created_at\n,High,Done,soon,yesterday\nb,3,,,\n"
    result = read(FORMATS["tenfold-csv"], data)
    (bad,) = result.bad
    assert [bad.column, *(fault.column for fault in bad.more)] == [
        "due_date",
        "created_at",
        "title",
        "priority",
        "status",
    ]
    assert result.fields == [{"title": "b", "priority": 3}]


def test_all_that_a_mapping_cannot_read_in_a_row_is_told() -> None:
    mapping = {"columns": {"T": "title", "P": "priority", "S": "status", "D": "due_date"}}
    (bad,) = read(FORMATS["csv"], "T,P,S,D\n,purple,marinating,soon\n", mapping=mapping).bad
    assert [bad.column, *(fault.column for fault in bad.more)] == ["T", "P", "S", "D"]


def ical(*lines: str, **options: Any) -> dict[str, Any]:
    return read(FORMATS["icalendar"], to_dos.calendar(to_dos.to_do("SUMMARY:a", *lines)), **options).one


def test_the_start_of_a_recurring_to_do_without_a_due_date_is_the_first_instance() -> None:
    found = ical("RRULE:FREQ=WEEKLY;BYDAY=TH", "DTSTART;TZID=America/Chicago:20370107T190000")
    assert found["due_date"] == "2037-01-08T01:00:00+00:00"
    assert found["recurrence"] == "FREQ=WEEKLY;BYDAY=TH"
    assert "description" not in found
    all_day = ical("RRULE:FREQ=WEEKLY", "DTSTART;VALUE=DATE:20370107", time_zone=BERLIN)
    assert (all_day["due_day"], all_day["due_date"]) == ("2037-01-07", "2037-01-07T22:59:59+00:00")


def test_a_start_beside_a_due_date_or_without_a_rule_is_a_mere_start() -> None:
    assert "due_date" not in ical("DTSTART:20370107T190000Z")
    found = ical("DTSTART:20370107T190000Z", "DUE:20370108T190000Z", "RRULE:FREQ=WEEKLY")
    assert found["due_date"] == "2037-01-08T19:00:00+00:00"
    assert found["description"] == "Starts: 2037-01-07T19:00:00+00:00"


def test_an_empty_to_do_is_skipped_with_the_reason() -> None:
    result = read(
        FORMATS["icalendar"],
        to_dos.calendar(to_dos.to_do("UID:u", "DTSTAMP:20260101T000000Z"), to_dos.to_do("SUMMARY:a")),
    )
    assert [(row.number, row.reason) for row in result.skipped] == [(1, "The to-do in line 3 is empty.")]
    assert [row.number for row in result.good] == [2]


def test_the_template_of_a_recurring_task_is_skipped_beside_its_children() -> None:
    tasks = [
        {"uuid": "t", "description": "Bins", "status": "recurring", "recur": "weekly", "entry": "20260101T000000Z"},
        {"uuid": "c", "description": "Bins", "status": "pending", "parent": "t", "entry": "20260101T000000Z"},
        {"uuid": "o", "description": "Alone", "status": "recurring", "entry": "20260101T000000Z"},
    ]
    result = read(FORMATS["taskwarrior-json"], json.dumps(tasks))
    assert [row.number for row in result.skipped] == [1]
    assert [row["title"] for row in result.fields] == ["Bins", "Alone"]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("taskwarrior-json", '[{"uuid": "u", "description": "a", "due": "20301023T220000Z"}]'),
        ("google-tasks-json", '{"items": [{"title": "a", "due": "2030-10-24T00:00:00.000Z"}]}'),
        ("todoist-csv", "TYPE,CONTENT,DATE\ntask,a,2030-10-24\n"),
        ("toodledo-csv", "TASK,FOLDER,DUEDATE\na,,2030-10-24\n"),
        ("csv", "Task,Due\na,24.10.2030\n"),
        ("csv", "Task,Due\na,2030-10-23T22:00:00Z\n"),
        ("json", '[{"title": "a", "dueDate": "2030-10-23T22:00:00.000Z"}]'),
        ("tenfold-csv", "title,due_date\na,2030-10-24\n"),
        ("tenfold-csv", "title,due_day\na,24.10.2030\n"),
        ("icalendar", to_dos.calendar(to_dos.to_do("SUMMARY:a", "DUE;VALUE=DATE:20301024"))),
        (
            "ticktick-csv",
            "List Name,Title,Status,Due Date,Is All Day,Timezone\nL,a,0,2030-10-23T22:00:00+0000,true,Europe/Berlin\n",
        ),
    ],
)
def test_a_day_is_a_day_in_every_format(name: str, data: str) -> None:
    found = read(FORMATS[name], data, time_zone=BERLIN).one
    assert found["due_day"] == "2030-10-24"
    assert found.get("due_date", "2030-10-24T21:59:59+00:00") == "2030-10-24T21:59:59+00:00"
    assert load_import(found)["due_day"] == "2030-10-24"


def test_a_time_is_no_day() -> None:
    calendar = to_dos.calendar(to_dos.to_do("SUMMARY:a", "DUE;TZID=Europe/Berlin:20301024T000000"))
    assert "due_day" not in read(FORMATS["icalendar"], calendar, time_zone=BERLIN).one
    assert "due_day" not in read(FORMATS["csv"], "Task,Due\na,2030-10-24 10:00\n").one

"""All formats together: only what makes a task a task may cost a row; the rest may be missing, odd, nested or huge."""

import csv
import io
import json
import re
from collections.abc import Iterator
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.formats.registry import FORMATS
from core.formats.rows import Row
from core.tasks.validation import load_import
from tests.core.formats.harness import Result, read
from tests.core.formats.programs import test_gtg, test_jira_xml, to_dos
from tests.core.formats.test_failed_rows import CSVS
from tests.core.formats.test_formats import DOCUMENTS

# Where each document has its rows, and members without which it is no document or no row of the program.
ROWS = {
    "trello-json": ("cards",),
    "wekan-json": ("cards",),
    "microsoft-todo-json": ("value",),
    "google-tasks-json": ("items", 0, "items"),
    "github-json": (),
    "taskwarrior-json": (),
    "json": (),
}
JSON_DOCUMENTS = {name: document for name, document in DOCUMENTS.items() if name in ROWS} | {
    "json": [
        {"title": "a", "priority": "High", "status": "Done", "due": "2030-01-01", "labels": ["x", {"name": "y"}]},
        {"title": "b", "owner": {"name": "ann"}, "created": "2030-01-01", "list": "Doing", "rrule": "FREQ=DAILY"},
    ]
}
TITLES = {"json": {"title"}, "taskwarrior-json": {"description"}}
SKIPPED = {"github-json": {"pull_request", "html_url", "url"}, "microsoft-todo-json": {"@removed"}}
ANYTHING = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**53), 2**53),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=30),
        st.sampled_from(
            [
                "",
                "TBD",
                "?",
                "\0",
                "x" * 30_000,
                "a,b" * 40,
                "00001231T000000Z",
                "9999-12-31T23:59:59-23:59",
                "2030-02-30",
                "1e999",
                "9" * 400,
            ]
        ),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=10), inner, max_size=3)),
    max_leaves=8,
)
ZONES = st.sampled_from([ZoneInfo("UTC"), ZoneInfo("America/New_York"), ZoneInfo("Pacific/Kiritimati")])


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each place inside a value: its container, and its key there."""
    for key in value if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from places(value[key])


def all_are_tasks(result: Result, count: int) -> None:
    assert result.refused is None
    assert len(result.rows) == count
    for row in result.rows:
        assert isinstance(row, Row), row
        assert load_import(dict(row.fields))
        for warning in row.warnings:
            assert 0 < len(warning.message) < 1000
    assert result.warned is not None


@pytest.mark.parametrize("name", sorted(ROWS))
@given(data=st.data(), zone=ZONES)
@settings(max_examples=120, deadline=None)
def test_whatever_stands_in_a_json_document_costs_no_row(name: str, data: st.DataObject, zone: ZoneInfo) -> None:
    document = json.loads(json.dumps(JSON_DOCUMENTS[name]))
    rows = document
    for step in ROWS[name]:
        rows = rows[step]
    count = len(rows)
    fixed = TITLES.get(name, set()) | SKIPPED.get(name, set())
    for _ in range(data.draw(st.integers(1, 3))):
        found = [place for row in rows for place in places(row) if place[1] not in fixed]
        container, key = data.draw(st.sampled_from(range(len(found))).map(found.__getitem__))
        if isinstance(container, dict) and data.draw(st.booleans()):
            del container[key]
        else:
            container[key] = data.draw(ANYTHING)
    all_are_tasks(read(FORMATS[name], json.dumps(document), time_zone=zone, include_pull_requests=True), count)


@pytest.mark.parametrize("name", ["trello-json", "wekan-json"])
@given(data=st.data())
@settings(max_examples=120, deadline=None)
def test_whatever_stands_around_the_cards_of_a_board_costs_no_card(name: str, data: st.DataObject) -> None:
    document = json.loads(json.dumps(DOCUMENTS[name]))
    cards = document.pop("cards")
    found = list(places(document))
    container, key = data.draw(st.sampled_from(range(len(found))).map(found.__getitem__))
    container[key] = data.draw(ANYTHING)
    all_are_tasks(read(FORMATS[name], json.dumps({**document, "cards": cards})), len(cards))


# What tells where a record belongs, and the title.
FIXED_COLUMNS = {
    "csv": {"Task"},
    "todoist-csv": {"TYPE", "CONTENT"},
    "jira-csv": {"Summary"},
    "ticktick-csv": {"Title"},
    "toodledo-csv": {"TASK"},
}
CSV_SAMPLES = {
    "csv": (
        "Task,Priority,Status,Due Date,Created,Completed at,Labels,Notes,Owner,External id,RRULE,List\r\n"
        "a,High,Done,2030-01-01,2029-01-01,2029-02-01,x,n,o,1,FREQ=DAILY,Home\r\n"
        "b,Low,Open,2030-01-01,2029-01-01,,y,n,o,2,,Doing\r\n"
    ),
    "todoist-csv": (
        "TYPE,CONTENT,PRIORITY,INDENT,DATE,DEADLINE,TIMEZONE,DESCRIPTION,RESPONSIBLE,DURATION\r\n"
        "task,a,1,1,2030-01-01,,Europe/Berlin,d,me,5\r\ntask,b,4,2,,2030-01-01,,,,\r\n"
    ),
    "jira-csv": (
        "Summary,Issue key,Issue id,Status,Priority,Resolution,Resolved,Created,Updated,Due date,Labels,Parent,"
        "Comment\r\n"
        "a,A-1,1,Done,High,Done,2029-01-01,2029-01-01,2029-01-01,2030-01-01,x,,2029-01-01;me;hi\r\n"
        "b,A-2,2,Odd,Low,,,2029-01-01,,,,1,\r\n"
    ),
    "ticktick-csv": (
        "Folder Name,List Name,Title,Status,taskId,Priority,Due Date,Is All Day,Timezone,Created Time,Completed Time,"
        "Tags,Start Date,Repeat,Reminder,Content,parentId,Column Name,Kind\r\n"
        "F,L,a,2,1,5,2029-12-31T23:00:00+0000,true,Europe/Berlin,2029-01-01T00:00:00+0000,2029-01-01T00:00:00+0000,"
        "x,2029-12-31T23:00:00+0000,RRULE:FREQ=DAILY,P1D,c,,C,CHECKLIST\r\n"
        "F,L,b,0,2,0,2029-12-31T23:00:00+0000,false,,,,,,FREQ=DAILY,,,1,,\r\n"
    ),
    "toodledo-csv": (
        "TASK,FOLDER,DUEDATE,DUETIME,PRIORITY,STATUS,COMPLETED,TAG,STAR,STARTDATE,NOTE,REPEAT\r\n"
        "a,f,2030-01-01,10:00,3,Active,,x,1,2029-01-01,n,Daily\r\nb,f,,,0,None,2029-01-01,,,,,\r\n"
    ),
}
CELLS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), max_size=30),
    st.sampled_from(
        ["", "TBD", "?", "0", "11", "2030-02-30", "31.12.9999", "x" * 30_000, "a;b,c" * 60, "9" * 400, "-"]
    ),
)


@pytest.mark.parametrize("name", sorted(CSV_SAMPLES))
@given(data=st.data(), zone=ZONES)
@settings(max_examples=120, deadline=None)
def test_whatever_stands_in_a_cell_costs_no_row(name: str, data: st.DataObject, zone: ZoneInfo) -> None:
    assert name in CSVS
    header, *rows = csv.reader(io.StringIO(CSV_SAMPLES[name], newline=""))
    for _ in range(data.draw(st.integers(1, 4))):
        column = data.draw(st.sampled_from([name for name in header if name not in FIXED_COLUMNS[name_of(header)]]))
        data.draw(st.sampled_from(rows))[header.index(column)] = data.draw(CELLS)
    text = io.StringIO()
    csv.writer(text).writerows([header, *rows])
    all_are_tasks(read(FORMATS[name], text.getvalue(), time_zone=zone, delimiter=","), len(rows))


def name_of(header: list[str]) -> str:
    """The format whose sample has that header."""
    return next(name for name, sample in CSV_SAMPLES.items() if sample.startswith(",".join(header[:3])))


CALENDAR = to_dos.calendar(
    to_dos.ZONE,
    to_dos.to_do(
        "UID:u",
        "SUMMARY:a",
        "DUE;TZID=Our office:20260101T000000",
        "CREATED:20250101T000000Z",
        "COMPLETED:20250101T000000Z",
        "STATUS:COMPLETED",
        "PRIORITY:3",
        "PERCENT-COMPLETE:100",
        "CATEGORIES:x,y",
        "RELATED-TO:u",
        "RRULE:FREQ=DAILY",
    ),
    to_dos.to_do("UID:v", "SUMMARY:b", "DTSTART;VALUE=DATE:20260101", "DURATION:P1D", "RRULE:FREQ=DAILY"),
)
VALUES = st.one_of(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30),
    st.sampled_from(["", "00001231T000000Z", "99991231T235959", "20300230", "-1", "9" * 400, "x" * 30_000]),
)


@given(data=st.data(), zone=ZONES)
@settings(max_examples=200, deadline=None)
def test_whatever_a_property_says_costs_no_to_do(data: st.DataObject, zone: ZoneInfo) -> None:
    lines = CALENDAR.split("\n")
    inside = range(lines.index("BEGIN:VTODO\r") if "BEGIN:VTODO\r" in lines else lines.index("BEGIN:VTODO"), len(lines))
    changeable = [n for n in inside if ":" in lines[n] and not re.match("BEGIN|END|SUMMARY", lines[n])]
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(changeable))
        lines[place] = lines[place].partition(":")[0] + ":" + data.draw(VALUES)
    all_are_tasks(read(FORMATS["icalendar"], "\n".join(lines), time_zone=zone), 2)


@pytest.mark.parametrize(
    ("name", "text"),
    [("gtg-xml", test_gtg.OLD), ("gtg-xml", test_gtg.NEW), ("jira-xml", test_jira_xml.rss(test_jira_xml.ITEM))],
)
@given(data=st.data(), zone=ZONES)
@settings(max_examples=120, deadline=None)
def test_whatever_an_element_says_costs_no_row(name: str, text: str, data: st.DataObject, zone: ZoneInfo) -> None:
    count = len(read(FORMATS[name], text).good)
    spans = [match.span(1) for match in re.finditer(r">([^<>\n]+)<|=\"([^\"]*)\"", text) if match.span(1)[0] >= 0]
    begin, end = data.draw(st.sampled_from(spans))
    value = data.draw(VALUES).replace("&", "&amp;").replace("<", "&lt;").replace("]]>", "")
    all_are_tasks(read(FORMATS[name], text[:begin] + value + text[end:], time_zone=zone), count)

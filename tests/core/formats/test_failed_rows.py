"""Rows that failed are given back in the format that they came in, and are then what they were."""

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from icalendar import Calendar

from core.formats.own_lists import is_list_about_rows
from core.formats.registry import FORMATS, head_of, recognise
from core.formats.rows import BadRow, Row
from tests.core.formats.given_back import REASON, given_back, told
from tests.core.formats.harness import Result, read
from tests.core.formats.programs import test_gtg, test_jira_xml, to_dos
from tests.core.formats.test_formats import DOCUMENTS, NAMES, REAL, expected_format

# A title stands where {} does; each has rows of which one, at least, is told about by another.
CSVS = {
    "csv": "Task;Wichtigkeit;Owner\r\n{};hoch;ann\r\nOther;niedrig;bob\r\n",
    "tenfold-csv": 'title,priority,labels,version,completed_at\r\n{},3,"a,b",4,\r\n\'=other,1,,,\r\n',
    "todoist-csv": "TYPE,CONTENT,PRIORITY,INDENT\r\ntask,{},4,1\r\ntask,Other,1,1\r\n",
    "jira-csv": "Summary,Issue key,Status,Labels,Labels\r\n{},A-1,Done,x,y\r\nOther,A-2,To Do,,\r\n",
    "ticktick-csv": "Date: 2026\r\nFolder Name,List Name,Title,Status,taskId\r\nF,L,{},0,1\r\nF,L,Other,2,2\r\n",
    "toodledo-csv": '"TASK","FOLDER","DUEDATE"\r\n"{}","f","2026-01-01"\r\n"Other","",""\r\n',
}
TEXTS = {
    "json": '{"lists":[{"name":"Home","tasks":[{"title":"{}","owner":{"name":"ann"}},{"title":"Other"}]}]}',
    "tenfold-ndjson": '{"title":"{}","priority":2}\n\n{"title":"Other","labels":["x"],"recurrence_from":"due_date"}\n',
    "icalendar": to_dos.calendar(
        to_dos.to_do("UID:a", "SUMMARY:{}", "DUE;TZID=Our office:20260101T000000", "X-OF-ANOTHER:kept"),
        to_dos.ZONE,
        to_dos.to_do("UID:b", "SUMMARY:Other", "RELATED-TO:a", "BEGIN:VALARM", "TRIGGER:-P1D", "END:VALARM"),
    ),
    "gtg-xml": test_gtg.NEW.replace("Plant trees", "{}"),
    "jira-xml": test_jira_xml.rss(test_jira_xml.ITEM.replace("Plant trees", "{}"), test_jira_xml.SUBTASK),
}
TITLES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=60).filter(
    str.strip
)


def sample(name: str, title: str = "A title") -> bytes:
    """A file of a format, in which a title is as wished where that is easily written."""
    if name in DOCUMENTS:
        document: Any = DOCUMENTS[name]
        return json.dumps(document).encode()
    if name in CSVS:
        quoted = title.replace('"', '""')
        return CSVS[name].replace('"{}"', "{}").replace("{}", f'"{quoted}"').encode()
    if name.endswith("xml"):
        title = title.replace("&", "&amp;").replace("<", "&lt;").replace("]", "&#93;")
    elif name == "icalendar":
        title = title.replace("\\", "\\\\").replace(",", "\\,").replace(";", "\\;")
    else:
        title = json.dumps(title)[1:-1]
    return TEXTS[name].replace("{}", title).encode()


def sent_again(name: str, result: Result, **options: Any) -> Result:
    data = given_back(FORMATS[name], result, **options)
    recognised = recognise(head_of(data, f"failed.{name.rpartition('-')[2]}", True))
    assert recognised is not None
    assert recognised.name == name, data
    again = read(FORMATS[name], data)
    assert again.refused is None
    return again


@pytest.mark.parametrize("name", sorted(NAMES))
@given(title=TITLES, reason=st.text(min_size=1, max_size=80))
@settings(max_examples=60, deadline=None)
def test_what_is_given_back_is_read_as_it_was_and_no_reason_stands_in_a_task(
    name: str, title: str, reason: str
) -> None:
    first = read(FORMATS[name], sample(name, title))
    assert first.rows
    mark = "Why-it-failed"
    again = sent_again(name, first, reason=f"{mark} {reason}")
    assert told(again) == told(first)
    assert mark not in str([row.fields for row in again.good])


@pytest.mark.parametrize("name", sorted(NAMES))
def test_what_is_given_back_can_fail_and_be_given_back_again(name: str) -> None:
    first = read(FORMATS[name], sample(name))
    second = sent_again(name, first, reason="The first reason.")
    third = sent_again(name, second, reason="The second reason.")
    data = given_back(FORMATS[name], third).decode()
    assert told(third) == told(first)
    assert "first reason" not in data
    assert "second reason" not in data


@pytest.mark.parametrize("file", REAL)
def test_every_row_of_a_real_file_could_be_given_back(file: Any) -> None:
    name = expected_format(file)
    first = read(FORMATS[name], file.read_bytes(), include_pull_requests=True)
    if not first.rows:
        return
    data = given_back(FORMATS[name], first)
    again = read(FORMATS[name], data, include_pull_requests=True)
    assert len(again.rows) == len(first.rows) - len(first.skipped)
    assert REASON not in str(told(again))
    if name == "todoist-csv":  # there parents are told by the order of the rows
        assert [fields["title"] for fields in again.fields] == [fields["title"] for fields in first.fields]
    else:
        assert told(again) == told(first)


def test_a_calendar_of_failed_to_dos_is_one_by_the_book() -> None:
    long = "SUMMARY:" + "Größe " * 30
    first = read(FORMATS["icalendar"], to_dos.calendar(to_dos.to_do("UID:u", long), to_dos.ZONE))
    data = given_back(FORMATS["icalendar"], first)
    assert all(len(line) <= 75 for line in data.split(b"\r\n"))
    calendar = Calendar.from_ical(data)
    [to_do] = calendar.walk("VTODO")
    assert str(to_do["SUMMARY"]) == "Größe " * 30
    assert str(to_do["X-TENFOLD-ERROR"]).replace("\\", "") == REASON
    assert [str(zone["TZID"]) for zone in calendar.walk("VTIMEZONE")] == ["Our office"]


def test_a_list_of_failed_items_is_json_with_the_original_items() -> None:
    items = [{"title": "a", "priority": 0, "n": 12345678901234567890123}, {"title": "b", "error": "of their own"}]
    first = read(FORMATS["tenfold-json"], json.dumps(items))
    given = json.loads(given_back(FORMATS["github-json"], first))
    assert (given[0]["error"], given[0]["title"]) == (REASON, "a")
    assert given[1] == items[1]


def test_a_csv_keeps_its_dialect_and_its_columns() -> None:
    first = read(FORMATS["csv"], 'Task;Prio;Note\n"a;b";1;=1+1\nc;2;"say ""hi"""\n')
    header, *records = csv.reader(io.StringIO(given_back(FORMATS["csv"], first).decode(), newline=""), delimiter=";")
    assert header == ["Task", "Prio", "Note", "error"]
    assert records == [["a;b", "1", "=1+1", REASON], ["c", "2", 'say "hi"', REASON]]


def test_a_task_of_todoist_is_given_back_with_its_section_and_its_notes() -> None:
    file = (
        "TYPE,CONTENT,PRIORITY,INDENT\r\nsection,Garden,,\r\ntask,Water,4,1\r\nnote,daily,,\r\nnote,at noon,,\r\n"
        "task,Weed,1,1\r\nsection,House,,\r\ntask,Sweep,1,1\r\n"
    )
    first = read(FORMATS["todoist-csv"], file)
    again = sent_again("todoist-csv", first)
    assert told(again) == told(first)
    assert "daily" in again.fields[0]["description"]


def test_a_csv_without_a_header_has_no_column_of_reasons() -> None:
    first = read(FORMATS["csv"], "Water the plants,2030-01-01\nCall the plumber,2030-01-02\n")
    again = read(FORMATS["csv"], given_back(FORMATS["csv"], first))
    assert told(again) == told(first)


@pytest.mark.parametrize(
    ("name", "data", "source"),
    [
        ("csv", 'Task,Prio,Note\na,1,x\n"b,2,y\nc,3,z\n', ['"b', "2", "y"]),
        ("csv", "Task,Note\na,äöüß\n".encode() + b"b,y\xff\n", ["b", "y\ufffd"]),
        ("tenfold-ndjson", '{"title": "a"}\n{"title": "b"\n', '{"title": "b"'),
        ("tenfold-ndjson", "7\n", "7"),
        ("github-json", '[{"title": "a"}, {"title": "\\ud83d"}]', '{"title": "\\ud83d"}'),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_read_is_given_back_as_it_can_be_mended(
    name: str, data: bytes | str, source: object
) -> None:
    result = read(FORMATS[name], data)
    [bad] = [row for row in result.rows if isinstance(row, BadRow)]
    assert bad.source == source


def test_json_in_lines_is_given_back_in_lines_and_what_is_none_spoils_no_other() -> None:
    data = '{"title":"A"}\n{"title":"B","error":"disk full"}\n{bad\n7\n'
    result = read(FORMATS["json"], data)
    lines = given_back(FORMATS["json"], result, reason="Why.").decode().splitlines()
    assert lines == ['{"error":"Why.","title":"A"}', '{"title":"B","error":"disk full"}', "{bad", "7"]
    assert told(read(FORMATS["json"], "\n".join(lines))) == told(result)


def test_what_is_too_large_to_be_held_is_not_given_back() -> None:
    line = '{"title": "' + "x" * (2 << 20) + '"}\n'
    [bad] = read(FORMATS["tenfold-ndjson"], line).bad
    assert bad.source == ""
    [bad] = read(FORMATS["icalendar"], to_dos.calendar(to_dos.to_do("SUMMARY:" + "x" * (2 << 20)))).bad
    assert bad.source == b""


def test_the_column_that_the_file_of_failed_rows_adds_is_no_part_of_a_task() -> None:
    [row] = read(FORMATS["csv"], "Task,Owner,error\nMend the roof,ann,Prio: is wrong.\n").rows
    assert isinstance(row, Row)
    assert row.fields == {"title": "Mend the roof", "description": "Owner: ann"}
    [row] = read(FORMATS["csv"], "Task,Owner,error\nMend the roof,ann,disk full\n").rows
    assert isinstance(row, Row)
    assert row.fields == {"title": "Mend the roof", "description": "Owner: ann\nerror: disk full"}
    [row] = read(FORMATS["csv"], "error,Task\nwhat they saw,Mend the roof\n").rows
    assert isinstance(row, Row)
    assert "what they saw" in row.fields["description"]


PAGE = {"row": 1, "column": "title", "message": "Is missing.", "values": {"title": ""}}


@pytest.mark.parametrize(
    "data",
    [
        json.dumps({"items": [PAGE], "next_cursor": None}),
        json.dumps([PAGE]),
        json.dumps(PAGE) + "\n" + json.dumps(PAGE) + "\n",
        json.dumps({"items": [{"row": 1, "column": None, "message": "Left out."}], "next_cursor": None}),
        'row,column,error,values\r\n1,title,Is missing.,"{""title"":""""}"\r\n',
    ],
)
def test_our_own_lists_about_rows_are_known(data: str) -> None:
    assert is_list_about_rows(head_of(data.encode(), "", True))


@pytest.mark.parametrize("name", sorted(NAMES))
def test_no_file_of_tasks_is_taken_for_a_list_about_rows(name: str) -> None:
    data = sample(name)
    assert not is_list_about_rows(head_of(data, "", True))
    assert not is_list_about_rows(head_of(given_back(FORMATS[name], read(FORMATS[name], data)), "", True))

"""Getting Things GNOME's XML."""

import pytest

from core.formats.programs.gtg import FORMAT
from core.formats.registry import head_of
from core.formats.streams import xml_stream
from tests.core.formats.harness import BERLIN, read

OLD = """<?xml version="1.0" ?>
<project>
  <task id="0@1" status="Active" uuid="u0" tags="@garden,@home">
    <title>Plant trees</title>
    <addeddate>2026-01-01T10:00:00</addeddate>
    <modified>2026-01-03T10:00:00</modified>
    <duedate>2026-02-01</duedate>
    <startdate>soon</startdate>
    <subtask>1@1</subtask>
    <content>&lt;tag&gt;@garden&lt;/tag&gt;, where it is dry &amp;amp; sunny

→   &lt;subtask&gt;1@1&lt;/subtask&gt;</content>
  </task>
  <task id="1@1" status="Done" uuid="u1" tags="">
    <title>Dig</title>
    <donedate>2026-01-02</donedate>
    <duedate>someday</duedate>
  </task>
</project>
"""
NEW = """<?xml version="1.0" encoding="UTF-8"?>
<gtgData appVersion="0.6" xmlVersion="2">
  <taglist><tag id="t1" name="garden" color="#fff"/></taglist>
  <searchlist/>
  <tasklist>
    <task id="u0" status="Active" recurring="False">
      <title>Plant trees</title>
      <tags><tag>t1</tag><tag>unknown</tag></tags>
      <dates>
        <added>2026-01-01T10:00:00</added><modified>2026-01-03T10:00:00</modified><done/>
        <fuzzyDue>now</fuzzyDue><start></start>
      </dates>
      <recurring enabled="false"><term>None</term></recurring>
      <subtasks><sub>u1</sub></subtasks>
      <content><![CDATA[@garden where it is dry

{! u1 !}
]]></content>
    </task>
    <task id="u1" status="Dismissed"><title>Dig</title></task>
  </tasklist>
</gtgData>
"""


def test_tasks_of_the_old_format() -> None:
    first, second = read(FORMAT, OLD, time_zone=BERLIN).fields
    assert first == {
        "title": "Plant trees",
        "description": "@garden, where it is dry & sunny\n\nStarts: soon",
        "status": "pending",
        "due_date": "2026-02-01T22:59:59+00:00",
        "due_day": "2026-02-01",
        "labels": ["garden", "home"],
        "created_at": "2026-01-01T09:00:00+00:00",
        "external_id": "u0",
    }
    assert second == {
        "title": "Dig",
        "description": "Part of: Plant trees\n\nDue: someday",
        "status": "completed",
        "completed_at": "2026-01-01T23:00:00+00:00",
        "external_id": "u1",
    }


def test_tasks_of_the_new_format() -> None:
    first, second = read(FORMAT, NEW).fields
    assert first == {
        "title": "Plant trees",
        "description": "@garden where it is dry\n\nDue: now",
        "status": "pending",
        "labels": ["garden", "unknown"],
        "created_at": "2026-01-01T10:00:00+00:00",
        "external_id": "u0",
    }
    assert second == {
        "title": "Dig",
        "description": "Part of: Plant trees",
        "status": "cancelled",
        "external_id": "u1",
    }


@pytest.mark.parametrize(
    ("old", "new", "column"),
    [
        ('status="Active"', 'status="Forgotten"', "status"),
        ("<duedate>2026-02-01", "<duedate>2026-02-30", "duedate"),
        ("<addeddate>2026", "<addeddate>once", "addeddate"),
    ],
)
def test_a_value_that_is_none_costs_no_row_and_is_told_by_its_name(old: str, new: str, column: str) -> None:
    result = read(FORMAT, OLD.replace(old, new))
    assert result.warned == [(1, column)]
    assert len(result.good) == 2


def test_a_truncated_file_gives_the_tasks_before_and_tells_the_place() -> None:
    result = read(FORMAT, OLD[: OLD.index("<title>Dig")])
    assert [row.fields["title"] for row in result.good] == ["Plant trees"]
    assert result.refused is not None
    assert result.refused.name == "import-unreadable"
    assert "breaks off at line 15" in result.refused.detail


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("<project/>", "import-empty"),
        ("<rss><task/></rss>", "import-wrong-format"),
        ("", "import-unreadable"),
        ("no xml", "import-unreadable"),
        ("<project>" + "<a>" * 10_000, "import-unreadable"),
        ("<project>\0</project>", "import-unreadable"),
        ('<?xml version="1.0" encoding="klingon"?><project/>', "import-unreadable"),
    ],
)
def test_what_is_no_file_of_gtg_is_refused(text: str, name: str) -> None:
    result = read(FORMAT, text)
    assert result.rows == []
    assert result.refused is not None
    assert result.refused.name == name


@pytest.mark.parametrize(
    "doctype",
    [
        '<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;&b;">]>',
        '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd">',
        '<!DOCTYPE a [<!ENTITY % b SYSTEM "http://127.0.0.1:9/b">%b;]>',
    ],
)
def test_entities_and_anything_from_outside_are_refused(doctype: str) -> None:
    result = read(FORMAT, f"{doctype}<project><task><title>&b;</title></task></project>")
    assert result.rows == []
    assert result.refused is not None
    assert result.refused.name == "import-unreadable"
    assert "DOCTYPE" in result.refused.detail


def test_more_elements_than_memory_should_hold_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xml_stream, "_ELEMENTS_MAXIMUM", 1000)
    assert len(read(FORMAT, "<project>" + "<task/>" * 999 + "</project>").good) == 999
    result = read(FORMAT, "<project>" + "<a/>" * 1000 + "</project>")
    assert result.refused is not None
    assert result.refused.name == "import-too-large"


@pytest.mark.parametrize(
    ("text", "certainty"), [(OLD, 3), (NEW, 3), ("<project><name/></project>", 1), ("<rss/>", 0), ("a,b", 0)]
)
def test_recognising(text: str, certainty: int) -> None:
    assert FORMAT.recognise(head_of(text.encode(), "", True)) == certainty

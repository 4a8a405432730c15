"""All formats together: input that nobody foresaw is rows or a refusal."""

import io
import json
from collections.abc import Iterator
from datetime import UTC
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from marshmallow import ValidationError

from core.formats.registry import FORMATS, head_of, recognise
from core.formats.rows import BadRow, FileReport, ImportRefused, ReadOptions, Row
from core.tasks.validation import load_import
from tests.core.formats.programs import test_gtg, test_jira_xml, to_dos
from tests.core.formats.test_formats import DOCUMENTS, NAMES

OPTIONS = ReadOptions(UTC)


def read_to_the_end(name: str, data: bytes) -> list[Row | BadRow]:
    """Rows; anything but a refusal is a failure, as is what the job could not go on with."""
    rows: list[Row | BadRow] = []
    refused = None
    try:
        for row in FORMATS[name].read(io.BytesIO(data), OPTIONS, FileReport()):
            rows.append(row)
            if isinstance(row, Row):
                try:
                    load_import(row.fields)
                except ValidationError:
                    continue
            else:
                assert row.message
                json.dumps(row.values)  # whether it has that form at all; the job makes it storable
    except ImportRefused as problem:
        refused = problem
    assert refused is None or (refused.name.startswith("import-") and refused.detail)
    return rows


# What formats look for, so that chance gets beyond the first bytes.
WORDS = st.sampled_from(
    [
        b"BEGIN:VCALENDAR\n",
        b"BEGIN:VTODO\n",
        b"END:VTODO\n",
        b"SUMMARY:",
        b"DUE;TZID=",
        b"RRULE:",
        b"<project>",
        b"<rss>",
        b"<item>",
        b"<task>",
        b"</",
        b"title",
        b"cards",
        b"items",
        b"value",
        b'"',
        b"'",
        b"\\",
        b"\\u",
        b"d83d",
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b",",
        b";",
        b"\t",
        b"\r",
        b"\n",
        b"\0",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"1e999",
        b"null",
        b"TYPE,CONTENT,PRIORITY\n",
        b"Summary,Issue key\n",
    ]
)


@pytest.mark.parametrize("name", sorted(NAMES))
@given(pieces=st.lists(st.one_of(st.binary(max_size=20), WORDS), max_size=30))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_rows_or_a_refusal(name: str, pieces: list[bytes]) -> None:
    read_to_the_end(name, b"".join(pieces))


@given(data=st.lists(st.one_of(st.binary(max_size=20), WORDS), max_size=30).map(b"".join), is_whole=st.booleans())
def test_recognising_never_fails(data: bytes, is_whole: bool) -> None:
    recognise(head_of(data, "", is_whole))


ODDITIES = [
    None,
    True,
    "",
    "\0",
    "\ud83d",
    "x" * 300,
    0,
    -1,
    1.5,
    1e308,
    10**30,
    [],
    [None],
    [[]],
    ["x"],
    [{}],
    {},
    {"a": 1},
    "0000-00-00T00:00:00Z",
    "9999-12-31T23:59:59-23:59",
    "0001-01-01T00:00:00+23:59",
]


def places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Each place in a document: its container, and its key there."""
    for key in document if isinstance(document, dict) else range(len(document)):
        yield document, key
        if isinstance(document[key], dict | list):
            yield from places(document[key])


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_an_oddity_in_any_place_is_a_row_or_a_refusal(name: str) -> None:
    """Each place in turn, so that no type is taken for granted anywhere."""
    count = len(list(places(DOCUMENTS[name])))
    for place in range(count):
        for oddity in ODDITIES:
            document = json.loads(json.dumps(DOCUMENTS[name]))
            container, key = list(places(document))[place]
            container[key] = oddity
            read_to_the_end(name, json.dumps(document).encode())


TEXTS = {
    "icalendar": to_dos.calendar(
        to_dos.ZONE,
        to_dos.to_do(
            "UID:u",
            "SUMMARY:a",
            "DUE;TZID=Our office:20260101T000000",
            "DTSTART;VALUE=DATE:20260101",
            "DURATION:P1D",
            "RELATED-TO:u",
            "BEGIN:VALARM",
            "TRIGGER:-P1D",
            "END:VALARM",
        ),
    ),
    "gtg-xml": test_gtg.OLD,
    "jira-xml": test_jira_xml.rss(test_jira_xml.ITEM),
}


@pytest.mark.parametrize("name", sorted(TEXTS))
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_damage_anywhere_in_a_text_is_a_row_or_a_refusal(name: str, data: st.DataObject) -> None:
    text = TEXTS[name]
    begin = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(begin, min(len(text), begin + 40)))
    rest = data.draw(st.one_of(st.just(""), st.text(max_size=10), st.just("\0"), st.just("9" * 30)))
    read_to_the_end(name, (text[:begin] + rest + text[end:]).encode(errors="surrogatepass"))

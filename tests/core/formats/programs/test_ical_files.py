"""iCalendar files: which are read, in which encodings, and what becomes of broken ones."""

import pytest

from core.formats.programs.ical import FORMAT
from core.formats.registry import head_of
from core.formats.streams.icalendar import COMPONENT_MAXIMUM
from tests.core.formats.harness import read
from tests.core.formats.programs.to_dos import MINIMAL, calendar, titles, to_do


def test_events_and_journals_are_passed_over_and_counted() -> None:
    event = "BEGIN:VEVENT\nSUMMARY:Party\nBEGIN:VALARM\nEND:VALARM\nEND:VEVENT\n"
    result = read(FORMAT, calendar(event, to_do(MINIMAL), event, "BEGIN:VJOURNAL\nEND:VJOURNAL\n"))
    assert titles(result) == ["Plant trees"]
    assert result.report.ignored == {"events": 2, "journals": 1}


@pytest.mark.parametrize(
    ("text", "name", "told"),
    [
        (calendar(), "import-empty", "no to-dos"),
        (calendar("BEGIN:VEVENT\nEND:VEVENT\n"), "import-empty", "1 events"),
        ("", "import-wrong-format", "BEGIN:VCALENDAR"),
        ("title,priority\na,1\n", "import-wrong-format", "BEGIN:VCALENDAR"),
    ],
)
def test_a_file_without_to_dos_is_refused(text: str, name: str, told: str) -> None:
    result = read(FORMAT, text)
    assert result.rows == []
    assert result.refused is not None
    assert result.refused.name == name
    assert told in result.refused.detail


def test_to_dos_without_a_calendar_around_them_are_read() -> None:
    assert titles(read(FORMAT, to_do("SUMMARY:a") + "\n" + to_do("SUMMARY:b"))) == ["a", "b"]


def test_a_truncated_file_gives_the_to_dos_before_and_tells_the_line() -> None:
    result = read(FORMAT, "BEGIN:VCALENDAR\n" + to_do("SUMMARY:a") + "BEGIN:VTODO\nSUMMARY:b\nDESCR")
    assert titles(result) == ["a"]
    assert result.refused is not None
    assert result.refused.name == "import-unreadable"
    assert "line 5" in result.refused.detail


def test_a_to_do_without_an_end_is_a_bad_row_and_the_next_is_read() -> None:
    result = read(FORMAT, "BEGIN:VCALENDAR\nBEGIN:VTODO\nSUMMARY:a\n" + to_do("SUMMARY:b") + "END:VCALENDAR\n")
    assert [(row.number, row.message) for row in result.bad] == [(1, "The to-do in line 2: Has no end.")]
    assert titles(result) == ["b"]
    result = read(FORMAT, calendar("BEGIN:VTODO\nSUMMARY:a\n") + calendar(to_do("SUMMARY:b")))
    assert [row.number for row in result.bad] == [1]
    assert titles(result) == ["b"]


@pytest.mark.parametrize("piece", ["x" * 1000 + "\n ", "x" * 3000])
def test_a_to_do_that_is_too_long_is_a_bad_row_and_the_next_is_read(piece: str) -> None:
    long = to_do("SUMMARY:a", "DESCRIPTION:" + piece * (2 * COMPONENT_MAXIMUM // len(piece)) + "\nPRIORITY:1")
    result = read(FORMAT, calendar(to_do("SUMMARY:b"), long, to_do("SUMMARY:c")))
    assert [row.number for row in result.bad] == [2]
    assert titles(result) == ["b", "c"]


def test_to_dos_that_do_not_fit_into_what_is_held_keep_their_order() -> None:
    tasks = [to_do(f"UID:{number}", f"SUMMARY:{number}", "DESCRIPTION:" + "x" * 5000) for number in range(2000)]
    result = read(FORMAT, calendar(*tasks))
    assert [row.number for row in result.good] == list(range(1, 2001))
    assert titles(result) == [str(number) for number in range(2000)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
def test_umlauts_are_read_in_any_encoding(encoding: str) -> None:
    assert read(FORMAT, calendar(to_do("SUMMARY:Bäume pflanzen")).encode(encoding)).one["title"] == "Bäume pflanzen"


def test_a_fold_may_lie_within_a_character() -> None:
    data = calendar(to_do("SUMMARY:Bäume")).encode().replace(b"\xc3\xa4", b"\xc3\r\n \xa4")
    assert read(FORMAT, data).one["title"] == "Bäume"


def test_quoted_printable_of_the_old_vcalendar_is_read() -> None:
    text = "SUMMARY;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:B=C3=A4ume=\npflanzen=0D=0Aund gie=C3=9Fen"
    assert read(FORMAT, calendar(to_do(text, "STATUS:NEEDS ACTION"))).one["title"] == "Bäumepflanzen und gießen"


@pytest.mark.parametrize(
    ("text", "certainty"),
    [
        (calendar(), 3),
        ("\ufeff" + calendar().replace("\n", "\r\n"), 3),
        ("begin:vcalendar\n", 3),
        ("X-Mail: header\n\n" + calendar(), 2),
        ("title\n", 0),
        ("", 0),
    ],
)
def test_recognising(text: str, certainty: int) -> None:
    assert FORMAT.recognise(head_of(text.encode(), "", True)) == certainty

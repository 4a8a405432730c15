"""Records of a CSV, whole and damaged, within limits."""

import csv
import io
import time
import tracemalloc
from datetime import UTC
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.formats.csv.damage import Damaged
from core.formats.csv.dialect import find_delimiter
from core.formats.csv.headers import first_records
from core.formats.csv.records import COLUMNS_MAXIMUM, RECORD_MAXIMUM, Records
from core.formats.rows import FileReport, Head, ImportRefused, ReadOptions


class Endless(io.RawIOBase):
    """A file of many bytes that are made as they are read."""

    def __init__(self, before: bytes, repeated: bytes, times: int, after: bytes = b"") -> None:
        self._parts = iter([before, *(repeated for _ in range(times)), after])
        self._rest = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        while not self._rest:
            part = next(self._parts, None)
            if part is None:
                return b""
            self._rest = part
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken


def opened(data: bytes | str | io.RawIOBase, **options: Any) -> Records:
    stream = data if isinstance(data, io.RawIOBase) else io.BytesIO(data.encode() if isinstance(data, str) else data)
    return Records(stream, ReadOptions(time_zone=UTC, **options), FileReport())  # type: ignore[arg-type]


def rows(data: bytes | str | io.RawIOBase, **options: Any) -> list[tuple[int, list[str] | Damaged]]:
    records = opened(data, **options)
    records.header()
    return list(records.numbered())


def cells(data: bytes | str, **options: Any) -> list[list[str] | Damaged]:
    return [record for _, record in rows(data, **options)]


def one_damaged(found: list[tuple[int, list[str] | Damaged]]) -> tuple[int, Damaged]:
    ((number, damaged),) = [(number, record) for number, record in found if isinstance(record, Damaged)]
    return number, damaged


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found_out(delimiter: str) -> None:
    text = "\n".join(delimiter.join(row) for row in (["title", "note", "due"], ["a, b; c", "x", ""], ["d", "y", "z"]))
    if delimiter in ",;":
        text = text.replace("a, b; c", '"a, b; c"')
    assert cells(text) == [["a, b; c", "x", ""], ["d", "y", "z"]]


def test_a_delimiter_that_is_named_is_used() -> None:
    assert cells("a,b;c\n1,2;3\n", delimiter=";") == [["1,2", "3"]]
    assert cells("a,b\tc\n1,2\t3\n", delimiter="tab") == [["1,2", "3"]]
    assert cells("a^b\n1^2\n", delimiter="^") == [["1", "2"]]


@pytest.mark.parametrize("delimiter", ["", ";;", '"', "\n", "\0", "a", " "])
def test_what_cannot_be_a_delimiter_is_refused(delimiter: str) -> None:
    if delimiter:
        with pytest.raises(ImportRefused, match="cannot be a delimiter"):
            opened("a,b\n", delimiter=delimiter)
    else:
        assert opened("a,b\n", delimiter=delimiter).delimiter == ","


def test_excels_line_of_the_delimiter_is_heeded_and_no_header() -> None:
    records = opened("sep=;\r\ntitle;note, or so\r\na;b\r\n")
    assert records.header() == ["title", "note, or so"]


def test_a_file_of_one_column_has_no_delimiter_to_find() -> None:
    assert cells("title\nwater the plants\nbuy milk\n") == [["water the plants"], ["buy milk"]]


def test_a_space_after_each_delimiter_belongs_to_no_cell() -> None:
    assert cells('Type, Summary, Labels\nEpic, "Log in, again",   \nPage, x, y\n') == [
        ["Epic", "Log in, again", ""],
        ["Page", "x", "y"],
    ]


def test_blank_records_are_passed_over_and_counted() -> None:
    assert rows("title,note\n\n,\n  ,  \na,b\n\n\nc,\n") == [(4, ["a", "b"]), (7, ["c", ""])]


def test_newlines_and_quotes_within_quotes_belong_to_the_cell() -> None:
    assert cells('title,note\r\n"a ""b""","one\r\ntwo\n\nthree"\r\nc,d') == [
        ['a "b"', "one\r\ntwo\n\nthree"],
        ["c", "d"],
    ]


@pytest.mark.parametrize(
    "data", [b"", b"\n\n", b"\xef\xbb\xbf", b" \r\n", b",,,\n", b"title,note\n", b"title,note\n\n,\n"]
)
def test_a_file_without_rows_is_refused_as_empty(data: bytes) -> None:
    with pytest.raises(ImportRefused) as refused:
        rows(data)
    assert refused.value.name == "import-empty"


def test_too_many_columns_are_refused() -> None:
    with pytest.raises(ImportRefused, match="10,000 columns") as refused:
        rows(",".join(f"c{number}" for number in range(10_000)) + "\n1\n")
    assert refused.value.name == "import-too-large"


def test_a_row_of_too_many_cells_is_damaged_and_the_next_is_read() -> None:
    found = rows(f"a,b\n{',' * COLUMNS_MAXIMUM}x\n1,2\n")
    number, damaged = one_damaged(found)
    assert number == 1
    assert "1,001 cells" in damaged.message
    assert found[1] == (2, ["1", "2"])


def test_a_line_of_50_mb_is_damaged_and_never_held_in_memory() -> None:
    stream = Endless(b"title,note\nfirst,1\n", b"x" * 1_000_000, 50, b",2\nlast,3\n")
    tracemalloc.start()
    found = rows(stream)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    number, damaged = one_damaged(found)
    assert number == 2
    assert "more than 1,048,576 characters" in damaged.message
    assert [record for _, record in found if not isinstance(record, Damaged)] == [["first", "1"], ["last", "3"]]
    assert peak < 20 * RECORD_MAXIMUM


def test_a_file_that_ends_in_a_long_line_blames_no_quote() -> None:
    found = rows(Endless(b"title,note\nfirst,1\n", b"x" * 1_000_000, 3))
    assert len(found) == 2
    assert one_damaged(found)[1].message == "The row has more than 1,048,576 characters."


def test_a_file_that_ends_in_a_long_cell_in_quotes_blames_the_quote() -> None:
    found = rows(Endless(b'title,note\nfirst,1\n"second,', b"x y\n" * 250_000, 3))
    assert len(found) == 2
    assert "a quote is opened and never closed" in one_damaged(found)[1].message


def test_a_long_record_of_many_lines_is_skipped_to_its_very_end() -> None:
    prose = b'He said: ""well, no"", and left.\nThen nothing.\nThen, well, of course, more.\n' * 70
    stream = Endless(b'title,note,due\nfirst,1,\nlong,"', prose, 300, b'",2\nlast,3,\n')
    found = rows(stream)
    number, damaged = one_damaged(found)
    assert number == 2
    assert damaged.cells[0].startswith('long,"He said')
    assert found[-1] == (3, ["last", "3", ""])


def test_a_cell_of_over_128_kib_is_damaged_and_the_next_row_is_read() -> None:
    found = rows(f'title,note\nbig,"{"x " * 100_000}"\nlast,2\n')
    assert "131,072 characters" in one_damaged(found)[1].message
    assert found[-1] == (2, ["last", "2"])


def test_a_quote_that_never_closes_costs_its_own_row_only() -> None:
    body = "".join(f"task {number},{number},x\n" for number in range(1000))
    found = rows(f'title,number,note\nfirst,1,x\n"second,2,x\n{body}')
    assert one_damaged(found) == (2, Damaged("A quote is opened in this row and never closed.", ['"second,2,x']))
    assert len(found) == 1002
    assert found[-1] == (1002, ["task 999", "999", "x"])


def test_a_quote_that_never_closes_costs_its_own_row_only_also_in_a_large_file() -> None:
    body = "".join(f"task {number},{number},x\n" for number in range(100_000))
    found = rows(f'title,number,note\n"first,1,x\n{body}')
    assert one_damaged(found)[0] == 1
    assert len(found) == 100_001


def test_prose_behind_a_quote_that_never_closes_becomes_no_rows() -> None:
    found = rows('title,number,note\nfirst,1,x\nsecond,2,"It began so.\n\nThen came, well, this.\nAnd that.\n')
    assert len(found) == 2
    assert "never closed" in one_damaged(found)[1].message


def test_what_is_shown_of_an_open_quote_is_readable_also_in_another_encoding() -> None:
    _, damaged = one_damaged(rows(b'a,b\nx,"y\x9d'))
    assert damaged.cells == ["x", "y\ufffd"]


def test_each_of_many_quotes_that_never_close_costs_its_own_row_only() -> None:
    block = '"stray,1,x\n' + "".join(f"task {number},{number},x\n" for number in range(12_000))
    found = rows("title,number,note\n" + "".join(f"good {number},0,x\n" for number in range(40_000)) + block * 30)
    assert sum(isinstance(record, Damaged) for _, record in found) == 30
    assert len(found) == 40_000 + 30 * 12_001


def test_nothing_but_quotes_that_never_close_takes_no_quadratic_time() -> None:
    began = time.process_time()
    found = rows("x,y,z\n" + 'a"b,x,"c\n' * 200_000)
    assert time.process_time() - began < 10
    assert found


def test_a_bare_cr_in_a_cell_damages_its_row_only() -> None:
    found = rows("title,note\nfirst,1\nsec\rond,2\nthird,3\n")
    assert one_damaged(found)[0] == 2
    assert found[-1] == (3, ["third", "3"])


def test_a_row_of_another_encoding_is_damaged_and_tells_cell_and_byte() -> None:
    found = rows("title,note\ngrün,weiß\n".encode() + "grün,gießen\n".encode("cp1252") + "größer,ö\n".encode())
    number, damaged = one_damaged(found)
    assert number == 2
    assert "The cell has the byte 0xFC, which is not utf-8: “gr�n”" in damaged.message
    assert damaged.column == "title"
    assert damaged.cells == ["gr�n", "gie�en"]
    assert found[-1] == (3, ["größer", "ö"])


def test_nuls_are_left_for_the_validation_to_refuse() -> None:
    assert cells(b"title,note\n\0\0\0\0,x\na,b\n") == [["\0\0\0\0", "x"], ["a", "b"]]


def torn(text: str) -> str:
    """A comma-separated file as a spreadsheet saves it that took semicolons for the delimiter."""
    lines = [line.split(";") for line in text.split("\n")[:-1]]
    width = max(map(len, lines))
    out = io.StringIO(newline="")
    header, *others = lines
    out.write(f"{header[0]}\r\n")
    writer = csv.writer(out, delimiter=";")
    for line in others:
        # Python would put quotes around a lone empty cell.
        writer.writerow(line + [""] * (width - len(line)) if any(line) or width > 1 else [])
    return out.getvalue()


def test_a_file_that_a_spreadsheet_tore_at_semicolons_is_mended() -> None:
    table = [
        ["Summary", "Issue key", "Description", "Attachment", "Status"],
        ["One", "A-1", 'First line, with a comma\n\nAnd "more"', "1/Jan/24;who;a.png;https://example.com/a", "Open"],
        ["Two", "A-2", "", "2/Jan/24;who;b.png;https://example.com/b", "Open"],
        ["Three", "A-3", "One line.\nTwo lines.", "", "Done"],
    ]
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerows(table)
    assert cells(torn(out.getvalue())) == table[1:]


def test_a_file_whose_lines_a_spreadsheet_took_for_cells_is_mended() -> None:
    table = [
        ["Summary", "Key", "Description"],
        ["One", "A-1", 'First line, with a comma\n\nAnd "more"'],
        ["Two", "A-2", "plain"],
        ["Three", "A-3", "one, two"],
    ]
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerows(table)
    assert '"Three,A-3,""one, two"""\r\n' in torn(out.getvalue())
    assert cells(torn(out.getvalue())) == table[1:]


def test_a_file_of_quoted_cells_and_of_short_rows_is_not_mended() -> None:
    assert cells('a,b,c\n"one, two",x,y\n"three, four"\n') == [["one, two", "x", "y"], ["three, four"]]
    assert cells('a,b,c\n"three, four, five"\n') == [["three, four, five"]]


def test_the_beginning_of_a_file_is_split_for_formats_to_look_at() -> None:
    text = "\ufeffSummary; Key ;x,y\n\na;b;c\n"
    assert first_records(Head(text.encode(), text, "", True)) == [["Summary", "Key", "x,y"], ["a", "b", "c"]]


def test_the_beginning_of_utf_16_without_a_mark_is_split_too() -> None:
    data = "Summary,Key\na,b\n".encode("utf-16-le")
    assert first_records(Head(data, data.decode("utf-8", "replace"), "", True))[0] == ["Summary", "Key"]


_CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0\ufeff"), max_size=8)


def trimmed(record: list[str] | Damaged) -> list[str]:
    assert not isinstance(record, Damaged)
    return [cell.lstrip(" ") for cell in record]


@given(
    st.integers(2, 5).flatmap(lambda width: st.lists(st.lists(_CELLS, min_size=width, max_size=width), max_size=8)),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_what_a_csv_writer_writes_is_read_back(table: list[list[str]], delimiter: str, encoding: str) -> None:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerow([f"column {number}" for number in range(len(table[0]) if table else 2)])
    writer.writerows(table)
    wanted = [row for row in table if any(map(str.strip, row))]
    try:
        found = cells(out.getvalue().encode(encoding), delimiter=delimiter)
    except ImportRefused:
        found = []
    # A file that has a space after every delimiter is taken for a person's.
    assert list(map(trimmed, found)) == list(map(trimmed, wanted))


@settings(max_examples=300, deadline=2000)
@given(st.binary(max_size=200) | st.text(st.sampled_from('a,;"\n\r \t\0ß='), max_size=80).map(str.encode))
@example(b'"')
@example(b'\xff\xfe"')
@example(b"sep=,")
@example(b"\r")
def test_any_bytes_are_records_or_refused(data: bytes) -> None:
    try:
        found = rows(data)
    except ImportRefused:
        return
    assert found
    assert [number for number, _ in found] == sorted({number for number, _ in found})


def test_a_delimiter_within_quotes_does_not_count() -> None:
    assert find_delimiter('title;note\n"a, b, c";x\n"d, e, f";y\n') == ";"

"""Tenfold's NDJSON: a task a line."""

import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from core.formats.programs.tenfold_ndjson import FORMAT
from core.formats.registry import head_of
from core.formats.rows import BadRow, FileReport, ReadOptions, Row
from core.formats.streams.lines import LINE_MAXIMUM
from tests.core.formats.harness import BERLIN, Repeated, read

FULL: dict[str, Any] = {
    "id": 868875411161089,
    "user_id": 3,
    "title": "Renew the certificates",
    "description": "They end on Friday.\nAll of them.",
    "priority": 2,
    "status": "completed",
    "due_date": "2026-01-31T17:00:00+01:00",
    "labels": ["tls", "ops"],
    "created_at": "2026-01-01T00:00:00+00:00",
    "updated_at": "2026-01-02T00:00:00+00:00",
    "completed_at": "2026-01-02T00:00:00+00:00",
    "version": 4,
}


def test_a_task_as_it_is_answered_keeps_what_an_import_may_set() -> None:
    result = read(FORMAT, json.dumps(FULL))
    wanted = {name: value for name, value in FULL.items() if name not in ("id", "user_id", "updated_at", "version")}
    assert result.one == {**wanted, "external_id": "tenfold:868875411161089"}
    assert result.good[0].values == FULL


def test_an_external_id_goes_before_the_id() -> None:
    assert read(FORMAT, '{"title": "a", "id": 7, "external_id": "trello:1"}').one["external_id"] == "trello:1"
    assert read(FORMAT, '{"title": "a", "id": 7, "external_id": null}').one["external_id"] == "tenfold:7"
    assert "external_id" not in read(FORMAT, '{"title": "a"}').one


def test_unknown_members_stay_for_validation_to_refuse() -> None:
    assert read(FORMAT, '{"title": "a", "id": 1, "titel": "b"}').one["titel"] == "b"


def test_rows_are_numbered_as_lines_and_empty_lines_are_no_rows() -> None:
    result = read(FORMAT, '\n{"title": "a"}\r\n  \n\r\n{"title": "b"}')
    assert [(row.number, row.fields["title"]) for row in result.good] == [(2, "a"), (5, "b")]


@pytest.mark.parametrize(
    "line",
    [
        '{"title": "a"',
        '{"title": NaN}',
        '{"title": "\\ud800"}',
        b'{"title": "\xfc"}',
        b'{"title": "\0"}',
        bytes(100),
        "[" * 10_000,
        '{"a":' * 10_000,
        '{"priority": 1e999}',
        '[{"title": "a"}]',
        '"title"',
        "1",
    ],
)
def test_a_line_that_is_no_task_is_one_bad_row_among_good_ones(line: str | bytes) -> None:
    data = line.encode() if isinstance(line, str) else line
    result = read(FORMAT, b'{"title": "a"}\n' + data + b'\n{"title": "c"}\n')
    assert [row.number for row in result.rows] == [1, 2, 3]
    assert [row.number for row in result.bad] == [2]
    assert result.refused is None
    assert "\0" not in json.dumps(result.bad[0].values)


@pytest.mark.parametrize("size", [LINE_MAXIMUM + 1, 3 * LINE_MAXIMUM])
@pytest.mark.parametrize("end", ["", "\n", '\n{"title": "c"}', '\n{"title": "c"}\n'])
def test_a_line_that_is_too_long_is_one_bad_row(size: int, end: str) -> None:
    result = read(FORMAT, '{"title": "a"}\n' + "x" * size + end)
    assert [row.number for row in result.bad] == [2]
    assert f"{size:,} bytes" in result.bad[0].message
    assert [row.number for row in result.good] == ([1, 3] if "title" in end else [1])


def test_a_line_of_the_greatest_length_is_read() -> None:
    line = json.dumps({"title": "a", "description": ""})
    line = line.replace('""', '"' + "x" * (LINE_MAXIMUM - len(line)) + '"')
    assert len(line) == LINE_MAXIMUM
    assert read(FORMAT, line + "\n").one["title"] == "a"


def test_lines_that_lie_across_blocks_are_whole() -> None:
    tasks = [{"title": f"Task {number}", "description": "x" * (number % 997)} for number in range(3000)]
    result = read(FORMAT, "\n".join(map(json.dumps, tasks)))
    assert result.fields == tasks
    assert [row.number for row in result.good] == list(range(1, 3001))


def test_a_line_of_50_megabytes_takes_little_memory() -> None:
    tracemalloc.start()
    try:
        rows: Iterator[Row | BadRow] = FORMAT.read(Repeated(b"", b"x", 50_000_000), ReadOptions(BERLIN), FileReport())
        assert [row.number for row in rows] == [1]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6 * LINE_MAXIMUM


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le"])
def test_every_unicode_encoding_is_read(encoding: str) -> None:
    data = '{"title": "Schlüssel 🔑"}\n'.encode(encoding)
    named = encoding if encoding == "utf-16-le" else None
    assert read(FORMAT, data, encoding=named).one["title"] == "Schlüssel 🔑"


def test_another_encoding_is_read_when_it_is_named() -> None:
    data = '{"title": "Schlüssel"}'.encode("latin-1")
    assert read(FORMAT, data, encoding="iso-8859-1").one["title"] == "Schlüssel"
    assert len(read(FORMAT, data).bad) == 1


@pytest.mark.parametrize("encoding", ["klingon", "base64", "rot13", "\0"])
def test_an_encoding_that_is_none_is_refused(encoding: str) -> None:
    result = read(FORMAT, '{"title": "a"}', encoding=encoding)
    assert result.refused is not None
    assert result.refused.name == "import-unreadable"


def test_utf_16_that_breaks_off_within_a_character_is_refused_after_its_rows() -> None:
    result = read(FORMAT, '{"title": "a"}\n'.encode("utf-16") + b"x")
    assert result.refused is not None
    assert result.refused.name == "import-unreadable"


@pytest.mark.parametrize("data", ["", "\n", " \r\n\n", "\ufeff"])
def test_a_file_without_lines_is_empty(data: str) -> None:
    result = read(FORMAT, data)
    assert result.rows == []
    assert result.refused is not None
    assert result.refused.name == "import-empty"


@pytest.mark.parametrize(
    ("text", "certainty"),
    [
        ('{"title": "a", "version": 1}\n{"title": "b", "completed_at": null}\n', 3),
        ('{"title": "a", "id": 868875411161089, "description": "' + "x" * 70_000, 3),
        ('{"title": "a"}\n{"title": "b", "id": 1}\n', 0),
        ('{"title": "a", "id": 868875411161089}\n{"title": "b", "id": 1}\n', 0),
        ('{"title": "a", "number": 1}\n', 0),
        ('{"name": "a"}\n', 0),
        ('{\n"title": "a"\n}\n', 0),
        ('[{"title": "a"}]', 0),
        ("title,description\n", 0),
        ("", 0),
    ],
)
def test_recognising(text: str, certainty: int) -> None:
    assert FORMAT.recognise(head_of(text.encode(), "", False)) == certainty

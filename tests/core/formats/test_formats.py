"""All formats together: real files, and telling them apart."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from core.formats.registry import FORMATS, head_of, recognise
from core.tasks.validation import load_import
from tests.core.formats.harness import read
from tests.core.formats.programs import (
    test_github,
    test_google_tasks,
    test_microsoft_todo,
    test_taskwarrior,
    test_tenfold_ndjson,
    test_trello,
    test_wekan,
)

COLLECTION = Path(__file__).parents[4] / "shared" / "data" / "imports"
NAMES = {
    "csv",
    "github-json",
    "google-tasks-json",
    "gtg-xml",
    "icalendar",
    "jira-csv",
    "jira-xml",
    "json",
    "microsoft-todo-json",
    "taskwarrior-json",
    "tenfold-csv",
    "tenfold-json",
    "tenfold-ndjson",
    "ticktick-csv",
    "todoist-csv",
    "toodledo-csv",
    "trello-json",
    "wekan-json",
}
FORMAT_OF_FOLDER = {
    "icalendar": "icalendar",
    "jira-csv": "jira-csv",
    "taskwarrior-json": "taskwarrior-json",
    "todoist-csv": "todoist-csv",
    "trello-json": "trello-json",
}
FORMAT_OF_FILE = {
    "takeout": "google-tasks-json",
    "jira-export.xml": "jira-xml",
    "gtg_tasks": "gtg-xml",
    "toodledo": "toodledo-csv",
    "ms-todo": "microsoft-todo-json",
    "ticktick": "ticktick-csv",
    "wekan": "wekan-json",
    "JIRA-blank-rows": "jira-csv",
    "Jira-excel-broken": "jira-csv",
    "jira-spaced-header": "jira-csv",
}


def real_files() -> list[Path]:
    return sorted(COLLECTION.glob("*/*.*"))


def expected_rows() -> dict[str, int]:
    """File → task rows, as the collection's own list tells."""
    rows = {}
    for line in (COLLECTION / "SOURCES.md").read_text().splitlines():
        name = re.match(r"\| `([^`]+)` \|", line)
        counts = re.findall(r"\| *(\d+) (?=\|)", line)
        if name and counts:
            rows[name[1]] = int(counts[0])
    return rows


def expected_format(file: Path) -> str:
    if file.parent.name == "github-issues":
        return "github-json" if file.suffix == ".json" else "csv"
    if file.parent.name in FORMAT_OF_FOLDER:
        return FORMAT_OF_FOLDER[file.parent.name]
    return next((format_ for part, format_ in FORMAT_OF_FILE.items() if part in file.name), "csv")


REAL = [pytest.param(file, id=file.name) for file in real_files()] or [
    pytest.param(None, marks=pytest.mark.skip("the collection of real exports is not beside this checkout"))
]
# Counted by eye there, because a spreadsheet has torn its records apart.
UNCERTAIN = "honoratara__Jira-excel-broken.csv"


def head(file: Path, filename: str) -> Any:
    data = file.read_bytes()
    return head_of(data[:65536], filename, len(data) <= 65536)


def test_every_format_is_in_the_table_under_its_name() -> None:
    assert set(FORMATS) == NAMES
    assert all(name == format_.name for name, format_ in FORMATS.items())


@pytest.mark.parametrize("file", REAL)
def test_a_real_file_is_recognised(file: Path) -> None:
    found = recognise(head(file, file.name))
    assert found is not None
    assert found.name == expected_format(file)


@pytest.mark.parametrize("file", [param for param in REAL if param.values[0] and param.values[0].suffix != ".csv"])
def test_a_real_file_is_recognised_without_its_name(file: Path) -> None:
    found = recognise(head(file, ""))
    assert found is not None
    assert found.name == expected_format(file)


@pytest.mark.parametrize("file", REAL)
def test_every_task_of_a_real_file_becomes_a_row_that_is_valid_or_told(file: Path) -> None:
    result = read(FORMATS[expected_format(file)], file.read_bytes(), include_pull_requests=True)
    expected = expected_rows()[file.name]
    if file.name == UNCERTAIN:
        assert expected - 1 <= len(result.rows) <= expected
    else:
        assert len(result.rows) == expected
    assert (result.refused is None) == bool(expected)
    numbers = [row.number for row in result.rows]
    assert numbers == sorted(set(numbers))
    for row in result.good:
        assert load_import(row.fields)


@pytest.mark.parametrize("file", [param for param in REAL if param.values[0] and param.values[0].suffix == ".ics"])
def test_real_calendars_have_no_bad_rows(file: Path) -> None:
    assert read(FORMATS["icalendar"], file.read_bytes()).bad == []


@pytest.mark.parametrize(
    ("name", "issues", "pull_requests"),
    [("ElabdiAchraf__rails_issues.json", 123, 377), ("Acklio__issues.json", 3, 38)],
)
def test_real_pull_requests_are_skipped_unless_asked_for(name: str, issues: int, pull_requests: int) -> None:
    file = COLLECTION / "github-issues" / name
    if not file.exists():
        pytest.skip("the collection of real exports is not beside this checkout")
    result = read(FORMATS["github-json"], file.read_bytes())
    assert (len(result.good), len(result.skipped)) == (issues, pull_requests)


@pytest.mark.parametrize("file", [param for param in REAL if param.values[0] and param.values[0].stat().st_size < 2e5])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_real_file_never_fails_in_another_way(file: Path, share: float) -> None:
    data = file.read_bytes()
    result = read(FORMATS[expected_format(file)], data[: int(len(data) * share)], include_pull_requests=True)
    assert len(result.rows) <= expected_rows()[file.name] + 1


@pytest.mark.parametrize(
    ("data", "filename", "name"),
    [
        (b"", "", None),
        (b"\0" * 100, "", None),
        (b"\x1f\x8b\x08\0", "tasks.json.gz", None),
        (b"Dear Sir or Madam", "letter.txt", None),
        (b'{"hello": "world"}', "", None),
        (b"<html><body></body></html>", "", None),
        (b"[]", "", "json"),
        (b'{"title": "a"}', "", "json"),
        ('{"title": "ä"}\n{"title": "b"}'.encode("utf-16"), "", "json"),
        (b'{"titel": "a"}\n', "tasks.NDJSON", "json"),
        (b"title,priority\na,1\n", "", "csv"),
    ],
)
def test_small_files_are_told_apart(data: bytes, filename: str, name: str | None) -> None:
    found = recognise(head_of(data, filename, True))
    assert (found.name if found else None) == name


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("\ufeffä".encode(), "ä"),
        ("ä".encode("utf-16"), "ä"),
        ("ä".encode("utf-32"), "ä"),
        ("ä".encode("latin-1") + b" b", "ä b"),
        ("abä", "abä"),
        (b"ab" + "ä".encode()[:1], "ab�"),
    ],
)
def test_a_heads_text_is_without_mark_and_whole_as_far_as_it_goes(data: bytes | str, text: str) -> None:
    found = head_of(data.encode() if isinstance(data, str) else data, "Tasks.CSV", False)
    assert found.text == text
    assert found.filename == "tasks.csv"


DOCUMENTS: dict[str, Any] = {
    "tenfold-json": [test_tenfold_ndjson.FULL],
    "trello-json": test_trello.BOARD,
    "github-json": [test_github.REST, test_github.GH],
    "taskwarrior-json": [test_taskwarrior.TASK],
    "microsoft-todo-json": json.loads(test_microsoft_todo.graph(test_microsoft_todo.TASK)),
    "google-tasks-json": json.loads(test_google_tasks.takeout(test_google_tasks.TASK)),
    "wekan-json": test_wekan.BOARD,
}

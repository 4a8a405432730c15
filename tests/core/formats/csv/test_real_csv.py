"""Real exports: every CSV of the collection goes in, row by row, by the format that recognises it."""

import re
from datetime import UTC
from pathlib import Path

import pytest

from core.formats.programs import any_csv, jira, tenfold_csv, ticktick, todoist, toodledo
from core.formats.rows import BadRow, FileReport, Format, Head, ReadOptions, Row
from core.tasks.validation import load_import

COLLECTION = Path(__file__).parents[5] / "shared" / "data" / "imports"
FORMATS = [module.FORMAT for module in (tenfold_csv, todoist, jira, ticktick, toodledo, any_csv)]
FOLDERS = {"todoist-csv": "todoist-csv", "jira-csv": "jira-csv", "github-issues": "csv"}
ODD = {
    "vikunja__ticktick_export.csv": "ticktick-csv",
    "vikunja__ticktick_multiline.csv": "ticktick-csv",
    "maxxkrakoa__toodledo-sample.csv": "toodledo-csv",
    "honoratara__Jira-excel-broken.csv": "jira-csv",
    "mrchidambara03__JIRA-blank-rows.csv": "jira-csv",
    "EverardMark__jira-spaced-header.csv": "jira-csv",
    "Martin-Jonasse__issues-semicolon.csv": "csv",
    "hogsmill__backlog-tabs.csv": "csv",
}
# The list counts "about 13"; once mended, the file has twelve issues, each with its key and all 72 cells.
MISCOUNTED = {"honoratara__Jira-excel-broken.csv": 12}

FILES = sorted(COLLECTION.glob("*/*.csv"))
pytestmark = pytest.mark.skipif(not FILES, reason="the collection of real exports is not beside this checkout")


def counted() -> dict[str, int]:
    """File → rows, as the collection's own list has them."""
    lines = re.findall(r"^\| `([^`]+)` \|.*?\| (\d+) \| \d+ \|", (COLLECTION / "SOURCES.md").read_text(), re.MULTILINE)
    return {name: int(rows) for name, rows in lines}


def recognised(data: bytes, name: str) -> Format:
    head = Head(data[:65_536], data[:65_536].decode("utf-8-sig", errors="replace"), name.lower(), len(data) <= 65_536)
    return max(FORMATS, key=lambda format_: format_.recognise(head))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_real_file_goes_in_whole(file: Path) -> None:
    format_ = recognised(file.read_bytes(), file.name)
    assert format_.name == (FOLDERS.get(file.parent.name) or ODD[file.name])

    with file.open("rb") as stream:
        rows = list(format_.read(stream, ReadOptions(time_zone=UTC), FileReport()))

    assert [row for row in rows if isinstance(row, BadRow)] == []
    good = [row for row in rows if isinstance(row, Row)]
    assert len(good) == MISCOUNTED.get(file.name, counted()[file.name])
    assert [row.number for row in good] == sorted({row.number for row in good})
    for row in good:
        load_import(row.fields)
    assert sum(row.fields["title"] == "(untitled)" for row in good) == 0


@pytest.mark.parametrize(
    ("name", "title", "fields"),
    [
        (
            "todoist-csv/colin-gourlay__saas-spin-up.csv",
            "Verify security and compliance certifications (SOC 2, ISO 27001, GDPR)",
            {"priority": 1, "labels": ["people-self", "place-anywhere", "tools-todoist"]},
        ),
        (
            "todoist-csv/colin-gourlay__github-repo-spin-up.csv",
            "Enable sensible repository settings (default branch, merge strategies)",
            {"priority": 4},
        ),
        (
            "todoist-csv/msharoni__todoist_template.csv",
            "Zevachim 8",
            {"due_date": "2025-10-04T20:59:59+00:00", "priority": 10},
        ),
        (
            "jira-csv/BellaLi-code__Jira.csv",
            "Deliverable 1 — Theme Decision & Narrative Direction",
            {
                "external_id": "CS4483-67",
                "labels": ["design-decision", "meeting-notes"],
                "completed_at": "2026-02-15T16:51:00+00:00",
            },
        ),
        (
            "odd-csv/honoratara__Jira-excel-broken.csv",
            "Failed test: Wybór hotelu spośród dostępnych ofert i rezerwacja",
            {"external_id": "PHPTTRAV-15", "priority": 3, "created_at": "2023-07-19T11:14:00+00:00"},
        ),
        (
            "odd-csv/Martin-Jonasse__issues-semicolon.csv",
            "Sammelfahrt sistieren (R104)",
            {
                "status": "pending",
                "external_id": "https://github.com/TIXI24/requirements/issues/57",
                "labels": ["disposition", "dringend", "P2", "REQUIREMENT", "wichtig"],
            },
        ),
        (
            "github-issues/DylanKlintworth__matplotlib-issues.csv",
            "Fix unit handling in errorbar for astropy.",
            {
                "status": "completed",
                "created_at": "2021-04-05T18:49:57+00:00",
                "completed_at": "2021-04-05T20:44:38+00:00",
            },
        ),
    ],
)
def test_a_real_row_has_what_its_file_says(name: str, title: str, fields: dict[str, object]) -> None:
    file = COLLECTION / name
    if not file.exists():
        pytest.skip("the collection has no such file")
    format_ = recognised(file.read_bytes(), file.name)
    with file.open("rb") as stream:
        rows = list(format_.read(stream, ReadOptions(time_zone=UTC), FileReport()))
    found = next(row.fields for row in rows if isinstance(row, Row) and row.fields["title"] == title)
    assert {field: found.get(field) for field in fields} == fields

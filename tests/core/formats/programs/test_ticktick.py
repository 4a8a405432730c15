"""TickTick's backup."""

import pytest

from core.formats.programs.ticktick import FORMAT
from core.formats.rows import Head
from core.tasks.validation import load_import
from tests.core.formats.harness import BERLIN, read

HEADER = (
    "Folder Name,List Name,Title,Kind,Tags,Content,Is Check list,Start Date,Due Date,Reminder,Repeat,Priority,Status,"
    "Created Time,Completed Time,Order,Timezone,Is All Day,Is Floating,Column Name,taskId,parentId"
)
PREAMBLE = '\ufeff"Date: 2025-11-25+0000"\n"Version: 7.1"\n"Status: \n0 Normal\n1 Completed\n2 Archived"\n'


def task(**cells: str) -> str:
    """A record; the names of columns without their blanks."""
    return ",".join(f'"{cells.get(name.replace(" ", ""), "")}"' for name in HEADER.split(",")) + "\n"


def backup(*tasks: str) -> str:
    return PREAMBLE + HEADER + "\n" + "".join(tasks)


def test_a_task_is_read() -> None:
    result = read(
        FORMAT,
        backup(
            task(
                FolderName="Work",
                ListName="Alpha",
                Title="Plan\nthe trip",
                Tags="urgent, work",
                Content="One.\n\nTwo.",
                StartDate="2018-12-11T23:00:00+0000",
                DueDate="2018-12-13T10:00:00+0000",
                Repeat="RRULE:FREQ=WEEKLY",
                Priority="5",
                Status="0",
                CreatedTime="2018-12-11T20:10:46+0000",
                Timezone="Europe/Berlin",
                IsAllDay="false",
                ColumnName="Doing",
                taskId="17",
            )
        ),
    )
    assert result.one == {
        "title": "Plan the trip",
        "external_id": "17",
        "priority": 1,
        "status": "pending",
        "labels": ["urgent", "work"],
        "due_date": "2018-12-13T10:00:00+00:00",
        "created_at": "2018-12-11T20:10:46+00:00",
        "description": "One.\n\nTwo.\n\nList: Work / Alpha\nColumn: Doing\nStart: 2018-12-11T23:00:00+00:00",
        "recurrence": "FREQ=WEEKLY",
    }
    load_import(result.one)
    assert result.good[0].number == 1


@pytest.mark.parametrize(("theirs", "ours"), [("5", 1), ("3", 4), ("1", 7), ("0", 10)])
def test_a_priority_becomes_ours(theirs: str, ours: int) -> None:
    assert read(FORMAT, backup(task(Title="a", Priority=theirs))).one["priority"] == ours


@pytest.mark.parametrize(
    ("theirs", "ours"), [("0", "pending"), ("1", "completed"), ("2", "completed"), ("-1", "cancelled")]
)
def test_a_status_becomes_ours(theirs: str, ours: str) -> None:
    fields = read(FORMAT, backup(task(Title="a", Status=theirs, CompletedTime="2025-11-25T10:39:31+0000"))).one
    assert fields["status"] == ours
    assert fields.get("completed_at") == ("2025-11-25T10:39:31+00:00" if ours == "completed" else None)
    load_import(fields)


@pytest.mark.parametrize(
    ("due", "zone", "ends"),
    [
        ("2018-12-11T23:00:00+0000", "Europe/Berlin", "2018-12-12T22:59:59+00:00"),
        ("2023-03-25T23:00:00+0000", "Europe/Berlin", "2023-03-26T21:59:59+00:00"),
        ("2023-06-13T22:00:00+0000", "", "2023-06-14T21:59:59+00:00"),
        ("2023-06-13T04:00:00+0000", "", "2023-06-13T21:59:59+00:00"),
    ],
)
def test_an_all_day_task_is_due_on_the_day_whose_beginning_is_nearest(due: str, zone: str, ends: str) -> None:
    result = read(FORMAT, backup(task(Title="a", DueDate=due, Timezone=zone, IsAllDay="true")), time_zone=BERLIN)
    assert result.one["due_date"] == ends


def test_a_child_names_its_parent() -> None:
    result = read(
        FORMAT,
        backup(task(Title="Trip", taskId="1"), task(Title="Pack", parentId="1"), task(Title="Fly", parentId="9")),
    )
    assert [row.get("description") for row in result.fields] == [
        None,
        "Part of: Trip",
        "Part of: task 9 of TickTick",
    ]


def test_a_checklist_keeps_its_marks() -> None:
    result = read(FORMAT, backup(task(Title="a", Kind="CHECKLIST", Content="Before\n▫milk▪bread\n▫")))
    assert result.one["description"] == "Before\n\n- [ ] milk\n- [x] bread"


def test_what_ticktick_does_not_have_is_told_with_the_column() -> None:
    result = read(
        FORMAT,
        backup(task(Title="a", Priority="9"), task(Title="b", Status="?"), task(Title="c", DueDate="2024-02-31")),
    )
    assert result.warned == [(1, "Priority"), (2, "Status"), (3, "Due Date")]


def test_a_file_without_the_header_is_refused() -> None:
    refused = read(FORMAT, PREAMBLE + "a,b\nc,d\n").refused
    assert refused is not None
    assert refused.name in ("import-wrong-format", "import-empty")


def test_a_backup_without_tasks_is_empty() -> None:
    refused = read(FORMAT, backup()).refused
    assert refused is not None
    assert refused.name == "import-empty"


@pytest.mark.parametrize(
    ("text", "certainty"), [(backup(), 3), (HEADER, 3), ("Title,Status,List Name\n", 2), (PREAMBLE, 0), ("", 0)]
)
def test_a_backup_is_recognised(text: str, certainty: int) -> None:
    assert FORMAT.recognise(Head(text.encode(), text, "", True)) == certainty

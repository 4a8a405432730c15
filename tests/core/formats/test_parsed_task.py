"""How a foreign item becomes a task's fields: nothing is lost that there is room for, and losses are told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.formats.parsed_task import ParsedTask
from core.formats.rows import Row
from core.tasks.fields import DESCRIPTION_MAXIMUM, EXTERNAL_ID_MAXIMUM
from core.tasks.validation import load_import


def finished(task: ParsedTask) -> dict[str, object]:
    row = task.row(1, {}, {})
    assert isinstance(row, Row)
    fields = row.fields
    assert load_import(dict(fields))
    return fields


def test_a_description_has_its_parts_in_order() -> None:
    task = ParsedTask("Buy milk", "7")
    task.parent = "Shop"
    task.body = "Two litres.\r\nFresh.\n"
    task.checklist("Shops", [("Corner", True), ("Market", False)])
    task.fact("List", "Home")
    task.fact("Empty", "  ")
    task.comment("Semi-skimmed!", "2026-01-31T17:00:00+00:00", "Bob")
    assert finished(task) == {
        "title": "Buy milk",
        "external_id": "7",
        "description": "Part of: Shop\n\nTwo litres.\nFresh.\n\nShops:\n- [x] Corner\n- [ ] Market\n\nList: Home\n\n"
        "Comment (2026-01-31T17:00:00+00:00, Bob):\nSemi-skimmed!",
    }


def test_nothing_beside_a_title_is_no_description() -> None:
    assert finished(ParsedTask("Buy milk")) == {"title": "Buy milk"}


@pytest.mark.parametrize("title", ["", " \n\t", "\u2003"])
def test_an_empty_title_has_a_stand_in(title: str) -> None:
    assert finished(ParsedTask(title))["title"] == "(untitled)"


def test_a_title_of_several_lines_is_one_line() -> None:
    assert finished(ParsedTask(" Buy\r\n  milk "))["title"] == "Buy milk"


def test_a_title_that_is_too_long_is_cut_and_stands_whole_in_the_description() -> None:
    fields = finished(ParsedTask("word " * 60))
    title = ("word " * 60).strip()
    assert len(str(fields["title"])) <= 255
    assert str(fields["title"]).endswith("…")
    assert fields["description"] == title
    assert finished(ParsedTask("x" * 255)) == {"title": "x" * 255}


def test_labels_that_a_task_cannot_have_stand_in_the_description() -> None:
    task = ParsedTask("a")
    for label in ["ok", "ok", " ", "with, comma", "x" * 51, *map(str, range(30))]:
        task.label(label)
    fields = finished(task)
    assert fields["labels"] == ["ok", *map(str, range(19))]
    rest = "; ".join(["with, comma", "x" * 51, *map(str, range(19, 30))])
    assert fields["description"] == f"Labels: {rest}"


def test_comments_that_do_not_fit_are_counted() -> None:
    task = ParsedTask("a")
    task.body = "body"
    task.fact("Source", "https://example.org")
    for number in range(50):
        task.comment(f"{number} " + "x" * 1000)
    description = str(finished(task)["description"])
    assert description.startswith("body\n\nSource: https://example.org\n\nComment:\n0 ")
    assert description.endswith("[… 31 more comments]")
    assert description.count("Comment:") == 19
    assert DESCRIPTION_MAXIMUM - 1200 < len(description) <= DESCRIPTION_MAXIMUM


def test_checklists_that_do_not_fit_are_counted_and_facts_after_them_stay() -> None:
    task = ParsedTask("a")
    task.checklist("Steps", ((f"{number} " + "x" * 100, False) for number in range(300)))
    task.checklist("More", [("y", True)])
    task.fact("List", "Home")
    description = str(finished(task)["description"])
    assert description.startswith("Steps:\n- [ ] 0 x")
    assert "more checklist items]" in description
    assert description.endswith("List: Home")


def test_facts_take_all_the_room_that_the_body_leaves() -> None:
    task = ParsedTask("a")
    task.body = "x" * 16_500
    task.fact("Source", "y" * 3000)
    task.comment("z" * 5000)
    description = str(finished(task)["description"])
    assert description.endswith("Source: " + "y" * 3000 + "\n\n[… 1 more comments]")


def test_a_body_that_leaves_no_room_stays_whole() -> None:
    task = ParsedTask("a")
    task.body = "x" * DESCRIPTION_MAXIMUM
    task.fact("Source", "https://example.org")
    assert finished(task)["description"] == task.body


def test_a_body_that_is_too_long_is_cut_with_a_warning_and_leaves_room_for_facts() -> None:
    task = ParsedTask("a")
    task.body = "x" * (DESCRIPTION_MAXIMUM + 1)
    task.fact("Source", "https://example.org")
    row = task.row(1, {}, {"description": "Notes"})
    assert isinstance(row, Row)
    assert load_import(row.fields)["description"].endswith("x…\n\nSource: https://example.org")
    assert [warning.column for warning in row.warnings] == ["Notes"]


@given(
    body=st.integers(0, DESCRIPTION_MAXIMUM),
    checklists=st.lists(st.integers(0, 9000), max_size=5),
    facts=st.lists(st.integers(1, 9000), max_size=5),
    comments=st.lists(st.integers(1, 9000), max_size=5),
)
def test_a_body_that_fits_never_makes_a_description_that_does_not(
    body: int, checklists: list[int], facts: list[int], comments: list[int]
) -> None:
    task = ParsedTask("a")
    task.body = "x" * body
    for size in checklists:
        task.checklist("c", [("y" * size, False)])
    for size in facts:
        task.fact("f", "z" * size)
    for size in comments:
        task.comment("c" * size)
    description = str(finished(task).get("description", ""))
    assert description.startswith("x" * body)


def test_an_external_id_that_is_too_long_is_replaced_by_its_digest() -> None:
    longest = "i" * EXTERNAL_ID_MAXIMUM
    assert finished(ParsedTask("a", longest))["external_id"] == longest
    digests = {str(finished(ParsedTask("a", longest + end))["external_id"]) for end in "ab"}
    assert len(digests) == 2
    assert all(digest.startswith("sha256:") for digest in digests)


def test_a_completed_task_has_the_first_moment_that_is_known() -> None:
    task = ParsedTask("a")
    task.complete(None, "2026-01-31T17:00:00+00:00", "2026-02-01T00:00:00+00:00")
    assert finished(task)["completed_at"] == "2026-01-31T17:00:00+00:00"
    task = ParsedTask("a")
    task.complete(None, None)
    assert finished(task) == {"title": "a", "status": "completed"}

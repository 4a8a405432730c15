"""How a foreign item becomes a task's fields: nothing is lost that there is room for, and losses are told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.formats.draft import Draft, Item, WrongValueError, make_row, shown, text_of_html
from core.formats.rows import BadRow, Row
from core.tasks.fields import DESCRIPTION_MAXIMUM, EXTERNAL_ID_MAXIMUM
from core.tasks.validation import load_import


def finished(draft: Draft) -> dict[str, object]:
    fields = draft.row(1, {}, {}).fields
    assert load_import(dict(fields))
    return fields


def test_a_description_has_its_parts_in_order() -> None:
    draft = Draft("Buy milk", "7")
    draft.parent = "Shop"
    draft.body = "Two litres.\r\nFresh.\n"
    draft.checklist("Shops", [("Corner", True), ("Market", False)])
    draft.fact("List", "Home")
    draft.fact("Empty", "  ")
    draft.comment("Semi-skimmed!", "2026-01-31T17:00:00+00:00", "Bob")
    assert finished(draft) == {
        "title": "Buy milk",
        "external_id": "7",
        "description": "Part of: Shop\n\nTwo litres.\nFresh.\n\nShops:\n- [x] Corner\n- [ ] Market\n\nList: Home\n\n"
        "Comment (2026-01-31T17:00:00+00:00, Bob):\nSemi-skimmed!",
    }


def test_nothing_beside_a_title_is_no_description() -> None:
    assert finished(Draft("Buy milk")) == {"title": "Buy milk"}


@pytest.mark.parametrize("title", ["", " \n\t", "\u2003"])
def test_an_empty_title_has_a_stand_in(title: str) -> None:
    assert finished(Draft(title))["title"] == "(untitled)"


def test_a_title_of_several_lines_is_one_line() -> None:
    assert finished(Draft(" Buy\r\n  milk "))["title"] == "Buy milk"


def test_a_title_that_is_too_long_is_cut_and_stands_whole_in_the_description() -> None:
    fields = finished(Draft("word " * 60))
    title = ("word " * 60).strip()
    assert len(str(fields["title"])) <= 255
    assert str(fields["title"]).endswith("…")
    assert fields["description"] == title
    assert finished(Draft("x" * 255)) == {"title": "x" * 255}


def test_labels_that_a_task_cannot_have_stand_in_the_description() -> None:
    draft = Draft("a")
    for label in ["ok", "ok", " ", "with, comma", "x" * 51, *map(str, range(30))]:
        draft.label(label)
    fields = finished(draft)
    assert fields["labels"] == ["ok", *map(str, range(19))]
    rest = "; ".join(["with, comma", "x" * 51, *map(str, range(19, 30))])
    assert fields["description"] == f"Labels: {rest}"


def test_comments_that_do_not_fit_are_counted() -> None:
    draft = Draft("a")
    draft.body = "body"
    draft.fact("Source", "https://example.org")
    for number in range(50):
        draft.comment(f"{number} " + "x" * 1000)
    description = str(finished(draft)["description"])
    assert description.startswith("body\n\nSource: https://example.org\n\nComment:\n0 ")
    assert description.endswith("[… 31 more comments]")
    assert description.count("Comment:") == 19
    assert DESCRIPTION_MAXIMUM - 1200 < len(description) <= DESCRIPTION_MAXIMUM


def test_checklists_that_do_not_fit_are_counted_and_facts_after_them_stay() -> None:
    draft = Draft("a")
    draft.checklist("Steps", ((f"{number} " + "x" * 100, False) for number in range(300)))
    draft.checklist("More", [("y", True)])
    draft.fact("List", "Home")
    description = str(finished(draft)["description"])
    assert description.startswith("Steps:\n- [ ] 0 x")
    assert "more checklist items]" in description
    assert description.endswith("List: Home")


def test_facts_take_all_the_room_that_the_body_leaves() -> None:
    draft = Draft("a")
    draft.body = "x" * 16_500
    draft.fact("Source", "y" * 3000)
    draft.comment("z" * 5000)
    description = str(finished(draft)["description"])
    assert description.endswith("Source: " + "y" * 3000 + "\n\n[… 1 more comments]")


def test_a_body_that_leaves_no_room_stays_whole() -> None:
    draft = Draft("a")
    draft.body = "x" * DESCRIPTION_MAXIMUM
    draft.fact("Source", "https://example.org")
    assert finished(draft)["description"] == draft.body


def test_a_body_that_is_too_long_is_left_for_validation_to_refuse() -> None:
    draft = Draft("a")
    draft.body = "x" * (DESCRIPTION_MAXIMUM + 1)
    assert len(draft.row(1, {}, {}).fields["description"]) > DESCRIPTION_MAXIMUM


@given(
    body=st.integers(0, DESCRIPTION_MAXIMUM),
    checklists=st.lists(st.integers(0, 9000), max_size=5),
    facts=st.lists(st.integers(1, 9000), max_size=5),
    comments=st.lists(st.integers(1, 9000), max_size=5),
)
def test_a_body_that_fits_never_makes_a_description_that_does_not(
    body: int, checklists: list[int], facts: list[int], comments: list[int]
) -> None:
    draft = Draft("a")
    draft.body = "x" * body
    for size in checklists:
        draft.checklist("c", [("y" * size, False)])
    for size in facts:
        draft.fact("f", "z" * size)
    for size in comments:
        draft.comment("c" * size)
    description = str(finished(draft).get("description", ""))
    assert description.startswith("x" * body)


def test_an_external_id_that_is_too_long_is_replaced_by_its_digest() -> None:
    longest = "i" * EXTERNAL_ID_MAXIMUM
    assert finished(Draft("a", longest))["external_id"] == longest
    digests = {str(finished(Draft("a", longest + end))["external_id"]) for end in "ab"}
    assert len(digests) == 2
    assert all(digest.startswith("sha256:") for digest in digests)


def test_a_completed_task_has_the_first_moment_that_is_known() -> None:
    draft = Draft("a")
    draft.complete(None, "2026-01-31T17:00:00+00:00", "2026-02-01T00:00:00+00:00")
    assert finished(draft)["completed_at"] == "2026-01-31T17:00:00+00:00"
    draft = Draft("a")
    draft.complete(None, None)
    assert finished(draft) == {"title": "a", "status": "completed"}


@pytest.mark.parametrize(
    ("method", "value"),
    [
        ("text", []),
        ("text", True),
        ("text", {}),
        ("flag", "true"),
        ("flag", 1),
        ("number", "1"),
        ("number", True),
        ("list", {}),
        ("list", "a"),
        ("item", [1]),
        ("item", "a"),
    ],
)
def test_a_member_of_another_type_is_told_by_its_name(method: str, value: object) -> None:
    with pytest.raises(WrongValueError) as caught:
        getattr(Item({"m": value}, "outer"), method)("m")
    assert caught.value.column == "outer.m"


@pytest.mark.parametrize("content", [{}, {"m": None}])
def test_a_member_that_is_absent_or_null_is_nothing(content: dict[str, object]) -> None:
    item = Item(content)
    assert (item.text("m"), item.flag("m"), item.number("m"), item.list("m")) == ("", False, 0, [])
    assert item.item("m").content == {}
    assert "m" not in item


def test_a_wrong_value_makes_a_bad_row_with_column_and_what_is_worth_showing() -> None:
    def draft(item: Item) -> Draft:
        return Draft(item.text("name"))

    content = {"name": ["x"], "id": 7, "desc": "y" * 1000, "nested": {"a": 1}}
    bad = make_row(3, content, {"title": "name"}, draft)
    assert bad == BadRow(3, "name", "A text is expected.", {"id": 7, "desc": "y" * 499 + "…"})
    assert isinstance(make_row(4, {"name": "x"}, {"title": "name"}, draft), Row)
    assert isinstance(make_row(5, "no object", {}, draft), BadRow)


def test_what_is_shown_can_be_stored() -> None:
    values = shown({"nul": "a\0b", "half": "\ud83d", "f": 1.5})
    assert values == {"nul": "a�b", "half": "?", "f": 1.5}


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("plain &amp; simple", "plain & simple"),
        ("<p>one\n two</p><p>three</p>", "one two\n\nthree"),
        ("a<br>b<br/>c", "a\nb\nc"),
        ("<div>a</div>\n<div>b</div><div><br></div><div>c</div>", "a\nb\n\nc"),
        ("<ul>\n<li>one</li>\n<li>two</li>\n</ul>", "- one\n- two"),
        ('<a href="https://example.org/?a=1&amp;b=2">here</a>', "here (https://example.org/?a=1&b=2)"),
        ('<a href="https://example.org">https://example.org</a>', "https://example.org"),
        ("<style>p {}</style><script>x<y</script>shown", "shown"),
        ("<pre>a\n    b</pre>", "a\n    b"),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
        ("<!-- no --><b>yes</b>", "yes"),
        ("<", "<"),
    ],
)
def test_html_becomes_text(source: str, text: str) -> None:
    assert text_of_html(source) == text


@given(st.text(st.sampled_from("<>/!?-&;# ab\n=\"'pre"), max_size=80))
def test_any_html_becomes_some_text(source: str) -> None:
    assert isinstance(text_of_html(source), str)

"""Words for states and priorities."""

import pytest

from core.formats.words import _PRIORITY_WORDS, _STATUS_WORDS, plain, priority_of, status_of
from core.tasks.fields import STATUSES


def test_no_word_means_two_things_and_each_is_found() -> None:
    for table, find in ((_STATUS_WORDS, status_of), (_PRIORITY_WORDS, priority_of)):
        words = [(word.strip(), value) for value, text in table.items() for word in text.split("|")]
        assert len({word for word, _ in words}) == len(words)
        assert all(find(word.upper().replace("SS", "ß")) == value or find(word) == value for word, value in words)
        assert all(word == plain(word) for word, _ in words)


def test_all_of_our_own_states_are_known() -> None:
    assert [status_of(status) for status in STATUSES] == list(STATUSES)


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("To-Do", "pending"),
        ("IN_PROGRESS", "in_progress"),
        ("Won’t  do", "cancelled"),
        ("✅", "completed"),
        ("odd", None),
    ],
)
def test_case_and_filling_do_not_matter(word: str, status: str | None) -> None:
    assert status_of(word) == status


@pytest.mark.parametrize(
    ("word", "priority"),
    [
        ("1 - High", 3),
        ("(3) Low", 7),
        ("🔴 Urgent!", 1),
        ("P2", 4),
        ("Haute", 3),
        ("7", None),
        ("odd", None),
        ("", None),
    ],
)
def test_a_priority_is_found_among_signs_and_numbers(word: str, priority: int | None) -> None:
    assert priority_of(word) == priority

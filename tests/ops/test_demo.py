"""Demo data: believable, varied, valid, and made once."""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from core.tasks.fields import STATUSES, TITLE_MAXIMUM
from core.tasks.recurrence import require_next_date
from core.tasks.validation import load_update
from ops.dev.demo import OLDEST_DAYS, USERS, demo_tasks

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)
TASKS = list(demo_tasks(500, NOW, seed=1))


def test_the_same_seed_gives_the_same_tasks() -> None:
    random.seed(0)
    assert list(demo_tasks(500, NOW, seed=1)) == TASKS
    assert list(demo_tasks(500, NOW, seed=2)) != TASKS


def test_every_task_keeps_the_rules_of_the_table() -> None:
    for task in TASKS:
        assert 1 <= len(task["title"]) <= TITLE_MAXIMUM
        assert 1 <= task["priority"] <= 10
        assert (task["completed_at"] is not None) == (task["status"] == "completed")
        assert NOW - timedelta(days=OLDEST_DAYS + 1) < task["created_at"] <= task["updated_at"] <= NOW


def test_tasks_come_oldest_first_as_they_would_have_been_made() -> None:
    days = [task["created_at"].date() for task in TASKS]
    assert all(later >= earlier - timedelta(days=1) for earlier, later in pairwise(days))


def test_every_status_and_priority_turns_up_and_most_are_open() -> None:
    assert set(Counter(task["status"] for task in TASKS)) == set(STATUSES)
    assert set(Counter(task["priority"] for task in TASKS)) == set(range(1, 11))
    assert sum(task["status"] in ("pending", "in_progress", "blocked") for task in TASKS) > len(TASKS) / 2


def test_some_are_overdue_some_have_no_date_and_titles_repeat_little() -> None:
    overdue = [t for t in TASKS if t["due_date"] and t["due_date"] < NOW and t["status"] == "pending"]
    assert 0 < len(overdue) < len(TASKS) / 4
    assert any(task["due_date"] is None for task in TASKS)
    assert len({task["title"] for task in TASKS}) > 200


def test_some_have_a_label_or_two_and_many_have_none() -> None:
    labels = [task["labels"] for task in TASKS]
    assert {len(some) for some in labels} == {0, 1, 2}
    assert all(load_update({"labels": some}) == {"labels": some} for some in labels)
    assert sum(not some for some in labels) > len(TASKS) / 3


def test_some_that_are_open_recur_by_rules_that_go_on() -> None:
    recurring = [task for task in TASKS if task["recurrence"]]
    assert len({task["recurrence"] for task in recurring}) > 2
    assert len(recurring) < len(TASKS) / 8
    for task in recurring:
        assert task["status"] == "pending"
        require_next_date(task["recurrence"], task["due_date"])


def test_titles_go_beyond_ascii() -> None:
    assert sum(not task["title"].isascii() for task in TASKS) > 50
    assert any(ord(max(task["title"])) > 0xFFFF for task in TASKS)


def test_there_is_an_admin_and_a_user_with_a_few_hundred_tasks() -> None:
    by_name = {user.username: user for user in USERS}
    assert by_name["admin"].role == "admin"
    assert by_name["demo"].role == "user"
    assert by_name["demo"].tasks >= 300

"""Lists, columns and projects become labels and statuses, if that is wanted."""

import json
from typing import Any

import pytest

from core.formats.registry import FORMATS
from tests.core.formats.harness import read

BOARD = {
    "lists": [{"id": "1", "name": "En cours"}, {"id": "2", "name": "Done"}, {"id": "3", "name": "Garden"}],
    "cards": [
        {"name": "a", "idList": "1"},
        {"name": "b", "idList": "2", "dateLastActivity": "2030-01-01T00:00:00Z"},
        {"name": "c", "idList": "3"},
        {"name": "d", "idList": "1", "closed": True},
    ],
}
WEKAN = {
    "_format": "wekan-board-1.0.0",
    "lists": [{"_id": "1", "title": "Doing"}, {"_id": "3", "title": "Garden"}],
    "cards": [{"_id": "a", "title": "a", "listId": "1"}, {"_id": "c", "title": "c", "listId": "3"}],
}
GRAPH = [
    {"displayName": "Doing", "tasks": [{"title": "a"}]},
    {"displayName": "Garden", "tasks": [{"title": "c"}]},
]
GOOGLE = {"items": [{"title": "Doing", "items": [{"title": "a"}]}, {"title": "Garden", "items": [{"title": "c"}]}]}
GITHUB = [
    {"number": 1, "title": "a", "projectItems": [{"title": "Garden", "status": {"name": "Doing"}}]},
    {"number": 2, "title": "c", "projectItems": [{"title": "Garden"}]},
]
CASES: dict[str, str] = {
    "trello-json": json.dumps(BOARD),
    "wekan-json": json.dumps(WEKAN),
    "microsoft-todo-json": json.dumps(GRAPH),
    "google-tasks-json": json.dumps(GOOGLE),
    "github-json": json.dumps(GITHUB),
    "taskwarrior-json": json.dumps(
        [{"description": "a", "project": "Doing"}, {"description": "c", "project": "Garden"}]
    ),
    "todoist-csv": "TYPE,CONTENT\nsection,Doing\ntask,a\nsection,Garden\ntask,c\n",
    "ticktick-csv": "List Name,Title,Status,Column Name\nGarden,a,0,Doing\nGarden,c,0,\n",
    "toodledo-csv": "TASK,FOLDER,DUEDATE\na,Doing,\nc,Garden,\n",
    "csv": "Task,List,Owner\na,Doing,x\nc,Garden,x\n",
}


def fields(name: str, **options: Any) -> dict[str, dict[str, Any]]:
    """Title → fields."""
    return {row["title"]: row for row in read(FORMATS[name], CASES[name], **options).fields}


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_column_that_is_called_as_a_status_sets_it_and_a_list_is_a_label(name: str) -> None:
    found = fields(name, lists_as="labels", columns_as="statuses")
    assert found["a"]["status"] == "in_progress"
    assert "Doing" not in found["a"].get("labels", [])
    assert found["c"]["labels"] == ["Garden"]
    assert found["c"].get("status", "pending") == "pending"


@pytest.mark.parametrize("name", sorted(CASES))
def test_unless_that_is_wanted_they_stand_in_the_description(name: str) -> None:
    found = fields(name)
    for title, word in (("a", "Doing"), ("c", "Garden")) if name != "trello-json" else (("c", "Garden"),):
        assert f": {word}" in found[title]["description"]
        assert "labels" not in found[title]
        assert found[title].get("status", "pending") == "pending"


def test_a_status_of_its_own_goes_before_that_of_the_column_if_it_is_an_end() -> None:
    found = fields("trello-json", columns_as="statuses")
    assert found["d"]["status"] == "completed"
    assert (found["b"]["status"], found["b"]["completed_at"]) == ("completed", "2030-01-01T00:00:00+00:00")
    assert (found["a"]["status"], found["c"].get("status")) == ("in_progress", None)


def test_projects_of_jira_become_labels_only() -> None:
    data = "Summary,Issue key,Status,Project name\na,A-1,To Do,Garden\n"
    assert read(FORMATS["jira-csv"], data, lists_as="labels").one["labels"] == ["Garden"]
    assert "labels" not in read(FORMATS["jira-csv"], data).one

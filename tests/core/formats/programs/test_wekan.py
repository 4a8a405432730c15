"""Wekan boards."""

import json
from typing import Any

import pytest

from core.formats.programs.wekan import FORMAT
from core.formats.registry import head_of
from tests.core.formats.harness import read

CARD: dict[str, Any] = {
    "_id": "c1",
    "title": "Plant trees",
    "description": "Where it is dry.",
    "listId": "l1",
    "labelIds": ["b1", "b2", "gone"],
    "archived": False,
    "startAt": "2026-03-01T09:00:00.000Z",
    "dueAt": "2026-03-15T17:00:00.000Z",
    "createdAt": "2026-02-20T10:00:00.000Z",
    "members": ["u1"],
    "customFields": [{"_id": "f1", "value": "12 m"}, {"_id": "f2", "value": None}],
}
BOARD: dict[str, Any] = {
    "_format": "wekan-board-1.0.0",
    "_id": "board",
    "labels": [{"_id": "b1", "name": "garden", "color": "green"}, {"_id": "b2", "name": "", "color": "red"}],
    "lists": [{"_id": "l1", "title": "To do"}],
    "cards": [CARD, {"_id": "c2", "title": "Water them", "parentId": "c1", "listId": "l1"}],
    "users": [{"_id": "u1", "username": "bob", "profile": {"fullname": "Bob"}}],
    "customFields": [{"_id": "f1", "name": "Height"}],
    "checklists": [{"_id": "k1", "cardId": "c1", "title": "Steps", "sort": 0}],
    "checklistItems": [
        {"checklistId": "k1", "title": "water", "sort": 1, "isFinished": False},
        {"checklistId": "k1", "title": "dig", "sort": 0, "isFinished": True},
    ],
    "comments": [{"cardId": "c1", "text": "Soon?", "createdAt": "2026-03-02T11:30:00.000Z", "userId": "u1"}],
    "attachments": [{"cardId": "c1", "name": "map.pdf", "file": "aGVsbG8="}],
}


def test_a_card_with_everything() -> None:
    first, second = read(FORMAT, json.dumps(BOARD)).fields
    assert first == {
        "title": "Plant trees",
        "description": """Where it is dry.

Steps:
- [x] dig
- [ ] water

List: To do
Starts: 2026-03-01T09:00:00+00:00
Members: Bob
Height: 12 m
Attachment: map.pdf (not imported)

Comment (2026-03-02T11:30:00+00:00, Bob):
Soon?""",
        "due_date": "2026-03-15T17:00:00+00:00",
        "labels": ["garden", "red"],
        "created_at": "2026-02-20T10:00:00+00:00",
        "external_id": "c1",
    }
    assert second == {"title": "Water them", "description": "Part of: Plant trees\n\nList: To do", "external_id": "c2"}


@pytest.mark.parametrize(
    ("changes", "completed_at"),
    [
        ({"archived": True}, None),
        ({"archived": True, "archivedAt": "2026-04-01T00:00:00Z"}, "2026-04-01T00:00:00+00:00"),
        ({"endAt": "2026-04-02T00:00:00Z"}, "2026-04-02T00:00:00+00:00"),
    ],
)
def test_cards_that_ended_or_are_archived_are_completed(changes: dict[str, Any], completed_at: str | None) -> None:
    fields = read(FORMAT, json.dumps({"cards": [{**CARD, **changes}]})).one
    assert fields["status"] == "completed"
    assert fields.get("completed_at") == completed_at


@pytest.mark.parametrize(
    ("document", "name"),
    [({"cards": []}, "import-empty"), ({}, "import-wrong-format"), ([CARD], "import-wrong-format")],
)
def test_what_is_no_board_with_cards_is_refused(document: object, name: str) -> None:
    result = read(FORMAT, json.dumps(document))
    assert result.refused is not None
    assert result.refused.name == name


def test_a_date_that_is_none_costs_no_row_and_is_told_by_its_name() -> None:
    result = read(FORMAT, json.dumps({**BOARD, "cards": [CARD, {**CARD, "dueAt": "31 February 2026"}]}))
    assert result.warned == [(2, "dueAt")]


@pytest.mark.parametrize(("document", "certainty"), [(BOARD, 3), ({"cards": [CARD]}, 3), ({"cards": [{"id": "1"}]}, 0)])
def test_recognising(document: object, certainty: int) -> None:
    assert FORMAT.recognise(head_of(json.dumps(document).encode(), "", True)) == certainty

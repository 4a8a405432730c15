"""Trello boards."""

import json
from typing import Any

import pytest

from core.formats.programs.trello import FORMAT
from core.formats.registry import head_of
from tests.core.formats.harness import read

CARD: dict[str, Any] = {
    "id": "63792cd280232800fa06fe94",
    "name": "Plant trees",
    "desc": "Where it is dry.",
    "closed": False,
    "dueComplete": False,
    "due": "2026-05-01T10:00:00.000Z",
    "dateLastActivity": "2026-04-01T10:00:00.000Z",
    "idList": "L1",
    "idBoard": "B",
    "idMembers": ["M1", "gone"],
    "labels": [{"id": "1", "name": "garden", "color": "green"}, {"id": "2", "name": "", "color": "red"}],
    "attachments": [
        {"name": "map.pdf", "url": "https://trello.com/map.pdf"},
        {"name": "https://example.org", "url": "https://example.org"},
    ],
    "shortUrl": "https://trello.com/c/abc",
    "pos": 1.5,
}
BOARD: dict[str, Any] = {
    "id": "B",
    "name": "Garden",
    "prefs": {"voting": "disabled"},
    "labelNames": {"green": "garden"},
    "shortUrl": "https://trello.com/b/xyz",
    "actions": [
        {
            "type": "commentCard",
            "date": "2026-03-02T10:00:00.000Z",
            "data": {"card": {"id": CARD["id"]}, "text": "Second"},
            "memberCreator": {"fullName": "Ann"},
        },
        {
            "type": "commentCard",
            "date": "2026-03-01T10:00:00.000Z",
            "data": {"card": {"id": CARD["id"]}, "text": "First"},
            "idMemberCreator": "M1",
        },
    ],
    "cards": [CARD],
    "labels": [{"id": "3", "name": "", "color": "blue"}],
    "lists": [{"id": "L1", "name": "To do", "closed": False}, {"id": "L2", "name": "Old", "closed": True}],
    "members": [{"id": "M1", "fullName": "Bob"}],
    "checklists": [
        {
            "idCard": CARD["id"],
            "name": "Steps",
            "pos": 2,
            "checkItems": [
                {"name": "water", "state": "incomplete", "pos": 2},
                {"name": "dig", "state": "complete", "pos": 1},
            ],
        },
        {"idCard": CARD["id"], "name": "Before", "pos": 1, "checkItems": [{"name": "buy", "state": "complete"}]},
    ],
}


def board(*cards: dict[str, Any], **changes: Any) -> str:
    return json.dumps({**BOARD, "cards": list(cards), **changes})


def test_a_card_with_everything() -> None:
    assert read(FORMAT, json.dumps(BOARD)).one == {
        "title": "Plant trees",
        "description": """Where it is dry.

Before:
- [x] buy

Steps:
- [x] dig
- [ ] water

List: To do
Members: Bob
Attachment: map.pdf https://trello.com/map.pdf
Attachment: https://example.org
Source: https://trello.com/c/abc

Comment (2026-03-01T10:00:00+00:00, Bob):
First

Comment (2026-03-02T10:00:00+00:00, Ann):
Second""",
        "due_date": "2026-05-01T10:00:00+00:00",
        "labels": ["garden", "red"],
        "created_at": "2022-11-19T19:21:54+00:00",
        "external_id": "63792cd280232800fa06fe94",
    }


@pytest.mark.parametrize("changes", [{"dueComplete": True}, {"closed": True}, {"idList": "L2"}])
def test_cards_that_are_done_or_archived_are_completed(changes: dict[str, Any]) -> None:
    fields = read(FORMAT, board({**CARD, **changes})).one
    assert fields["status"] == "completed"
    assert fields["completed_at"] == "2026-04-01T10:00:00+00:00"
    assert ("Archived in Trello: yes" in fields["description"]) == ("dueComplete" not in changes)


def test_the_action_that_completed_a_card_tells_the_time() -> None:
    def change(date: str, before: object, after: object) -> dict[str, Any]:
        data = {"card": {"id": CARD["id"], "closed": after}, "old": {"closed": before}}
        return {"type": "updateCard", "date": date, "data": data}

    actions = [
        change("2026-03-04T00:00:00.000Z", False, True),
        change("2026-03-03T00:00:00.000Z", True, False),
        change("2026-03-02T00:00:00.000Z", False, True),
    ]
    fields = read(FORMAT, board({**CARD, "closed": True}, actions=actions)).one
    assert fields["completed_at"] == "2026-03-04T00:00:00+00:00"


def test_a_card_of_few_members_is_enough() -> None:
    result = read(FORMAT, json.dumps({"id": "x", "cards": [{"id": "7", "name": "Только имя"}, {"name": ""}]}))
    assert result.fields == [{"title": "Только имя", "external_id": "7"}, {"title": "(untitled)"}]


def test_labels_known_by_their_ids_only_are_found_on_the_board() -> None:
    card = {name: value for name, value in CARD.items() if name != "labels"}
    assert read(FORMAT, board({**card, "idLabels": ["3", "gone"]})).one["labels"] == ["blue"]


def test_a_list_of_cards_without_the_board_is_read() -> None:
    assert read(FORMAT, json.dumps([CARD])).one["title"] == "Plant trees"


def test_a_cards_own_checklists_are_read() -> None:
    card = {**CARD, "checklists": BOARD["checklists"]}
    assert "- [x] dig" in read(FORMAT, json.dumps([card])).one["description"]


@pytest.mark.parametrize(
    ("document", "name"),
    [
        ([{"id": "L1", "name": "To do", "idBoard": "B", "closed": False}], "import-empty"),
        ({"cards": []}, "import-empty"),
        ([], "import-empty"),
        ({}, "import-wrong-format"),
        ({"cards": {}}, "import-wrong-format"),
        ("text", "import-wrong-format"),
    ],
)
def test_what_is_no_board_with_cards_is_refused(document: object, name: str) -> None:
    result = read(FORMAT, json.dumps(document))
    assert result.rows == []
    assert result.refused is not None
    assert result.refused.name == name


@pytest.mark.parametrize(
    ("changes", "column"),
    [
        ({"due": "soon"}, "due"),
        ({"name": 1.5, "desc": {"a": 1}}, "desc"),
        ({"labels": ["x" * 51]}, "labels"),
        ({"closed": "perhaps"}, "closed"),
        ({"attachments": [{"url": {}}]}, "attachments.url"),
    ],
)
def test_a_member_that_makes_no_sense_costs_no_row_and_is_told_by_its_name(
    changes: dict[str, Any], column: str
) -> None:
    result = read(FORMAT, board(CARD, {**CARD, **changes}, CARD))
    assert result.warned == [(2, column)]
    assert len(result.good) == 3


@pytest.mark.parametrize("cut", [20, 500, -1])
def test_a_truncated_board_is_refused_as_a_whole(cut: int) -> None:
    result = read(FORMAT, json.dumps(BOARD)[:cut])
    assert result.rows == []
    assert result.refused is not None
    assert "breaks off" in result.refused.detail


def test_half_a_surrogate_pair_is_replaced() -> None:
    text = board({**CARD, "name": "half XX"}, CARD).replace("XX", "\\ud83d")
    result = read(FORMAT, text)
    assert [row.fields["title"] for row in result.good] == ["half �", "Plant trees"]
    assert result.warned == [(1, "name")]
    assert result.refused is None


@pytest.mark.parametrize("order", [list(BOARD), list(reversed(BOARD))])
def test_boards_are_recognised_in_any_order(order: list[str]) -> None:
    text = json.dumps({name: BOARD[name] for name in order}, indent=1)
    assert FORMAT.recognise(head_of(text.encode(), "", True)) == 3


@pytest.mark.parametrize(
    "document",
    [{"cards": [{"_id": "1", "listId": "2", "title": "a"}]}, [{"title": "a"}], {"title": "a"}, {"value": []}],
)
def test_others_are_not_recognised(document: object) -> None:
    assert FORMAT.recognise(head_of(json.dumps(document).encode(), "", True)) == 0

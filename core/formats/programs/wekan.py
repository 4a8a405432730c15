"""A Wekan board as JSON.

- A card that is archived or has an end date is `completed`, then or at its last change.
- Wekan has no priorities: all have 5. Labels stay labels, those without a name by their colour.
- A subtask's parent card becomes `Part of: <title>`, the list `List: <title>`, or a label or a status if that is
  wanted; checklists, custom fields and comments follow the description. Attachments are inside the file as base64: only
  their names are kept.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import Any, BinaryIO

from core.formats.json_object import JsonObject, frame_of, row_of_object, text_in
from core.formats.parsed_task import ParsedTask
from core.formats.rows import Certainty, FileReport, Format, Head, ImportRefused, ReadOptions, Rows
from core.formats.streams.json_shape import shape_of
from core.formats.streams.json_stream import json_document

_COLUMNS = {"due_date": "dueAt", "created_at": "createdAt"}
_Parts = dict[str, list[JsonObject]]


@dataclass(slots=True)
class _Board:
    """What a card's own object does not hold, by ids."""

    titles: dict[str, str] = field(default_factory=dict)
    lists: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    people: dict[str, str] = field(default_factory=dict)
    custom_fields: dict[str, str] = field(default_factory=dict)
    checklists: _Parts = field(default_factory=lambda: defaultdict(list))
    checklist_items: _Parts = field(default_factory=lambda: defaultdict(list))
    comments: _Parts = field(default_factory=lambda: defaultdict(list))
    attachments: _Parts = field(default_factory=lambda: defaultdict(list))


def recognise(head: Head) -> Certainty:
    """A board says so in its first member; those of old say it by their cards."""
    shape = shape_of(head.text)
    if shape.top not in ("object", "lines"):
        return 0
    if "_format" in shape.keys("") and '"wekan-board-' in head.text:
        return 3
    return 3 if {"_id", "listId"} <= shape.keys("cards[]") else 0


def read(stream: BinaryIO, options: ReadOptions, report: FileReport) -> Rows:
    """A row a card."""
    document = json_document(stream, options.encoding)
    if not isinstance(document, dict) or not isinstance(document.get("cards"), list):
        raise ImportRefused("import-wrong-format", "Not a Wekan board: there are no “cards” in it.")
    cards: list[Any] = document["cards"]
    if not cards:
        raise ImportRefused("import-empty", "The board has no cards.")
    report.frame = frame_of(document, "cards", but="attachments")
    board = _read_board(JsonObject(document))
    for number, card in enumerate(cards, start=1):
        yield row_of_object(number, card, _COLUMNS, partial(_parse, board=board, options=options))


def _read_board(document: JsonObject) -> _Board:
    board = _Board()
    for card in document.items("cards"):
        if isinstance(card, dict):
            board.titles[str(card.get("_id"))] = text_in(card.get("title")) or ""
    for entry in document.objects("lists"):
        board.lists[entry.text("_id")] = entry.line("title")
    for label in document.objects("labels"):
        board.labels[label.text("_id")] = label.line("name") or label.line("color")
    for person in document.objects("users"):
        name = person.object("profile", "fullname").line("fullname") or person.line("username")
        board.people[person.text("_id")] = name
    for custom_field in document.objects("customFields"):
        board.custom_fields[custom_field.text("_id")] = custom_field.line("name")
    for entry in document.objects("checklistItems"):
        board.checklist_items[entry.text("checklistId")].append(entry)
    for name, parts in (
        ("checklists", board.checklists),
        ("comments", board.comments),
        ("attachments", board.attachments),
    ):
        for entry in document.objects(name):
            parts[entry.text("cardId")].append(entry)
    return board


def _parse(card: JsonObject, board: _Board, options: ReadOptions) -> ParsedTask:
    card_id = card.text("_id")
    task = ParsedTask(card.text("title"), card_id)
    task.body = card.text("description")
    zone = options.time_zone
    completions = [card.moment(name, zone) for name in ("endAt", "archivedAt", "dateLastActivity", "modifiedAt")]
    if card.flag("archived") or "endAt" in card:
        task.complete(*completions)
    task.set(created_at=card.moment("createdAt", zone))
    task.set_due(card.text("dueAt"), "dueAt", zone)
    task.parent = board.titles.get(card.text("parentId"), "")
    for label_id in card.texts("labelIds"):
        task.label(board.labels.get(label_id, ""))
    task.place("List", board.lists.get(card.text("listId"), ""), options, *completions)
    if card.flag("archived"):
        task.fact("Archived in Wekan", "yes")
    task.fact("Received", card.moment("receivedAt", zone) or "")
    task.fact("Starts", card.moment("startAt", zone) or "")
    for name, heading in (("members", "Members"), ("assignees", "Assigned to")):
        task.fact(heading, ", ".join(filter(None, (board.people.get(one) for one in card.texts(name)))))
    for custom in card.objects("customFields"):
        task.fact(board.custom_fields.get(custom.text("_id")) or "Field", custom.text("value"))
    for item in (*board.checklists.get(card_id, []), *board.comments.get(card_id, [])):
        item.warnings = card.warnings
    for checklist in sorted(board.checklists.get(card_id, []), key=lambda item: item.number("sort")):
        entries = sorted(board.checklist_items.get(checklist.text("_id"), []), key=lambda item: item.number("sort"))
        task.checklist(checklist.text("title"), ((entry.text("title"), entry.flag("isFinished")) for entry in entries))
    for attachment in board.attachments.get(card_id, []):
        task.fact("Attachment", f"{attachment.text('name')} (not imported)")
    for comment in sorted(board.comments.get(card_id, []), key=lambda item: item.text("createdAt")):
        author = board.people.get(comment.text("userId"), "")
        task.comment(comment.text("text"), comment.moment("createdAt", zone), author)
    return task


FORMAT = Format("wekan-json", "Wekan board (JSON)", recognise, read)

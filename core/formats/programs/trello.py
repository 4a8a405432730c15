"""A Trello board as JSON, as its menu exports it or the API answers it; also the board's cards alone.

- A card whose due date is marked complete, and a card that is archived or in an archived list, is `completed`: in
  Trello, archiving is how cards that are done leave the board. Its time is that of the action that did it, where the
  export still has it (Trello gives the last 1000), else that of the card's last activity.
- Trello has no priorities: all have 5. Labels stay labels, those without a name by their colour.
- The list becomes a line `List: <name>`, or a label or a status if that is wanted; checklists, attachments, members and
  comments follow the description.
- The creation time is in the card's id.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, BinaryIO

from core.formats.json_object import JsonObject, frame_of, row_of_object, text_in
from core.formats.parsed_task import ParsedTask
from core.formats.rows import Certainty, FileReport, Format, Head, ImportRefused, ReadOptions, Rows
from core.formats.streams.json_shape import shape_of
from core.formats.streams.json_stream import json_document

_COLUMNS = {"title": "name", "description": "desc", "due_date": "due"}
_BOARD_MARKS = frozenset({"idOrganization", "labelNames", "shortUrl", "prefs", "memberships", "shortLink"})
_ID_DIGITS = 24


@dataclass(slots=True)
class _Board:
    """What a card's own object does not hold, by ids."""

    lists: dict[str, str] = field(default_factory=dict)
    archived_lists: set[str] = field(default_factory=set)
    labels: dict[str, str] = field(default_factory=dict)
    members: dict[str, str] = field(default_factory=dict)
    checklists: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    comments: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    completions: dict[str, str] = field(default_factory=dict)


def recognise(head: Head) -> Certainty:
    """A board has members that nobody else has; a list of cards or of lists names its board."""
    shape = shape_of(head.text)
    keys = shape.keys("[]")
    if shape.top == "array":
        return 3 if "idBoard" in keys and keys & {"pos", "idList", "closed"} else 0
    keys = shape.keys("")
    if len(keys & _BOARD_MARKS) >= 2 or "idMemberCreator" in shape.keys("actions[]"):
        return 3
    if shape.keys("cards[]") & {"idList", "dateLastActivity", "idBoard"} or "idBoard" in shape.keys("lists[]"):
        return 3
    return 0


def read(stream: BinaryIO, options: ReadOptions, report: FileReport) -> Rows:
    """A row a card."""
    document = json_document(stream, options.encoding)
    cards: list[Any] = []
    board = _Board()
    if isinstance(document, list):
        lists = [
            entry for entry in document if isinstance(entry, dict) and "idList" not in entry and "idBoard" in entry
        ]
        if len(lists) == len(document):
            raise ImportRefused("import-empty", f"The file holds {len(lists)} lists of a board, but none of its cards.")
        cards = document
    elif isinstance(document, dict) and isinstance(document.get("cards"), list):
        cards = document["cards"]
        report.frame = frame_of(document, "cards", but="actions")
        board = _read_board(JsonObject(document))
    else:
        raise ImportRefused("import-wrong-format", "Not a Trello board: there are no “cards” in it.")
    if not cards:
        raise ImportRefused("import-empty", "The board has no cards.")
    for number, card in enumerate(cards, start=1):
        yield row_of_object(number, card, _COLUMNS, partial(_parse, board=board, options=options))


def _read_board(document: JsonObject) -> _Board:
    board = _Board()
    for entry in document.objects("lists", "name"):
        board.lists[entry.text("id")] = entry.line("name")
        if entry.flag("closed"):
            board.archived_lists.add(entry.text("id"))
    for label in document.objects("labels"):
        board.labels[label.text("id")] = label.line("name") or label.line("color")
    for member in document.objects("members"):
        board.members[member.text("id")] = member.line("fullName") or member.line("username")
    for checklist in document.objects("checklists"):
        board.checklists[checklist.text("idCard")].append(checklist.content)
    for action in document.objects("actions"):
        data = action.object("data")
        card = data.object("card")
        card_id = card.text("id")
        kind = action.text("type")
        if kind == "commentCard":
            board.comments[card_id].append(action.content)
        elif kind == "updateCard":
            # The newest action comes first.
            before = data.object("old").content
            if (before.get("closed") is False and card.content.get("closed") is True) or (
                before.get("dueComplete") is False and card.content.get("dueComplete") is True
            ):
                board.completions.setdefault(card_id, action.text("date"))
    return board


def _parse(card: JsonObject, board: _Board, options: ReadOptions) -> ParsedTask:
    card_id = card.text("id")
    list_id = card.text("idList")
    zone = options.time_zone
    task = ParsedTask(card.text("name"), card_id)
    task.body = card.text("desc")
    is_archived = card.flag("closed") or list_id in board.archived_lists
    is_done = card.flag("dueComplete") or is_archived
    completions: tuple[str | None, ...] = ()
    if is_done or options.columns_as == "statuses":
        at = task.moment(board.completions.get(card_id, ""), "actions.date", zone)
        completions = (at, card.moment("dateLastActivity", zone))
    if is_done:
        task.complete(*completions)
    task.set(created_at=_created(card_id))
    task.set_due(card.text("due"), "due", zone)
    for label in card.items("labels"):
        task.label(_label(label))
    if "labels" not in card:
        for label_id in card.texts("idLabels"):
            task.label(board.labels.get(label_id, ""))
    task.place("List", board.lists.get(list_id, ""), options, *completions)
    if is_archived:
        task.fact("Archived in Trello", "yes")
    task.fact("Starts", card.moment("start", zone) or "")
    task.fact("Members", ", ".join(filter(None, (board.members.get(one) for one in card.texts("idMembers")))))
    _add_checklists(task, card, board.checklists.get(card_id, []))
    for attachment in card.objects("attachments", "url"):
        name, url = attachment.line("name"), attachment.line("url")
        task.fact("Attachment", name if name == url or not url else f"{name} {url}")
    task.fact("Source", card.text("shortUrl") or card.text("url"))
    for comment in reversed(board.comments.get(card_id, [])):
        item = JsonObject(comment, "actions", card.warnings)
        name = item.object("memberCreator", "fullName").text("fullName")
        name = name or board.members.get(item.text("idMemberCreator"), "")
        task.comment(item.object("data", "text").text("text"), item.moment("date", zone), name)
    return task


def _label(label: Any) -> str:
    """A label's name, or else its colour."""
    if isinstance(label, dict) and not label.get("name"):
        return text_in(label.get("color")) or ""
    return text_in(label) or ""


def _add_checklists(task: ParsedTask, card: JsonObject, of_board: list[dict[str, Any]]) -> None:
    checklists = [JsonObject(checklist, "checklists", card.warnings) for checklist in of_board]
    checklists = checklists or list(card.objects("checklists", "name"))
    done = {entry.text("idCheckItem") for entry in card.objects("checkItemStates") if entry.text("state") == "complete"}
    for checklist in sorted(checklists, key=lambda item: item.number("pos")):
        entries = sorted(checklist.objects("checkItems", "name"), key=lambda item: item.number("pos"))
        task.checklist(
            checklist.text("name"),
            ((entry.text("name"), entry.text("state") == "complete" or entry.text("id") in done) for entry in entries),
        )


def _created(card_id: str) -> str | None:
    """Trello's ids are MongoDB's: the first four bytes are the seconds since 1970."""
    if len(card_id) != _ID_DIGITS:
        return None
    try:
        return datetime.fromtimestamp(int(card_id[:8], 16), UTC).isoformat()
    except ValueError:
        return None


FORMAT = Format("trello-json", "Trello board (JSON)", recognise, read)

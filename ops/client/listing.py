"""What `tenfold tasks` does and prints. Titles are others' texts: nothing in them moves the cursor or hides a line."""

import sys
import unicodedata
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ops.client.dates import shown_due, shown_moment
from ops.client.server import Refused, Server
from ops.faults import FAILED, complain

OPEN = "pending,in_progress,blocked"
PAGE = 100
_GAP = 2
_NARROWEST = 10
_WIDE = 10_000
_STANDS_FOR_CONTROL = "\N{REPLACEMENT CHARACTER}"


async def add(server: Server, fields: Mapping[str, Any], *, as_json: bool) -> int:
    """Adds a task; returns the exit status, as all here."""
    # Whatever breaks the connection: it is made once.
    answer = await server.ask("POST", "/tasks", json=dict(fields), headers={"Idempotency-Key": str(uuid.uuid4())})
    if "title" not in answer:  # 202: the task comes later
        print(f"accepted; it will be there soon: {server.url}/jobs/{answer['id']}")
    elif as_json:
        _print_json(answer)
    else:
        print(f"added {answer['id']}: {plain(answer['title'])}")
    return 0


async def show_list(server: Server, filters: Mapping[str, Any], limit: int, *, as_json: bool) -> int:
    tasks: list[dict[str, Any]] = []
    cursor: str | None = None
    while len(tasks) < limit:
        page = {"limit": str(min(limit - len(tasks), PAGE)), **({"cursor": cursor} if cursor else {})}
        answer = await server.ask("GET", "/user/tasks", params={**filters, **page})
        tasks += answer["items"]
        cursor = answer["next_cursor"]
        if cursor is None:
            break
    if as_json:
        _print_json(tasks)
        return 0
    if not tasks:
        print("no tasks")
        return 0
    _print_table(tasks)
    if cursor is not None:
        print(f"… and more: --limit {2 * limit} shows them", file=sys.stderr)
    return 0


async def complete(server: Server, task_ids: Sequence[int], *, as_json: bool) -> int:
    """Completes one task after the other; what is refused is told, and the others are completed."""
    status = 0
    completed = []
    for task_id in task_ids:
        try:
            task = await server.ask("PATCH", f"/tasks/{task_id}", json={"status": "completed"})
        except Refused as error:
            complain(f"{task_id}: {error}")
            status = FAILED
            continue
        completed.append(task)
        if not as_json:
            print(f"done {task_id}: {plain(task['title'])}" if "title" in task else f"accepted {task_id}")
    if as_json:
        _print_json(completed)
    return status


async def show_task(server: Server, task_id: int, *, as_json: bool) -> int:
    task = await server.ask("GET", f"/tasks/{task_id}")
    if as_json:
        _print_json(task)
        return 0
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in task.items():
        if value is not None and value != []:
            table.add_row(name, Text(_shown(name, value)))
    _console().print(table)
    return 0


def _shown(name: str, value: Any) -> str:
    if name.endswith(("_at", "_date")):
        return shown_moment(value)
    if isinstance(value, list):
        return ", ".join(plain(str(one)) for one in value)
    return "\n".join(map(plain, str(value).split("\n")))


def _print_table(tasks: Sequence[Mapping[str, Any]]) -> None:
    """What one needs whole, ids above all, is never cut; titles and labels share what is left."""
    whole = {
        "id": [str(task["id"]) for task in tasks],
        "priority": [str(task["priority"]) for task in tasks],
        "due": [shown_due(task) for task in tasks],
        "status": [task["status"] for task in tasks],
    }
    cut = {"title": [plain(task["title"]) for task in tasks]}
    if any(task["labels"] for task in tasks):
        cut["labels"] = [plain(", ".join(task["labels"])) for task in tasks]
    console = _console()
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, _GAP, 0, 0))
    room = console.width
    for name, cells in whole.items():
        width = max(map(len, [name, *cells]))
        room -= width + _GAP
        table.add_column(name, no_wrap=True, min_width=width, justify="right" if name in ("id", "priority") else "left")
    labels_room = min(max(map(cell_len, ["labels", *cut.get("labels", [])])), room // 3)
    rooms = {"labels": labels_room, "title": room - (labels_room + _GAP if "labels" in cut else 0)}
    for name in cut:
        table.add_column(name, no_wrap=True, overflow="ellipsis", max_width=max(rooms[name], _NARROWEST))
    for row in zip(*whole.values(), *cut.values(), strict=True):
        table.add_row(*map(Text, row))
    console.print(table)


def _console() -> Console:
    """As wide as the terminal; what goes to a file or a program is not cut."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _WIDE)


def plain(text: str) -> str:
    """A text on one line, without what a terminal obeys: control characters, and those that turn its direction."""
    return "".join(_STANDS_FOR_CONTROL if _is_obeyed(character) else character for character in text)


def _is_obeyed(character: str) -> bool:
    if unicodedata.category(character) in ("Cc", "Zl", "Zp", "Cs"):
        return True
    return unicodedata.bidirectional(character) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


def _print_json(value: Any) -> None:
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode())

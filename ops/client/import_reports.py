"""What a person is told of an import: its counts, the first rows that failed or were warned of, its first tasks."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from ops.client.bars import console, summary
from ops.client.dates import shown_due
from ops.client.listing import plain
from ops.client.server import Server

OUTCOMES = ("read", "created", "updated", "skipped", "failed", "warned")
NOTICES_SHOWN = 5
_COLUMNS = ("title", "status", "priority", "due_date", "labels", "description")
_DESCRIPTION_SHOWN = 60


def counted(counts: Mapping[str, Any]) -> str:
    """The counts in a line; of those that are 0 only how many rows were read."""
    return ", ".join(f"{counts[name]:,} {name}" for name in OUTCOMES if counts.get(name) or name == "read")


async def tell(server: Server, ended: Mapping[str, Any]) -> None:
    """Tells of one import all that there is to say."""
    rows: list[tuple[str, object]] = [("import", ended["id"]), ("format", ended["format"] or "unknown")]
    if ended["dry_run"]:
        rows.append(("dry run", "nothing was changed"))
    # Servers of before do not warn.
    rows += [(name, ended[name]) for name in OUTCOMES if name in ended]
    rows += [(f"passed over: {reason}", count) for reason, count in (ended.get("ignored") or {}).items()]
    summary(rows)
    await tell_notices(server, ended)
    if ended["dry_run"]:
        await tell_preview(server, ended)
        if ended.get("mapping"):
            console.print("The columns were taken so; change it, and give it with --mapping:")
            print(json.dumps(ended["mapping"], ensure_ascii=False, indent=2))


async def tell_notices(server: Server, ended: Mapping[str, Any]) -> None:
    """Tells the first things that were wrong, and that were replaced or left out."""
    for count, heading, path in (
        (ended["failed"], "rows that failed", "errors"),
        (ended.get("warned", 0), "rows of which something was replaced or left out", "warnings"),
    ):
        if count:
            address = f"/imports/{ended['id']}/{path}"
            page = await server.ask("GET", f"{address}?limit={NOTICES_SHOWN}")
            console.print(Text(f"The first {heading}:"))
            for notice in page["items"]:
                console.print(Text(f"  {_place(notice)}: {plain(notice['message'])}"))
            if page["next_cursor"] is not None:
                console.print(Text(f"  … all of them: GET {server.url}{address}"))


async def tell_preview(server: Server, ended: Mapping[str, Any]) -> None:
    """Shows the first tasks as a table."""
    tasks = (await server.ask("GET", f"/imports/{ended['id']}/preview"))["items"]
    if tasks:
        console.print(Text(f"The first {len(tasks)} tasks:" if len(tasks) > 1 else "The task:"))
        console.print(task_table(tasks))


def task_table(tasks: Iterable[Mapping[str, Any]]) -> Table:
    """Tasks in rows; columns in which nothing stands are left out."""
    shown = [_cells(task) for task in tasks]
    kept = [place for place in range(len(_COLUMNS)) if any(cells[place] for cells in shown)]
    table = Table(box=None, pad_edge=False)
    for place in kept:
        name = _COLUMNS[place].replace("_date", "")
        table.add_column(name, justify="right" if name == "priority" else "left", overflow="fold")
    for cells in shown:
        table.add_row(*(Text(cells[place]) for place in kept))
    return table


def _cells(task: Mapping[str, Any]) -> Sequence[str]:
    description = " ".join((task["description"] or "").split())
    if len(description) > _DESCRIPTION_SHOWN:
        description = description[: _DESCRIPTION_SHOWN - 1] + "…"
    labels = ", ".join(task["labels"])
    shown = (task["title"], task["status"], str(task["priority"]), shown_due(task), labels, description)
    return tuple(map(plain, shown))


def _place(notice: Mapping[str, Any]) -> str:
    return f"row {notice['row']:,}" + (f", {plain(notice['column'])}" if notice["column"] else "")


async def tell_undone(server: Server, result: Mapping[str, Any]) -> None:
    """Tells what was taken back, and what was not; of an import that was taken back before only that."""
    if not result["deleted"] + result["changed"] + result["gone"]:
        # The server has forgotten which tasks those were, not how many.
        made = (await server.ask("GET", f"/imports/{result['import_id']}"))["created"]
        was = (
            f"what it made ({made:,} task{'' if made == 1 else 's'}) was taken back before" if made else "it made none"
        )
        console.print(Text(f"import {result['import_id']}: no task is left to take back: {was}"))
        return
    summary(
        [
            ("import", result["import_id"]),
            ("taken back", result["deleted"]),
            ("left, as they were changed since", result["changed"]),
            ("gone before", result["gone"]),
            ("left, as they were there before, and updated", result["updated"]),
        ]
    )

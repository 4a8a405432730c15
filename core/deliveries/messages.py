"""What receivers are told: an event as JSON for webhooks, and in words for people."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from core.tasks.recurrence import zone_named

# Discord takes the least: it refuses more than 256 and 2000 characters.
TITLE_MAXIMUM = 250
BODY_MAXIMUM = 1800
_VERBS = {
    "task.created": "Task created",
    "task.updated": "Task changed",
    "task.completed": "Task completed",
    "task.deleted": "Task deleted",
}


@dataclass(frozen=True, slots=True)
class Message:
    """An event in words.

    Attributes:
        title: one line.
        body: some lines of plain text.
    """

    title: str
    body: str


def message_id(own: str | None, delivery_id: int) -> str:
    """The `webhook-id` of a delivery's message, the same each time that it is sent.

    Args:
        own: the delivery's UUID; None: it is older than these, and its receiver may know it by its number.
        delivery_id: its number. A restored database, or another one, gives the same number out again.
    """
    return f"msg_{delivery_id if own is None else own.replace('-', '')}"


def link_of(public_url: str, event: str, task_id: int | None, data: str) -> str | None:
    """Where a person sees what an event is about; None: nowhere, or the service does not know its own address.

    Args:
        public_url: as the settings have it; may be empty.
        event: its type.
        task_id: the task that it is about.
        data: its data, as JSON.
    """
    if not public_url or event in ("channel.test", "task.deleted"):
        return None
    if event == "import.finished":
        import_id = (orjson.loads(data).get("import") or {}).get("id")
        return None if import_id is None else f"{public_url}/app/imports/{import_id}"
    return f"{public_url}/app/tasks" if task_id is None else f"{public_url}/app/tasks/{task_id}"


def webhook_body(event: str, created_at: str, data: str, link: str | None) -> bytes:
    """The body of a webhook.

    Args:
        event: its type.
        created_at: when it happened.
        data: its data as finished JSON, an object that is not empty; it goes in as it is, with `url` at its end.
        link: as `link_of` tells it.
    """
    with_url = f'{data.rstrip().removesuffix("}")},"url":{orjson.dumps(link).decode()}}}'
    return orjson.dumps({"type": event, "timestamp": created_at, "data": orjson.Fragment(with_url)})


def wanted_at(event: str, created_at: str, data: str) -> datetime:
    """The time of an event: when a reminder was due, else when it happened."""
    reminder = orjson.loads(data).get("reminder") if event == "task.reminder" else None
    return datetime.fromisoformat(reminder["due_at"] if reminder else created_at)


def message_of(event: str, data: str, zone: str, link: str | None) -> Message:
    """An event in words; times in the user's time zone. Of a long description the end is left out.

    Args:
        event: its type.
        data: its data, as JSON.
        zone: an IANA name; UTC stands in for one that is not known.
        link: as `link_of` tells it.
    """
    end = f"\n\n{link}" if link else ""
    message = _words(event, data, zone, BODY_MAXIMUM - len(end))
    return Message(message.title, message.body + end if message.body else link or "")


def _words(event: str, data: str, zone: str, room: int) -> Message:
    content = orjson.loads(data)
    user_zone = zone_named(zone)
    if event == "channel.test":
        return Message("Tenfold: a test", "This channel works.")
    if event == "import.finished":
        return _import_message(content.get("import") or {})
    if "tasks" in content:
        return _digest_message(content, user_zone, room)
    task = content.get("task") or {}
    title = _one_line(task.get("title", ""))
    prefix = "Reminder" if event == "task.reminder" else _VERBS.get(event, event)
    lines = _task_lines(task, content.get("reminder") or {}, user_zone)
    return Message(_cut(f"{prefix}: {title}", TITLE_MAXIMUM), _cut("\n".join(lines), room))


def _import_message(found: dict[str, Any]) -> Message:
    what = "The dry run of an import" if found.get("dry_run") else "An import"
    how = "has failed" if found.get("state") == "failed" else "is finished"
    counts = [f"{name}: {found[name]}" for name in ("read", "created", "updated", "skipped", "failed") if name in found]
    name = _one_line(found.get("filename") or "")
    return Message(f"{what} {how}", "\n".join([*([f"File: {name}"] if name else []), *counts]))


def _digest_message(content: dict[str, Any], zone: ZoneInfo, room: int) -> Message:
    tasks = content["tasks"]
    total = content.get("total", len(tasks))
    lines: list[str] = []
    room -= len(f"and {total} more")
    for task in tasks:
        due = _due(task, zone)
        line = f"- {_one_line(task.get('title', ''))}" + (f", due {due}" if due else "")
        room -= len(line) + 1
        if room < 0:
            break
        lines.append(line)
    if total > len(lines):
        lines.append(f"and {total - len(lines)} more")
    return Message(f"{total} tasks to be reminded of", "\n".join(lines))


def _task_lines(task: dict[str, Any], reminder: dict[str, Any], zone: ZoneInfo) -> Iterator[str]:
    if due := _due(task, zone):
        yield f"Due: {due}"
    if task.get("priority") is not None:
        yield f"Priority: {task['priority']}"
    if task.get("status"):
        yield f"Status: {task['status'].replace('_', ' ')}"
    if reminder.get("late_by"):
        yield f"This reminder is late; it was due {_moment(reminder['due_at'], zone)}."
    if task.get("description"):
        yield ""
        yield task["description"]


def _due(task: dict[str, Any], zone: ZoneInfo) -> str:
    """The day, or the moment; empty where there is neither."""
    moment = task.get("due_date")
    return (task.get("due_day") or _moment(moment, zone)) if moment else ""


def _moment(text: str, zone: ZoneInfo) -> str:
    try:
        return f"{datetime.fromisoformat(text).astimezone(zone):%Y-%m-%d %H:%M %Z}"
    except (ValueError, OverflowError):  # years that Python's calendar does not reach
        return text


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _one_line(text: str) -> str:
    return " ".join(text.split())

"""Believable things to put in: what a test does not name is valid and of no matter to it."""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from tests.harness import Client, Service, User

_numbers = itertools.count(1)

TITLES = (
    "Renew the TLS certificates",
    "Überweisung prüfen",
    "読み込みを直す",
    "Answer Zoë's letter",
    "Order coffee ☕",
)


def task_fields(**fields: Any) -> dict[str, Any]:
    """A body for `POST /tasks`."""
    number = next(_numbers)
    return {"title": f"{TITLES[number % len(TITLES)]} #{number}", **fields}


async def create_task(client: Client, **fields: Any) -> dict[str, Any]:
    """Creates a task over HTTP and returns it."""
    answer = await client.post("/tasks", task_fields(**fields))
    assert answer.status == 201, answer
    task: dict[str, Any] = answer.json
    return task


async def create_tasks(client: Client, tasks: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Creates tasks with one batch and returns them in the order of `tasks`."""
    operations = [{"op": "create", "fields": task_fields(**fields)} for fields in tasks]
    answer = await client.post("/tasks/batch", {"operations": operations})
    assert answer.status == 207, answer
    results = answer.json["results"]
    assert all(result["status"] == 201 for result in results), answer
    return [result["task"] for result in results]


async def insert_tasks(service: Service, user: User, rows: Sequence[dict[str, Any]]) -> list[int]:
    """Puts rows into `tasks` as they are, times included, and returns their ids."""
    ids = []
    for row in rows:
        names = ["user_id", "title", *(name for name in row if name != "title")]
        values = [user.id, row.get("title", "A task"), *(row[name] for name in row if name != "title")]
        places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
        [made] = await service.rows(f"INSERT INTO tasks ({', '.join(names)}) VALUES ({places}) RETURNING id", *values)
        ids.append(made["id"])
    return ids


def username() -> str:
    """One that nobody has yet."""
    return f"user-{next(_numbers)}"

"""Real input: another program's issues go in through batches and come out again in pages, each once and in order."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.tasks.fields import DESCRIPTION_MAXIMUM, TITLE_MAXIMUM
from tests.harness import Client, Service

EXPORTS = Path(__file__).parents[2].parent / "shared" / "data" / "imports" / "github-issues"
BATCH_BYTES = 900_000
PAGE = 100


def largest_export() -> Path:
    files = sorted(EXPORTS.glob("*.json"), key=lambda file: file.stat().st_size)
    if not files:
        pytest.skip("the collection of real exports is not beside this checkout")
    return files[-1]


def as_fields(issue: dict[str, Any]) -> dict[str, Any]:
    """An issue as a task; the priority spreads them over all ten."""
    return {
        "title": issue["title"].strip()[:TITLE_MAXIMUM].strip(),
        "description": (issue["body"] or "").replace("\0", "")[:DESCRIPTION_MAXIMUM],
        "priority": issue["number"] % 10 + 1,
        "status": "completed" if issue["state"] == "closed" else "pending",
    }


def batches(tasks: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Operations in groups that fit into one request."""
    group: list[dict[str, Any]] = []
    size = 0
    for task in tasks:
        weight = len(json.dumps(task))
        if group and (size + weight > BATCH_BYTES or len(group) == 1000):
            yield group
            group, size = [], 0
        group.append({"op": "create", "fields": task})
        size += weight
    yield group


async def walk(client: Client) -> list[dict[str, Any]]:
    tasks = []
    path = f"/tasks?sort_by_priority=true&limit={PAGE}"
    while path:
        page = await client.get(path)
        assert page.status == 200
        tasks += page.items
        cursor = page.json["next_cursor"]
        assert cursor is None or len(page.items) == PAGE
        path = f"/tasks?sort_by_priority=true&limit={PAGE}&cursor={cursor}" if cursor else ""
    return tasks


async def test_a_real_export_goes_in_by_batches_and_comes_out_in_pages_by_priority(service: Service) -> None:
    wanted = [as_fields(issue) for issue in json.loads(largest_export().read_text(encoding="utf-8"))]
    assert len(wanted) > PAGE
    made = []
    for operations in batches(wanted):
        answer = await service.alice.post("/tasks/batch", {"operations": operations})
        assert answer.status == 207
        made += answer.json["results"]
    assert [result["status"] for result in made] == [201] * len(wanted)

    found = await walk(service.alice)

    by_id = {result["task"]["id"]: fields for result, fields in zip(made, wanted, strict=True)}
    assert [task["id"] for task in found] == sorted(by_id, key=lambda id_: (by_id[id_]["priority"], id_))
    assert [{name: task[name] for name in wanted[0]} for task in found] == [by_id[task["id"]] for task in found]
    assert any(not task["title"].isascii() for task in found)

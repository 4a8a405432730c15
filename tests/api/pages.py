"""Pages of tasks, one after the other."""

from collections.abc import AsyncIterator
from typing import Any

from tests.harness import Answer, Client


def titles(answer: Answer) -> list[str]:
    assert answer.status == 200, answer
    return [task["title"] for task in answer.items]


async def pages(client: Client, path: str, params: dict[str, Any]) -> AsyncIterator[Answer]:
    """Every page, by the cursors of the bodies."""
    answer = await client.get(path, params=params)
    while True:
        assert answer.status == 200, answer
        yield answer
        cursor = answer.json["next_cursor"]
        if cursor is None:
            return
        answer = await client.get(path, params={**params, "cursor": cursor})


async def everything(client: Client, path: str = "/tasks", **params: Any) -> list[dict[str, Any]]:
    return [task async for page in pages(client, path, params) for task in page.items]

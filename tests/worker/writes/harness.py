"""What commands have come to: titles, and the names of problems."""

from typing import Any

import asyncpg


async def titles(owner: asyncpg.Connection, user_id: int) -> list[str]:
    return [row[0] for row in await owner.fetch("SELECT title FROM tasks WHERE user_id = $1 ORDER BY title", user_id)]


def problem_of(outcome: dict[str, Any]) -> str:
    name: str = outcome["error"]["type"].rpartition("/")[2]
    return name

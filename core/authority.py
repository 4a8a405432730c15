"""What admins may do with others' rows, checked again when it happens: the role may have ended since the request.

Reads are checked by PostgreSQL, whose policies ask for the role that a caller has now. The rest is here: commands and
long work when they are carried out, and outcomes that were stored while somebody was an admin.
"""

from collections.abc import Iterable
from typing import Any

import orjson

from core.commands.effects import Effect
from core.database.pools import Connection

_CURRENT_ADMINS = "SELECT id FROM users WHERE id = ANY ($1::bigint[]) AND role = 'admin'"

_OWNER = '"user_id":'  # as a task has it; within a text the quotes would be escaped


async def current_admins(connection: Connection, user_ids: Iterable[int]) -> frozenset[int]:
    """Those of the users who are admins now."""
    wanted = list(set(user_ids))
    if not wanted:
        return frozenset()
    return frozenset(row["id"] for row in await connection.fetch(_CURRENT_ADMINS, wanted))


def forbidden(*, task_id: int | None = None) -> Effect:
    """The refusal of what only admins may do."""
    return Effect.rejected("forbidden", "Only admins may do this.", task_id=task_id)


def holds_others(text: str | None, user_id: int) -> bool:
    """Whether finished JSON holds tasks of anybody but the user."""
    return text is not None and text.count(_OWNER) != text.count(f"{_OWNER}{user_id},")


def tells_of_others(error: dict[str, Any] | None, user_id: int) -> bool:
    """Whether a refusal is about a task of anybody but the user."""
    return error is not None and error.get("user_id", user_id) != user_id


def without_others(result: str | None, user_id: int) -> Effect:
    """A stored result for a user who may not see others' tasks: `not-found` in their place; in a batch, item by
    item."""
    gone = Effect.rejected("not-found", "There is no such task.")
    content: Any = {} if result is None else orjson.loads(result)
    if "results" not in content:
        return gone
    hidden = {"status": gone.status_code, "error": gone.error}
    results = [
        hidden
        if ("task" in item and item["task"]["user_id"] != user_id) or tells_of_others(item.get("error"), user_id)
        else item
        for item in content["results"]
    ]
    return Effect(207, orjson.dumps({"results": results}).decode())


def seen_outcome(message: dict[str, Any], user_id: int, *, is_of_other: bool = False) -> dict[str, Any]:
    """An outcome in its wire form, for a user who may see only their own tasks.

    Args:
        message: the outcome.
        user_id: who sees it.
        is_of_other: whether it is about another's task, where the result does not say whose.
    """
    is_hidden = message["result"] is not None and (is_of_other or holds_others(message["result"], user_id))
    if not (is_hidden or tells_of_others(message["error"], user_id)):
        return message
    left = without_others(message["result"], user_id)
    return {
        **message,
        "status_code": left.status_code,
        "result": left.result,
        "error": left.error,
        "task_id": None,
        "version": None,
    }

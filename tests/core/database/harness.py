"""What the API may read, and whether a statement is refused."""

from typing import Any

import asyncpg

from core.database.pools import Pool

OWNED = {
    "users": "id",
    **dict.fromkeys(("tasks", "jobs", "imports", "import_errors", "import_warnings", "exports"), "user_id"),
}
"""What the API may read → the column that says whose a row is."""
READABLE = tuple(OWNED)


async def is_refused(pool: Pool, sql: str, *arguments: Any) -> bool:
    try:
        await pool.fetch(sql, *arguments)
    except asyncpg.InsufficientPrivilegeError:
        return True
    return False

"""Imports as the API begins them, with uploads of the test's own."""

import hashlib
from typing import Any

import asyncpg
import orjson

from core.commands import Command
from core.ids import new_job_id
from tests.worker.commands import apply, command
from worker.imports import run_imports
from worker.runner import Services


def lines(*rows: dict[str, Any]) -> bytes:
    """NDJSON."""
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


async def upload(services: Services, content: bytes) -> str:
    """Stores a file, and tells its name."""
    name = f"imports/{new_job_id()}"
    async with services.storage.writer(name) as writer:
        await writer.write(content)
        await writer.commit()
    return name


async def ordered(
    services: Services, user_id: int, content: bytes, *, format: str = "tenfold-ndjson", dry_run: bool = False,
    **options: Any,
) -> Command:  # fmt: skip
    """The command that begins an import of `content`."""
    return command(
        "import",
        user_id,
        {
            "format": format,
            "filename": "tasks.ndjson",
            "dry_run": dry_run,
            "options": options,
            "object": await upload(services, content),
            "digest": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
        },
    )


async def begin(services: Services, user_id: int, content: bytes, **options: Any) -> str:
    """Begins an import, and tells its id."""
    order = await ordered(services, user_id, content, **options)
    [outcome] = await apply(services, order)
    assert outcome["status_code"] == 202
    return order.id


async def imported(services: Services, owner: asyncpg.Connection, user_id: int, content: bytes, **options: Any) -> Any:
    """Begins an import, carries it to its end, and tells what became of it."""
    import_id = await begin(services, user_id, content, **options)
    await run_imports(services)
    return await state_of(owner, import_id)


async def state_of(owner: asyncpg.Connection, import_id: str) -> asyncpg.Record:
    """The import with its job."""
    row = await owner.fetchrow(
        """
        SELECT i.*, j.state, j.status_code, j.started_at, j.finished_at, j.error::text AS error,
               j.progress::text AS progress, j.result::text AS result
        FROM imports i JOIN jobs j USING (id) WHERE i.id = $1::text::uuid
        """,
        import_id,
    )
    assert row is not None
    return row


def counts(row: asyncpg.Record) -> tuple[int, ...]:
    """Read, created, updated, skipped, failed."""
    return tuple(row[f"rows_{name}"] for name in ("read", "created", "updated", "skipped", "failed"))


async def titles(owner: asyncpg.Connection, user_id: int) -> list[str]:
    """Of the user's tasks, in the order of their ids."""
    rows = await owner.fetch("SELECT title FROM tasks WHERE user_id = $1 ORDER BY id", user_id)
    return [row["title"] for row in rows]


async def errors(owner: asyncpg.Connection, import_id: str) -> list[tuple[int, str | None, str]]:
    """Row, column and message of each kept error."""
    rows = await owner.fetch(
        'SELECT row, "column", message FROM import_errors WHERE import_id = $1::text::uuid ORDER BY row, number',
        import_id,
    )
    return [(row["row"], row["column"], row["message"]) for row in rows]

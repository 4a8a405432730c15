"""Imports as the API begins them, with uploads of the test's own, and what they have come to."""

import hashlib
import time
from typing import Any, BinaryIO

import asyncpg
import orjson

from core.commands.wire import Command
from core.formats.rows import Certainty, FileReport, Head, ReadOptions, Row, Rows
from core.ids import new_job_id
from tests.harness import eventually
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


def numbered(count: int, **more: Any) -> bytes:
    return lines(*({"title": f"task {number}", **more} for number in range(count)))


class Paused:
    """A format that waits where it is told to."""

    def __init__(self) -> None:
        self.rows = 10
        self.place = 0
        self._go = False
        self._waits = 0

    async def reached(self, row: int) -> None:
        self._waits = row
        await eventually(self._is_there)

    async def _is_there(self) -> bool:
        return self.place >= self._waits

    def go_on(self) -> None:
        self._go = True

    def read(self, stream: BinaryIO, options: ReadOptions, report: FileReport) -> Rows:
        for number in range(1, self.rows + 1):
            self.place = number
            while not self._go and 0 < self._waits <= number:
                time.sleep(0.005)
            yield Row(number, {"title": f"task {number}"}, {})


def never(head: Head) -> Certainty:
    return 0


async def claimed(owner: asyncpg.Connection, import_id: str) -> bool:
    return (await state_of(owner, import_id))["state"] != "queued"


async def has_read(owner: asyncpg.Connection, import_id: str, rows: int) -> bool:
    return bool((await state_of(owner, import_id))["rows_read"] >= rows)

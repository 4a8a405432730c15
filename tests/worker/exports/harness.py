"""Exports as the API begins them, and what has become of them and of their files."""

import asyncio
from typing import Any

import asyncpg
import orjson

from core.storage import ObjectWriter, Storage
from tests.worker.commands import apply, command
from worker.exports import run_exports
from worker.runner import Services

TRICKY = (
    "=1+1", "+49 30", "-5", "@home", "'quoted", "\tindented", "\rreturned", "''twice", 'say "hi"', "a,b;c", "ends\\",
    "two\nlines", "\\.", "\x01\x02\x03", "Überweisung 読み ☕ 👩‍👩‍👧", "\u2028", "C:\\New\\n", "[", ",", "{}",
)  # fmt: skip


def ordered(user_id: int, export_format: str = "ndjson", **payload: Any) -> Any:
    return command("export", user_id, {"format": export_format, "filters": {}, "all_users": False, **payload})


async def order(services: Services, user_id: int, export_format: str = "ndjson", **payload: Any) -> str:
    """Begins an export and returns its id."""
    ordering = ordered(user_id, export_format, **payload)
    [outcome] = await apply(services, ordering)
    assert outcome["status_code"] == 202
    return str(ordering.id)


async def row_of(owner: asyncpg.Connection, export_id: str) -> dict[str, Any]:
    row = await owner.fetchrow(
        "SELECT j.*, e.* FROM exports AS e JOIN jobs AS j USING (id) WHERE id = $1::text::uuid", export_id
    )
    assert row is not None
    return dict(row)


async def content(services: Services, owner: asyncpg.Connection, export_id: str) -> bytes:
    """What the file of an export holds that has succeeded."""
    row = await row_of(owner, export_id)
    assert (row["state"], row["error"]) == ("succeeded", None)
    found = b"".join([piece async for piece in services.storage.stream(row["object"], 0, row["bytes"])])
    assert len(found) == row["bytes"] == await services.storage.size(row["object"])
    return found


async def exported(
    services: Services, owner: asyncpg.Connection, user_id: int, export_format: str, **payload: Any
) -> bytes:
    export_id = await order(services, user_id, export_format, **payload)
    await run_exports(services)
    return await content(services, owner, export_id)


async def tasks_as_json(owner: asyncpg.Connection, user_id: int) -> list[dict[str, Any]]:
    rows = await owner.fetch("SELECT task_json(t) AS task FROM tasks AS t WHERE user_id = $1 ORDER BY id", user_id)
    return [orjson.loads(row["task"]) for row in rows]


async def objects(services: Services) -> list[str]:
    pages = [page async for page in services.storage.names_older_than("exports", -60)]
    return [name for page in pages for name in page]


class HeldStorage(Storage):
    """Lets nobody write on before it is told so."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()

    def writer(self, name: str) -> ObjectWriter:
        writer = super().writer(name)
        write = writer.write

        async def held(data: bytes) -> None:
            self.reached.set()
            await self.go_on.wait()
            await write(data)

        writer.write = held  # type: ignore[method-assign]
        return writer

"""Imports as a client sends them, and what has come of them."""

from pathlib import Path
from typing import Any

import orjson
from yarl import URL

from tests.harness import Answer, Client, Service, eventually


def lines(*rows: dict[str, Any]) -> bytes:
    """NDJSON."""
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


async def sent(client: Client, content: Any, *, headers: Any = None, **query: Any) -> Answer:
    return await client.request("POST", str(URL("/imports").with_query(query)), data=content, headers=headers)


async def finished(client: Client, import_id: str) -> dict[str, Any]:
    """The import when it has ended."""

    async def ended() -> Any:
        answer = await client.get(f"/imports/{import_id}", headers={"Prefer": "wait=5"})
        return answer.json if answer.json["finished_at"] else None

    found: dict[str, Any] = await eventually(ended)
    return found


async def imported(client: Client, content: Any, **query: Any) -> dict[str, Any]:
    answer = await sent(client, content, **query)
    assert answer.status == 202, answer
    return await finished(client, answer.json["id"])


def counts(found: dict[str, Any]) -> tuple[int, ...]:
    return tuple(found[name] for name in ("read", "created", "updated", "skipped", "failed"))


async def titles(client: Client) -> list[str]:
    return [task["title"] for task in (await client.get("/user/tasks")).items]


def uploads(service: Service) -> list[Path]:
    folder = service.settings.tenfold_home / "objects" / "imports"
    return [path for path in folder.rglob("*") if path.is_file()]


async def no_uploads(service: Service) -> bool:
    return not uploads(service)

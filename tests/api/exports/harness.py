"""Exports as a client orders, follows and fetches them."""

from typing import Any

import orjson

from tests.harness import Answer, Client, eventually

UNKNOWN = "00000000-0000-7000-8000-000000000000"


async def ordered(client: Client, export_format: str = "ndjson", **filters: Any) -> str:
    """Orders an export and returns its id."""
    answer = await client.post("/exports", {"format": export_format, **filters})
    assert answer.status == 202, answer
    export_id: str = answer.json["id"]
    return export_id


async def finished(client: Client, export_id: str) -> dict[str, Any]:
    """The export when it has ended."""

    async def ended() -> Any:
        answer = await client.get(f"/exports/{export_id}", headers={"Prefer": "wait=5"})
        return answer.json if answer.json["finished_at"] else None

    export: dict[str, Any] = await eventually(ended)
    return export


async def fetched(client: Client, export_format: str = "ndjson", **filters: Any) -> Answer:
    export = await finished(client, await ordered(client, export_format, **filters))
    assert export["state"] == "succeeded", export
    return await client.get(export["file"])


def ids(answer: Answer) -> list[int]:
    return [orjson.loads(line)["id"] for line in answer.body.splitlines()]

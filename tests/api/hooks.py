"""Channels as a client makes them, and their deliveries."""

from typing import Any

from tests.harness import Client, eventually

SLACK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general"


async def make_channel(client: Client, url: str = "https://example.com/hook", **fields: Any) -> dict[str, Any]:
    answer = await client.post("/channels", {"url": url, **fields})
    assert answer.status == 201, answer
    made: dict[str, Any] = answer.json
    return made


async def delivery_of(client: Client, delivery_id: int, state: str = "delivered") -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        found: dict[str, Any] = (await client.get(f"/deliveries/{delivery_id}")).json
        return found if found["state"] == state else None

    found: dict[str, Any] = await eventually(look)
    return found

"""A service whose tasks have one more field, `venue`: a program, because the field is there before anything else is.

`tests/test_new_field.py` adds the column and starts it, with the settings pickled on its standard input.
"""

import asyncio
import csv
import io
import pickle
import sys
from typing import Any

from aiohttp import ClientSession, DummyCookieJar

from core.tasks import fields
from core.tasks.kinds import FreeText

VENUE = fields.Field(name="venue", kind=FreeText(100, minimum=1), is_clearable=True, is_kept=True)
fields.FIELDS = (*fields.FIELDS, VENUE)
fields.WRITABLE = (*fields.WRITABLE, VENUE)
fields.IMPORTED = (*fields.IMPORTED, VENUE)

from core.tasks.validation import load_create  # noqa: E402
from tests.harness import Client, Service, WorkerInProcess, eventually  # noqa: E402


async def main() -> None:
    settings = pickle.load(sys.stdin.buffer)
    async with ClientSession(cookie_jar=DummyCookieJar()) as http:
        service = Service(settings, http, WorkerInProcess(settings, ("writes", "bulk")))
        await service.start()
        try:
            await service.recast()
            for look in (created, changed, followed, listed, imported, exported, documented):
                await look(service)
        finally:
            await service.stop()


async def created(service: Service) -> None:
    assert load_create({"title": "x", "venue": "Hall"})["venue"] == "Hall"
    assert (await create(service.alice, venue="Hall"))["venue"] == "Hall"
    assert (await create(service.alice))["venue"] is None
    refused = await service.alice.post("/tasks", {"title": "x", "venue": "x" * 101})
    assert refused.status == 422
    assert list(refused.json["errors"]) == ["venue"]
    batch = [{"op": "create", "fields": {"title": "x", "venue": venue}} for venue in ("Hall", None, "")]
    results = (await service.alice.post("/tasks/batch", {"operations": batch})).json["results"]
    assert [result["status"] for result in results] == [201, 201, 422]
    assert [result["task"]["venue"] for result in results[:2]] == ["Hall", None]


async def changed(service: Service) -> None:
    task = await create(service.alice, venue="Hall")
    path = f"/tasks/{task['id']}"
    assert (await service.alice.patch(path, {"title": "y"})).json["venue"] == "Hall"
    assert (await service.alice.patch(path, {"venue": "Roof"})).json["venue"] == "Roof"
    same = (await service.alice.patch(path, {"venue": "Roof"})).json
    assert same["version"] == task["version"] + 2
    assert (await service.alice.patch(path, {"venue": None})).json["venue"] is None
    twice = [{"op": "update", "id": task["id"], "fields": {"venue": venue}} for venue in ("Hall", "Attic")]
    results = (await service.alice.post("/tasks/batch", {"operations": twice})).json["results"]
    assert [result["task"]["venue"] for result in results] == ["Hall", "Attic"]
    assert (await service.alice.get(path)).json["venue"] == "Attic"


async def followed(service: Service) -> None:
    first = await create(service.bob, venue="Hall", recurrence="FREQ=DAILY")
    assert (await service.bob.patch(f"/tasks/{first['id']}", {"status": "completed"})).status == 200
    _, following = (await service.bob.get("/tasks")).items
    assert following["venue"] == "Hall"


async def listed(service: Service) -> None:
    task = await create(service.alice, venue="Hall", labels=["listed"])
    for client in (service.alice, service.admin):
        assert (await client.get("/tasks?label=listed")).items == [task]


async def imported(service: Service) -> None:
    file = b"title,venue,external_id\nx,Hall,1\ny,,2\n"
    assert await import_file(service.charlie, "csv", file) == {"created": 2}
    assert await import_file(service.charlie, "csv", file) == {"skipped": 2}
    other = file.replace(b"Hall", b"Roof")
    assert await import_file(service.charlie, "csv", other, on_conflict="update") == {"updated": 1, "skipped": 1}
    assert await import_file(service.charlie, "ndjson", b'{"title": "z"}\n{"title": "z", "venue": "Hall"}') == {
        "created": 2
    }, "they are two tasks, not one that stands there twice"
    venues = [task["venue"] for task in (await service.charlie.get("/tasks?sort=id")).items]
    assert venues == ["Roof", None, None, "Hall"]


async def exported(service: Service) -> None:
    await create(service.charlie, title="w", venue="=Hall")
    lines = list(csv.reader(io.StringIO((await export_file(service.charlie, "csv")).decode())))
    assert lines[0][-1] == "venue"
    assert [line[-1] for line in lines[1:]] == ["Roof", "", "", "Hall", "'=Hall"]
    for form in ("csv", "ndjson", "ics"):
        user = await service.add_user(f"mover-{form}")
        assert await import_file(user, form, await export_file(service.charlie, form)) == {"created": 5}
        venues = [task["venue"] for task in (await user.get("/tasks?sort=id")).items]
        assert venues == ["Roof", None, None, "Hall", "=Hall"]


async def documented(service: Service) -> None:
    schemas = (await service.anonymous.get("/openapi.json")).json["components"]["schemas"]
    for name in ("TaskCreate", "TaskUpdate"):
        assert schemas[name]["properties"]["venue"]["maxLength"] == 100
    assert "venue" in schemas["Task"]["required"]


async def create(client: Client, **content: Any) -> dict[str, Any]:
    answer = await client.post("/tasks", {"title": "x", **content})
    assert answer.status == 201, answer
    task: dict[str, Any] = answer.json
    return task


async def import_file(client: Client, form: str, file: bytes, **options: str) -> dict[str, int]:
    """What became of the rows, as far as there are any."""
    query = "&".join(
        f"{name}={value}"
        for name, value in {"format": "icalendar" if form == "ics" else f"tenfold-{form}", **options}.items()
    )
    ended = await to_its_end(client, "imports", await client.request("POST", f"/imports?{query}", data=file))
    assert ended["state"] == "succeeded", ended
    return {name: ended[name] for name in ("created", "updated", "skipped", "failed") if ended[name]}


async def export_file(client: Client, form: str) -> bytes:
    ended = await to_its_end(client, "exports", await client.post("/exports", {"format": form}))
    return (await client.get(ended["file"])).body


async def to_its_end(client: Client, collection: str, ordered: Any) -> dict[str, Any]:
    assert ordered.status == 202, ordered

    async def ended() -> Any:
        found = await client.get(f"/{collection}/{ordered.json['id']}", headers={"Prefer": "wait=5"})
        return found.json if found.json["finished_at"] else None

    job: dict[str, Any] = await eventually(ended)
    return job


if __name__ == "__main__":
    asyncio.run(main())

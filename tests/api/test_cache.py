"""The cache is never stale: what a write was answered with, every later read shows, on every process."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import orjson
import redis.asyncio

from api.keys import CACHE
from core.cache import SUSPECT_FLAG, CacheInvalidator
from core.ids import job_id_for_key
from core.redis.clients import cache_client
from core.redis.link import Link
from tests.conftest import MakeService
from tests.factories import create_task, create_tasks
from tests.harness import Client, Servers, Service, away, eventually, stop

USER_KEYS = "tenfold:cache:user:*"


async def in_use(*services: Service) -> None:
    """Waits until the services read their cache; each passes it by at its start, until it has seen the flag."""

    async def trusted() -> bool:
        return not any(service.app[CACHE].suspect for service in services)

    await eventually(trusted)


async def cached_keys(service: Service) -> list[bytes]:
    client = redis.asyncio.Redis.from_url(service.settings.redis_url)
    try:
        return list(await client.keys(USER_KEYS))
    finally:
        await client.aclose()


async def test_a_page_is_read_from_the_database_once(service: Service) -> None:
    await in_use(service)
    task = await create_task(service.alice)
    paths = ["/tasks", "/user/tasks", f"/tasks/{task['id']}", "/tasks?priority=5&sort=-id"]
    first = [(await service.alice.get(path)).json for path in paths]
    # Behind everybody's back: what is read now did not come from the database.
    await service.rows("UPDATE tasks SET title = 'changed' WHERE id = $1", task["id"])
    assert [(await service.alice.get(path)).json for path in paths] == first


async def test_a_page_with_a_clock_in_it_is_not_cached(service: Service) -> None:
    await in_use(service)
    task = await create_task(service.alice, due_date="2020-01-01T00:00:00Z")
    assert len((await service.alice.get("/tasks?overdue=true")).items) == 1
    await service.rows("UPDATE tasks SET title = 'changed' WHERE id = $1", task["id"])
    assert (await service.alice.get("/tasks?overdue=true")).items[0]["title"] == "changed"


async def test_a_missing_task_that_is_looked_for_is_found_when_it_has_come(service: Service) -> None:
    task = await create_task(service.alice)
    await service.alice.delete(f"/tasks/{task['id']}")
    assert (await service.alice.get(f"/tasks/{task['id']}")).status == 404
    await service.rows("INSERT INTO tasks (id, user_id, title) VALUES ($1, $2, 'back')", task["id"], service.alice.id)
    assert (await service.alice.get(f"/tasks/{task['id']}")).status == 200


async def test_every_kind_of_write_shows_in_the_next_read(service: Service) -> None:
    await in_use(service)
    alice = service.alice
    assert (await alice.get("/tasks")).items == []
    task = await create_task(alice)
    path = f"/tasks/{task['id']}"
    assert ((await alice.get("/tasks")).items, (await alice.get(path)).json) == ([task], task)
    task = (await alice.patch(path, {"priority": 1})).json
    assert ((await alice.get("/tasks")).items, (await alice.get(path)).json) == ([task], task)
    results = (
        await alice.post(
            "/tasks/batch", {"operations": [{"op": "update", "id": task["id"], "fields": {"priority": 2}}]}
        )
    ).json
    task = results["results"][0]["task"]
    assert ((await alice.get("/tasks")).items, (await alice.get(path)).json) == ([task], task)
    task = (await service.admin.patch(path, {"priority": 3})).json
    assert ((await alice.get("/tasks")).items, (await alice.get(path)).json) == ([task], task)
    await service.admin.delete(path)
    assert ((await alice.get("/tasks")).items, (await alice.get(path)).status) == ([], 404)


async def test_a_write_of_one_user_leaves_the_pages_of_others_cached(service: Service) -> None:
    await in_use(service)
    task = await create_task(service.bob)
    before = (await service.bob.get("/tasks")).json
    await service.rows("UPDATE tasks SET title = 'changed' WHERE id = $1", task["id"])
    await create_task(service.alice)
    assert (await service.bob.get("/tasks")).json == before


async def test_readers_on_two_processes_never_see_less_than_what_was_acknowledged(
    service: Service, make_service: MakeService
) -> None:
    other = await make_service(settings=service.settings, with_worker=False)
    await in_use(service, other)
    here, there = service.alice, other.as_user(service.alice.id, "alice")
    tasks = await create_tasks(here, [{}] * 3)
    ids = [task["id"] for task in tasks]
    acknowledged = dict.fromkeys(ids, 1)
    until = time.monotonic() + 3.0
    reads = stale = 0

    async def write(client: Client, task_id: int) -> None:
        while time.monotonic() < until:
            answer = await client.patch(f"/tasks/{task_id}", {"title": f"at {time.monotonic()}"})
            assert answer.status == 200
            acknowledged[task_id] = max(acknowledged[task_id], answer.json["version"])
            await asyncio.sleep(0.002)

    async def read(client: Client, path: str) -> None:
        nonlocal reads, stale
        while time.monotonic() < until:
            known = dict(acknowledged)
            answer = await client.get(path)
            assert answer.status == 200
            found = {
                task["id"]: task["version"] for task in (answer.items if "items" in answer.json else [answer.json])
            }
            reads += 1
            stale += any(version < known[task_id] for task_id, version in found.items())
            await asyncio.sleep(0)

    paths = ["/tasks", "/user/tasks", "/tasks?sort=-updated_at", f"/tasks/{ids[0]}"]
    await asyncio.gather(
        write(here, ids[0]), write(there, ids[1]), write(here, ids[2]),
        *(read(client, path) for client in (here, there) for path in paths),
    )  # fmt: skip
    assert stale == 0
    assert reads > 100
    assert min(acknowledged.values()) > 3


async def test_a_reader_that_was_slow_does_not_put_an_old_page_back(service: Service) -> None:
    await in_use(service)
    cache = service.app[CACHE]
    await create_task(service.alice)
    miss = await cache.look_up(service.alice.id, "slow")
    await create_task(service.alice)  # between the look-up and the store
    cache.store(service.alice.id, "slow", miss, b"old")  # type: ignore[arg-type]
    assert await cache.look_up(service.alice.id, "slow") != b"old"
    again = await cache.look_up(service.alice.id, "slow")
    cache.store(service.alice.id, "slow", again, b"new")  # type: ignore[arg-type]
    assert await cache.look_up(service.alice.id, "slow") == b"new"


async def test_an_outcome_found_in_the_jobs_table_bumps_before_it_is_told(make_service: MakeService) -> None:
    """A worker that dies between its commit and the bump has changed rows, and has told nobody."""
    service = await make_service(WRITE_WAIT_SECONDS="0.3")
    await in_use(service)
    task = await create_task(service.alice)
    await service.worker.stop()
    for number, writer in enumerate((service.alice, service.admin), start=1):
        path = f"/tasks/{task['id']}"
        assert (await service.alice.get(path)).json["version"] == number
        key, title = f"key-{number}", f"title {number}"
        write = asyncio.create_task(writer.patch(path, {"title": title}, headers={"Idempotency-Key": key}))
        await asyncio.sleep(0.1)
        async with service.queue() as queue:
            names = await queue.keys("tenfold:lane:*")
            [[_, fields]] = [entry for name in names for entry in await queue.xrange(name)]
        [command] = orjson.loads(fields[b"commands"])
        assert command["id"] == job_id_for_key(writer.id, key)
        await service.rows("UPDATE tasks SET title = $2, version = version + 1 WHERE id = $1", task["id"], title)
        await service.rows(
            """
            INSERT INTO jobs (id, user_id, kind, state, status_code, result, fingerprint, created_at)
            SELECT $1::text::uuid, $2, 'task.update', 'succeeded', 200, task_json(t)::json, $3, $4::text::timestamptz
            FROM tasks AS t
            """,
            command["id"], writer.id, command["fingerprint"], command["created_at"],
        )  # fmt: skip
        answer = await write
        assert (answer.status, answer.json["title"]) == (200, title)
        read = await service.alice.get(path)
        assert (read.json["title"], read.json["version"]) == (title, number + 1)
        assert (await service.alice.get("/tasks")).items[0]["title"] == title
        async with service.queue() as queue:
            await queue.delete(*names)


async def test_caching_can_be_switched_off(make_service: MakeService) -> None:
    service = await make_service(CACHE_TTL_SECONDS="0")
    await in_use(service)
    await create_task(service.alice)
    for _ in range(2):
        assert len((await service.alice.get("/tasks")).items) == 1
    assert await cached_keys(service) == []


async def test_pages_live_no_longer_than_their_time(make_service: MakeService) -> None:
    service = await make_service(CACHE_TTL_SECONDS="1")
    await in_use(service)
    task = await create_task(service.alice)
    await service.alice.get("/tasks")
    await service.rows("UPDATE tasks SET title = 'changed' WHERE id = $1", task["id"])
    await asyncio.sleep(1.2)
    assert (await service.alice.get("/tasks")).items[0]["title"] == "changed"


# -- without the cache server, and after it was away ----------------------------------------------------------


async def test_without_the_cache_reads_and_writes_go_on(make_service: MakeService, breakable_servers: Servers) -> None:
    service = await make_service(on=breakable_servers)
    await in_use(service)
    task = await create_task(service.alice)
    async with away(breakable_servers.cache):
        assert (await service.alice.get("/tasks")).items == [task]
        changed = await service.alice.patch(f"/tasks/{task['id']}", {"priority": 1})
        assert changed.status == 200
        assert (await service.alice.get(f"/tasks/{task['id']}")).json == changed.json
        assert (await service.alice.get("/tasks")).items == [changed.json]


@contextlib.asynccontextmanager
async def unreachable_for_the_worker(service: Service) -> AsyncIterator[None]:
    """The worker looks for the cache where nobody listens; everybody else reaches it."""
    invalidator = service.worker.services.invalidator
    reachable = invalidator._cache, invalidator._link
    nowhere = cache_client("redis://127.0.0.1:1")
    invalidator._cache, invalidator._link = nowhere, Link(nowhere, timeout=1.0)
    try:
        yield
    finally:
        await invalidator._link.close()
        await nowhere.aclose(close_connection_pool=True)
        invalidator._cache, invalidator._link = reachable


async def test_a_page_that_could_not_be_invalidated_is_never_served_again(
    make_service: MakeService, breakable_servers: Servers
) -> None:
    service = await make_service(on=breakable_servers)
    other = await make_service(settings=service.settings, with_worker=False)
    await in_use(service, other)
    here, there = service.alice, other.as_user(service.alice.id, "alice")
    task = await create_task(here)
    assert (await here.get("/tasks")).items == (await there.get("/tasks")).items == [task]
    async with unreachable_for_the_worker(service):
        changed = await here.patch(f"/tasks/{task['id']}", {"priority": 1})
        assert changed.status == 200
        # The old page still lies in the cache, which both processes can reach.
        for client in (here, there):
            assert (await client.get("/tasks")).items == [changed.json]
        async with service.queue() as queue:
            assert await queue.exists(SUSPECT_FLAG)
    for client in (here, there):
        assert (await client.get("/tasks")).items == [changed.json]
    late = await make_service(settings=service.settings, with_worker=False)
    assert (await late.as_user(here.id, "alice").get("/tasks")).items == [changed.json]
    assert await cached_keys(service) != []
    assert await service.worker.services.invalidator.empty_if_suspect()
    await in_use(service, other, late)
    assert await cached_keys(service) == []
    for client in (here, there):
        assert (await client.get("/tasks")).items == [changed.json]
    assert await cached_keys(service) != []


async def test_the_flag_stays_up_while_the_cache_cannot_be_emptied(
    make_service: MakeService, breakable_servers: Servers
) -> None:
    service = await make_service(on=breakable_servers)
    invalidator: CacheInvalidator = service.worker.services.invalidator
    await invalidator.distrust_everything()
    assert service.app[CACHE].suspect
    await stop(breakable_servers.cache)
    assert not await invalidator.empty_if_suspect()
    assert service.app[CACHE].suspect
    await breakable_servers.start_all()
    assert await eventually(invalidator.empty_if_suspect)
    await in_use(service)


async def test_maintenance_takes_the_flag_down(make_service: MakeService) -> None:
    service = await make_service(queues=("writes", "maintenance"))
    await service.worker.services.invalidator.distrust_everything()
    assert service.app[CACHE].suspect
    await in_use(service)


async def test_a_process_that_cannot_watch_the_flag_passes_the_cache_by(
    make_service: MakeService, breakable_servers: Servers
) -> None:
    service = await make_service(on=breakable_servers)
    await in_use(service)
    task = await create_task(service.alice)
    await service.alice.get("/tasks")
    async with away(breakable_servers.queue):

        async def suspects() -> bool:
            return service.app[CACHE].suspect

        await eventually(suspects)
        await service.rows("UPDATE tasks SET title = 'changed' WHERE id = $1", task["id"])
        assert (await service.alice.get("/tasks")).items[0]["title"] == "changed"
    await in_use(service)


async def test_without_the_database_cached_pages_are_served_and_others_are_503(
    make_service: MakeService, breakable_servers: Servers
) -> None:
    service = await make_service(on=breakable_servers, WRITE_WAIT_SECONDS="0.3")
    await in_use(service)
    task = await create_task(service.alice)
    page = (await service.alice.get("/tasks")).json
    async with away(breakable_servers.postgres):
        assert (await service.alice.get("/tasks")).json == page
        other = await service.alice.get("/tasks?limit=7")
        assert other.status == 503
        assert int(other.headers["Retry-After"]) > 0
        assert other.json["type"] == "/problems/database-unavailable"
        accepted: Any = await service.alice.patch(f"/tasks/{task['id']}", {"priority": 1})
        assert accepted.status == 202
        assert (await service.alice.get(accepted.headers["Location"])).json["state"] == "queued"

    async def done() -> bool:
        return bool((await service.alice.get(accepted.headers["Location"])).json["state"] == "succeeded")

    await eventually(done, timeout=20)
    assert (await service.alice.get("/tasks")).items[0]["priority"] == 1


async def test_without_the_queue_reads_go_on_and_writes_are_503(
    make_service: MakeService, breakable_servers: Servers
) -> None:
    service = await make_service(on=breakable_servers)
    task = await create_task(service.alice)
    async with away(breakable_servers.queue):
        assert (await service.alice.get("/tasks")).items == [task]
        for headers in ({}, {"Prefer": "respond-async"}, {"Prefer": "wait=1"}):
            refused = await service.alice.post("/tasks", {"title": "x"}, headers=headers)
            assert refused.status == 503
            assert int(refused.headers["Retry-After"]) > 0
            assert refused.json["type"] == "/problems/queue-unavailable"
        assert (await service.alice.get("/tasks")).items == [task]

    async def works() -> bool:
        return (await service.alice.post("/tasks", {"title": "again"})).status == 201

    await eventually(works)
    titles = [found["title"] for found in (await service.alice.get("/tasks")).items]
    assert "x" not in titles

"""One user with very large requests, and what others notice of them."""

import asyncio
import itertools
import secrets
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
import asyncpg

from core import clock
from core.channels.schemas import EVENTS
from core.channels.signatures import Secret
from core.encryption import SecretBox
from ops.bench.bulk import as_user, new_user
from ops.bench.client import percentile
from ops.bench.rig import Process, Rig
from ops.bench.sample import Sample
from ops.faults import Fault

BATCH_OPERATIONS = 1000
BATCHES_WAITING = 4
FILE_ROWS = 20_000
CHANNELS = 50
REMINDERS = 20
LOOK_SECONDS = 0.05
PATIENCE_SECONDS = 120.0
PASSWORD = "correct horse battery staple"  # noqa: S105 of users of the benchmark's own database

_CHANNELS = """
INSERT INTO channels (user_id, kind, url_encrypted, url_masked, secrets_encrypted, events)
SELECT $1, 'webhook', $2, 'http://127.0.0.1/***', ARRAY[$3::bytea], $4 FROM generate_series(1, $5::integer)
"""

Ask = Callable[[aiohttp.ClientSession], Awaitable[None]]


def _creations(title: str) -> list[dict[str, Any]]:
    return [
        {"op": "create", "fields": {"title": f"{title} ({number})", "due_date": "2099-01-01T00:00:00Z"}}
        for number in range(BATCH_OPERATIONS)
    ]


# -- the neighbour who asks for much --------------------------------------------------------------------------


@contextmanager
def busy_neighbour(rig: Rig, api: Process) -> Iterator[None]:
    """One user sends batches of 1,000, imports and exports without a pause: always some of each wait.

    Raises:
        Fault: one of them was refused, or not one batch was carried out meanwhile.
    """
    stop = threading.Event()
    faults: list[Exception] = []
    batches = itertools.count()

    def run() -> None:
        try:
            asyncio.run(_ask_for_much(rig, api, stop, batches))
        except Exception as error:
            faults.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        time.sleep(1.0)
        yield
    finally:
        stop.set()
        thread.join(PATIENCE_SECONDS)
    if faults:
        raise faults[0]
    if not next(batches):
        raise Fault("no batch was carried out beside the creates")


async def _ask_for_much(rig: Rig, api: Process, stop: threading.Event, batches: "itertools.count[int]") -> None:
    user = await new_user(rig)
    rows = "title\n" + "".join(f"a row ({number})\n" for number in range(FILE_ROWS))

    async def batch(client: aiohttp.ClientSession) -> None:
        body = {"operations": _creations("of a batch")}
        await _watch(client, await _order(client, "/tasks/batch", json=body, headers={"Prefer": "respond-async"}))
        next(batches)

    async def import_file(client: aiohttp.ClientSession) -> None:
        path = await _order(client, "/imports", params={"format": "tenfold-csv"}, data=rows.encode())
        await _watch(client, path)

    async def export(client: aiohttp.ClientSession) -> None:
        path = await _order(client, "/exports", json={"format": "csv"})
        await _watch(client, path)
        async with client.delete(path):
            pass

    async def again(ask: Ask, client: aiohttp.ClientSession) -> None:
        while not stop.is_set():
            await ask(client)

    async with as_user(rig, api, user) as client:
        await asyncio.gather(*(again(batch, client) for _ in range(BATCHES_WAITING)), again(import_file, client),
                             again(export, client))  # fmt: skip


async def _order(client: aiohttp.ClientSession, path: str, **request: Any) -> str:
    async with client.post(path, **request) as answer:
        if answer.status != 202:
            raise Fault(f"{path} was answered {answer.status}: {await answer.text()}")
        return answer.headers["Location"]


async def _watch(client: aiohttp.ClientSession, path: str) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        async with client.get(path) as answer:
            job: dict[str, Any] = await answer.json()
        if job.get("state") not in ("queued", "processing"):
            return job
        await asyncio.sleep(LOOK_SECONDS)
    raise Fault(f"{path} did not end within {PATIENCE_SECONDS:g} seconds")


def logins(rig: Rig, api: Process, *, count: int) -> Sample:
    """Logins one after the other, of a user who is not busy."""
    return asyncio.run(_logins(rig, api, count))


async def _logins(rig: Rig, api: Process, count: int) -> Sample:
    seconds: list[float] = []
    errors: dict[str, int] = {}
    name = f"login-{time.time_ns()}"
    async with aiohttp.ClientSession(f"http://127.0.0.1:{api.port}") as client:
        account = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
        async with client.post("/auth/register", json=account) as answer:
            if answer.status != 201:
                raise Fault(f"a registration was answered {answer.status}: {await answer.text()}")
        for _ in range(count):
            started = time.perf_counter()
            async with client.post("/auth/login", json={"username": name, "password": PASSWORD}) as answer:
                if answer.status != 200:
                    errors[f"status {answer.status}"] = errors.get(f"status {answer.status}", 0) + 1
                await answer.read()
            seconds.append(time.perf_counter() - started)
    seconds.sort()
    return Sample(
        rate=count / sum(seconds),
        p50_ms=percentile(seconds, 50) * 1000,
        p99_ms=percentile(seconds, 99) * 1000,
        longest_ms=seconds[-1] * 1000,
        errors=errors,
    )


# -- the largest batches --------------------------------------------------------------------------------------


def batch_of_new_tasks(rig: Rig, api: Process) -> Sample:
    """1,000 new tasks of a user with 50 channels that want all events, and 20 reminders each."""
    return asyncio.run(_largest(rig, api, lambda _: _creations("new")))


def batch_of_one_task(rig: Rig, api: Process) -> Sample:
    """1,000 changes of one task with 20 reminders, in turn completed and opened, of a user with 50 channels."""

    def operations(task: int) -> list[dict[str, Any]]:
        states = itertools.cycle(("completed", "pending"))
        return [
            {"op": "update", "id": task, "fields": {"title": f"number {number}", "status": next(states)}}
            for number in range(BATCH_OPERATIONS)
        ]

    return asyncio.run(_largest(rig, api, operations))


async def _largest(rig: Rig, api: Process, operations: Callable[[int], list[dict[str, Any]]]) -> Sample:
    user = await new_user(rig)
    connection = await asyncpg.connect(rig.database_url)
    try:
        offsets = [f"PT{minutes}M" for minutes in range(1, REMINDERS + 1)]
        await connection.execute("UPDATE users SET reminder_offsets = $2 WHERE id = $1", user, offsets)
        box = SecretBox.of(rig.settings)
        secret = Secret.of(secrets.token_bytes(32), clock.now()).dump()
        await connection.execute(
            _CHANNELS,
            user,
            box.seal("http://127.0.0.1:9/", user_id=user, purpose="url"),
            box.seal(secret, user_id=user, purpose="secret"),
            list(EVENTS),
            CHANNELS,
        )
        task = await connection.fetchval(
            "INSERT INTO tasks (user_id, title, due_date) VALUES ($1, 'one', '2099-01-01') RETURNING id", user
        )
        body = {"operations": operations(task)}
        async with as_user(rig, api, user) as client:
            started = time.perf_counter()
            async with client.post("/tasks/batch", json=body) as answer:
                status, content = answer.status, await answer.json()
            if status == 202:
                content = (await _watch(client, answer.headers["Location"]))["result"]
            seconds = time.perf_counter() - started
        # Nothing is delivered: what is measured ends with the answer, and later rows shall not find it.
        await connection.execute("DELETE FROM events WHERE user_id = $1", user)
        await connection.execute("DELETE FROM users WHERE id = $1", user)
    finally:
        await connection.close()
    refused = sum(result["status"] >= 400 for result in content["results"])
    return Sample(
        rate=BATCH_OPERATIONS / seconds, seconds=seconds, errors={"operations refused": refused} if refused else {}
    )

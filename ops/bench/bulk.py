"""Imports and exports of many rows, beside PostgreSQL's own COPY of the same rows."""

import asyncio
import random
import secrets
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import orjson

from api.tokens import Tokens
from core import clock
from ops.bench.dataset import KINDS, NULL, SEED, quoted
from ops.bench.rig import HOST, Process, Rig
from ops.bench.sample import Sample
from ops.dev.demo import demo_tasks
from ops.faults import Fault

FIELDS = ("title", "description", "priority", "status", "due_date")
CHUNK_ROWS = 5000
LOOK_SECONDS = 0.2
LONGEST_SECONDS = 1800.0
UPLOAD_CHUNK = 1 << 20
FINAL_STATES = frozenset({"succeeded", "failed", "cancelled", "rejected"})


def tasks(count: int) -> Iterator[dict[str, Any]]:
    """Five fields of realistic lengths; the same at each call."""
    dice = random.Random(SEED)
    kinds = [{name: task[name] for name in FIELDS} for task in demo_tasks(KINDS, clock.now(), seed=SEED)]
    for number in range(count):
        kind = dice.choice(kinds)
        yield {**kind, "title": f"{kind['title']} ({number})"}


def ndjson_lines(count: int) -> Iterator[bytes]:
    for task in tasks(count):
        yield orjson.dumps(task, option=orjson.OPT_APPEND_NEWLINE)


def csv_lines(count: int) -> Iterator[bytes]:
    yield ",".join(FIELDS).encode() + b"\n"
    for task in tasks(count):
        yield ",".join(_cell(task[name]) for name in FIELDS).encode() + b"\n"


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in ',"\r\n') else text


LINES = {"tenfold-ndjson": ndjson_lines, "tenfold-csv": csv_lines}


def _file(rig: Rig, form: str, count: int) -> Path:
    path = rig.home.folder / f"rows-{count}.{form.removeprefix('tenfold-')}"
    with path.open("wb", buffering=1 << 20) as file:
        file.writelines(LINES[form](count))
    return path


# -- what PostgreSQL does -------------------------------------------------------------------------------------


def copy_in(rig: Rig, count: int) -> float:
    """Rows a second of one COPY of the rows into `tasks`, with its partitions, indexes and constraints."""
    return asyncio.run(_copy_in(rig, count))


async def _copy_in(rig: Rig, count: int) -> float:
    user = await new_user(rig)
    now = clock.now().isoformat()

    async def lines() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    chunks = _copy_chunks(user, now, count)
    connection = await asyncpg.connect(rig.database_url)
    try:
        started = time.perf_counter()
        await connection.copy_to_table(
            "tasks",
            source=lines(),
            columns=("user_id", *FIELDS, "completed_at"),
            format="text",
            timeout=LONGEST_SECONDS,
        )
        return count / (time.perf_counter() - started)
    finally:
        await connection.close()


def _copy_chunks(user: int, now: str, count: int) -> list[bytes]:
    """Made before the clock starts: PostgreSQL alone is measured."""
    chunks: list[bytes] = []
    lines: list[str] = []
    for task in tasks(count):
        completed = now if task["status"] == "completed" else NULL
        lines.append("\t".join([str(user), *(quoted(task[name]) for name in FIELDS), completed]) + "\n")
        if len(lines) == CHUNK_ROWS:
            chunks.append("".join(lines).encode())
            lines.clear()
    chunks.append("".join(lines).encode())
    return chunks


def copy_out(rig: Rig, count: int) -> float:
    """Rows a second of one COPY of a user's tasks to a client."""
    return asyncio.run(_copy_out(rig, count))


async def _copy_out(rig: Rig, count: int) -> float:
    user = await _user_with(rig, count)

    async def forget(_data: bytes) -> None:
        """Takes the rows and drops them."""

    connection = await asyncpg.connect(rig.database_url)
    try:
        started = time.perf_counter()
        status = await connection.copy_from_query(
            "SELECT * FROM tasks WHERE user_id = $1", user, output=forget, format="csv", timeout=LONGEST_SECONDS
        )
        return int(status.rpartition(" ")[2]) / (time.perf_counter() - started)
    finally:
        await connection.close()


async def new_user(rig: Rig) -> int:
    """A user who has nothing."""
    connection = await asyncpg.connect(rig.database_url)
    try:
        name = f"bulk-{secrets.token_hex(6)}"
        return int(
            await connection.fetchval(
                "INSERT INTO users (username, email, password_hash) VALUES ($1, $1, 'none') RETURNING id", name
            )
        )
    finally:
        await connection.close()


async def _user_with(rig: Rig, count: int) -> int:
    """A user who has `count` tasks, from an earlier row or from a COPY that is not measured."""
    connection = await asyncpg.connect(rig.database_url)
    try:
        user = await connection.fetchval(
            "SELECT user_id FROM tasks JOIN users ON users.id = user_id WHERE username LIKE 'bulk-%' "
            "GROUP BY user_id HAVING count(*) = $1 LIMIT 1",
            count,
            timeout=LONGEST_SECONDS,
        )
    finally:
        await connection.close()
    if user is not None:
        return int(user)
    await _copy_in(rig, count)
    return await _user_with(rig, count)


# -- what we do -----------------------------------------------------------------------------------------------


def import_rows(rig: Rig, api: Process, bulk: Process, form: str, count: int) -> Sample:
    """One import, from its job's start to its end; the memory is the bulk worker's highest."""
    path = _file(rig, form, count)
    try:
        job, memory = asyncio.run(_import(rig, api, bulk, form, path))
    finally:
        path.unlink()
    errors = {} if job["created"] == count else {"rows not created": count - job["created"]}
    return Sample(rate=count / _seconds(job), memory_mb=memory, errors=errors, created=job["created"])


async def _import(rig: Rig, api: Process, bulk: Process, form: str, path: Path) -> tuple[dict[str, Any], float]:
    user = await new_user(rig)

    async def content() -> AsyncIterator[bytes]:
        with path.open("rb") as file:
            while chunk := file.read(UPLOAD_CHUNK):
                yield chunk

    async with as_user(rig, api, user) as client:
        async with client.post("/imports", params={"format": form}, data=content()) as answer:
            if answer.status != 202:
                raise Fault(f"an import was answered {answer.status}: {await answer.text()}")
            job = await answer.json()
        return await ended(client, f"/imports/{job['id']}", bulk)


def export_rows(rig: Rig, api: Process, bulk: Process, form: str, count: int) -> Sample:
    """One export of as many tasks, from its job's start to its end; the memory is the bulk worker's highest."""
    job, memory = asyncio.run(_export(rig, api, bulk, form, count))
    errors = {} if job["rows"] == count else {"rows not exported": count - job["rows"]}
    return Sample(rate=count / _seconds(job), memory_mb=memory, errors=errors)


async def _export(rig: Rig, api: Process, bulk: Process, form: str, count: int) -> tuple[dict[str, Any], float]:
    user = await _user_with(rig, count)
    async with as_user(rig, api, user) as client:
        async with client.post("/exports", json={"format": form}) as answer:
            if answer.status != 202:
                raise Fault(f"an export was answered {answer.status}: {await answer.text()}")
            job = await answer.json()
        return await ended(client, f"/exports/{job['id']}", bulk)


def as_user(rig: Rig, api: Process, user: int) -> aiohttp.ClientSession:
    """A client with the user's token."""
    token = Tokens(rig.settings).issue_access(user, "user", token_id=secrets.token_hex(16), issued_at=clock.now())
    return aiohttp.ClientSession(
        f"http://{HOST}:{api.port}",
        headers={"Authorization": f"Bearer {token}"},
        timeout=aiohttp.ClientTimeout(total=LONGEST_SECONDS),
    )


async def ended(client: aiohttp.ClientSession, path: str, bulk: Process) -> tuple[dict[str, Any], float]:
    """The job when it has ended, and the worker's highest memory until then.

    Raises:
        Fault: it did not succeed.
    """
    deadline = time.monotonic() + LONGEST_SECONDS
    memory = bulk.memory_mb
    while time.monotonic() < deadline:
        async with client.get(path) as answer:
            job: dict[str, Any] = await answer.json()
        memory = max(memory, bulk.memory_mb)
        if job.get("state") in FINAL_STATES:
            if job["state"] != "succeeded":
                raise Fault(f"{path} is {job['state']}: {job['error']}")
            return job, memory
        await asyncio.sleep(LOOK_SECONDS)
    raise Fault(f"{path} did not end within {LONGEST_SECONDS:g} seconds")


def _seconds(job: dict[str, Any]) -> float:
    started, finished = (datetime.fromisoformat(job[name]) for name in ("started_at", "finished_at"))
    return (finished - started).total_seconds()


@contextmanager
def importing(rig: Rig, api: Process, bulk: Process, form: str, count: int) -> Iterator[None]:
    """Runs an import beside the body; the measurement counts only if the import lasted longer.

    Raises:
        Fault: it had ended before.
    """
    path = _file(rig, form, count)
    faults: list[Exception] = []

    def run() -> None:
        try:
            asyncio.run(_import(rig, api, bulk, form, path))
        except Exception as error:
            faults.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        asyncio.run(_until_rows_arrive(rig, thread))
        yield
        if not thread.is_alive():
            raise faults[0] if faults else Fault("the import beside which creates were measured was over before them")
    finally:
        thread.join(LONGEST_SECONDS)
        path.unlink()


async def _until_rows_arrive(rig: Rig, importing: threading.Thread) -> None:
    connection = await asyncpg.connect(rig.database_url)
    try:
        while importing.is_alive():
            if await connection.fetchval(
                "SELECT EXISTS (SELECT FROM imports JOIN jobs USING (id) WHERE state = 'processing' AND rows_read > 0)"
            ):
                return
            await asyncio.sleep(LOOK_SECONDS)
    finally:
        await connection.close()
    # Whoever started the import tells its fault.

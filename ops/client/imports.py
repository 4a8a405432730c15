"""`tenfold import`: sends files, watches them being imported, and tells what became of their rows."""

import asyncio
import json
import os
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from aiohttp import Payload
from aiohttp.abc import AbstractStreamWriter
from rich.progress import Progress, TaskID
from rich.text import Text

from ops.client.bars import byte_bars, console, row_bars, say
from ops.client.files import STANDARD, rewindable, whole_or_not_at_all
from ops.client.import_reports import OUTCOMES, counted, tell, tell_notices, tell_preview, tell_undone
from ops.client.server import PIECE_BYTES, Refused, Server
from ops.faults import FAILED, Fault, complain

_POLL = {"Prefer": "wait=2"}
# Not one file is at fault, but who sends them.
_ENDS_ALL = frozenset({401, 403})


@dataclass(frozen=True, slots=True)
class Sending:
    """How files are imported.

    Attributes:
        options: query parameters of `POST /imports`.
        watch: whether to wait until each has ended.
        errors: where rows that failed go, in their own format: of several files a folder; None: nowhere.
    """

    options: Mapping[str, str] = field(default_factory=dict)
    watch: bool = True
    errors: str | None = None


async def import_files(server: Server, sources: Sequence[str], sending: Sending) -> int:
    """Imports files, one after the other; of several each is told in a line.

    Args:
        server: entered.
        sources: paths, or `-` for standard input.
        sending: how.

    Returns:
        The exit status: 1 where rows failed, or an import did.
    """
    if len(sources) == 1:
        begun = await _begin(server, sources[0], sending)
        return 0 if begun is None else await follow(server, begun, errors=sending.errors)
    total = dict.fromkeys(OUTCOMES, 0)
    failed = 0
    for source in sources:
        try:
            ended = await _import_one_of_many(server, source, sending)
        except Refused as refused:
            if refused.status in _ENDS_ALL:
                raise
            complain(f"{source}: {refused}")
            failed += 1
            continue
        if ended is None:
            continue
        failed += ended["state"] != "succeeded" or bool(ended["failed"])
        for name in OUTCOMES:
            total[name] += ended.get(name, 0)
    if sending.watch:
        console.print(Text(f"{len(sources)} files: {counted(total)}", style="bold"))
    if failed:
        console.print(Text(f"{failed} of them not without faults", style="red"))
    return FAILED if failed else 0


async def _import_one_of_many(server: Server, source: str, sending: Sending) -> dict[str, Any] | None:
    """Imports a file and tells of it in a line; None where nobody waits for its end."""
    import_id = await _begin(server, source, sending)
    if import_id is None:
        return None
    ended = await _followed(server, import_id)
    trial = "would be " if ended["dry_run"] else ""
    console.print(Text(f"{source}: {trial}{counted(ended)} ({ended['format']}, import {import_id})"))
    await tell_notices(server, ended)
    if ended["dry_run"]:
        await tell_preview(server, ended)
    if sending.errors is not None and ended["failed"]:
        await _fetch_failed(server, ended, str(Path(sending.errors) / Path(source).name))
    if ended["state"] != "succeeded":
        complain(f"{source}: {_why_not(ended)}")
    return ended


async def _begin(server: Server, source: str, sending: Sending) -> str | None:
    """Sends a file; returns the import's id, or prints it where nobody waits for its end."""
    with rewindable(source) as file:
        begun = await _send(server, file, source, sending.options)
    import_id: str = begun["id"]
    if sending.watch:
        return import_id
    say(_goes_on(server, import_id))
    print(import_id)
    return None


async def follow(server: Server, import_id: str, *, errors: str | None) -> int:
    """Watches an import until it has ended, and tells what became of it; else as `import_files`."""
    ended = await _followed(server, import_id)
    await tell(server, ended)
    if errors is not None and ended["failed"]:
        await _fetch_failed(server, ended, errors)
    if ended["state"] != "succeeded":
        raise Fault(_why_not(ended))
    return FAILED if ended["failed"] else 0


async def undo(server: Server, import_id: str) -> int:
    """Takes an import back, and tells what went and what is left; returns the exit status."""
    headers = {"Idempotency-Key": str(uuid.uuid4()), "Prefer": "respond-async"}
    job = await server.ask("DELETE", f"/imports/{import_id}/tasks", headers=headers)
    address = f"/jobs/{job['id']}"
    with row_bars(with_estimates=False) as bars:
        task = bars.add_task("taking back", total=None, counts="")
        while job["finished_at"] is None:
            job = await server.ask("GET", address, headers=_POLL)
            progress = job["progress"] or {"done": 0, "total": None}
            bars.update(task, completed=progress["done"], total=progress["total"], counts=f"{progress['done']:,} tasks")
    if job["result"] is None:
        raise Fault((job["error"] or {}).get("detail") or f"the import could not be taken back: {job['state']}")
    await tell_undone(server, job["result"])
    return 0


async def _followed(server: Server, import_id: str) -> dict[str, Any]:
    try:
        return await _watched(server, import_id)
    except Refused:  # there is no such import, or it is not the caller's
        raise
    except (asyncio.CancelledError, Fault):
        say(_goes_on(server, import_id))
        raise


async def _fetch_failed(server: Server, ended: Mapping[str, Any], output: str) -> None:
    with whole_or_not_at_all(output) as file:
        await server.fetch(f"/imports/{ended['id']}/errors/file", file, headers={})


def _why_not(ended: Mapping[str, Any]) -> str:
    error = ended["error"] or {}
    return f"the import {ended['state']}" + (f": {error['detail']}" if error.get("detail") else "")


def mapping_of(given: str) -> str:
    """A mapping as one line of JSON, from itself or from the file that holds it.

    Raises:
        Fault: it is no JSON object, or the file cannot be read.
    """
    text = given
    if not given.lstrip().startswith("{"):
        try:
            text = Path(given).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise Fault(f"the mapping {given} cannot be read: {error}") from None
    try:
        mapping = json.loads(text)
    except ValueError as error:
        raise Fault(f"the mapping is no JSON: {error}") from None
    if not isinstance(mapping, dict):
        raise Fault("the mapping is no JSON object")
    return json.dumps(mapping, ensure_ascii=False, separators=(",", ":"))


def _goes_on(server: Server, import_id: str) -> str:
    return (
        f"The import goes on without you. Watch it with:\n  tenfold import --id {import_id}\n"
        f"or cancel it with:\n  curl -X DELETE {server.url}/imports/{import_id} -H 'Authorization: Bearer …'"
    )


# -- sending --------------------------------------------------------------------------------------------------


class _Upload(Payload):
    """A file as the body of a request, shown as it goes."""

    def __init__(self, file: BinaryIO, size: int, bars: Progress, task: TaskID) -> None:
        super().__init__(file, content_type="application/octet-stream")
        self._size = size
        self._bars = bars
        self._task = task

    async def write(self, writer: AbstractStreamWriter) -> None:
        self._value.seek(0)
        self._bars.update(self._task, completed=0)
        async for piece in self._pieces():
            await writer.write(piece)
            self._bars.update(self._task, advance=len(piece))

    async def _pieces(self) -> AsyncIterator[bytes]:
        while piece := await asyncio.to_thread(self._value.read, PIECE_BYTES):
            yield piece

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        raise TypeError("a file is not held in memory")


async def _send(server: Server, file: BinaryIO, source: str, options: Mapping[str, str]) -> dict[str, Any]:
    """Sends the file, again under the same key where the connection is lost: it is imported once."""
    size = os.fstat(file.fileno()).st_size
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    if source != STANDARD:
        headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(Path(source).name, safe='')}"
    with byte_bars() as bars:
        task = bars.add_task("sending", total=size)

        async def once() -> Any:
            body = _Upload(file, size, bars, task)
            async with server.opened("POST", "/imports", headers=headers, params=options, data=body) as response:
                return await response.json(content_type=None)

        begun: dict[str, Any] = await server.persistently(once)
    return begun


# -- watching -------------------------------------------------------------------------------------------------


async def _watched(server: Server, import_id: str) -> dict[str, Any]:
    """The import when it has ended."""
    with row_bars(with_estimates=False) as bars:
        task = bars.add_task("importing", total=None, counts="")
        while True:
            current: dict[str, Any] = await server.ask("GET", f"/imports/{import_id}", headers=_POLL)
            bars.update(task, completed=current["read"], total=_expected(current), counts=_counts(current))
            if current["finished_at"] is not None:
                return current


def _expected(current: Mapping[str, Any]) -> float | None:
    """How many rows there will be, as far as the server can tell: how long they still take, at their speed."""
    if current.get("eta_seconds") is None or not current.get("rows_per_second"):
        return None
    return float(current["read"] + current["eta_seconds"] * current["rows_per_second"])


def _counts(current: Mapping[str, Any]) -> str:
    shown = [counted(current)]
    if current.get("rows_per_second"):
        shown.append(f"{current['rows_per_second']:,.0f}/s")
    if current.get("eta_seconds"):
        shown.append(f"{timedelta(seconds=current['eta_seconds'])} left")
    return ", ".join(shown)

"""`tenfold import`: sends a file, watches it being imported, and tells what became of its rows."""

import asyncio
import json
import os
import uuid
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from aiohttp import Payload
from aiohttp.abc import AbstractStreamWriter
from rich.progress import Progress, TaskID

from ops.client.bars import byte_bars, console, row_bars, say, summary
from ops.client.files import STANDARD, rewindable, whole_or_not_at_all
from ops.client.server import PIECE_BYTES, Refused, Server
from ops.faults import FAILED, Fault

_POLL = {"Prefer": "wait=2"}
_OUTCOMES = ("read", "created", "updated", "skipped", "failed", "warned")


async def import_file(
    server: Server, source: str, options: Mapping[str, str], *, watch: bool, errors: str | None
) -> int:
    """Imports a file.

    Args:
        server: entered.
        source: a path, or `-` for standard input.
        options: query parameters of `POST /imports`.
        watch: whether to wait until it has ended.
        errors: where the rows that failed go, in their own format; None: nowhere.

    Returns:
        The exit status: 1 where rows failed, or the import did.
    """
    with rewindable(source) as file:
        begun = await _send(server, file, source, options)
    import_id = begun["id"]
    if not watch:
        say(_goes_on(server, import_id))
        print(import_id)
        return 0
    return await follow(server, import_id, errors=errors)


async def follow(server: Server, import_id: str, *, errors: str | None) -> int:
    """Watches an import until it has ended, and tells what became of it; else as `import_file`."""
    try:
        ended = await _watched(server, import_id)
    except Refused:  # there is no such import, or it is not the caller's
        raise
    except (asyncio.CancelledError, Fault):
        say(_goes_on(server, import_id))
        raise
    _tell(ended)
    if errors is not None and ended["failed"]:
        with whole_or_not_at_all(errors) as file:
            await server.fetch(f"/imports/{import_id}/errors/file", file, headers={})
    if ended["state"] != "succeeded":
        error = ended["error"] or {}
        raise Fault(f"the import {ended['state']}" + (f": {error['detail']}" if error.get("detail") else ""))
    return FAILED if ended["failed"] else 0


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
    shown = [f"{current[name]:,} {name}" for name in _OUTCOMES if current[name] or name == "read"]
    if current.get("rows_per_second"):
        shown.append(f"{current['rows_per_second']:,.0f}/s")
    if current.get("eta_seconds"):
        shown.append(f"{timedelta(seconds=current['eta_seconds'])} left")
    return ", ".join(shown)


def _tell(ended: Mapping[str, Any]) -> None:
    rows: list[tuple[str, object]] = [("import", ended["id"]), ("format", ended["format"] or "unknown")]
    if ended["dry_run"]:
        rows.append(("dry run", "nothing was changed"))
    rows += [(name, ended[name]) for name in _OUTCOMES]
    rows += [(f"passed over: {reason}", count) for reason, count in (ended.get("ignored") or {}).items()]
    summary(rows)
    if ended["dry_run"] and ended.get("mapping"):
        console.print("The columns were taken so; change it, and give it with --mapping:")
        print(json.dumps(ended["mapping"], ensure_ascii=False, indent=2))

"""`tenfold export`: orders an export, waits for it, and fetches the file, going on where a connection broke."""

import asyncio
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from rich.progress import Progress, TaskID

from core.exports.schemas import FORMATS
from ops.client.bars import byte_bars, row_bars, say, summary
from ops.client.files import whole_or_not_at_all
from ops.client.server import PIECE_BYTES, Server
from ops.faults import Fault

_POLL = {"Prefer": "wait=2"}


def format_of(output: str, named: str | None) -> str:
    """The format that was named, else the one that the file's name ends in.

    Raises:
        Fault: neither tells.
    """
    known = ", ".join(FORMATS)
    if named is not None:
        if named not in FORMATS:
            raise Fault(f"there is no format {named}: choose from {known}")
        return named
    extension = Path(output).suffix.removeprefix(".").lower()
    found = [name for name, form in FORMATS.items() if form.extension == extension]
    if not found:
        raise Fault(f"which format? Give --format, one of {known}, or a file that ends in .csv, .ndjson, .json or .ics")
    return found[0]


async def export(server: Server, output: str, export_format: str, filters: Mapping[str, Any]) -> int:
    """Writes the caller's tasks to a file.

    Args:
        server: entered.
        output: a path, or `-` for standard output. The file appears when it is whole.
        export_format: a key of `FORMATS`.
        filters: of `POST /exports`.

    Returns:
        The exit status.
    """
    key = {"Idempotency-Key": str(uuid.uuid4())}
    ordered = await server.ask("POST", "/exports", headers=key, json={"format": export_format, **filters})
    return await resume(server, output, ordered["id"])


async def resume(server: Server, output: str, export_id: str) -> int:
    """Waits for an export that was ordered before, and fetches its file; else as `export`."""
    try:
        finished = await _watched(server, export_id)
        if finished["state"] != "succeeded":
            raise Fault(_why_not(finished))
        await _fetch(server, finished, output)
    except asyncio.CancelledError:
        say(
            f"The export goes on without you. Fetch it with:\n  tenfold export --id {export_id} -o {output}\n"
            f"or cancel it with:\n  curl -X DELETE {server.url}/exports/{export_id} -H 'Authorization: Bearer …'"
        )
        raise
    summary([("exported", finished["rows"]), ("bytes", finished["bytes"]), ("file", output)])
    return 0


def _why_not(finished: Mapping[str, Any]) -> str:
    error = finished["error"] or {}
    return f"the export {finished['state']}" + (f": {error['detail']}" if error.get("detail") else "")


async def _watched(server: Server, export_id: str) -> dict[str, Any]:
    """The export when it has ended."""
    with row_bars(with_estimates=True) as bars:
        task = bars.add_task("exporting", total=None, counts="")
        while True:
            current: dict[str, Any] = await server.ask("GET", f"/exports/{export_id}", headers=_POLL)
            progress = current["progress"] or {"done": 0, "total": None}
            counts = f"{progress['done']:,} tasks"
            bars.update(task, completed=progress["done"], total=progress["total"], counts=counts)
            if current["finished_at"] is not None:
                return current


async def _fetch(server: Server, finished: Mapping[str, Any], output: str) -> None:
    if finished["file"] is None:
        raise Fault("the file of this export is not kept any more: order a new one")
    with whole_or_not_at_all(output) as file, byte_bars() as bars:
        download = _Download(server, finished, file, bars, bars.add_task("fetching", total=finished["bytes"]))
        await server.persistently(download.attempt, has_moved_on=download.has_moved_on)


class _Download:
    """A file on its way, which goes on after each interruption where it was."""

    def __init__(
        self, server: Server, finished: Mapping[str, Any], file: BinaryIO, bars: Progress, task: TaskID
    ) -> None:
        self._server = server
        self._path = finished["file"]
        self._size = finished["bytes"]
        self._file = file
        self._bars = bars
        self._task = task
        self._etag = ""
        self._received = 0
        self._looked_at = 0

    async def attempt(self) -> None:
        if self._received == self._size > 0:  # the connection was lost behind the last byte
            return
        headers = {"Range": f"bytes={self._received}-", "If-Range": self._etag} if self._received else {}
        async with self._server.opened("GET", self._path, headers=headers) as response:
            if response.status == 200 and self._received:  # of another file than before
                self._file.seek(0)
                self._file.truncate()
                self._received = 0
            self._etag = response.headers["ETag"]
            async for piece in response.content.iter_chunked(PIECE_BYTES):
                self._file.write(piece)
                self._received += len(piece)
                self._bars.update(self._task, completed=self._received)

    def has_moved_on(self) -> bool:
        before, self._looked_at = self._looked_at, self._received
        return self._received > before

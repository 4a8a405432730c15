"""An import as its owner finds it, whether a worker has taken it up or not."""

from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

from api.long_jobs import find_job
from api.writes.submission import queued_job
from core.imports.queries import read_import
from core.jobs.queries import JobView


async def find_import(request: web.Request, import_id: str) -> JobView:
    """The caller's own import.

    Raises:
        Problem: 404, there is none.
        DatabaseUnavailable, QueueUnavailable: it cannot be told.
    """
    return await find_job(request, import_id, "import", read_import, queued_import)


def queued_import(import_id: str, created_at: str, payload: Mapping[str, Any]) -> bytes:
    """An import that nobody has taken up yet."""
    return orjson.dumps(
        {
            **queued_job(import_id, "import", created_at),
            "format": payload["format"],
            "filename": payload["filename"],
            "dry_run": payload["dry_run"],
            "on_conflict": payload["options"].get("on_conflict", "skip"),
            "bytes": payload["bytes"],
            "bytes_read": 0,
            "read": 0,
            "created": 0,
            "updated": 0,
            "skipped": 0,
            "failed": 0,
            "warned": 0,
            "rows_per_second": None,
            "eta_seconds": None,
            "ignored": {},
            "mapping": None,
        }
    )

"""Reads of exports: the caller's own, as finished JSON."""

from dataclasses import dataclass
from datetime import datetime

from core.database.read_pool import ReadPool
from core.database.reads import fetch_row
from core.identity import ME, MY_ID
from core.jobs.queries import JOB_COLUMNS_JSON, JobView, ListedJob, fetch_newest_first

_EXPORT_JSON = f"""
    (SELECT row_to_json(export)::text
     FROM   (SELECT {JOB_COLUMNS_JSON}, j.format, j.bom, j.filters, j.rows, j.bytes,
                    json_moment(CASE WHEN j.state = 'succeeded' THEN j.expires_at END)::json AS expires_at,
                    CASE WHEN j.state = 'succeeded' AND j.expires_at > now() THEN '/exports/' || j.id || '/file' END
                    AS file) AS export)
"""  # noqa: S608

_JOINED = f"""
    SELECT e.format, e.bom, e.filters, e.all_users, e.rows, e.bytes, e.expires_at, e.object, e.etag, jobs.*
    FROM   exports AS e JOIN jobs USING (id)
    WHERE  e.user_id = {MY_ID}
"""  # noqa: S608

_ONE = f"""
SELECT {_EXPORT_JSON} AS job, j.state
FROM   {ME},
       LATERAL ({_JOINED} AND e.id = $2::text::uuid LIMIT 1) AS j
"""  # noqa: S608

_FILE = f"""
SELECT j.state, j.format, j.all_users, j.object, j.etag, j.bytes, j.finished_at, j.expires_at <= now() AS is_expired
FROM   {ME},
       LATERAL ({_JOINED} AND e.id = $2::text::uuid LIMIT 1) AS j
"""  # noqa: S608

_LIST = f"""
SELECT j.id::text, j.created_at::text, {_EXPORT_JSON} AS job
FROM   {ME},
       LATERAL ({_JOINED}
                AND    ($2::text IS NULL OR (jobs.created_at, jobs.id) < ($2::text::timestamptz, $3::text::uuid))
                ORDER  BY jobs.created_at DESC, jobs.id DESC
                LIMIT  $4) AS j
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class ExportFile:
    """Where an export's file lies and what is known of it.

    Attributes:
        state: of the export; the rest is known once it has succeeded.
        all_users: whether it holds everybody's tasks, which is for admins.
        is_expired: whether its time is over, or it was given up.
    """

    state: str
    format: str
    all_users: bool
    object: str | None
    etag: str | None
    bytes: int | None
    finished_at: datetime | None
    is_expired: bool


async def read_export(pool: ReadPool, user_id: int, export_id: str) -> JobView | None:
    """The user's own export; None where there is no row (yet).

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    row = await fetch_row(pool, _ONE, pool.identities.user(user_id), export_id)
    return None if row is None else JobView(row["job"], row["state"], "export")


async def read_export_file(pool: ReadPool, user_id: int, export_id: str) -> ExportFile | None:
    """Where the file of the user's own export lies; None where there is no such export.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    row = await fetch_row(pool, _FILE, pool.identities.user(user_id), export_id)
    if row is None:
        return None
    return ExportFile(
        row["state"],
        row["format"],
        row["all_users"],
        row["object"],
        row["etag"],
        row["bytes"],
        row["finished_at"],
        bool(row["is_expired"]),
    )


async def list_exports(pool: ReadPool, user_id: int, *, after: tuple[str, str] | None, limit: int) -> list[ListedJob]:
    """The user's own exports, newest first; `after` is the place (`created_at`, `id`) of the last one seen.

    Raises:
        CursorInvalid: `after`, which comes from a cursor, is no place.
        DatabaseUnavailable: the database cannot answer.
    """
    return await fetch_newest_first(pool, _LIST, pool.identities.user(user_id), after=after, limit=limit)

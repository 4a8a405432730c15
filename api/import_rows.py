"""What became of an import's rows: what was wrong with some, what was replaced in others, and the first tasks."""

from collections.abc import AsyncIterator

from aiohttp import Payload, web
from aiohttp.abc import AbstractStreamWriter

from api.endpoints import Endpoint
from api.http import prefers, read_query
from api.import_jobs import find_import
from api.import_schemas import ImportPreview, RowErrorPage, RowWarningPage
from api.keys import IDENTITY, POOL, SETTINGS
from api.long_jobs import not_ready, path_job_id
from api.pages import PageQuery, page_limit, page_response
from core.imports.error_file import error_csv, failed_rows_file, form_of
from core.imports.queries import all_errors, failed_rows, list_errors, list_warnings, read_file, read_preview
from core.pagination import decode_cursor, encode_cursor, scope_digest

CSV = "text/csv"

_QUERY = PageQuery()

# -- errors ---------------------------------------------------------------------------------------------------


class _Report(Payload):
    """A file as the body of an answer, made as the client takes it."""

    def __init__(self, first: bytes, rest: AsyncIterator[bytes], content_type: str) -> None:
        super().__init__(rest, content_type=content_type)
        self._first = first

    async def write(self, writer: AbstractStreamWriter) -> None:
        await writer.write(self._first)
        async for piece in self._value:
            await writer.write(piece)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        raise TypeError("a report is not held in memory")


async def list_import_errors(request: web.Request) -> web.Response:
    """`GET /imports/{id}/errors`: pages, or all of them as a CSV."""
    import_id = path_job_id(request, noun="import")
    given = read_query(request, _QUERY)
    limit = page_limit(given, request.app[SETTINGS])
    scope = scope_digest("import errors", import_id)
    row, number = decode_cursor(given["cursor"], scope, int, int) if "cursor" in given else (0, 0)
    await find_import(request, import_id)
    if prefers(request, CSV):
        return await _error_report(request, import_id)
    user_id = request[IDENTITY].user_id
    errors = await list_errors(request.app[POOL], user_id, import_id, after=(row, number), limit=limit + 1)
    page = errors[:limit]
    cursor = encode_cursor(scope, page[-1].row, page[-1].number) if len(errors) > limit else None
    return page_response(request, f"[{','.join(error.body for error in page)}]", cursor)


async def _error_report(request: web.Request, import_id: str) -> web.Response:
    pool, user_id = request.app[POOL], request[IDENTITY].user_id
    file = await read_file(pool, user_id, import_id)
    pieces = error_csv(None if file is None else file.columns, all_errors(pool, user_id, import_id))
    return web.Response(
        body=_Report(await anext(pieces), pieces, f"{CSV}; charset=utf-8; header=present"),
        headers={"Content-Disposition": f'attachment; filename="import-{import_id}-errors.csv"', "Vary": "Accept"},
    )


async def get_failed_rows(request: web.Request) -> web.Response:
    """`GET /imports/{id}/errors/file`: the rows that failed, in the form that they came in."""
    import_id = path_job_id(request, noun="import")
    await find_import(request, import_id)
    pool, user_id = request.app[POOL], request[IDENTITY].user_id
    file = await read_file(pool, user_id, import_id)
    if file is None:
        raise not_ready("The import has not begun: nothing has failed so far.")
    form = form_of(file)
    pieces = failed_rows_file(file, failed_rows(pool, user_id, import_id))
    name = f"import-{import_id}-failed.{form.extension}"
    return web.Response(
        body=_Report(await anext(pieces), pieces, f"{form.media_type}; charset={file.encoding or 'utf-8'}"),
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


# -- warnings, and tasks --------------------------------------------------------------------------------------


async def list_import_warnings(request: web.Request) -> web.Response:
    """`GET /imports/{id}/warnings`: pages."""
    import_id = path_job_id(request, noun="import")
    given = read_query(request, _QUERY)
    limit = page_limit(given, request.app[SETTINGS])
    scope = scope_digest("import warnings", import_id)
    row, number = decode_cursor(given["cursor"], scope, int, int) if "cursor" in given else (0, 0)
    await find_import(request, import_id)
    user_id = request[IDENTITY].user_id
    warnings = await list_warnings(request.app[POOL], user_id, import_id, after=(row, number), limit=limit + 1)
    page = warnings[:limit]
    cursor = encode_cursor(scope, page[-1].row, page[-1].number) if len(warnings) > limit else None
    return page_response(request, f"[{','.join(warning.body for warning in page)}]", cursor)


async def get_import_preview(request: web.Request) -> web.Response:
    """`GET /imports/{id}/preview`: the first tasks that come of the file."""
    import_id = path_job_id(request, noun="import")
    await find_import(request, import_id)
    tasks = await read_preview(request.app[POOL], request[IDENTITY].user_id, import_id)
    return page_response(request, tasks, None)


routes = [
    Endpoint(
        "GET",
        "/imports/{id}/errors",
        list_import_errors,
        "List what is wrong with rows of an import",
        {200: RowErrorPage},
        query=PageQuery,
        problems=(400, 404),
        description="With `Accept: text/csv` all of them as a file to look at: for a CSV the rows that failed and "
        "`error`; else `row`, `column`, `error` and `values`. The first 100 000 errors are kept.",
        path_id="uuid",
        other_media_types=(CSV,),
    ),
    Endpoint(
        "GET",
        "/imports/{id}/errors/file",
        get_failed_rows,
        "Fetch the rows of an import that failed",
        {200: None},
        problems=(404, 409),
        media_type=CSV,
        other_media_types=("application/json", "application/x-ndjson", "text/calendar", "application/xml"),
        description="As they were, in the format that they came in, with the reason where the format can hold it: a "
        "column or member `error`, a property `X-TENFOLD-ERROR`, a comment before an element of XML. Mended, the file "
        "can be sent again with the same options; the reasons are passed over. Rows of more than 64 KiB, and what is "
        "beyond 64 MiB in all, are not in it: their errors say so.",
        path_id="uuid",
        answer_headers=("Content-Disposition",),
    ),
    Endpoint(
        "GET",
        "/imports/{id}/warnings",
        list_import_warnings,
        "List what was replaced or left out of rows of an import",
        {200: RowWarningPage},
        query=PageQuery,
        problems=(400, 404),
        description="Also why rows were left out as a whole, which count as `skipped`. The first 100 000 are kept.",
        path_id="uuid",
    ),
    Endpoint(
        "GET",
        "/imports/{id}/preview",
        get_import_preview,
        "List the first tasks that come of a file",
        {200: ImportPreview},
        problems=(404,),
        description="Up to 20, as they were when their rows were read: new ones, and those that `on_conflict=update` "
        "changes. Of a dry run new tasks have no `id`.",
        path_id="uuid",
    ),
]

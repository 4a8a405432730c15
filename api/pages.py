"""Lists in pages: how a client asks for one, and how it is answered."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from aiohttp import web
from marshmallow import validate

from api.http import WholeNumber, invalid, json_response
from core.bounds import RequestSchema, String
from core.pagination import decode_cursor, encode_cursor
from core.settings import Settings

CURSOR_MAXIMUM = 512


def limit_field(description: str | None = None) -> WholeNumber:
    """How many items a page shall have; `page_limit` knows the most."""
    return WholeNumber(validate=validate.Range(min=1), metadata={"description": description} if description else {})


def cursor_field(*, of_the_same: str | None = None) -> String:
    """Where a page begins: behind the page before, `of_the_same` filters where there are some."""
    condition = f", with the same {of_the_same}" if of_the_same else ""
    return String(
        validate=validate.Length(1, CURSOR_MAXIMUM),
        metadata={"description": f"`next_cursor` of the page before{condition}"},
    )


class PageQuery(RequestSchema):
    """A list that is paged, and nothing else."""

    limit = limit_field()
    cursor = cursor_field()


def page_limit(given: dict[str, Any], settings: Settings) -> int:
    """How many items a page shall have.

    Raises:
        Problem: 422, more than MAX_PAGE_SIZE.
    """
    limit: int = given.get("limit", settings.default_page_size)
    if limit > settings.max_page_size:
        raise invalid({"limit": [f"Must be at most {settings.max_page_size}."]})
    return limit


def page_response(request: web.Request, items: str, next_cursor: str | None) -> web.Response:
    """A page: the body as the contract has it, and the next page as a link (RFC 8288)."""
    return finished_page(request, page_body(items, next_cursor), next_cursor)


def page_body(items: str, next_cursor: str | None) -> bytes:
    """The body of a page."""
    cursor = "null" if next_cursor is None else f'"{next_cursor}"'
    return f'{{"items":{items},"next_cursor":{cursor}}}'.encode()


def finished_page(request: web.Request, body: bytes, next_cursor: str | None) -> web.Response:
    """A page whose body is there already."""
    headers = {}
    if next_cursor is not None:
        following = request.rel_url.without_query_params("cursor", "last_id").extend_query(cursor=next_cursor)
        headers["Link"] = f'<{following}>; rel="next"'
    return json_response(body, headers=headers)


class Listed(Protocol):
    """One of a list that is ordered by ids: finished JSON, and its place."""

    @property
    def body(self) -> str: ...

    @property
    def id(self) -> int: ...


async def page_by_id(
    request: web.Request,
    given: dict[str, Any],
    settings: Settings,
    scope: str,
    read: Callable[[int | None, int], Awaitable[Sequence[Listed]]],
) -> web.Response:
    """A page of a list that is ordered by ids.

    Args:
        request: of the caller.
        given: the validated query.
        settings: `default_page_size`, `max_page_size`.
        scope: the digest of the list and its filters.
        read: the list behind an id (None: from its beginning), up to a number.

    Raises:
        Problem: 422, the limit is too high.
        CursorInvalid: the cursor is damaged, or of another list.
        DatabaseUnavailable: the database cannot answer.
    """
    limit = page_limit(given, settings)
    place = decode_cursor(given["cursor"], scope, int)[0] if "cursor" in given else None
    found = await read(place, limit + 1)
    page = found[:limit]
    cursor = encode_cursor(scope, page[-1].id) if len(found) > limit else None
    return page_response(request, f"[{','.join(one.body for one in page)}]", cursor)

"""Versions in requests and answers: entity tags, `If-Match` and `If-None-Match` (RFC 9110, 13)."""

import re

from aiohttp import web

from api.errors import Problem

_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
ETAG = re.compile(_TAG)
# RFC 9110, 5.6.1: elements of a list may be missing.
_ETAGS = re.compile(rf"(?:,[ \t]*)*{_TAG}[ \t]*(?:,[ \t]*(?:{_TAG}[ \t]*)?)*\Z")


def read_entity_tags(request: web.Request, header: str) -> list[str] | None:
    """The tags of `If-Match` or `If-None-Match`, of several lines as of one; None where it was not sent.

    Raises:
        Problem: 400, it is neither `*` nor a list of entity tags.
    """
    lines = request.headers.getall(header, None)
    if lines is None:
        return None
    condition = ",".join(lines).strip()
    if condition == "*":
        return ["*"]
    tags = ETAG.findall(condition) if _ETAGS.match(condition) else []
    if not tags:
        raise Problem("invalid-header", f'{header} must be "*" or entity tags such as "3".')
    return tags


def version_etag(version: int) -> str:
    return f'"{version}"'


def is_unchanged(request: web.Request, etag: str) -> bool:
    """Whether `If-None-Match` names the tag: weak comparison (RFC 9110, 13.1.2)."""
    conditions = request.headers.getall("If-None-Match", None)
    if conditions is None:
        return False
    condition = ",".join(conditions)
    return condition.strip() == "*" or any(found.removeprefix("W/") == etag for found in ETAG.findall(condition))

"""What every answer says, whoever made it: who may keep it, how to take it, and where things are."""

from aiohttp import hdrs, web
from multidict import CIMultiDict, istr

from api.compression import may_be_compressed

SERVER = "tenfold"
"""Without a version: it would tell which faults to try."""

# Made once: one call takes them all over, where one for each would cost several times as much.
_ANYBODYS: CIMultiDict[str] = CIMultiDict([(istr("X-Content-Type-Options"), "nosniff"), (hdrs.SERVER, SERVER)])
_ANYBODYS_LONG: CIMultiDict[str] = CIMultiDict([*_ANYBODYS.items(), (hdrs.VARY, "Accept-Encoding")])
_CALLERS_KEPT: CIMultiDict[str] = CIMultiDict([*_ANYBODYS.items(), (hdrs.VARY, "Authorization, Cookie")])
_CALLERS: CIMultiDict[str] = CIMultiDict([*_CALLERS_KEPT.items(), (hdrs.CACHE_CONTROL, "private, no-cache")])
_CALLERS_LONG: CIMultiDict[str] = CIMultiDict(
    [
        *_ANYBODYS.items(),
        (hdrs.VARY, "Authorization, Cookie, Accept-Encoding"),
        (hdrs.CACHE_CONTROL, "private, no-cache"),
    ]
)


def complete(response: web.StreamResponse, *, is_public: bool) -> bool:
    """Adds the headers that every answer has; returns whether it may be compressed.

    Args:
        response: its handler has set a `Cache-Control` of its own where it must not be stored.
        is_public: it is the same for everybody, and its handler has said who may keep it.
    """
    is_long = may_be_compressed(response)
    if is_public:
        common = _ANYBODYS_LONG if is_long else _ANYBODYS
    elif hdrs.CACHE_CONTROL in response.headers:
        common = _CALLERS_KEPT
    else:
        common = _CALLERS_LONG if is_long else _CALLERS
    response.headers.extend(common)
    return is_long


def make_absolute(response: web.StreamResponse, public_url: str) -> None:
    """Puts PUBLIC_URL before the addresses in `Location` and `Link`, which are relative to the root of the host."""
    location = response.headers.get(hdrs.LOCATION)
    if location is not None and location.startswith("/"):
        response.headers[hdrs.LOCATION] = public_url + location
    link = response.headers.get(hdrs.LINK)
    if link is not None and link.startswith("</"):
        response.headers[hdrs.LINK] = f"<{public_url}{link[1:]}"

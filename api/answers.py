"""The headers that every answer has: who may store it, how it is read, and where things are."""

from aiohttp import hdrs, web
from multidict import CIMultiDict, istr

from api.compression import may_be_compressed

SERVER = "tenfold"
"""Without a version, which would tell attackers what faults there are."""

# Made once, and added by one call: a call for each header costs several times as much.
_PUBLIC: CIMultiDict[str] = CIMultiDict([(istr("X-Content-Type-Options"), "nosniff"), (hdrs.SERVER, SERVER)])
_PUBLIC_LONG: CIMultiDict[str] = CIMultiDict([*_PUBLIC.items(), (hdrs.VARY, "Accept-Encoding")])
_PRIVATE_BARE: CIMultiDict[str] = CIMultiDict([*_PUBLIC.items(), (hdrs.VARY, "Authorization, Cookie")])
_PRIVATE: CIMultiDict[str] = CIMultiDict([*_PRIVATE_BARE.items(), (hdrs.CACHE_CONTROL, "private, no-cache")])
_PRIVATE_LONG: CIMultiDict[str] = CIMultiDict(
    [
        *_PUBLIC.items(),
        (hdrs.VARY, "Authorization, Cookie, Accept-Encoding"),
        (hdrs.CACHE_CONTROL, "private, no-cache"),
    ]
)


def add_common_headers(response: web.StreamResponse, *, is_public: bool) -> bool:
    """Adds the headers that every answer has; returns whether the body may be compressed.

    Args:
        response: where it must not be stored, its handler has set `Cache-Control`.
        is_public: the answer is the same for everybody, and its handler has set `Cache-Control`.
    """
    is_long = may_be_compressed(response)
    if is_public:
        common = _PUBLIC_LONG if is_long else _PUBLIC
    elif hdrs.CACHE_CONTROL in response.headers:
        common = _PRIVATE_BARE
    else:
        common = _PRIVATE_LONG if is_long else _PRIVATE
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

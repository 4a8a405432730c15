"""Where a request comes from: the client's address, through the proxies that are trusted."""

import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

from aiohttp import web

from core.settings import Network

UNKNOWN = "unknown"
LIMITED_PREFIX = 64
"""Whoever has one IPv6 address has a network of 64 bits, and can take another address for each request."""

# RFC 7239, 4: pairs of a token and a token or a quoted string, separated by semicolons; elements by commas.
_PAIR = re.compile(r"""\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s",;]*)\s*([,;]?)""")
_IPV4_WITH_PORT = re.compile(r"([0-9.]+):[0-9]{1,5}\Z")
_IN_BRACKETS = re.compile(r"\[([^\[\]]+)\](?::(?:[0-9]{1,5}|_[A-Za-z0-9._-]+))?\Z")


def client_address_of(trusted: Sequence[Network]) -> Callable[[web.BaseRequest], str]:
    """The function that tells a client's address: the nearest hop that is no trusted proxy.

    `X-Forwarded-For` is read where it is there, `Forwarded` (RFC 7239) elsewhere. Most proxies write the former alone
    and pass the latter on as the client sent it: a proxy that writes `Forwarded` has to remove `X-Forwarded-For`.
    A hop that names no address (`unknown`, `_hidden`, nonsense) ends the way: the proxy that told it counts.
    """
    if not trusted:
        return _peer

    @lru_cache(4096)
    def is_trusted(address: str) -> bool:
        return address != UNKNOWN and any(ipaddress.ip_address(address) in network for network in trusted)

    def client_address(request: web.BaseRequest) -> str:
        address = _peer(request)
        if not is_trusted(address):
            return address
        for hop in _hops(request):
            told = read_node(hop)
            if told is None:
                break
            address = told
            if not is_trusted(address):
                break
        return address

    return client_address


def _peer(request: web.BaseRequest) -> str:
    remote = request.remote
    if remote is not None and ":" not in remote:
        return remote or UNKNOWN
    return (remote and read_node(remote)) or UNKNOWN


def _hops(request: web.BaseRequest) -> Iterator[str]:
    """The addresses that the proxies named, the nearest first."""
    lines = request.headers.getall("X-Forwarded-For", None)
    if lines is not None:
        return reversed([hop for line in lines for hop in line.split(",")])
    return reversed(forwarded_for(",".join(request.headers.getall("Forwarded", []))))


def forwarded_for(text: str) -> list[str]:
    """The `for` of each element of `Forwarded`, in their order; empty where an element has none.

    An element that cannot be read counts as one without a `for`, and so do all before it.
    """
    hops: list[str] = []
    place, is_open, node = 0, False, ""
    while place < len(text):
        pair = _PAIR.match(text, place)
        if pair is None or (not pair[3] and pair.end() < len(text)):
            following = text.find(",", place)
            hops, is_open, node = [""], False, ""
            place = len(text) if following < 0 else following + 1
            continue
        if pair[1].lower() == "for":
            node = _unquoted(pair[2])
        is_open = True
        if pair[3] == ",":
            hops.append(node)
            is_open, node = False, ""
        place = pair.end()
    return [*hops, node] if is_open else hops


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


@lru_cache(4096)
def read_node(text: str) -> str | None:
    """The address in `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:4711`.

    An IPv6 address is written in one way only, and one that stands for an IPv4 address as that; None for what is none.
    """
    text = text.strip().removeprefix('"').removesuffix('"')
    found = _IPV4_WITH_PORT.match(text) or _IN_BRACKETS.match(text)
    try:
        address = ipaddress.ip_address(found[1] if found else text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        return str(address.ipv4_mapped or ipaddress.IPv6Address(int(address)))  # without a zone
    return str(address)


@lru_cache(4096)
def limited_network(address: str) -> str:
    """What limits count as one client: an IPv4 address, or the network of an IPv6 address."""
    if ":" not in address:
        return address
    return str(ipaddress.ip_network((address, LIMITED_PREFIX), strict=False))

"""Where a channel sends: a webhook's address, or a service of Apprise's; read, judged, and masked for display."""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from yarl import URL

from core.channels.addresses import NOT_PUBLIC, is_public, is_public_text, literal_address
from core.channels.services import SERVICES, open_notifier, service_of_host
from core.errors import TargetRefused

WEBHOOK = "webhook"
KINDS = (WEBHOOK, *SERVICES)
URL_MAXIMUM = 2000
RESOLVE_SECONDS = 2.0
# Threads of our own: a name that resolves slowly holds its thread, even when nobody waits for it any more.
_RESOLVERS = ThreadPoolExecutor(8, thread_name_prefix="resolve")
_WEB_SCHEMES = ("http", "https")


@dataclass(frozen=True, slots=True)
class Target:
    """An address that was understood.

    Attributes:
        kind: one of `KINDS`.
        url: whole, with whatever secrets it holds.
        masked: what may be shown of it.
        host: where the connection will go to; None where the service has a fixed address of its own.
    """

    kind: str
    url: str
    masked: str
    host: str | None


def read_target(url: str, kind: str | None = None) -> Target:
    """Understands an address. To be called in a thread: a kind of Apprise's loads a module.

    Args:
        url: as the client gave it.
        kind: one of `KINDS`; where it is None, what the address itself says: its scheme, or the host of a service that
            gives out addresses, to which a plain webhook would mean nothing.

    Raises:
        TargetRefused: with a text for the client, which quotes nothing of the address.
    """
    if len(url) > URL_MAXIMUM or any(ord(letter) <= 32 or ord(letter) == 127 for letter in url):
        raise TargetRefused(f"Not an address: at most {URL_MAXIMUM} characters, without blanks.")
    scheme = url.partition("://")[0].lower() if "://" in url else ""
    is_told = kind is not None
    kind = kind or (service_of_url(url) or WEBHOOK if scheme in _WEB_SCHEMES else scheme)
    if kind == WEBHOOK:
        return _read_webhook(url, scheme)
    if kind not in SERVICES:
        raise TargetRefused("The address must begin with https:// or http://, or with the name of a known service.")
    if scheme not in (kind, "https"):
        raise TargetRefused(f"The address must begin with {kind}://, or with https:// as the service gives it out.")
    try:
        notifier = open_notifier(kind, url)
    except TargetRefused as error:
        if is_told or scheme == kind:
            raise
        raise TargetRefused(f'{error} If it is a receiver of your own, say so: "kind": "webhook".') from None
    host = _host_of_service(kind, notifier)
    return Target(kind, url, f"{kind}://{'***@' + host if host else '***'}", host)


def service_of_url(url: str) -> str | None:
    """The kind of the service that has given out an address; None: it may be anybody's.

    Raises:
        TargetRefused: the service takes no messages there any more.
    """
    try:
        host = URL(url).raw_host
    except ValueError:
        return None
    return service_of_host(host.lower().rstrip(".")) if host else None


def _read_webhook(url: str, scheme: str) -> Target:
    try:
        parsed = URL(url)
        host = parsed.raw_host
        has_port = parsed.explicit_port != 0
    except ValueError:
        host, has_port = None, False
    if scheme not in _WEB_SCHEMES or not host or not has_port:
        raise TargetRefused("Not an address such as https://example.com/hooks/tenfold.")
    port = f":{parsed.explicit_port}" if parsed.explicit_port else ""
    shown = f"[{host}]" if ":" in host else host
    return Target(WEBHOOK, url, f"{scheme}://{shown}{port}/***", host)


def _host_of_service(kind: str, notifier: Any) -> str | None:
    if not SERVICES[kind].has_host:
        return None
    host = getattr(notifier, "smtp_host", None) or getattr(notifier, "host", None)
    # A service may be named by a topic alone. It stands where the host would, and it is a secret.
    return str(host) if host and ("." in host or ":" in host or host == "localhost") else None


async def require_public(host: str | None) -> None:
    """Refuses a host that is a private address, or resolves to private addresses only.

    A host that does not resolve now may do so later. What counts is the address at the time of the connection.

    Raises:
        TargetRefused: the host is private.
    """
    if host is None:
        return
    literal = literal_address(host)
    if literal is not None:
        if not is_public(literal):
            raise TargetRefused(NOT_PUBLIC)
        return
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            ask = partial(socket.getaddrinfo, host.strip("[]"), None, type=socket.SOCK_STREAM)
            found = await loop.run_in_executor(_RESOLVERS, ask)
    except (OSError, TimeoutError, UnicodeError):
        return
    if not any(is_public_text(str(entry[4][0])) for entry in found):
        raise TargetRefused(NOT_PUBLIC)


def host_of(url: str, kind: str) -> str:
    """What limits a channel's deliveries together with others: its host in lower case, or the kind of a service."""
    if kind != WEBHOOK:
        service = SERVICES.get(kind)
        if service is None or not service.has_host:
            return kind
    try:
        return (urlsplit(url).hostname or kind).lower().rstrip(".")
    except ValueError:
        return kind


def is_literal_private(host: str) -> bool:
    """Whether a host is written as a private address, for which no resolver is asked."""
    literal = literal_address(host)
    return literal is not None and not is_public(literal)

"""Sends webhooks: to public addresses alone, without following redirects, and with patience for 15 seconds."""

import asyncio
import socket
from collections.abc import Mapping
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from core import clock
from core.channels.addresses import NOT_PUBLIC, is_public_text
from core.channels.targets import is_literal_private
from core.deliveries.attempts import Attempt
from core.deliveries.schedule import read_retry_after
from core.version import VERSION

TIMEOUT_SECONDS = 15.0
# The status decides. The body is read, for a moment and up to a limit, only so that the connection can be used again.
BODY_MAXIMUM = 64 << 10
BODY_SECONDS = 1.0
CONNECTIONS_MAXIMUM = 512
GONE = 410
USER_AGENT = f"Tenfold/{VERSION} (webhooks)"


class PrivateAddress(OSError):
    """A connection would have gone to an address that is not public."""


class PublicResolver(AbstractResolver):
    """Resolves names to their public addresses; what it returns is what is connected to."""

    def __init__(self) -> None:
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        public = [result for result in found if is_public_text(result["host"])]
        if found and not public:
            raise PrivateAddress(NOT_PUBLIC)
        return public

    async def close(self) -> None:
        await self._resolver.close()


def _public_socket(address: tuple[Any, ...]) -> socket.socket:
    """The last look, at the very address that is connected to."""
    family, kind, protocol, _, socket_address = address
    if not is_public_text(str(socket_address[0])):
        raise PrivateAddress(NOT_PUBLIC)
    return socket.socket(family, kind, protocol)


class WebhookClient:
    """Connections to receivers, shared by all deliveries of a worker process."""

    def __init__(self, *, allow_private: bool, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._allow_private = allow_private
        self._timeout_seconds = timeout_seconds
        guarded: dict[str, Any] = (
            {} if allow_private else {"resolver": PublicResolver(), "socket_factory": _public_socket}
        )
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=CONNECTIONS_MAXIMUM, ttl_dns_cache=30, keepalive_timeout=30, **guarded
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),  # one clock for all of an attempt, below
            auto_decompress=False,
            trust_env=False,
        )

    async def close(self) -> None:
        await self._session.close()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Attempt:
        """Sends one message; only a status of 200 to 299 means that it was delivered."""
        try:
            target = URL(url)
            if not self._allow_private and is_literal_private(target.raw_host or ""):
                return Attempt(NOT_PUBLIC)
            async with asyncio.timeout(self._timeout_seconds):
                return await self._post(target, headers, body)
        except TimeoutError:
            return Attempt(f"The receiver did not answer within {self._timeout_seconds:g} seconds.")
        except aiohttp.ClientConnectorError as error:
            return Attempt(_refusal(error))
        except aiohttp.ClientConnectionError:
            return Attempt("The receiver closed the connection without an answer.")
        except aiohttp.InvalidURL:
            return Attempt("The address is none that can be sent to.")
        except (aiohttp.ClientError, ValueError):
            return Attempt("The receiver's answer cannot be understood.")
        except OSError:
            return Attempt("The receiver could not be reached.")

    async def _post(self, url: URL, headers: Mapping[str, str], body: bytes) -> Attempt:
        async with self._session.post(
            url,
            data=body,
            headers={"Content-Type": "application/json", "User-Agent": USER_AGENT, **headers},
            allow_redirects=False,
        ) as response:
            attempt = _judge(response)
            if not await _drained(response):
                response.close()
            return attempt


def _judge(response: aiohttp.ClientResponse) -> Attempt:
    status = response.status
    if 200 <= status < 300:
        return Attempt()
    if 300 <= status < 400:
        return Attempt(f"The receiver answered {status}; redirects are not followed.")
    retry_after = read_retry_after(response.headers.get("Retry-After"), clock.now())
    return Attempt(f"The receiver answered {status}.", retry_after, is_gone=status == GONE)


async def _drained(response: aiohttp.ClientResponse) -> bool:
    """Whether the body has ended, so that the connection is free for another message."""
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while piece := await response.content.readany():
                size += len(piece)
                if size > BODY_MAXIMUM:
                    return False
    except (TimeoutError, aiohttp.ClientError, OSError):
        return False
    return True


def _refusal(error: aiohttp.ClientConnectorError) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "The receiver's certificate is not valid."
    if isinstance(error, aiohttp.ClientSSLError):
        return "No secure connection to the receiver could be made."
    if isinstance(error.os_error, PrivateAddress):
        return NOT_PUBLIC
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "The receiver's name cannot be resolved."
    return "The receiver could not be reached."

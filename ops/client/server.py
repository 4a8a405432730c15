"""A Tenfold server as the client commands see it: requests that survive lost connections and pauses it asks for."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Self
from urllib.parse import urlsplit

import aiohttp
import orjson

from core.version import VERSION
from ops.faults import Fault

EXAMPLE_URL = "http://127.0.0.1:8000"
PATIENCE_SECONDS = 300.0
"""How long nothing may succeed before a command gives up; with `FIRST_PATIENCE_SECONDS`, before anything has."""
FIRST_PATIENCE_SECONDS = 3.0

_PAUSE_FIRST_SECONDS = 0.2
_PAUSE_LONGEST_SECONDS = 10.0
_CONNECT_SECONDS = 10.0
_SILENCE_SECONDS = 60.0
PIECE_BYTES = 1 << 16
_AWAY = frozenset({502, 503, 504})
_LOST = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError, ConnectionError)


@dataclass(frozen=True, slots=True)
class Credentials:
    """A token, or what gets one.

    Attributes:
        token: an access token; empty where username and password are given.
    """

    token: str = ""
    username: str = ""
    password: str = ""


class Refused(Fault):
    """The server answered with a problem (RFC 9457)."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.problem = problem
        lines = [str(problem.get("detail") or problem.get("title") or f"the server answered {status}")]
        errors = problem.get("errors")
        for field, messages in errors.items() if isinstance(errors, dict) else ():
            text = " ".join(map(str, messages))
            if text != lines[0]:  # of a file that is refused as a whole, the field says the same again
                lines.append(f"  {field}: {text}")
        super().__init__("\n".join(lines))


class Server:
    """One server, and who asks it."""

    def __init__(self, url: str, credentials: Credentials, *, say: Callable[[str], None]) -> None:
        """
        Args:
            url: where the API is; a path before its own is kept.
            credentials: who asks.
            say: tells of interruptions.

        Raises:
            Fault: the URL is none.
        """
        self.url = url.rstrip("/")
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise Fault(f"{url!r} is no address of a server: give one such as {EXAMPLE_URL}")
        self._credentials = credentials
        self._token = credentials.token
        self._refresh_token = ""
        self._was_reached = False
        self._say = say
        self._http: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_SILENCE_SECONDS)
        # Not decompressed: a part of a file must be a part of what is stored.
        self._http = aiohttp.ClientSession(
            timeout=timeout, headers={"User-Agent": f"tenfold/{VERSION}", "Accept-Encoding": "identity"}
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def ask(self, method: str, path: str, **options: Any) -> Any:
        """The body of the answer, as JSON; repeated while the server is away, so it must bear being repeated.

        Raises:
            Fault: the server refused, or was away for too long.
        """

        async def once() -> Any:
            async with self.opened(method, path, **options) as response:
                body = await response.read()
                return orjson.loads(body) if body else None

        return await self.persistently(once)

    async def persistently(
        self, attempt: Callable[[], Awaitable[Any]], *, has_moved_on: Callable[[], bool] | None = None
    ) -> Any:
        """The result of `attempt`, which is repeated while connections are lost and the server is away or busy.

        Args:
            attempt: raises what `opened` raises.
            has_moved_on: whether the last attempt came further than the one before: then patience begins anew.

        Raises:
            Fault: refused, or nothing succeeded for `PATIENCE_SECONDS`.
        """
        began = time.monotonic()
        pause = _PAUSE_FIRST_SECONDS
        is_told = False
        while True:
            asked_to_wait = 0.0
            try:
                return await attempt()
            except aiohttp.ClientSSLError as error:
                raise Fault(f"{self.url} cannot be trusted: {error}") from None
            except _LOST as error:
                reason, wait = _in_words(error), pause
            except _Busy as error:
                reason, wait, asked_to_wait = str(error), max(pause, error.seconds), error.seconds
            if has_moved_on is not None and has_moved_on():
                began, pause = time.monotonic(), _PAUSE_FIRST_SECONDS
            patience = PATIENCE_SECONDS if self._was_reached else FIRST_PATIENCE_SECONDS
            if time.monotonic() + wait > began + patience:
                if asked_to_wait:
                    raise Fault(f"{reason} The server asks to come again in {asked_to_wait:.0f} s.")
                asked = "" if self._was_reached else "; does Tenfold run there? --server or TENFOLD_URL names another"
                raise Fault(f"{self.url} cannot be reached: {reason}{asked}")
            if asked_to_wait >= 1:
                self._say(f"{reason} Going on in {asked_to_wait:.0f} s.")
            elif not is_told and pause > 1.0:
                self._say(f"waiting for {self.url}: {reason}")
                is_told = True
            await asyncio.sleep(wait)
            pause = min(2 * pause, _PAUSE_LONGEST_SECONDS)

    @contextlib.asynccontextmanager
    async def opened(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **options: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One answer, of which only the head has been read.

        Raises:
            Fault: the server refused.
            aiohttp.ClientError, TimeoutError, ConnectionError: the connection was lost.
        """
        if not self._token:
            await self._log_in()
        request_headers = {"Authorization": f"Bearer {self._token}", **(headers or {})}
        async with self._http.request(
            method, self.url + path, headers=request_headers, allow_redirects=False, **options
        ) as response:
            self._was_reached = True
            if response.status == 401:
                self._token = ""
                if self._credentials.username:
                    raise _Busy("the access token has expired", 0.0)
                raise Fault(f"the token is not valid, or has expired.\n{self.how_to_log_in()}")
            await _require_success(response)
            yield response

    async def fetch(self, path: str, file: BinaryIO, *, headers: Mapping[str, str]) -> None:
        """Writes the body of an answer to a file, from the start again where the connection is lost."""

        async def once() -> None:
            file.seek(0)
            file.truncate()
            async with self.opened("GET", path, headers=headers) as response:
                async for piece in response.content.iter_chunked(PIECE_BYTES):
                    file.write(piece)

        await self.persistently(once)

    async def _log_in(self) -> None:
        """Gets an access token; a refresh token saves the server the work of looking at the password again."""
        if not self._credentials.username:
            raise Fault(f"who are you?\n{self.how_to_log_in()}")
        if self._refresh_token:
            with contextlib.suppress(Refused):
                await self._take_tokens("/auth/refresh", {"refresh_token": self._refresh_token})
                return
        body = {"username": self._credentials.username, "password": self._credentials.password}
        await self._take_tokens("/auth/login", body)

    async def _take_tokens(self, path: str, body: dict[str, str]) -> None:
        async with self._http.post(self.url + path, json=body, allow_redirects=False) as response:
            self._was_reached = True
            await _require_success(response)
            tokens = orjson.loads(await response.read())
        self._token, self._refresh_token = tokens["access_token"], tokens["refresh_token"]

    def how_to_log_in(self) -> str:
        return (
            "Give --username NAME, which asks for the password and renews tokens as they expire,\n"
            "or an access token with --token or TENFOLD_TOKEN. One is got with:\n"
            f"  curl -s {self.url}/auth/login -H 'Content-Type: application/json' \\\n"
            '    -d \'{"username": "…", "password": "…"}\''
        )


def _in_words(error: Exception) -> str:
    """Why a connection was lost or not made, without what aiohttp says to programmers."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"there is no host {error.host}"
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno
    if number:
        return os.strerror(number)
    if isinstance(error, TimeoutError):
        return "it does not answer"
    return str(error) or type(error).__name__


class _Busy(Exception):
    """The server asks to come again."""

    def __init__(self, reason: str, seconds: float) -> None:
        super().__init__(reason)
        self.seconds = seconds


async def _require_success(response: aiohttp.ClientResponse) -> None:
    if response.status < 300 or response.status == 304:
        return
    body = await response.read()
    try:
        problem = orjson.loads(body)
    except orjson.JSONDecodeError:
        problem = None
    if not isinstance(problem, dict):
        problem = {"detail": f"{response.url} answered {response.status} {response.reason}: is that a Tenfold server?"}
    if response.status in _AWAY or response.status == 429:
        wait = response.headers.get("Retry-After", "")
        raise _Busy(str(problem.get("detail")), float(wait) if wait.isdecimal() else 0.0)
    raise Refused(response.status, problem)

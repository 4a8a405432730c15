"""A client that insists: a key is repeated until it is answered, as the contract tells clients to do."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from tests.faults.harness import User
from tests.faults.ledger import Ledger, Write

REQUEST_SECONDS = 15.0
INSIST_SECONDS = 100.0
# What a client may be told instead of an outcome, and must then repeat.
UNAVAILABLE = {"/problems/queue-unavailable", "/problems/database-unavailable"}


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, the headers, and the body as read."""

    status: int
    headers: Any
    body: Any


class Client:
    """Sends requests for the ledger; each attempt is noted."""

    def __init__(self, url: str, user: User, ledger: Ledger, session: aiohttp.ClientSession) -> None:
        self._url = url
        self.user = user
        self.ledger = ledger
        self._session = session

    async def attempt(
        self, method: str, path: str, *, body: Any = None, is_write: bool = False, **headers: str | None
    ) -> Answer | None:
        """One request; None if the connection broke or nothing came in time."""
        started = time.monotonic()
        sent = {"Authorization": f"Bearer {self.user.token}"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items() if value is not None}
        data = None if body is None else orjson.dumps(body)
        if data is not None:
            sent["Content-Type"] = "application/json"
        try:
            timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
            async with self._session.request(
                method, self._url + path, data=data, headers=sent, timeout=timeout
            ) as response:
                raw = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self.ledger.note(self.user, f"{method} {path}", started, type(error).__name__, is_write=is_write)
            return None
        self.ledger.note(self.user, f"{method} {path}", started, response.status, is_write=is_write)
        answer = Answer(response.status, response.headers, orjson.loads(raw) if raw else None)
        if path != "/health/ready":  # whose 503 is a report
            self._check_refusal(f"{method} {path}", answer)
        return answer

    async def ask(
        self, method: str, path: str, *, body: Any = None, is_write: bool = False, **headers: str | None
    ) -> Answer:
        """One request that must be answered.

        Raises:
            AssertionError: the connection broke.
        """
        answer = await self.attempt(method, path, body=body, is_write=is_write, **headers)
        assert answer is not None, f"{method} {path}: the connection broke"
        return answer

    def _check_refusal(self, what: str, answer: Answer) -> None:
        if answer.status < 500:
            return
        kind = answer.body.get("type") if isinstance(answer.body, dict) else None
        if answer.status != 503 or kind not in UNAVAILABLE or "Retry-After" not in answer.headers:
            self.ledger.blame(f"{what}: {answer.status} {answer.body} {dict(answer.headers)}")

    async def send(self, write: Write, *, prefer: str | None = None) -> Answer:
        """Repeats a write with its key until it is answered.

        Raises:
            AssertionError: that took too long.
        """
        deadline = time.monotonic() + INSIST_SECONDS
        while True:
            answer = await self.attempt(
                write.method,
                write.path,
                body=write.body,
                is_write=True,
                Idempotency_Key=write.key,
                If_Match=write.if_match,
                Prefer=prefer,
            )
            if answer is not None and answer.status < 500:
                return answer
            assert time.monotonic() < deadline, f"{write.key} was never answered"
            await asyncio.sleep(0.1 if answer is None else float(answer.headers.get("Retry-After", 1)))

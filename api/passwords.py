"""Password hashing off the event loop: a bounded number at a time, and a bounded number waiting."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from api.errors import RETRY_AFTER_SECONDS, Problem
from core.users.passwords import NOBODYS_HASH, hash_password, password_matches

MOST_WAITING = 200

T = TypeVar("T")


class PasswordService:
    """Hashes and checks passwords in threads."""

    def __init__(self, *, concurrency: int) -> None:
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="password")
        self._waiting = 0

    async def hash(self, password: str) -> str:
        """An argon2id hash.

        Raises:
            Problem: 503, too many are waiting.
        """
        return await self._run(lambda: hash_password(password))

    async def matches(self, password: str, password_hash: str | None) -> bool:
        """Whether the password made the hash. With no hash (there is no such user) it takes as long and is false."""
        matched = await self._run(lambda: password_matches(password, password_hash or NOBODYS_HASH))
        return matched and password_hash is not None

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= MOST_WAITING:
            raise Problem(
                "overloaded",
                "Too many passwords are being checked: try again in a moment.",
                headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
            )
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1

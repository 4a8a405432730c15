"""Hands messages to processes that send them through Apprise, and kills those that take too long."""

import asyncio
import contextlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from core.deliveries.attempts import Attempt
from core.deliveries.messages import Message
from core.logs import get_logger
from core.settings import bare_environment

TIMEOUT_SECONDS = 20.0  # loading a service's module takes one of them
PROCESSES_MAXIMUM = 8
MESSAGES_MAXIMUM = 500
_ROOT = Path(__file__).resolve().parents[2]

log = get_logger()


@dataclass(eq=False, slots=True)
class _Child:
    process: asyncio.subprocess.Process
    messages: int = 0

    async def ask(self, message: bytes) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.messages += 1
        self.process.stdin.write(message + b"\n")
        await self.process.stdin.drain()
        return orjson.loads(await self.process.stdout.readline())

    async def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()


class AppriseClient:
    """A few processes, started when there is something to send; each sends one message at a time."""

    def __init__(self, *, allow_private: bool, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._allow_private = allow_private
        self._timeout_seconds = timeout_seconds
        self._places = asyncio.Semaphore(PROCESSES_MAXIMUM)
        self._idle: list[_Child] = []

    async def close(self) -> None:
        """Ends the processes that have nothing to do; the others end with their messages."""
        while self._idle:
            await self._idle.pop().end()

    async def send(self, kind: str, url: str, message: Message) -> Attempt:
        """Sends one message."""
        content = orjson.dumps(
            {
                "kind": kind,
                "url": url,
                "title": message.title,
                "body": message.body,
                "allow_private": self._allow_private,
            }
        )
        async with self._places:
            child = self._idle.pop() if self._idle else await _start()
            is_sound = False
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    answer = await child.ask(content)
                is_sound = child.messages < MESSAGES_MAXIMUM
                return Attempt(answer["error"])
            except TimeoutError:
                return Attempt(f"The service did not answer within {self._timeout_seconds:g} seconds.")
            except (OSError, ValueError):
                log.warning("a process for Apprise has ended", status=child.process.returncode)
                return Attempt("The service's answer could not be dealt with.")
            finally:
                if is_sound:
                    self._idle.append(child)
                else:
                    await child.end()


async def _start() -> _Child:
    environment = bare_environment()
    environment["PYTHONPATH"] = os.pathsep.join([str(_ROOT), *(path for path in sys.path if path)])
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "worker.deliveries.apprise_process",
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    return _Child(process)

"""Commands of many requests in one round trip: what is asked within one turn of the event loop goes together.

A reply costs redis-py much the same whether it brings one answer or fifty; under load this divides the price
of a rate limit and of a cache look-up by the number of requests in flight.
"""

import asyncio
from typing import Any

from redis.asyncio import Redis

_MOST_AT_ONCE = 256


class Batcher:
    """Sends commands to one server, those of one turn of the event loop as one pipeline."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._waiting: list[tuple[tuple[Any, ...], asyncio.Future[Any]]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def execute(self, *command: Any) -> Any:
        """The raw reply to one command.

        Raises:
            redis.RedisError, OSError: as the client's own `execute_command`.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((command, future))
        if len(self._waiting) == 1:
            loop.call_soon(self._start)
        elif len(self._waiting) >= _MOST_AT_ONCE:
            self._start()
        return await future

    def _start(self) -> None:
        if self._waiting:
            batch, self._waiting = self._waiting, []
            task = asyncio.create_task(self._send(batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _send(self, batch: list[tuple[tuple[Any, ...], asyncio.Future[Any]]]) -> None:
        try:
            pipeline = self._client.pipeline(transaction=False)
            for command, _ in batch:
                pipeline.execute_command(*command)
            replies = await pipeline.execute(raise_on_error=False)
        except Exception as error:
            replies = [error] * len(batch)
        for (_, future), reply in zip(batch, replies, strict=True):
            if future.done():
                continue  # the request was cancelled meanwhile
            if isinstance(reply, Exception):
                future.set_exception(reply)
            else:
                future.set_result(reply)

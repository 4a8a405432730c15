"""One connection to a Redis-protocol server, for the few commands that requests wait for.

redis-py's clients take a connection from a pool, and wait for the event loop several times for each command: in a
process that serves hundreds of requests each of these turns lasts a millisecond. Here a command is on its way when
`send` returns, or with those of the same turn; what others have sent meanwhile is not waited for, and answers are
handed out as they come in.
redis-py still opens the connection, so all that an address can say (TLS, sockets, passwords, databases) holds here.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import hiredis
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from core.outages import Outage, pause
from core.redis.clients import REDIS_FAULTS, end_tasks

Argument = str | bytes | int | float
OnMessage = Callable[[bytes], None]

_MESSAGE = b"message"

# So long at most nothing is tried after attempts to connect that failed: what is sent meanwhile fails at once.
LONGEST_REST_SECONDS = 0.25


@dataclass(eq=False, slots=True)
class _Question:
    """Commands that were sent together, and what has been answered so far."""

    packed: bytes
    commands: int
    answered: asyncio.Future[list[Any]]
    asked_at: float
    is_repeat: bool = False
    replies: list[Any] = field(default_factory=list)

    def fail(self, error: Exception) -> None:
        if not self.answered.done():
            self.answered.set_exception(error)


class Link:
    """A connection that is opened when something is sent, and again after it was lost."""

    def __init__(
        self,
        client: Redis,
        *,
        timeout: float,
        on_message: OnMessage | None = None,
        repeats: bool = True,
        gathers: bool = False,
        name: str | None = None,
    ) -> None:
        """
        Args:
            client: of the server; its pool knows how to connect, and is not used otherwise.
            timeout: seconds after which a server that does not answer counts as lost.
            on_message: called with each message of the channels that were subscribed to on this link; must not raise.
            repeats: whether what is unanswered when the connection is lost is sent once more, on a new one. Not where
                a connection is more than a way to the server: a subscription, a transaction.
            gathers: whether what is sent within one turn of the event loop leaves together, at its end. For what each
                request asks: a system call for each would cost more than all else that asking does.
            name: of the server, for the log: its outages are told. None: whoever uses the link tells them.
        """
        self._client = client
        self._timeout = timeout
        self._on_message = on_message
        self._repeats = repeats
        self._gathers = gathers
        self._wire: _Wire | None = None
        self._waiting: deque[_Question] = deque()
        self._connecting: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._outage = None if name is None else Outage(name)
        self._failed = 0
        self._fault: Exception = RedisConnectionError("the server cannot be reached")
        self._rests_until = 0.0

    def send(self, *commands: tuple[Argument, ...]) -> asyncio.Future[list[Any]]:
        """Sends commands, one or more, where the connection is open at once or (`gathers`) at the end of the turn.

        With `repeats` the server may carry them out twice. A server that leaves one question open for too long counts
        as lost for all that were asked after it.

        Returns:
            What resolves to the replies, in the order of the commands; or to

            * `redis.ResponseError`, the first error that the server answered;
            * another `redis.RedisError` or `OSError`: it cannot be reached, or has not answered in time.
        """
        loop = asyncio.get_running_loop()
        # The stubs know commands of one word alone.
        packed = b"".join([hiredis.pack_command(command) for command in commands])  # type: ignore[arg-type]
        question = _Question(packed, len(commands), loop.create_future(), loop.time())
        if self._is_closed:
            question.fail(RedisConnectionError("the link is closed"))
            return question.answered
        if self._wire is not None:
            self._wire.ask(question)
        elif question.asked_at < self._rests_until:
            question.fail(self._fault)
            return question.answered
        else:
            self._waiting.append(question)
            self._connect()
        if self._timer is None:
            self._timer = loop.call_later(self._timeout, self._look_at_oldest)
        return question.answered

    async def wait_until_lost(self) -> None:
        """Returns when the connection that is open now has been lost; at once where none is."""
        if self._wire is not None:
            await asyncio.shield(self._wire.ended)

    async def close(self) -> None:
        """Ends the connection; what is unanswered fails."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._connecting is not None:
            await end_tasks([self._connecting])
        error = RedisConnectionError("the link is closed")
        wire = self._wire
        if wire is not None:
            wire.end(error)
            await wire.closed
        self._fail(self._waiting, error)

    def _connect(self) -> None:
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.get_running_loop().create_task(self._open(), name="link")

    async def _open(self) -> None:
        connection: AbstractConnection = self._client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
            if connection._writer is None or _transport_of(connection).is_closing():
                raise RedisConnectionError("the server closed the connection at once")
        except Exception as error:  # whatever it is: who waits must learn of it, and nobody looks at this task
            await connection.disconnect(nowait=True)
            self._note_failed(error)
            return
        except asyncio.CancelledError:
            await connection.disconnect(nowait=True)
            raise
        self._failed = 0
        if self._outage is not None:
            self._outage.over()
        self._wire = _Wire(connection, self._on_message, self._on_lost, self._gathers)
        while self._waiting:
            self._wire.ask(self._waiting.popleft())

    def _note_failed(self, error: Exception) -> None:
        fault = error if isinstance(error, REDIS_FAULTS) else RedisConnectionError(repr(error))
        self._failed += 1
        self._fault = RedisConnectionError(str(fault))  # without a traceback that grows with each who is told
        if self._failed > 2:
            rest = pause(self._failed - 2, longest=LONGEST_REST_SECONDS)
            self._rests_until = asyncio.get_running_loop().time() + rest
        if self._outage is not None:
            self._outage.noticed(fault)
        self._fail(self._waiting, fault)

    def _on_lost(self, wire: "_Wire", error: Exception) -> None:
        self._wire = None
        again: list[_Question] = []
        for question in wire.unanswered:
            if not self._repeats or question.is_repeat or self._is_closed or isinstance(error, RedisTimeoutError):
                question.fail(error)
            elif not question.answered.done():
                question.is_repeat = True
                question.replies.clear()
                again.append(question)
        self._waiting.extendleft(reversed(again))
        if self._waiting:
            self._connect()

    def _look_at_oldest(self) -> None:
        """One timer for all that is unanswered: one for each would cost a good part of what sending does."""
        unanswered = self._waiting if self._wire is None else self._wire.unanswered
        self._timer = None
        if not unanswered:
            return
        loop = asyncio.get_running_loop()
        due = unanswered[0].asked_at + self._timeout
        if due > loop.time():
            self._timer = loop.call_at(due, self._look_at_oldest)
            return
        error = RedisTimeoutError("the server does not answer")
        if self._wire is None:
            self._fail(self._waiting, error)
        else:
            self._wire.end(error)

    @staticmethod
    def _fail(questions: deque[_Question], error: Exception) -> None:
        while questions:
            questions.popleft().fail(error)


class _Wire(asyncio.Protocol):
    """An open connection, taken over from redis-py when its handshake was done."""

    def __init__(
        self,
        connection: AbstractConnection,
        on_message: OnMessage | None,
        on_lost: Callable[["_Wire", Exception], None],
        gathers: bool,
    ) -> None:
        """
        Args:
            connection: just opened; nobody else uses it.
            on_message: as `Link` has it.
            on_lost: called once, in the moment in which nothing can be asked any more.
            gathers: as `Link` has it.
        """
        loop = asyncio.get_running_loop()
        self.unanswered: deque[_Question] = deque()
        self.ended: asyncio.Future[None] = loop.create_future()
        """Resolves when nothing can be asked any more."""
        self.closed: asyncio.Future[None] = loop.create_future()
        """Resolves when the socket is closed."""
        self._connection = connection
        self._on_message = on_message
        self._on_lost = on_lost
        self._gathers = gathers
        self._gathered: list[bytes] = []
        self._reader = hiredis.Reader(protocolError=InvalidResponse, replyError=ResponseError)
        self._transport = _transport_of(connection)
        self._transport.set_protocol(self)

    def ask(self, question: _Question) -> None:
        self.unanswered.append(question)
        if self._transport.is_closing():  # the server has hung up, and we are about to be told
            self._end(RedisConnectionError("the connection was lost"))
        elif not self._gathers:
            self._transport.write(question.packed)
        else:
            self._gathered.append(question.packed)
            if len(self._gathered) == 1:
                asyncio.get_running_loop().call_soon(self._write_gathered)

    def _write_gathered(self) -> None:
        packed = b"".join(self._gathered)
        self._gathered.clear()
        if not self._transport.is_closing():  # else it is asked elsewhere, or has failed
            self._transport.write(packed)

    def end(self, error: Exception) -> None:
        """Hangs up; what is unanswered gets the error."""
        self._end(error)
        self._transport.abort()

    def _end(self, error: Exception) -> None:
        if not self.ended.done():
            self.ended.set_result(None)
            self._on_lost(self, error)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            # After the end questions are asked again elsewhere. A number that is 0 is a reply.
            while not self.ended.done() and (reply := self._reader.gets()) is not False:
                self._hand_out(reply)
        except InvalidResponse as error:
            self.end(error)

    def _hand_out(self, reply: Any) -> None:
        if self._on_message is not None and isinstance(reply, list) and reply[:1] == [_MESSAGE]:
            self._on_message(reply[2])
            return
        if not self.unanswered:
            raise InvalidResponse("an answer to nothing")
        question = self.unanswered[0]
        question.replies.append(reply)
        if len(question.replies) < question.commands:
            return
        self.unanswered.popleft()
        fault = next((reply for reply in question.replies if isinstance(reply, ResponseError)), None)
        if fault is not None:
            question.fail(fault)
        elif not question.answered.done():  # nobody may wait any more
            question.answered.set_result(question.replies)

    def eof_received(self) -> None:
        self._end(RedisConnectionError("the server closed the connection"))

    def connection_lost(self, error: Exception | None) -> None:
        self._end(error or RedisConnectionError("the connection was lost"))
        self._connection._reader = self._connection._writer = None  # redis-py would warn that nobody closed it
        if not self.closed.done():
            self.closed.set_result(None)


def _transport_of(connection: AbstractConnection) -> asyncio.WriteTransport:
    assert connection._writer is not None
    return connection._writer.transport

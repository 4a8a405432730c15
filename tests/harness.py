"""The parts that tests are made of, all real: servers, databases, workers, the service, and clients of it.

Long because each part is made of the one before: a client of a service, on a database, of a server.
"""

import asyncio
import contextlib
import itertools
import re
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import asyncpg
import orjson
import psutil
import redis.asyncio
from aiohttp import ClientSession, web
from arq.connections import ArqRedis
from multidict import CIMultiDictProxy
from yarl import URL

from api.app import create_app
from api.runner import Runner
from api.tokens import Tokens
from core import clock
from core.redis.clients import CACHE_REPLY_SECONDS, cache_client, end_tasks, queue_client
from core.redis.link import Link
from core.settings import Settings
from core.users.passwords import hash_password
from migrations.access import close_catalogue, give_access, give_access_now
from migrations.run import upgrade
from ops.dev.servers import PostgresServer, Server, ValkeyServer
from worker.main import QUEUES_OF_JOBS, connected
from worker.runner import Services, serve_queue

TEMPLATE = "tenfold_template"
# Ids of one millisecond rise in their order, but where their number, which has twelve bits, begins anew.
EMPTY_TABLES = """
DELETE FROM jobs; DELETE FROM tasks; DELETE FROM sessions; DELETE FROM users;
SELECT setval('task_id_sequence', 1, false)
"""
SECRET = "q7Yd0Kz3vB9mXw2LrT6nHc8PfJ4gSa1e"
PASSWORD = "correct horse battery staple"
PASSWORD_HASH = hash_password(PASSWORD)
# Kept out of reach of power cuts for the sake of speed: a killed process loses nothing by it.
POSTGRES_PARAMETERS = {"fsync": "off", "full_page_writes": "off", "shared_buffers": "64MB"}
_KEYSPACES = 16  # Valkey's default


class Servers:
    """PostgreSQL with a migrated template database, a queue and a cache."""

    def __init__(self, home: Path) -> None:
        self.postgres = PostgresServer(home / "postgres", parameters=POSTGRES_PARAMETERS)
        self.queue = ValkeyServer(home / "queue", durable=True)
        self.cache = ValkeyServer(home / "cache", durable=False)
        self._home = home
        self._numbers = itertools.count(1)
        # One server holds several keyspaces, so that what one test leaves running cannot disturb the next.
        self._keyspaces = list(range(_KEYSPACES))

    def __enter__(self) -> Self:
        # Threads, because each start waits for a process; and migrations bring an event loop of their own.
        with ThreadPoolExecutor(3) as threads:
            list(threads.map(Server.start, self.all))
            threads.submit(asyncio.run, self._make_template()).result()
            threads.submit(upgrade, self.postgres.url(TEMPLATE)).result()
            threads.submit(give_access_now, self._settings(TEMPLATE, 0, {})).result()
            threads.submit(asyncio.run, close_catalogue(self.postgres.superuser_url(TEMPLATE))).result()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self.all:
            server.stop()

    @property
    def all(self) -> tuple[Server, ...]:
        return self.postgres, self.queue, self.cache

    async def _make_template(self) -> None:
        async with connection(self.postgres.url()) as owner:
            await owner.execute(f"CREATE DATABASE {TEMPLATE}")
        # Tests look at what the tiers' sessions do, and end some.
        async with connection(self.postgres.superuser_url()) as superuser:
            await superuser.execute(f"GRANT pg_read_all_stats, pg_signal_backend TO {self.postgres.OWNER}")

    @contextlib.asynccontextmanager
    async def fresh_settings(self, variables: Mapping[str, str]) -> AsyncIterator[Settings]:
        """Settings that name a new database, cloned from the template, and an empty queue and cache."""
        name = f"tenfold_{next(self._numbers)}"
        keyspace = self._keyspaces.pop(0)
        try:
            async with self.database(name, template=TEMPLATE):
                for server in (self.queue, self.cache):
                    await flush(server.url(keyspace))
                settings = self._settings(name, keyspace, variables)
                if any(variable.startswith("JWT_") for variable in variables):
                    with contextlib.suppress(ValueError):  # a key that is none
                        await give_access(settings)
                yield settings
        finally:
            self._keyspaces.append(keyspace)

    @contextlib.asynccontextmanager
    async def database(self, name: str, *, template: str = "template1") -> AsyncIterator[str]:
        """A new database, dropped in the end; yields its URL."""
        async with connection(self.postgres.url()) as owner:
            await owner.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
            # What PUBLIC may do in a database does not come with its template.
            await owner.execute(f"REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC")
            await owner.execute(f"GRANT TEMPORARY ON DATABASE {name} TO tenfold_worker")
        try:
            yield self.postgres.url(name)
        finally:
            if self.postgres.is_running:
                # As the superuser: the owner may not end an autovacuum that is just at work in it.
                async with connection(self.postgres.superuser_url("postgres")) as superuser:
                    await superuser.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _settings(self, database: str, keyspace: int, variables: Mapping[str, str]) -> Settings:
        return Settings.from_env(
            {
                "DATABASE_URL": self.postgres.url(database),
                **tier_urls(self.postgres.url(database)),
                "QUEUE_REDIS_URL": self.queue.url(keyspace),
                "REDIS_URL": self.cache.url(keyspace),
                "JWT_SECRET_KEY": SECRET,
                "SECRETS_KEY": SECRET[::-1],
                "RATE_LIMIT_PER_MINUTE": "0",
                "LOGIN_RATE_LIMIT_PER_MINUTE": "0",
                "LOGIN_RATE_LIMIT_PER_ADDRESS_PER_MINUTE": "0",
                "LOGIN_RATE_LIMIT_PER_NAME_PER_HOUR": "0",
                "REGISTRATIONS_PER_HOUR": "0",
                "WORKER_METRICS_PORT": "0",
                "TENFOLD_HOME": str(self._home / database),
                **variables,
            }
        )

    async def start_all(self) -> None:
        for server in self.all:
            await start(server)


def tier_urls(owner_url: str) -> dict[str, str]:
    """Logins of their own for both tiers, as in production; `tenfold migrate` makes them."""
    url = URL(owner_url)
    return {
        f"{tier.upper()}_DATABASE_URL": str(url.with_user(f"tenfold_{tier}_login").with_password(f"of-the-{tier}"))
        for tier in ("api", "worker")
    }


async def start(server: Server) -> None:
    """Starts a server without holding up the event loop."""
    await asyncio.to_thread(server.start)


async def stop(server: Server) -> None:
    """Stops a server; whoever is connected is cut off."""
    await asyncio.to_thread(server.stop)


@contextlib.asynccontextmanager
async def away(server: Server) -> AsyncIterator[None]:
    """The server is stopped inside, and there again afterwards."""
    await stop(server)
    try:
        yield
    finally:
        await start(server)


@contextlib.contextmanager
def frozen(server: Server) -> Iterator[None]:
    """Inside, the server and all its processes stand still: connections stay open, and nothing is answered."""
    processes = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()


@contextlib.asynccontextmanager
async def cache_link(url: str) -> AsyncIterator[Link]:
    """What an API process asks the cache server at this address on."""
    client = cache_client(url)
    link = Link(client, timeout=CACHE_REPLY_SECONDS, gathers=True)
    try:
        yield link
    finally:
        await link.close()
        await client.aclose(close_connection_pool=True)


@contextlib.asynccontextmanager
async def connection(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection as the owner of the database, whom row-level security does not bind."""
    connected_to = await asyncpg.connect(url)
    try:
        yield connected_to
    finally:
        await connected_to.close()


async def flush(url: str) -> None:
    client = redis.asyncio.Redis.from_url(url)
    await client.flushdb()
    await client.aclose()


async def eventually(condition: Any, *, timeout: float = 10.0) -> Any:
    """Awaits `condition()` again and again until it gives something true, and returns that."""
    async with asyncio.timeout(timeout):
        while not (found := await condition()):
            await asyncio.sleep(0.02)
        return found


class WorkerInProcess:
    """A real worker on the event loop of the test, which can be stopped and started again."""

    def __init__(self, settings: Settings, queues: Iterable[str] = ("writes",)) -> None:
        self.settings = settings
        self.services: Services
        self._queues = tuple(queues)
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[None]

    async def start(self) -> None:
        self._stop = asyncio.Event()
        self._ready = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(), name="worker in process")
        await self._ready

    async def stop(self) -> None:
        """Ends it as SIGTERM would: what runs is finished."""
        if self._task is not None:
            self._stop.set()
            await self._task
            self._task = None

    async def _run(self) -> None:
        async with connected(self.settings, self._stop) as self.services:
            self._ready.set_result(None)
            serving = (
                serve_queue(QUEUES_OF_JOBS[name], self.services, self._stop, drain_seconds=5) for name in self._queues
            )
            await asyncio.gather(*serving)


@dataclass(frozen=True)
class Answer:
    """A response that has been read whole."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @cached_property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def items(self) -> list[dict[str, Any]]:
        """Of a page."""
        found: list[dict[str, Any]] = self.json["items"]
        return found

    def __repr__(self) -> str:
        return f"<Answer {self.status} {self.body[:500]!r}>"


_JSON_STRING = re.compile(rb'"((?:[^"\\]|\\.)*)"')
_OTHER_MOMENT = re.compile(rb"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.]{5,15}([+-][0-9]{2}(:?[0-9]{2})?)?")


def require_plain_json(body: bytes) -> None:
    """Of all JSON that is answered: it holds no spaces but in strings, and its times are of UTC, with a Z."""
    between = _JSON_STRING.sub(b"", body)
    assert not re.search(rb"\s", between), body
    for found in _JSON_STRING.finditer(body):
        assert not _OTHER_MOMENT.fullmatch(found[1]), found[0]


class Client:
    """Requests to one service, with the token of one user (or none)."""

    def __init__(self, http: ClientSession, base: URL, token: str | None = None) -> None:
        self._http = http
        self._base = base
        self.token = token

    async def request(self, method: str, path: str | URL, *, headers: Any = None, **options: Any) -> Answer:
        """Sends a request; `json=` is encoded, `data=` goes as it is; a path that is a `URL` is not encoded again."""
        all_headers: list[tuple[str, str]] = []
        if self.token is not None:
            all_headers.append(("Authorization", f"Bearer {self.token}"))
        all_headers += headers.items() if isinstance(headers, Mapping) else headers or []
        if "json" in options:
            options["data"] = orjson.dumps(options.pop("json"))
            all_headers.insert(0, ("Content-Type", "application/json"))
        url = path if isinstance(path, URL) and path.absolute else self._base.join(URL(path))
        async with self._http.request(method, url, headers=all_headers, allow_redirects=False, **options) as response:
            answer = Answer(response.status, response.headers, await response.read())
        if response.content_type in ("application/json", "application/problem+json") and not (
            "Content-Disposition" in response.headers  # a file, which has a task a line
            or "Content-Encoding" in response.headers  # as some clients want to see it
            or url.name == "openapi.json"  # whose examples are texts that a client may send
        ):
            require_plain_json(answer.body)
        return answer

    async def get(self, path: str | URL, **options: Any) -> Answer:
        return await self.request("GET", path, **options)

    async def post(self, path: str, json: Any = None, **options: Any) -> Answer:
        return await self.request("POST", path, **_with_json(json, options))

    async def put(self, path: str, json: Any = None, **options: Any) -> Answer:
        return await self.request("PUT", path, **_with_json(json, options))

    async def patch(self, path: str, json: Any = None, **options: Any) -> Answer:
        return await self.request("PATCH", path, **_with_json(json, options))

    async def delete(self, path: str, **options: Any) -> Answer:
        return await self.request("DELETE", path, **options)


def _with_json(json: Any, options: dict[str, Any]) -> dict[str, Any]:
    return options if "data" in options else {**options, "json": json}


@dataclass(eq=False)
class User(Client):
    """A client that is somebody."""

    http: ClientSession
    base: URL
    token: str
    id: int
    username: str

    def __post_init__(self) -> None:
        super().__init__(self.http, self.base, self.token)


@dataclass(eq=False)
class Service:
    """The application on a port of its own and, unless it is told otherwise, a worker.

    The cast: alice and bob are users; charlie has nothing and must be refused everything of theirs; admin sees all.
    """

    settings: Settings
    http: ClientSession
    worker: WorkerInProcess
    _owner: asyncpg.Connection | None = field(default=None, init=False)
    _owner_is_busy: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    base: URL = field(init=False)
    app: web.Application = field(init=False)
    anonymous: Client = field(init=False)
    alice: User = field(init=False)
    bob: User = field(init=False)
    charlie: User = field(init=False)
    admin: User = field(init=False)

    async def start(self, *, with_worker: bool = True) -> None:
        self._runner = Runner(create_app(self.settings))
        await self._runner.setup()
        self.app = self._runner.app
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.base = URL(f"http://127.0.0.1:{self._runner.addresses[0][1]}")
        self.anonymous = Client(self.http, self.base)
        if with_worker:
            await self.worker.start()

    async def stop(self) -> None:
        await self._runner.cleanup()
        await self.worker.stop()
        if self._owner is not None:
            await self._owner.close()
            self._owner = None

    async def recast(self) -> None:
        """Empties the database and makes the cast anew."""
        async with self.owner() as owner:
            await owner.execute(EMPTY_TABLES)
        for name in ("alice", "bob", "charlie", "admin"):
            setattr(self, name, await self.add_user(name, role="admin" if name == "admin" else "user"))

    async def add_user(self, username: str, *, role: str = "user") -> User:
        """One more user, whose password is `PASSWORD`."""
        async with self.owner() as owner:
            user_id = await insert_user(owner, username, role=role)
        return self.as_user(user_id, username, role=role)

    def as_user(self, user_id: int, username: str, *, role: str = "user") -> User:
        return User(self.http, self.base, self.mint(user_id, role), user_id, username)

    def mint(self, user_id: int, role: str = "user") -> str:
        """An access token such as a login gives."""
        tokens = Tokens(self.settings)
        return tokens.issue_access(user_id, role, token_id=str(uuid.uuid4()), issued_at=clock.now())

    def with_token(self, token: str | None) -> Client:
        return Client(self.http, self.base, token)

    async def rows(self, sql: str, *arguments: Any) -> list[dict[str, Any]]:
        """What the owner of the database reads (or changes: any statement will do)."""
        async with self.owner() as owner:
            return [dict(row) for row in await owner.fetch(sql, *arguments)]

    @contextlib.asynccontextmanager
    async def owner(self) -> AsyncIterator[asyncpg.Connection]:
        """The one connection as the database's owner, kept because a test would wait longer for a new one."""
        async with self._owner_is_busy:
            if self._owner is None or self._owner.is_closed():
                self._owner = await asyncpg.connect(self.settings.database_url)
            yield self._owner

    @contextlib.asynccontextmanager
    async def queue(self) -> AsyncIterator[ArqRedis]:
        client = queue_client(self.settings.queue_redis_url)
        try:
            yield client
        finally:
            await client.aclose(close_connection_pool=True)

    async def raw(self, *chunks: bytes, timeout: float = 10.0) -> "RawAnswer":
        """Sends bytes as they are and reads one answer, until its end or the connection's."""
        parts = urlsplit(str(self.base))
        assert parts.hostname is not None
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            async with asyncio.timeout(timeout):
                with contextlib.suppress(ConnectionError):
                    for chunk in chunks:
                        writer.write(chunk)
                        await writer.drain()
                return await RawAnswer.read(reader)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@dataclass(frozen=True)
class RawAnswer:
    """An answer as it came over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @classmethod
    async def read(cls, reader: asyncio.StreamReader, *, has_body: bool = True) -> "RawAnswer":
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status_line, *lines = head.rstrip("\r\n").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = headers.get("content-length")
        body = b""
        if has_body:
            body = await (reader.read() if length is None else reader.readexactly(int(length)))
        return cls(int(status_line.split()[1]), headers, body)


async def insert_user(owner: asyncpg.Connection, username: str, *, role: str = "user") -> int:
    """Makes a user with `PASSWORD` and without the time that hashing takes."""
    user_id: int = await owner.fetchval(
        "INSERT INTO users (username, email, password_hash, role) VALUES ($1, $2, $3, $4) RETURNING id",
        username,
        f"{username}@example.com",
        PASSWORD_HASH,
        role,
    )
    return user_id


@contextlib.asynccontextmanager
async def answer_cut_off(url: str, command: bytes) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """A way to a Redis server on which the first `command` is carried out and the connection lost before the answer.

    Yields:
        The URL of the way, and what is set when that has happened.
    """
    server = URL(url)
    cut = asyncio.Event()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, questions = await asyncio.open_connection(server.host, server.port)
        is_cut = False

        async def ask() -> None:
            nonlocal is_cut
            while not is_cut and (data := await reader.read(65536)):
                is_cut = command in data and not cut.is_set()
                questions.write(data)
            if is_cut:
                cut.set()
                await asyncio.sleep(0.1)  # the server carries it out

        async def answer() -> None:
            while data := await answers.read(65536):
                if not is_cut:
                    writer.write(data)

        directions = [asyncio.create_task(ask()), asyncio.create_task(answer())]
        await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        await end_tasks(directions)
        for end in (writer, questions):
            end.close()

    listener = await asyncio.start_server(connect, "127.0.0.1", 0)
    try:
        yield str(server.with_host("127.0.0.1").with_port(listener.sockets[0].getsockname()[1])), cut
    finally:
        listener.close()

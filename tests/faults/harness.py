"""A whole installation as processes of this test: two tiers and three servers, each of which can be killed."""

import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
from redis.asyncio import Redis

from api.tokens import Tokens
from core import clock, lanes
from core.jobs.queues import WRITES_QUEUE
from core.settings import Settings
from migrations.access import close_catalogue, give_access
from migrations.run import upgrade
from ops.dev.servers import PostgresServer, ValkeyServer
from ops.ports import free_port
from tests.harness import tier_urls

ROOT = Path(__file__).parents[2]
USERS = 8
READY_SECONDS = 30.0
QUIET_SECONDS = 45.0
LANES = 4

_ADD_USER = """
INSERT INTO users (username, email, password_hash)
VALUES ($1, $1 || '@example.org', 'no password fits this')
RETURNING id
"""


@dataclass(frozen=True, slots=True)
class User:
    """Somebody with an access token."""

    id: int
    name: str
    token: str

    @property
    def lane(self) -> str:
        return lanes.lane_of_user(self.id, LANES)


class Tier:
    """One API or worker process, with its output in a file."""

    def __init__(self, name: str, command: list[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        self._command = command
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None, f"{self.name} was never started"
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL, and collects the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def end(self, *, within: float) -> int:
        """SIGTERM; returns the exit status.

        Raises:
            AssertionError: it did not end in time.
        """
        self.send(signal.SIGTERM)
        return await self.ended(within=within)

    async def ended(self, *, within: float) -> int:
        """Waits until it has ended by itself; returns the exit status (negative: the signal)."""
        deadline = time.monotonic() + within
        while self.is_running:
            assert time.monotonic() < deadline, f"{self.name} did not end within {within:g} s:\n{self.tail()}"
            await asyncio.sleep(0.02)
        return self.process.wait()

    async def says(self, text: str, *, times: int = 1) -> None:
        """Waits until its output holds `text`."""
        deadline = time.monotonic() + READY_SECONDS
        while self.output.count(text) < times:
            assert self.is_running, f"{self.name} ended:\n{self.tail()}"
            assert time.monotonic() < deadline, f"{self.name} never said {text!r}:\n{self.tail()}"
            await asyncio.sleep(0.02)

    def tail(self, lines: int = 25) -> str:
        return "\n".join(self.output.splitlines()[-lines:])


def worker_for(settings: Settings, folder: Path, name: str, *queues: str, **variables: str) -> Tier:
    """A worker process, not started yet, for a database that is there already."""
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "LOG_FORMAT": "json",
        "DATABASE_URL": settings.database_url,
        **tier_urls(settings.database_url),
        "QUEUE_REDIS_URL": settings.queue_redis_url,
        "REDIS_URL": settings.redis_url,
        "JWT_SECRET_KEY": settings.jwt_secret_key,
        "SECRETS_KEY": settings.secrets_key,
        "WORKER_METRICS_PORT": "0",
        "TENFOLD_HOME": str(folder),
        **variables,
    }
    command = [sys.executable, "-m", "worker", *(part for queue in queues for part in ("--queue", queue))]
    return Tier(name, command, environment, folder / f"{name}.log")


@dataclass
class Installation:
    """The servers, the processes, the users, and what to ask them all."""

    folder: Path
    postgres: PostgresServer
    queue: ValkeyServer
    cache: ValkeyServer
    port: int = field(default_factory=free_port)
    users: list[User] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    tiers: list[Tier] = field(default_factory=list)
    _secret: str = field(default_factory=lambda: secrets.token_urlsafe(48))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return {
            **kept,
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "LOG_FORMAT": "json",
            "DATABASE_URL": self.postgres.url(),
            **tier_urls(self.postgres.url()),
            "REDIS_URL": self.cache.url(),
            "QUEUE_REDIS_URL": self.queue.url(),
            "JWT_SECRET_KEY": self._secret,
            "PORT": str(self.port),
            "WORKER_METRICS_PORT": "0",
            "WRITE_LANES": str(LANES),
            "TENFOLD_HOME": str(self.folder / "home"),
            # High, not off: the limiter has to live through the loss of the cache as well.
            "RATE_LIMIT_PER_MINUTE": "1000000",
            **self.variables,
        }

    # -- making it ----------------------------------------------------------------------------------------

    async def set_up(self) -> None:
        """Servers and users; no process of ours yet. The data folder of PostgreSQL has the schema already."""
        await asyncio.gather(*(asyncio.to_thread(s.start) for s in (self.postgres, self.queue, self.cache)))
        settings = Settings.from_env(self.environment())
        await give_access(settings)
        await close_catalogue(self.postgres.superuser_url())
        tokens = Tokens(settings)
        connection = await asyncpg.connect(self.postgres.superuser_url())
        try:
            for number in range(USERS):
                user_id = await connection.fetchval(_ADD_USER, f"user{number}")
                token = tokens.issue_access(user_id, "user", token_id=secrets.token_hex(8), issued_at=clock.now())
                self.users.append(User(user_id, f"user{number}", token))
        finally:
            await connection.close()

    async def start_api(self, *, share_port: bool = False) -> Tier:
        arguments = ["--reuse-port"] if share_port else []
        api = self._tier("api", [sys.executable, "-m", "api", *arguments])
        try:
            await api.says('"api ready"')
        except AssertionError:
            # Between being chosen and being bound, another process may have taken the port. Only the first may move.
            if "address already in use" not in api.output or any(t.name.startswith("api") for t in self.tiers[:-1]):
                raise
            self.tiers.remove(api)
            self.port = free_port()
            return await self.start_api(share_port=share_port)
        return api

    async def start_worker(self, *, dying: str | None = None, batch: int = 3) -> Tier:
        """A worker; one that is `dying` kills itself at that point of a batch (see `dying_worker`)."""
        program = ["-m", "worker"] if dying is None else ["-m", "tests.faults.dying_worker", dying, str(batch)]
        worker = self._tier("worker", [sys.executable, *program])
        await worker.says('"worker ready"')
        return worker

    def _tier(self, kind: str, command: list[str]) -> Tier:
        name = f"{kind}-{len(self.tiers) + 1}"
        tier = Tier(name, command, self.environment(), self.folder / f"{name}.log")
        self.tiers.append(tier)
        tier.start()
        return tier

    def end(self) -> None:
        """Ends whatever is still there."""
        for tier in self.tiers:
            tier.kill()
        for server in (self.postgres, self.queue, self.cache):
            server.kill()

    # -- asking it ----------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def queue_client(self) -> AsyncIterator["Redis"]:
        client = Redis.from_url(self.queue.url())
        try:
            yield client
        finally:
            await client.aclose()

    async def wait_until_quiet(self) -> None:
        """Waits until every lane and the writes' queue are empty.

        Raises:
            AssertionError: something still lies in a lane after `QUIET_SECONDS`.
        """
        deadline = time.monotonic() + QUIET_SECONDS
        async with self.queue_client() as queue:
            while True:
                left = {lane: await queue.xlen(lanes.stream(lane)) for lane in lanes.lane_names(LANES)}
                if not any(left.values()):
                    break
                assert time.monotonic() < deadline, f"lanes are not empty: {left}\n{self.logs()}"
                await asyncio.sleep(0.1)
            while await queue.zcard(WRITES_QUEUE):
                assert time.monotonic() < deadline, f"drains never ended\n{self.logs()}"
                await asyncio.sleep(0.1)

    def errors_in_logs(self) -> list[str]:
        """Lines that tell of what nobody expected: errors, stack traces, exceptions that nobody took."""
        found = []
        for tier in self.tiers:
            for line in tier.output.splitlines():
                if '"level":"error"' in line or "Traceback" in line or "never retrieved" in line:
                    found.append(f"{tier.name}: {line[:500]}")
        return found

    def logs(self) -> str:
        return "\n".join(f"--- {tier.name}\n{tier.tail(12)}" for tier in self.tiers)


def make_template(folder: Path) -> PostgresServer:
    """A data folder of PostgreSQL with the schema, for `installation` to copy."""
    with PostgresServer(folder / "pg") as postgres:
        upgrade(postgres.url())
    return postgres


@contextlib.asynccontextmanager
async def installation(folder: Path, template: PostgresServer, **variables: str) -> AsyncIterator[Installation]:
    """An installation with its servers running; whatever is left of it at the end is ended."""
    copy = ["cp", "--archive", "--reflink=auto", str(template.data_dir), str(folder / "pg")]
    await asyncio.to_thread(subprocess.run, copy, check=True)
    made = Installation(
        folder=folder,
        # Durable, unlike the servers of other tests: what is acknowledged must be on the disk.
        postgres=PostgresServer(folder / "pg", parameters={"shared_buffers": "64MB"}),
        queue=ValkeyServer(folder / "queue", durable=True),
        cache=ValkeyServer(folder / "cache", durable=False),
        variables=variables,
    )
    try:
        await made.set_up()
        yield made
    finally:
        await asyncio.to_thread(made.end)

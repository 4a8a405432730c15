"""What is measured on: real servers, one API process, one worker, and an empty aiohttp handler beside them."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson
import psutil

import ops
from core.settings import Settings
from migrations.access import close_catalogue, give_access_now
from ops.bench import dataset as datasets
from ops.bench.client import Plan, Request, Result
from ops.bench.dataset import Dataset
from ops.dev import leftovers
from ops.dev.home import Home
from ops.dev.servers import PostgresServer, Server, ValkeyServer
from ops.faults import Fault
from ops.ports import free_port

ROOT = Path(ops.__file__).parents[1]
HOST = "127.0.0.1"
MARK = "TENFOLD_BENCH_HOME"
"""A variable in the environment of every process that we start: it says whose they are if we are killed."""
READY_SECONDS = 60.0
STOP_SECONDS = 30.0
LOOK_SECONDS = 0.05
SLACK_SECONDS = 60.0
MEGABYTE = 1 << 20

TIERS: dict[str, tuple[list[str], str, str]] = {
    "api": (["api"], "PORT", "/health/ready"),
    "worker": (["worker", "--queue", "writes", "--queue", "maintenance"], "WORKER_METRICS_PORT", "/metrics"),
    "bulk": (["worker", "--queue", "bulk"], "WORKER_METRICS_PORT", "/metrics"),
    "time": (["worker", "--queue", "time"], "WORKER_METRICS_PORT", "/metrics"),
}
"""Name → module and arguments, the variable that names its port, and what answers when it is ready."""

Say = Callable[[str], None]


def postgres_parameters() -> dict[str, str | int]:
    """What an operator would set on this machine; nothing that trades durability for speed."""
    memory = psutil.virtual_memory().total // MEGABYTE
    return {
        "shared_buffers": f"{min(memory // 4, 8192)}MB",
        "effective_cache_size": f"{memory // 2}MB",
        "random_page_cost": "1.1",
        "wal_buffers": "64MB",
        "max_wal_size": "8GB",
        "checkpoint_timeout": "15min",
        "fsync": "on",
        "synchronous_commit": "on",
    }


@dataclass
class Process:
    """A process of ours, and where it listens."""

    name: str
    port: int
    popen: "subprocess.Popen[bytes]"
    statistics: psutil.Process = field(init=False)

    def __post_init__(self) -> None:
        self.statistics = psutil.Process(self.popen.pid)

    @property
    def memory_mb(self) -> float:
        return float(self.statistics.memory_info().rss) / MEGABYTE

    @property
    def cpu_seconds(self) -> float:
        times = self.statistics.cpu_times()
        return float(times.user + times.system)


@dataclass
class Rig:
    """Everything that runs while rows are measured."""

    home: Home
    dataset: Dataset
    postgres: PostgresServer
    queue: ValkeyServer
    cache: ValkeyServer
    database_url: str
    settings: Settings
    environment: dict[str, str]
    running: dict[str, Process] = field(default_factory=dict)

    @contextmanager
    def tier(self, name: str, **changes: str) -> Iterator[Process]:
        """Runs a tier's process, a key of `TIERS`; returns to the caller when it is ready."""
        port = free_port(HOST)
        arguments, port_variable, ready = TIERS[name]
        environment = {**self.environment, port_variable: str(port), **changes}
        with self._process(name, ["-m", *arguments], port, ready, environment) as process:
            yield process

    @contextmanager
    def empty_handler(self) -> Iterator[Process]:
        port = free_port(HOST)
        with self._process("empty", ["-m", "ops.bench.empty", str(port)], port, "/", self.environment) as process:
            yield process

    @contextmanager
    def receiver(self) -> Iterator[Process]:
        """Of webhooks."""
        port = free_port(HOST)
        arguments = ["-m", "ops.bench.receiver", str(port)]
        with self._process("receiver", arguments, port, "/", self.environment) as process:
            yield process

    @contextmanager
    def _process(
        self, name: str, arguments: list[str], port: int, ready: str, environment: Mapping[str, str]
    ) -> Iterator[Process]:
        log_file = self.home.log_file(name)
        with log_file.open("ab") as log:
            popen = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        process = Process(name, port, popen)
        try:
            _wait_until_ready(process, ready, log_file)
            self.running[name] = process
            yield process
        finally:
            self.running.pop(name, None)
            popen.send_signal(signal.SIGTERM)
            try:
                popen.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                popen.kill()
                popen.wait()

    def load(
        self,
        target: Process,
        requests: list[Request],
        *,
        connections: int,
        seconds: float,
        warmup: float,
        interval: float = 0.0,
    ) -> tuple[Result, dict[str, float]]:
        """Runs the load generator against `target`.

        Returns:
            Its result, and how many cores each process used meanwhile, start and end of the load included;
            `others` is what is not ours.
        """
        plan = Plan(HOST, target.port, connections, seconds, warmup, requests, interval)
        given = orjson.dumps({**asdict(plan), "requests": [(r.text, r.status, r.tasks) for r in requests]})
        before, others, started = self.cpu_seconds(), _busy_seconds(), time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "ops.bench.client"],
            cwd=ROOT,
            env=self.environment,
            input=given,
            capture_output=True,
            timeout=seconds + warmup + SLACK_SECONDS,
            start_new_session=True,
            check=False,
        )
        elapsed = time.monotonic() - started
        used = {name: seconds - before.get(name, 0.0) for name, seconds in self.cpu_seconds().items()}
        used["others"] = max(0.0, _busy_seconds() - others - sum(used.values()))
        if done.returncode != 0:
            raise Fault(f"the load generator failed:\n{done.stderr.decode(errors='replace').strip()}")
        return Result(**orjson.loads(done.stdout)), {name: cpu / elapsed for name, cpu in used.items()}

    def cpu_seconds(self) -> dict[str, float]:
        """Processor time of everything that runs; backends of PostgreSQL that have ended are missing."""
        seconds = {name: process.cpu_seconds for name, process in self.running.items()}
        for name, server in (("postgres", self.postgres), ("queue", self.queue), ("cache", self.cache)):
            process = psutil.Process(server.pid)
            total = 0.0
            for part in (process, *process.children()):
                with suppress(psutil.Error):
                    times = part.cpu_times()
                    total += times.user + times.system
            seconds[name] = total
        return seconds


def _busy_seconds() -> float:
    """Processor time of the whole machine, without ours and that of our ended children."""
    machine, own = psutil.cpu_times(), os.times()
    busy = sum(machine) - machine.idle - getattr(machine, "iowait", 0.0) - getattr(machine, "guest", 0.0)
    return float(busy) - (own.user + own.system + own.children_user + own.children_system)


@contextmanager
def raised(folder: Path, dataset: Dataset, *, anew: bool, say: Say) -> Iterator[Rig]:
    """Starts the servers under `folder` and loads the dataset; stops everything in the end.

    Raises:
        Fault: another run uses the folder, or something does not start.
    """
    home = Home(folder)
    with home.locked(), ExitStack() as cleanup:
        leftovers.end(leftovers.processes_marked(MARK, str(home.folder)))
        parameters = postgres_parameters()
        postgres = PostgresServer(home.folder / "postgres", parameters=parameters, log_file=home.log_file("postgres"))
        queue = ValkeyServer(home.folder / "queue", durable=True, log_file=home.log_file("queue"))
        cache = ValkeyServer(home.folder / "cache", durable=False, log_file=home.log_file("cache"))
        for valkey in (queue, cache):
            valkey.end_leftovers()
            # Writes that a killed run left waiting would be carried out in this one's database.
            shutil.rmtree(valkey.data_dir, ignore_errors=True)
        for server in (postgres, queue, cache):
            _start(server, cleanup, say)
        url = datasets.fresh_copy(postgres, dataset, anew=anew, say=say)
        environment = _environment(home, url, queue, cache)
        settings = Settings.from_env(environment)
        give_access_now(settings)
        asyncio.run(close_catalogue(postgres.superuser_url(datasets.COPY)))
        yield Rig(home, dataset, postgres, queue, cache, url, settings, environment)


def _start(server: Server, cleanup: ExitStack, say: Say) -> None:
    say(f"starting {server.name}")
    cleanup.callback(server.stop)
    server.start()


def _environment(home: Home, url: str, queue: ValkeyServer, cache: ValkeyServer) -> dict[str, str]:
    """Settings as in production: everything on, and nothing of our own environment."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        MARK: str(home.folder),
        "TENFOLD_HOME": str(home.folder),
        "DATABASE_URL": url,
        **home.tier_urls(url),
        "QUEUE_REDIS_URL": queue.url(),
        "REDIS_URL": cache.url(),
        "JWT_SECRET_KEY": home.signing_secret(),
        "SECRETS_KEY": home.signing_secret(),
        "ACCESS_TOKEN_EXPIRE_MINUTES": "1440",
        "RATE_LIMIT_PER_MINUTE": "100000000",
        "LOGIN_RATE_LIMIT_PER_MINUTE": "0",
        "LOG_FORMAT": "json",
        "HOST": HOST,
    }


def _wait_until_ready(process: Process, path: str, log_file: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        with (
            suppress(OSError, ValueError),
            urllib.request.urlopen(f"http://{HOST}:{process.port}{path}", timeout=5) as answer,
        ):
            if answer.status == 200:
                return
        if process.popen.poll() is not None or time.monotonic() > deadline:
            raise Fault(f"{process.name} did not become ready: see {log_file}")
        time.sleep(LOOK_SECONDS)

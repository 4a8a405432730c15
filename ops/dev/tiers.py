"""API and workers under `tenfold dev`: started, watched, shown, and stopped in order."""

import asyncio
import shlex
import sys
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import psutil

from core.settings import Settings
from ops.dev.demo import USERS
from ops.dev.home import Home
from ops.dev.server import Server
from ops.dev.stream import LogStream, show
from ops.dev.watching import LOOK_SECONDS, keep_running
from ops.environment import DEFAULT_HOME
from ops.faults import FAILED
from ops.ports import free_port, port_is_free
from ops.processes import Child, drain
from ops.signals import Terminal, stop_signals

READY_SECONDS = 60.0
HIGHEST_PORT = 65_535
WORKERS: dict[str, tuple[str, ...]] = {
    "worker": ("worker", "--queue", "writes", "--queue", "maintenance"),
    "bulk": ("worker", "--queue", "bulk"),
    "time": ("worker", "--queue", "time"),
}
"""Files and messages have workers of their own, so that nobody waits for a write because of them."""
TIERS = {**WORKERS, "api": ("api",)}
"""What runs, in the order of its start; the API stops first."""

DATABASE_URLS = frozenset({"DATABASE_URL", "API_DATABASE_URL", "WORKER_DATABASE_URL"})

Say = Callable[[str], None]


async def run_tiers(
    home: Home,
    settings: Settings,
    environment: Mapping[str, str],
    servers: Mapping[str, Server],
    say: Say,
    terminal: Terminal,
    *,
    workers: int,
) -> int:
    """Runs all until a signal to stop or its terminal is closed, one refuses its settings, or a server is given up.

    Args:
        home: of the data and logs.
        settings: of the processes.
        environment: of the processes, from which they read the same settings.
        servers: that run, and are kept running.
        say: tells the terminal.
        terminal: looked at since the start of the run.
        workers: how many of each kind.

    Returns:
        The exit status.
    """
    tiers = {
        **{f"{name}{number}": WORKERS[name] for number in ("", *range(2, workers + 1)) for name in WORKERS},
        "api": TIERS["api"],
    }
    ports = MetricsPorts(settings, [name for name in tiers if name != "api"], say)
    for_workers = with_own_login(environment, "WORKER_DATABASE_URL")
    stream = LogStream([(name, home.log_file(name)) for name in tiers], show)
    children = {
        name: Child(
            name,
            [sys.executable, "-m", *tiers[name]],
            with_own_login(environment, "API_DATABASE_URL")
            if name == "api"
            else partial(ports.with_port_of, name, for_workers),
            say=say,
            log_file=home.log_file(name),
            describe_crash=partial(_last_words, home, name, stream),
        )
        for name in tiers
    }
    stopping = asyncio.Event()

    def on_signal(first: bool) -> None:
        stopping.set()  # first, so that no failing print prevents it
        if not first:
            for child in children.values():
                child.kill()
        say("stopping; Ctrl-C once more hurries" if first else "hurrying")

    with stop_signals(on_signal):
        running = {name: asyncio.create_task(child.run()) for name, child in children.items()}
        watching = asyncio.create_task(_watch(home, stream, terminal, stopping))
        keeping = asyncio.create_task(keep_running(servers, say) if servers else asyncio.Event().wait())
        greeting = asyncio.create_task(_greet(home, settings, ports.ports, lambda name: children[name].pid, say))
        waiting = asyncio.create_task(stopping.wait())
        await asyncio.wait([waiting, keeping, *running.values()], return_when=asyncio.FIRST_COMPLETED)
        given_up = keeping.result() if keeping.done() else None
        if given_up:
            say(str(given_up))
        keeping.cancel()  # what ends from now on was stopped
        greeting.cancel()
        for name in reversed(list(tiers)):
            await drain(children[name], running[name])
            stream.look()  # now, so that the last lines of all stand in their order
        waiting.cancel()
        watching.cancel()
        await asyncio.gather(greeting, waiting, watching, keeping, return_exceptions=True)
    stream.look()
    if given_up:
        return FAILED
    return 0 if stopping.is_set() else max(max(task.result(), 0) for task in running.values())


async def _watch(home: Home, stream: LogStream, terminal: Terminal, stopping: asyncio.Event) -> None:
    while True:
        if terminal.is_gone():
            stopping.set()
        stream.look()
        for log in home.rotate_logs():
            stream.begin_anew(log)
        await asyncio.sleep(LOOK_SECONDS)


def with_own_login(environment: Mapping[str, str], own: str) -> dict[str, str]:
    """The environment of a tier: with its own database URL and not those of others, if it has one of its own."""
    if own not in environment:
        return dict(environment)
    return {name: value for name, value in environment.items() if name == own or name not in DATABASE_URLS}


class MetricsPorts:
    """Worker → port: that of the settings and those that follow it, as far as they are free when a worker starts."""

    def __init__(self, settings: Settings, names: Sequence[str], say: Say) -> None:
        first = settings.worker_metrics_port
        self.ports = {name: first + number if first else 0 for number, name in enumerate(names)}
        self._host = settings.host
        self._say = say
        self._api_port = settings.port

    def with_port_of(self, name: str, environment: Mapping[str, str]) -> dict[str, str]:
        """The environment of a worker that starts now.

        Another run may take a free port in the same moment. The worker that comes too late ends, and gets another.
        """
        port = self.ports[name]
        if port and not (port <= HIGHEST_PORT and port != self._api_port and port_is_free(port, self._host)):
            self.ports[name] = free_port(self._host)
            why = "is the API's" if port == self._api_port else "is in use" if port <= HIGHEST_PORT else "is none"
            self._say(f"port {port} {why}: the metrics of {name} are on {self.ports[name]}")
        return {**environment, "WORKER_METRICS_PORT": str(self.ports[name])}


async def _greet(
    home: Home, settings: Settings, metrics_ports: Mapping[str, int], pid_of: Callable[[str], int | None], say: Say
) -> None:
    """Waits until all are ready, and says where everything is: what it names, answers, and is of this run.

    Args:
        home: of the data and logs.
        settings: of the processes.
        metrics_ports: worker → port, as it stands whenever it is looked at.
        pid_of: tells a tier's process while it lives.
        say: tells the terminal.
    """
    host = f"http://{_reachable(settings.host)}"
    url = api_url(settings)
    deadline = asyncio.get_running_loop().time() + READY_SECONDS
    for name in ("api", *(metrics_ports if settings.worker_metrics_port else ())):
        while True:
            port = settings.port if name == "api" else metrics_ports[name]
            address = f"{url}/health/ready" if name == "api" else f"{host}:{port}/metrics"
            if await asyncio.to_thread(_answers, address) and _listens(pid_of(name), port):
                break
            if asyncio.get_running_loop().time() > deadline:
                say(f"not ready yet: see {address} and {home.shown}/logs")
                return
            await asyncio.sleep(LOOK_SECONDS)
    metrics = [f"{host}:{port}/metrics" for port in metrics_ports.values() if port]
    show(greeting(home, metrics, url))


def _listens(pid: int | None, port: int) -> bool:
    """Whether it is this process that answers on a port, and not one of another run."""
    if pid is None:
        return False
    try:
        connections = psutil.Process(pid).net_connections("tcp")
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # some systems tell nobody; it lives
        return True
    return any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in connections)


def greeting(home: Home, metrics: Sequence[str], url: str) -> str:
    admin, demo, *_ = USERS
    workers = f"{', '.join(metrics) or 'off'} (workers)"
    # Within the folder of a run from the default place the command line finds it by itself.
    is_default = home.folder == Path(DEFAULT_HOME).absolute()
    found = (
        ""
        if is_default
        else f"""
So that `tenfold` in other terminals works on this one, say there:

  export TENFOLD_HOME={shlex.quote(str(home.folder))}
"""
    )
    body = f'{{"username": "{demo.username}", "password": "{demo.password}"}}'
    return f"""
Tenfold is ready.

  API              {url}
  documentation    {url}/docs
  metrics          {url}/metrics (API), {workers}
  data and logs    {home.shown}

  users            {demo.username} / {demo.password}, {admin.username} / {admin.password}

Log in and look at the most urgent tasks:

  TOKEN=$(curl -s {url}/auth/login -H 'Content-Type: application/json' \\
    -d '{body}' | sed -E 's/.*"access_token": ?"([^"]+)".*/\\1/')
  curl -s "{url}/tasks?status=pending&sort_by_priority=true&limit=5" -H "Authorization: Bearer $TOKEN"
{found}
Ctrl-C stops everything; the data stays.
"""


def api_url(settings: Settings) -> str:
    """Where the API is to be reached from this machine."""
    return f"http://{_reachable(settings.host)}:{settings.port}"


def _reachable(host: str) -> str:
    """The address to connect to from this machine."""
    local = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104
    return f"[{local}]" if ":" in local and not local.startswith("[") else local


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=2) as answer:  # noqa: S310 - ours
            return bool(answer.status == 200)
    except (OSError, ValueError):
        return False


def _last_words(home: Home, name: str, stream: LogStream) -> str:
    """The end of the log goes to the terminal before the report of the crash does."""
    stream.look()
    return f"; its log is {home.shown}/logs/{name}.log"

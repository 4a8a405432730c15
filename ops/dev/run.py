"""`tenfold dev`: servers, migrations, demo data, API and worker, from nothing and back to nothing.

Each starts after what it needs, and they stop in reverse: the API drains, the worker finishes its batch, and only
then the servers stop.
"""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from core.settings import Settings
from migrations.access import close_catalogue, give_access_now
from migrations.run import upgrade
from ops.dev import leftovers
from ops.dev.demo import load_demo
from ops.dev.home import Home
from ops.dev.servers import PostgresServer, Server, ServerError, ValkeyServer
from ops.dev.stream import show
from ops.dev.tiers import api_url, run_tiers
from ops.environment import home_folder, merged_environment
from ops.faults import INTERRUPTED, Fault
from ops.ports import free_port, port_is_free
from ops.signals import STOP_SIGNALS, Terminal, ignore_signals

MARK = "TENFOLD_DEV_HOME"
"""A variable in the environment of API and worker: it says whose they are if we are killed."""
SHARED = (
    "TENFOLD_ENV",
    "DATABASE_URL",
    "API_DATABASE_URL",
    "WORKER_DATABASE_URL",
    "REDIS_URL",
    "QUEUE_REDIS_URL",
    "JWT_SECRET_KEY",
)
"""What other commands need to work on the same installation."""
ANY_HOST = ("0.0.0.0", "::")  # noqa: S104


class Stopped(BaseException):
    """Ctrl-C, SIGTERM or a closed terminal, before there is an event loop to hear it; holds the signal's number."""


def run(*, workers: int = 1) -> int:
    """Runs until Ctrl-C or SIGTERM.

    Args:
        workers: how many of each kind.

    Returns:
        The exit status.

    Raises:
        Fault, SettingsError: it cannot start; everything that had been started is stopped.
    """
    environment = merged_environment(TENFOLD_ENV="development")
    home = Home(home_folder(environment))
    terminal = Terminal()
    try:
        with stopped_by_signals(), home.locked(), ExitStack() as cleanup:
            return _run(home, environment, cleanup, terminal, workers)
    except Stopped as stopped:
        # What had been begun was not finished, and whoever pressed Ctrl-C in a script wants that to end, too.
        return INTERRUPTED if stopped.args == (signal.SIGINT,) else 0
    except ServerError as error:
        raise Fault(str(error)) from None


def _run(home: Home, environment: dict[str, str], cleanup: ExitStack, terminal: Terminal, workers: int) -> int:
    environment[MARK] = environment["TENFOLD_HOME"] = str(home.folder)
    environment.setdefault("JWT_SECRET_KEY", home.signing_secret())
    environment.setdefault("ALLOW_PRIVATE_TARGETS", "true")  # a receiver for trying things out is on this machine
    leftovers.end(leftovers.processes_marked(MARK, str(home.folder)))
    # Faults of the settings are told before anything starts; the URLs are known only afterwards.
    _check_ports(Settings.from_env({"DATABASE_URL": "postgresql://", "REDIS_URL": "redis://", **environment}))
    cleanup.callback(say, f"stopped; the data stays in {home.shown}")
    home.rotate_logs()
    servers = _start_servers(home, environment, cleanup)
    settings = Settings.from_env(environment)
    shared = {name: environment[name] for name in SHARED if name in environment}
    home.tell_environment({**shared, "TENFOLD_URL": api_url(settings)})
    cleanup.callback(home.forget_environment)
    say("bringing the database up to date")
    _migrate(settings, servers.get("postgres"))
    if asyncio.run(load_demo(settings.owner_url)):
        say("made demo users and their tasks")
    cleanup.callback(ignore_signals)
    return asyncio.run(run_tiers(home, settings, environment, servers, say, terminal, workers=workers))


def _check_ports(settings: Settings) -> None:
    if not port_is_free(settings.port, settings.host):
        raise Fault(
            f"port {settings.port} of {settings.host} is in use: stop what uses it, "
            f"or choose another: PORT={_next_free(settings.port, settings.host)} make run"
        )
    if settings.host in ANY_HOST:
        say(f"HOST={settings.host} lets others in, and the demo users' passwords are known to everybody")


def _next_free(port: int, host: str) -> int:
    for candidate in range(port + 1, min(port + 100, 65_536)):
        if port_is_free(candidate, host):
            return candidate
    return free_port(host)


def _migrate(settings: Settings, postgres: Server | None) -> None:
    """The schema, and logins for both tiers; of a server of ours we are superuser, too."""
    upgrade(settings.owner_url)
    try:
        access = give_access_now(settings)
    except ValueError as error:
        raise Fault(str(error)) from None
    for line in (*access.done, *access.wanted):
        say(line)
    if isinstance(postgres, PostgresServer):
        asyncio.run(close_catalogue(postgres.superuser_url()))


def _start_servers(home: Home, environment: dict[str, str], cleanup: ExitStack) -> dict[str, Server]:
    """Starts what the environment names no address for, and names its address there; returns them by name."""
    servers: dict[str, Server] = {}
    if "DATABASE_URL" not in environment:
        servers["postgres"] = postgres = PostgresServer(home.folder / "postgres", log_file=home.log_file("postgres"))
        _start(home, "postgres", postgres, cleanup)
        for folder in postgres.opened_folders:
            say(f"{folder} can be passed through by all users now: PostgreSQL, which refuses root, has one of its own")
        environment["DATABASE_URL"] = postgres.url()
        environment.update(home.tier_urls(postgres.url()))
    for variable, name, durable in (("QUEUE_REDIS_URL", "queue", True), ("REDIS_URL", "cache", False)):
        if variable not in environment:
            servers[name] = valkey = ValkeyServer(home.folder / name, durable=durable, log_file=home.log_file(name))
            _start(home, name, valkey, cleanup)
            environment[variable] = valkey.url()
    return servers


def _start(home: Home, name: str, server: Server, cleanup: ExitStack) -> None:
    say(f"starting {name}")
    server.end_leftovers()
    port = home.port_of(name)
    if port is not None and not port_is_free(port):
        say(f"port {port}, which {name} had before, is in use: it gets another")
        port = None
    server.prefer_port(port)
    cleanup.callback(server.stop)
    server.start()
    home.remember_port(name, server.port)


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP unwind as Ctrl-C does, so that what was started is stopped."""
    heard: list[int] = []

    def stop(number: int, _frame: object) -> None:
        ignore_signals()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise Stopped(number) from None
        # What is raised in the middle of an event loop meets its own code, which takes it for a lost connection.
        heard.append(number)
        for task in asyncio.all_tasks(loop):
            loop.call_soon_threadsafe(task.cancel)

    before = {number: signal.signal(number, stop) for number in STOP_SIGNALS}
    try:
        yield
    except asyncio.CancelledError:
        raise Stopped(*heard) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def say(line: str) -> None:
    show(f"tenfold │ {line}")

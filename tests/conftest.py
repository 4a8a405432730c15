"""Fixtures for every test: real servers, a fresh database a test, a real worker. Nothing is mocked.

`service` is one running service that its tests share; each finds an empty database and a new cast. What a test
changes about the service itself (settings, worker, servers) it does to one of its own, from `make_service`.
"""

import contextlib
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector

from core.settings import Settings
from tests.harness import Servers, Service, WorkerInProcess
from tests.receivers import Receiver, receiver

MakeSettings = Callable[..., Coroutine[Any, Any, Settings]]
MakeService = Callable[..., Coroutine[Any, Any, Service]]
MakeWorker = Callable[..., Coroutine[Any, Any, WorkerInProcess]]

# By default structlog draws a traceback with every local variable in it: in a worker of the test's own process, a
# batch of refused commands would take longer than the client waits.
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]
)

# A shell that runs the tests in its background has them ignore Ctrl-C, and what they start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _home() -> "tempfile.TemporaryDirectory[str]":
    # Not tmp_path: PostgreSQL runs as another user when we are root, and cannot enter pytest's folder.
    return tempfile.TemporaryDirectory(prefix="tenfold-tests-")


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """PostgreSQL, queue and cache for the whole session. Nobody may stop these: see `breakable_servers`."""
    with _home() as home, Servers(Path(home)) as running:
        yield running


@pytest.fixture(scope="session")
def _breakable() -> Iterator[Servers]:
    with _home() as home, Servers(Path(home)) as running:
        yield running


@pytest.fixture
async def breakable_servers(_breakable: Servers) -> AsyncIterator[Servers]:
    """A second set, which a test may stop, kill and start."""
    await _breakable.start_all()
    yield _breakable
    await _breakable.start_all()


@pytest.fixture(scope="session")
async def http() -> AsyncIterator[ClientSession]:
    """A client's connections, without cookies and without a limit on how many there are."""
    connector = TCPConnector(limit=0)
    timeout = ClientTimeout(total=60)
    async with ClientSession(connector=connector, cookie_jar=DummyCookieJar(), timeout=timeout) as session:
        yield session


@pytest.fixture
async def make_settings(servers: Servers) -> AsyncIterator[MakeSettings]:
    """`await make_settings(RATE_LIMIT_PER_MINUTE="5")`: a fresh database, an empty queue and cache.

    `on=` names other servers than the shared ones.
    """
    async with contextlib.AsyncExitStack() as stack:

        async def make(*, on: Servers | None = None, **variables: str) -> Settings:
            return await stack.enter_async_context((on or servers).fresh_settings(variables))

        yield make


@pytest.fixture
async def settings(make_settings: MakeSettings) -> Settings:
    """For a fresh database, an empty queue and an empty cache; limits are off."""
    return await make_settings()


@pytest.fixture
async def make_worker() -> AsyncIterator[MakeWorker]:
    """`await make_worker(settings)`: a running worker on the writes queue, or on the `queues` named."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(settings: Settings, *, queues: tuple[str, ...] = ("writes",)) -> WorkerInProcess:
            worker = WorkerInProcess(settings, queues)
            stack.push_async_callback(worker.stop)
            await worker.start()
            return worker

        yield make


@pytest.fixture
async def worker(settings: Settings, make_worker: MakeWorker) -> WorkerInProcess:
    """A worker for `settings`."""
    return await make_worker(settings)


@pytest.fixture
async def make_service(make_settings: MakeSettings, http: ClientSession) -> AsyncIterator[MakeService]:
    """`await make_service(with_worker=False, WRITE_WAIT_SECONDS="1")`: a service of the test's own.

    `settings=` runs one more application on the database of another; `on=` names other servers.
    """
    async with contextlib.AsyncExitStack() as stack:

        async def make(
            *,
            settings: Settings | None = None,
            with_worker: bool = True,
            queues: tuple[str, ...] = ("writes",),
            on: Servers | None = None,
            **variables: str,
        ) -> Service:
            is_first = settings is None
            settings = settings or await make_settings(on=on, **variables)
            service = Service(settings, http, WorkerInProcess(settings, queues))
            stack.push_async_callback(service.stop)
            await service.start(with_worker=with_worker)
            if is_first:
                await service.recast()
            return service

        yield make


@pytest.fixture(scope="session")
async def _shared_service(servers: Servers, http: ClientSession) -> AsyncIterator[Service]:
    async with servers.fresh_settings({}) as settings:
        service = Service(settings, http, WorkerInProcess(settings))
        await service.start()
        yield service
        await service.stop()


@pytest.fixture
async def service(_shared_service: Service) -> Service:
    """The shared service, with an empty database and a new cast."""
    await _shared_service.recast()
    return _shared_service


@pytest.fixture(scope="module")
async def bulk_worker(_shared_service: Service) -> AsyncIterator[None]:
    """The shared service carries imports and exports out, while the tests of a module run."""
    worker = WorkerInProcess(_shared_service.settings, ("bulk",))
    await worker.start()
    yield
    await worker.stop()


@pytest.fixture
async def hook() -> AsyncIterator[Receiver]:
    """A receiver of webhooks."""
    async with receiver() as found:
        yield found

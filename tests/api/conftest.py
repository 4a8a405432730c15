"""What several files here need beside the service: somebody who maintains, and somebody who delivers."""

from collections.abc import AsyncIterator

import pytest

from tests.api.browsing import Browsing, a_browser
from tests.conftest import MakeService
from tests.harness import Service, WorkerInProcess


@pytest.fixture(scope="session")
async def _maintaining(_shared_service: Service) -> AsyncIterator[None]:
    worker = WorkerInProcess(_shared_service.settings, ("maintenance",))
    await worker.start()
    yield
    await worker.stop()


@pytest.fixture
async def maintained(_maintaining: None, service: Service) -> AsyncIterator[Service]:
    """The shared service, whose worker maintains; partitions of years gone by are gone afterwards."""
    yield service
    async with service.owner() as owner:
        for row in await owner.fetch("SELECT name FROM task_partitions WHERE upper < now()"):
            await owner.execute(f"DROP TABLE {row['name']}")


@pytest.fixture
async def browsing() -> AsyncIterator[Browsing]:
    """An empty page in a real browser."""
    async with a_browser() as browsing:
        yield browsing


@pytest.fixture
async def open_service(make_service: MakeService) -> Service:
    """A service that may send to this machine, and delivers."""
    return await make_service(queues=("writes", "time"), ALLOW_PRIVATE_TARGETS="true")

"""One installation a test, and the times that the scenarios measured, shown at the end."""

import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ops.dev.servers import PostgresServer
from tests.faults.harness import Installation, installation, make_template

_MEASURED: list[str] = []

Measure = Callable[..., None]


def _folder() -> "tempfile.TemporaryDirectory[str]":
    # Not tmp_path: PostgreSQL runs as another user when we are root, and cannot enter pytest's folder.
    return tempfile.TemporaryDirectory(prefix="tenfold-faults-")


@pytest.fixture(scope="session")
def template() -> Iterator[PostgresServer]:
    with _folder() as folder:
        yield make_template(Path(folder))


@pytest.fixture
async def system(template: PostgresServer) -> AsyncIterator[Installation]:
    """Servers, schema and users; the test starts the processes."""
    with _folder() as folder:
        # Pages that stand longer than any server is away.
        async with installation(Path(folder), template, CACHE_TTL_SECONDS="300") as made:
            yield made


@pytest.fixture
def measure(request: pytest.FixtureRequest) -> Measure:
    """Notes a measured value under a name."""

    def note(name: str, value: object) -> None:
        _MEASURED.append(f"{request.node.name}: {name}: {value}")

    return note


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if _MEASURED:
        terminalreporter.section("measured under faults")
        for line in _MEASURED:
            terminalreporter.write_line(line)

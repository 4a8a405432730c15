"""One installation a test, and the times that the scenarios measured, shown at the end."""

import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.harness import Installation, installation

_MEASURED: list[str] = []

Measure = Callable[..., None]


@pytest.fixture
def folder() -> Any:
    # Not tmp_path: another pytest session takes the search permission from its folder again.
    with tempfile.TemporaryDirectory(prefix="tenfold-faults-") as name:
        yield Path(name)


@pytest.fixture
async def system(folder: Path) -> AsyncIterator[Installation]:
    """Servers, schema and users; the test starts the processes."""
    async with installation(folder, CACHE_TTL_SECONDS="300") as made:
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

"""The shared service carries exports out."""

from typing import Any

import pytest

from tests.api.exports.harness import finished, ordered
from tests.factories import insert_tasks
from tests.harness import Service


@pytest.fixture
async def exporting(bulk_worker: None, service: Service) -> Service:
    """The shared service, which carries exports out."""
    return service


@pytest.fixture
async def export(exporting: Service) -> dict[str, Any]:
    """Alice's finished export of some tasks."""
    await insert_tasks(exporting, exporting.alice, [{"title": f"task {number} ü"} for number in range(50)])
    return await finished(exporting.alice, await ordered(exporting.alice, "csv"))

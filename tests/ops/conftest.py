"""A running server that carries imports and exports out."""

import pytest

from tests.harness import Service


@pytest.fixture
async def serving(bulk_worker: None, service: Service) -> Service:
    """The shared service, which carries imports and exports out."""
    return service

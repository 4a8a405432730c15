"""The shared service carries imports out, and holds no uploads of other tests."""

import pytest

from tests.api.imports.harness import uploads
from tests.harness import Service


@pytest.fixture
async def importing(bulk_worker: None, service: Service) -> Service:
    """The shared service, which carries imports out."""
    return service


@pytest.fixture(autouse=True)
def _no_uploads_of_other_tests(_shared_service: Service) -> None:
    """Uploads of others stay where no worker carries their imports out."""
    for path in uploads(_shared_service):
        path.unlink()

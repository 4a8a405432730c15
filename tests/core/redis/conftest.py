"""Servers that a link is tried on: the one that all tests share, and one that a test may stop."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.settings import Settings
from ops.dev.servers import ValkeyServer


@pytest.fixture
def url(settings: Settings) -> str:
    """Of the queue server that all tests share, in an empty database."""
    return settings.queue_redis_url


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[ValkeyServer]:
    """One that a test may stop and pause."""
    with ValkeyServer(tmp_path / "valkey", durable=False) as server:
        yield server

"""An import that can be halted, one that reads what a test says, and chunks of few rows."""

from collections.abc import AsyncIterator
from typing import Any, BinaryIO

import pytest

from core.formats.registry import FORMATS
from core.formats.rows import BadRow, FileReport, Format, ReadOptions, Row, Rows
from core.imports import reading
from tests.worker.imports.harness import Paused, never


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three rows."""
    monkeypatch.setattr(reading, "CHUNK_ROWS", 3)


@pytest.fixture
async def paused(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Paused]:
    made = Paused()
    monkeypatch.setitem(FORMATS, "paused", Format("paused", "Paused", never, made.read))
    yield made
    made.go_on()


@pytest.fixture
def odd_format(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the format `odd` reads out of any file; exceptions are raised."""
    items: list[Row | BadRow | Exception] = []

    def read(stream: BinaryIO, options: ReadOptions, report: FileReport) -> Rows:
        for item in items:
            if isinstance(item, Exception):
                raise item
            yield item

    monkeypatch.setitem(FORMATS, "odd", Format("odd", "Odd", never, read))
    return items

"""The shared service carries imports out, and holds no uploads of other tests."""

from typing import BinaryIO

import pytest
from marshmallow.validate import OneOf

from api.import_schemas import ImportQuery
from core.formats.registry import FORMATS
from core.formats.rows import FileReport, Format, ReadOptions, Row, Rows, RowWarning, SkippedRow
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


@pytest.fixture
def warning_format(monkeypatch: pytest.MonkeyPatch) -> None:
    """The format `warning`, which reads a row with warnings, a bad one, one that is left out, and a good one."""

    def read(stream: BinaryIO, options: ReadOptions, report: FileReport) -> Rows:
        told = (RowWarning("Prio", "“?” is no priority: 5 was taken."), RowWarning(None, "Something else."))
        yield Row(1, {"title": "warned"}, ["warned", "?"], warnings=told)
        yield Row(2, {"title": ""}, ["", "?"], warnings=told)
        yield SkippedRow(3, "A pull request is no task.", ["pull"])
        yield Row(4, {"title": "good"}, ["good", "1"])

    monkeypatch.setitem(FORMATS, "warning", Format("warning", "Warning", lambda _: 0, read))
    known = [validator for validator in ImportQuery().fields["format"].validators if isinstance(validator, OneOf)]
    monkeypatch.setattr(known[0], "choices", [*FORMATS])

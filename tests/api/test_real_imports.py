"""Real exports of other programs: each goes in through the whole service, and sent again makes nothing new."""

import re
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from tests.harness import Service, eventually

COLLECTION = Path(__file__).parents[2].parent / "shared" / "data" / "imports"
FILES = sorted(path for path in COLLECTION.glob("*/*") if path.is_file())
# The list counts "about 13"; once mended, the file has twelve issues.
MISCOUNTED = {"honoratara__Jira-excel-broken.csv": 12}
# Every card of a board is in another file of the collection.
WITHOUT_ROWS = {"pietrop__board-lists.json"}
# These hold tasks several times, by their own ids: each is one task, and the others are told as errors.
REPETITIVE = {"libical__large.ics", "hamouaa1999__hive-4.0.0.csv"}

pytestmark = pytest.mark.skipif(not FILES, reason="the collection of real exports is not beside this checkout")


def counted() -> dict[str, int]:
    """File → rows, as the collection's own list has them."""
    lines = re.findall(r"^\| `([^`]+)` \|.*?\| (\d+) \| \d+ \|", (COLLECTION / "SOURCES.md").read_text(), re.MULTILINE)
    return {name: int(rows) for name, rows in lines} | MISCOUNTED


def content_of(file: Path) -> bytes:
    return file.read_bytes()


async def imported(service: Service, name: str, content: bytes) -> dict[str, Any]:
    """The import when it has ended."""
    path = URL("/imports").with_query(pull_requests="true")
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    sent = await service.alice.request("POST", str(path), data=content, headers=headers)
    assert sent.status == 202, sent

    async def ended() -> Any:
        answer = await service.alice.get(f"/imports/{sent.json['id']}", headers={"Prefer": "wait=5"})
        return answer.json if answer.json["finished_at"] else None

    found: dict[str, Any] = await eventually(ended, timeout=60)
    return found


@pytest.mark.usefixtures("bulk_worker")
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
async def test_a_real_file_goes_in_whole_and_once(service: Service, file: Path) -> None:
    content = content_of(file)
    first, again = await imported(service, file.name, content), await imported(service, file.name, content)
    rows = counted()[file.name]
    assert first["state"] == again["state"] == ("failed" if file.name in WITHOUT_ROWS else "succeeded")
    assert first["created"] + first["failed"] + first["skipped"] == first["read"] == rows
    assert (first["created"] > 0) is (rows > 0)
    assert (first["failed"] > 0) is (file.name in REPETITIVE)
    assert (again["created"], again["read"]) == (0, rows)

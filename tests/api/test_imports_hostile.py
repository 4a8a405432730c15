"""Files that nobody should send: each ends with a clear word, and harms neither the worker nor anybody else."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
import psutil
import pytest
import zstandard
from yarl import URL

from tests.conftest import MakeService
from tests.harness import Answer, Service, eventually

LONGEST_SECONDS = 60.0
MEMORY_BYTES = 200 << 20


@pytest.fixture(scope="module")
async def limit() -> int:
    return 64 << 20


@pytest.fixture
async def hostile(make_service: MakeService, limit: int) -> AsyncIterator[Service]:
    """A service of its own, whose worker must be as well afterwards as it was before."""
    service = await make_service(queues=("writes", "bulk"), MAX_IMPORT_BYTES=str(limit))
    before = psutil.Process().memory_info().rss
    yield service
    well = await sent(service, b'{"title": "after all"}\n')
    done = await ended(service, well)
    assert (done["state"], done["created"]) == ("succeeded", 1)
    assert psutil.Process().memory_info().rss - before < MEMORY_BYTES


async def sent(service: Service, content: bytes, **query: str) -> Answer:
    return await service.alice.request("POST", str(URL("/imports").with_query(query)), data=content)


async def ended(service: Service, answer: Answer) -> dict[str, Any]:
    assert answer.status == 202, answer

    async def look() -> Any:
        found = await service.alice.get(f"/imports/{answer.json['id']}", headers={"Prefer": "wait=5"})
        return found.json if found.json["finished_at"] else None

    found: dict[str, Any] = await eventually(look, timeout=LONGEST_SECONDS)
    return found


async def told(service: Service, content: bytes, **query: str) -> tuple[str, str]:
    """The problem's name and detail, from the answer or from the import."""
    answer = await sent(service, content, **query)
    problem = answer.json if answer.status != 202 else (await ended(service, answer))["error"]
    assert problem is not None
    return problem["type"].removeprefix("/problems/"), problem["detail"]


async def errors(service: Service, done: dict[str, Any]) -> list[dict[str, Any]]:
    return (await service.alice.get(f"/imports/{done['id']}/errors")).items


def squeezed(size: int, beginning: bytes, repeated: bytes) -> bytes:
    """gzip of so many bytes, made without holding them."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = repeated * ((1 << 20) // len(repeated))
    parts = [packer.compress(beginning)]
    parts += [packer.compress(block) for _ in range(size // len(block))]
    return b"".join([*parts, packer.flush()])


LINE = b'{"title": "a row"}\n'
HEADER = b"title,priority\r\n"


@pytest.mark.parametrize(
    ("content", "query", "name"),
    [
        pytest.param(lambda: b"", {}, "import-empty", id="empty"),
        pytest.param(lambda: b"\n\n \n", {"format": "tenfold-ndjson"}, "import-empty", id="blank lines"),
        pytest.param(lambda: b"\xef\xbb\xbf", {"format": "csv"}, "import-empty", id="a BOM alone"),
        pytest.param(lambda: gzip.compress(LINE * 9)[:-9], {}, "import-unreadable", id="truncated gzip"),
        pytest.param(lambda: zstandard.compress(LINE * 99999)[:-9], {}, "import-unreadable", id="truncated zstd"),
        pytest.param(
            lambda: b'[{"title": "x"}, {"title":', {"format": "tenfold-json"}, "import-unreadable", id="truncated JSON"
        ),
        pytest.param(
            lambda: b"[" * 100_000, {"format": "tenfold-json"}, "import-unreadable", id="a hundred thousand brackets"
        ),
        pytest.param(
            lambda: HEADER.replace(b"\r\n", b"".join(b",c%d" % n for n in range(10_000)) + b"\r\n1,2\r\n"),
            {"format": "csv"},
            "import-too-large",
            id="10,000 columns",
        ),
        pytest.param(
            lambda: squeezed(2 << 30, LINE, b" "), {}, "import-too-large", id="a bomb of spaces"
        ),
        pytest.param(
            lambda: squeezed(2 << 30, HEADER, b"x,1\r\n" * 100), {}, "import-too-large", id="a bomb of rows"
        ),
        pytest.param(
            lambda: squeezed(80 << 20, b'{"lists": [], "cards": [', b'{"name": "x"},'),
            {"format": "trello-json"},
            "import-too-large",
            id="a document that is held in memory",
        ),
    ],
)  # fmt: skip
async def test_what_cannot_be_imported_is_told(
    hostile: Service, content: Callable[[], bytes], query: dict[str, str], name: str
) -> None:
    found, detail = await told(hostile, await asyncio.to_thread(content), **query)
    assert found == name, detail
    assert len(detail) > 15


async def test_of_a_bomb_and_of_half_a_file_no_row_goes_in(hostile: Service) -> None:
    bomb = await asyncio.to_thread(squeezed, 2 << 30, HEADER, b"x,1\r\n" * 100)
    assert len(bomb) < 10 << 20
    for content in (bomb, gzip.compress(LINE * 50_000)[:-9]):
        await told(hostile, content)
    assert (await hostile.alice.get("/user/tasks")).items == []


async def test_a_header_alone_is_told(hostile: Service) -> None:
    answer = await sent(hostile, HEADER, format="csv")
    done = await ended(hostile, answer)
    assert (done["read"], done["created"]) == (0, 0)
    assert done["state"] == "succeeded" or done["error"]["type"] == "/problems/import-empty"


async def test_a_line_of_fifty_megabytes_is_an_error_of_its_row(hostile: Service) -> None:
    done = await ended(hostile, await sent(hostile, LINE + b'{"title": "' + b"x" * (50 << 20) + b'"}\n' + LINE))
    assert (done["state"], done["read"], done["created"], done["failed"]) == ("succeeded", 3, 2, 1)
    [error] = await errors(hostile, done)
    assert error["row"] == 2


async def test_rows_of_nul_characters_fail_alone(hostile: Service) -> None:
    content = LINE + b"\x00" * 50 + b"\n" + b'{"title": "a\\u0000b"}\n' + LINE
    done = await ended(hostile, await sent(hostile, content, format="tenfold-ndjson"))
    assert (done["state"], done["created"], done["failed"]) == ("succeeded", 2, 2)
    assert [error["row"] for error in await errors(hostile, done)] == [2, 3]


async def test_lone_surrogates_and_large_numbers_fail_alone_and_are_told(hostile: Service) -> None:
    content = LINE + b'{"title": "\\ud800"}\n{"title": "x", "priority": 99999999999999999999999}\n' + LINE
    done = await ended(hostile, await sent(hostile, content, format="tenfold-ndjson"))
    assert (done["state"], done["created"], done["failed"]) == ("succeeded", 2, 2)
    assert {error["row"] for error in await errors(hostile, done)} == {2, 3}
    report = await hostile.alice.get(f"/imports/{done['id']}/errors", headers={"Accept": "text/csv"})
    assert report.status == 200


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "windows-1252", "utf-8-sig"])
async def test_text_in_other_encodings_arrives(hostile: Service, encoding: str) -> None:
    content = "\r\n".join(["title;priority", *(f"Müller {n};{n % 10 + 1}" for n in range(50))]).encode(encoding)
    query = {"encoding": encoding} if encoding == "utf-16-le" else {}
    done = await ended(hostile, await sent(hostile, content, format="csv", **query))
    assert (done["created"], done["failed"]) == (50, 0)
    [task, *_] = (await hostile.alice.get("/user/tasks?q=Müller&limit=1")).items
    assert task["title"] == "Müller 0"


async def test_mixed_encodings_lose_no_row(hostile: Service) -> None:
    content = b"title,priority\r\n" + "Grün,1\r\n".encode() * 3 + "Grün,2\r\n".encode("windows-1252") * 3
    done = await ended(hostile, await sent(hostile, content, format="csv"))
    assert done["read"] == 6
    assert done["created"] + done["failed"] == 6


async def test_dates_and_priorities_that_are_none_are_told_with_row_and_column(hostile: Service) -> None:
    content = b"Title,Due,Prio\r\na,2026-02-30,1\r\nb,2026-02-28,urgent-ish\r\nc,31.12.2026,high\r\n"
    mapping = orjson.dumps({"columns": {"Title": "title", "Due": "due_date", "Prio": "priority"}}).decode()
    done = await ended(hostile, await sent(hostile, content, mapping=mapping))
    assert (done["created"], done["failed"]) == (1, 2)
    assert [(error["row"], error["column"]) for error in await errors(hostile, done)] == [(1, "Due"), (2, "Prio")]

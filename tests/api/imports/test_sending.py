"""Files are sent in any way that HTTP allows, their program is told, and a worker takes them up at once."""

import gzip
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson
import pytest
import zstandard

from core.jobs.queues import BULK_QUEUE
from tests.api.imports.harness import counts, finished, imported, lines, no_uploads, sent, titles, uploads
from tests.api.problems import assert_problem
from tests.conftest import MakeService
from tests.harness import Service, eventually

TODOIST = (
    "TYPE,CONTENT,DESCRIPTION,PRIORITY,INDENT,AUTHOR,RESPONSIBLE,DATE,DATE_LANG,TIMEZONE\r\n"
    "task,Water the plants,,4,1,,,,en,Europe/Berlin\r\n"
)


# -- sending


async def test_a_file_is_sent_followed_and_becomes_tasks(importing: Service) -> None:
    content = lines({"title": "one"}, {"title": "two", "labels": ["x"]})
    answer = await sent(
        importing.alice, content, headers={"Content-Disposition": 'attachment; filename="a/b/my.jsonl"'}
    )
    assert answer.status == 202
    assert answer.headers["Location"] == f"/imports/{answer.json['id']}"
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.json == {
        "id": answer.json["id"], "kind": "import", "state": "queued", "created_at": answer.json["created_at"],
        "started_at": None, "finished_at": None, "progress": None, "status_code": None, "result": None, "error": None,
        "format": "json", "filename": "my.jsonl", "dry_run": False, "on_conflict": "skip",
        "bytes": len(content), "bytes_read": 0, "read": 0, "created": 0, "updated": 0, "skipped": 0, "failed": 0,
        "warned": 0, "rows_per_second": None, "eta_seconds": None, "ignored": {}, "mapping": None,
    }  # fmt: skip
    done = await finished(importing.alice, answer.json["id"])
    assert done == answer.json | {
        "mapping": {"columns": {"title": "title", "labels": "labels"}},
        "state": "succeeded", "created_at": done["created_at"], "started_at": done["started_at"],
        "finished_at": done["finished_at"], "progress": {"done": 2, "total": 2, "failed": 0}, "status_code": 200,
        "result": {"read": 2, "created": 2, "updated": 0, "skipped": 0, "failed": 0, "warned": 0},
        "bytes_read": len(content), "read": 2, "created": 2, "rows_per_second": done["rows_per_second"],
    }  # fmt: skip
    assert done["rows_per_second"] > 0
    assert await titles(importing.alice) == ["one", "two"]
    assert await titles(importing.bob) == []


async def test_a_form_s_field_is_a_file_too(importing: Service) -> None:
    form = aiohttp.FormData(quote_fields=False)
    form.add_field("file", lines({"title": "by form"}), filename="/home/me/tasks.ndjson", content_type="text/plain")
    done = await imported(importing.alice, form)
    assert (done["filename"], counts(done)) == ("tasks.ndjson", (1, 1, 0, 0, 0))


@pytest.mark.parametrize("packed", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
async def test_a_compressed_file_is_unpacked(importing: Service, packed: Any) -> None:
    content = packed(lines({"title": "small"}))
    done = await imported(importing.alice, content)
    assert (done["bytes"], counts(done)) == (len(content), (1, 1, 0, 0, 0))


async def test_a_body_that_travels_compressed_is_a_file_too(importing: Service) -> None:
    plain = lines({"title": "travelled"})
    answer = await sent(importing.alice, gzip.compress(plain), headers={"Content-Encoding": "gzip"})
    done = await finished(importing.alice, answer.json["id"])
    assert (done["bytes"], done["created"]) == (len(plain), 1)


@pytest.mark.parametrize("part", [0.5, 0.999])
async def test_a_body_that_travels_compressed_and_breaks_off_is_400_and_imports_nothing(
    service: Service, part: float
) -> None:
    packed = gzip.compress(b"".join(lines({"title": f"task {number}"}) for number in range(2000)))
    broken = packed[: int(len(packed) * part)]
    assert_problem(await sent(service.alice, broken, headers={"Content-Encoding": "gzip"}), 400, "bad-request")
    assert uploads(service) == []


async def test_a_body_in_chunks_of_no_announced_length_is_a_file_too(importing: Service) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(100):
            yield lines({"title": f"task {number}"})

    assert (await imported(importing.alice, pieces()))["created"] == 100


@pytest.mark.parametrize("is_form", [False, True])
async def test_a_large_file_arrives_whole(importing: Service, is_form: bool) -> None:
    content: Any = lines(*({"title": f"task {number}", "description": "x" * 1000} for number in range(20_000)))
    if is_form:
        form = aiohttp.FormData()
        form.add_field("file", content, filename="large.ndjson")
        content = form
    assert counts(await imported(importing.alice, content)) == (20_000, 20_000, 0, 0, 0)


async def test_pages_in_the_cache_do_not_outlive_an_import(importing: Service) -> None:
    assert await titles(importing.alice) == []
    assert await titles(importing.alice) == []
    await imported(importing.alice, lines({"title": "new"}))
    assert await titles(importing.alice) == ["new"]


# -- the format


async def test_the_program_is_told_from_the_file(importing: Service) -> None:
    done = await imported(importing.alice, TODOIST.encode())
    assert (done["format"], done["created"]) == ("todoist-csv", 1)


async def test_a_named_format_that_it_cannot_be_is_refused_at_once(service: Service) -> None:
    answer = await sent(service.alice, TODOIST.encode(), format="trello-json")
    assert_problem(answer, 422, "import-wrong-format")
    assert "todoist-csv" in answer.json["detail"]
    assert uploads(service) == []


async def test_what_is_no_file_of_tasks_is_refused_at_once(service: Service) -> None:
    assert_problem(
        await sent(service.alice, b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20), 415, "import-format-unknown"
    )
    assert_problem(await sent(service.alice, b"PK\x03\x04 a zip"), 422, "import-unreadable")
    assert_problem(await sent(service.alice, b""), 422, "import-empty")
    assert uploads(service) == []


async def test_a_mapping_reads_any_csv(importing: Service) -> None:
    mapping = orjson.dumps({"columns": {"Aufgabe": "title", "Wann": "due_date"}}).decode()
    content = "Aufgabe;Wann\r\nGießen;31.12.2026\r\n".encode("windows-1252")
    done = await imported(importing.alice, content, mapping=mapping, delimiter=";", time_zone="Europe/Berlin")
    assert (done["format"], counts(done)) == ("csv", (1, 1, 0, 0, 0))
    [task] = (await importing.alice.get("/user/tasks")).items
    assert task["title"] == "Gießen"
    assert task["due_date"].startswith(("2026-12-30T23:00", "2026-12-31"))


async def test_a_dry_run_offers_the_guess_and_writes_nothing(importing: Service) -> None:
    content = b"Task name,Prio\r\nWater,high\r\n"
    tried = await imported(importing.alice, content, dry_run="true")
    assert (tried["dry_run"], counts(tried)) == (True, (1, 1, 0, 0, 0))
    assert await titles(importing.alice) == []
    assert tried["mapping"]["columns"]["Task name"] == "title"
    done = await imported(importing.alice, content, mapping=orjson.dumps(tried["mapping"]).decode())
    assert done["created"] == 1
    assert await titles(importing.alice) == ["Water"]


# -- once


async def test_a_repeat_with_its_key_answers_the_first_import(importing: Service) -> None:
    content = lines({"title": "once"})
    first = await sent(importing.alice, content, headers={"Idempotency-Key": "k"})
    await finished(importing.alice, first.json["id"])
    again = await sent(importing.alice, content, headers={"Idempotency-Key": "k"})
    assert (again.status, again.headers["Idempotent-Replayed"]) == (202, "true")
    assert again.headers["Location"] == first.headers["Location"]
    assert (again.json["state"], again.json["created"]) == ("succeeded", 1)
    assert await titles(importing.alice) == ["once"]
    await eventually(lambda: no_uploads(importing))


async def test_a_repeat_of_an_import_that_failed_answers_that_import(importing: Service) -> None:
    content = b'[{"title": "x"},'
    first = await sent(importing.alice, content, headers={"Idempotency-Key": "k"}, format="tenfold-json")
    done = await finished(importing.alice, first.json["id"])
    assert done["state"] == "failed"
    again = await sent(importing.alice, content, headers={"Idempotency-Key": "k"}, format="tenfold-json")
    assert (again.status, again.json["state"], again.json["id"]) == (202, "failed", first.json["id"])


@pytest.mark.parametrize(
    ("content", "query"), [(lines({"title": "other"}), {}), (lines({"title": "once"}), {"dry_run": "true"})]
)
async def test_a_key_for_another_file_or_other_wishes_is_refused(
    importing: Service, content: bytes, query: dict[str, str]
) -> None:
    first = await sent(importing.alice, lines({"title": "once"}), headers={"Idempotency-Key": "k"})
    await finished(importing.alice, first.json["id"])
    answer = await sent(importing.alice, content, headers={"Idempotency-Key": "k"}, **query)
    assert_problem(answer, 422, "idempotency-key-reuse")
    await eventually(lambda: no_uploads(importing))


async def test_an_import_calls_a_worker_at_once(make_service: MakeService) -> None:
    service = await make_service()
    await sent(service.alice, lines({"title": "x"}))
    queue = service.worker.services.queue
    assert await eventually(lambda: queue.zcard(BULK_QUEUE), timeout=2) == 1

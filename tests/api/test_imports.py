"""Imports over HTTP: sent, refused, followed, told of, cancelled; what is no import leaves no file."""

import asyncio
import contextlib
import csv
import gzip
import io
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import zstandard
from yarl import URL

from core.jobs.queues import BULK_QUEUE
from tests.api.problems import assert_problem
from tests.conftest import MakeService
from tests.harness import Answer, Client, Service, WorkerInProcess, away, connection, eventually

TODOIST = (
    "TYPE,CONTENT,DESCRIPTION,PRIORITY,INDENT,AUTHOR,RESPONSIBLE,DATE,DATE_LANG,TIMEZONE\r\n"
    "task,Water the plants,,4,1,,,,en,Europe/Berlin\r\n"
)


@pytest.fixture(scope="session")
async def _importing(_shared_service: Service) -> AsyncIterator[None]:
    """A worker for imports beside the shared service's."""
    worker = WorkerInProcess(_shared_service.settings, ("bulk",))
    await worker.start()
    yield
    await worker.stop()


@pytest.fixture
async def importing(_importing: None, service: Service) -> Service:
    """The shared service, which carries imports out."""
    return service


def lines(*rows: dict[str, Any]) -> bytes:
    """NDJSON."""
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


async def sent(client: Client, content: Any, *, headers: Any = None, **query: Any) -> Answer:
    return await client.request("POST", str(URL("/imports").with_query(query)), data=content, headers=headers)


async def finished(client: Client, import_id: str) -> dict[str, Any]:
    """The import when it has ended."""

    async def ended() -> Any:
        answer = await client.get(f"/imports/{import_id}", headers={"Prefer": "wait=5"})
        return answer.json if answer.json["finished_at"] else None

    found: dict[str, Any] = await eventually(ended)
    return found


async def imported(client: Client, content: Any, **query: Any) -> dict[str, Any]:
    answer = await sent(client, content, **query)
    assert answer.status == 202, answer
    return await finished(client, answer.json["id"])


def counts(found: dict[str, Any]) -> tuple[int, ...]:
    return tuple(found[name] for name in ("read", "created", "updated", "skipped", "failed"))


async def titles(client: Client) -> list[str]:
    return [task["title"] for task in (await client.get("/user/tasks")).items]


@pytest.fixture(autouse=True)
def _no_uploads_of_other_tests(_shared_service: Service) -> None:
    """Uploads of others stay where no worker carries their imports out."""
    for path in uploads(_shared_service):
        path.unlink()


def uploads(service: Service) -> list[Path]:
    folder = service.settings.tenfold_home / "objects" / "imports"
    return [path for path in folder.rglob("*") if path.is_file()]


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
        "format": "tenfold-ndjson", "filename": "my.jsonl", "dry_run": False, "on_conflict": "skip",
        "bytes": len(content), "bytes_read": 0, "read": 0, "created": 0, "updated": 0, "skipped": 0, "failed": 0,
        "rows_per_second": None, "eta_seconds": None, "ignored": {}, "mapping": None,
    }  # fmt: skip
    done = await finished(importing.alice, answer.json["id"])
    assert done == answer.json | {
        "state": "succeeded", "created_at": done["created_at"], "started_at": done["started_at"],
        "finished_at": done["finished_at"], "progress": {"done": 2, "total": 2, "failed": 0}, "status_code": 200,
        "result": {"read": 2, "created": 2, "updated": 0, "skipped": 0, "failed": 0},
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


# -- refusals


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"format": "excel"}, "format"),
        ({"dry_run": "maybe"}, "dry_run"),
        ({"on_conflict": "overwrite"}, "on_conflict"),
        ({"mapping": "{"}, "mapping"),
        ({"mapping": "[]"}, "mapping"),
        ({"mapping": "{}", "format": "trello-json"}, "mapping"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"delimiter": ";;"}, "delimiter"),
        ({"delimiter": "\n"}, "delimiter"),
        ({"delimiter": ""}, "delimiter"),
        ({"encoding": "klingon"}, "encoding"),
        ({"encoding": "hex"}, "encoding"),
        ({"encoding": "idna"}, "encoding"),
        ({"encoding": "a\x00b"}, "encoding"),
        ({"max_errors": "-1"}, "max_errors"),
        ({"max_errors": "1e3"}, "max_errors"),
        ({"surprise": "1"}, "surprise"),
    ],
)
async def test_what_a_parameter_must_not_be_is_told(service: Service, query: dict[str, str], field: str) -> None:
    answer = await sent(service.alice, lines({"title": "x"}), **query)
    assert_problem(answer, 422, "validation-error")
    assert field in answer.json["errors"]
    assert uploads(service) == []


async def test_a_form_without_its_file_or_with_more_is_refused(service: Service) -> None:
    for fields, told in ((("other",), "other"), (("file", "file"), "file"), (("file", "mapping"), "mapping")):
        form = aiohttp.FormData()
        for name in fields:
            form.add_field(name, lines({"title": "x"}), filename="x")
        answer = await sent(service.alice, form)
        assert_problem(answer, 422, "validation-error")
        assert told in answer.json["errors"]
    with aiohttp.MultipartWriter("form-data") as nothing:
        assert_problem(await sent(service.alice, nothing), 422, "validation-error")
    assert uploads(service) == []


@pytest.mark.parametrize(
    "body",
    [b"", b"--x", b"--x\r\n", b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nabc', b"rubbish" * 999],
)
async def test_a_form_that_breaks_off_is_refused(service: Service, body: bytes) -> None:
    answer = await sent(service.alice, body, headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert answer.status in (400, 422), answer
    assert uploads(service) == []


@pytest.mark.parametrize(
    "body",
    [
        b"--x\r\nbroken",
        b"--x\r\nbroken\r\n\r\na",
        b"--x\r\n: y\r\n\r\na\r\n--x--",
        b"--x\r\n\x00\xff: 1\r\n\r\na\r\n--x--",
        b"--x\r\nfolded\r\n x: y\r\n\r\n",
        b"--x\r\nX: " + b"y" * 20_000 + b"\r\n\r\na\r\n--x--",
        b"--x\r\n" + b"X: y\r\n" * 2000 + b"\r\na\r\n--x--",
        b'--x\r\nContent-Disposition: form-data; name="file"\r\nContent-Transfer-Encoding: nope\r\n\r\na\r\n--x--',
        b'--x\r\nContent-Disposition: form-data; name="file"\r\nContent-Transfer-Encoding: base64\r\n\r\n?\r\n--x--',
        b'--x\r\nContent-Disposition: form-data; name="_charset_"\r\n\r\n' + b"u" * 40 + b"\r\n--x--",
        b'--x\r\nContent-Disposition: form-data; name="_charset_"\r\n\r\n\xff\r\n--x--',
        b"--x\r\nContent-Type: multipart/mixed\r\n\r\na\r\n--x--",
        b"--x\r\nContent-Type: multipart/mixed; boundary=" + b"y" * 100 + b"\r\n\r\na\r\n--x--",
    ],
    ids=lambda body: body[5:40].decode("latin-1"),
)
async def test_a_form_whose_parts_cannot_be_read_is_the_clients_fault(service: Service, body: bytes) -> None:
    answer = await sent(service.alice, body, headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert answer.status in (400, 422), answer
    assert uploads(service) == []


@pytest.mark.parametrize(
    "header",
    ["H}JG~G'<&0", "x;", "x; filename", 'x; filename="a"; filename="b"', "x; filename*=x''%FF", 'x; ="a"', "x;;;"],
)
async def test_a_content_disposition_that_cannot_be_read_names_nothing(importing: Service, header: str) -> None:
    answer = await sent(importing.alice, lines({"title": "x"}), headers={"Content-Disposition": header})
    assert (answer.status, answer.json["filename"]) == (202, None)
    await finished(importing.alice, answer.json["id"])
    part = f"--x\r\nContent-Disposition: {header}\r\n\r\nabc\r\n--x--\r\n".encode()
    answer = await sent(importing.alice, part, headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert_problem(answer, 422, "validation-error")


async def test_a_file_over_the_limit_is_refused_as_it_arrives(make_service: MakeService) -> None:
    service = await make_service(MAX_IMPORT_BYTES="100000")
    passed = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal passed
        while True:
            passed += 1
            yield lines({"title": "x" * 200}) * 20

    assert_problem(await sent(service.alice, bytes(100_001)), 413, "payload-too-large")
    with contextlib.suppress(aiohttp.ClientError):  # it may hang up on who goes on sending
        assert_problem(await sent(service.alice, endless()), 413, "payload-too-large")
    assert passed < 10_000
    assert uploads(service) == []
    packed = gzip.compress(lines({"title": "x" * 200}) * 2000)
    answer = await sent(service.alice, packed, headers={"Content-Encoding": "gzip"})
    assert_problem(answer, 413, "payload-too-large")
    assert uploads(service) == []


FILE_PART = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n{"title": "x"}\n\r\n'


@pytest.mark.parametrize("place", ["in front", "without end", "behind"])
async def test_what_stands_around_the_file_in_a_form_counts_too(make_service: MakeService, place: str) -> None:
    service = await make_service(MAX_IMPORT_BYTES="100000")
    junk = b"junk line\r\n" * 30_000
    body, statuses = {
        "in front": (junk + FILE_PART + b"--x--\r\n", {413}),
        "without end": (b"junk" * 100_000, {413}),
        # A header that is too long: how much of it comes at once decides which of the two is seen first.
        "behind": (FILE_PART + b"--x\r\n" + b"X: " + b"y" * 300_000, {400, 413}),
    }[place]

    async def pieces() -> AsyncIterator[bytes]:
        for first in range(0, len(body), 10_000):
            yield body[first : first + 10_000]

    with contextlib.suppress(aiohttp.ClientError):  # it may hang up on who goes on sending
        answer = await sent(service.alice, pieces(), headers={"Content-Type": "multipart/form-data; boundary=x"})
        assert answer.status in statuses, answer
    announced = await sent(service.alice, body, headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert_problem(announced, 413, "payload-too-large")
    assert uploads(service) == []


async def test_what_unpacks_to_more_than_the_limit_ends_failed(make_service: MakeService) -> None:
    service = await make_service(MAX_IMPORT_BYTES="1000000", queues=("writes", "bulk"))
    done = await imported(service.alice, gzip.compress(lines({"title": "x" * 200}) * 20_000))
    assert done["state"] == "failed"
    assert done["error"]["type"] == "/problems/import-too-large"
    assert done["error"]["instance"] == f"/jobs/{done['id']}"
    assert done["error"]["request_id"]


async def test_an_upload_that_breaks_off_leaves_nothing(service: Service) -> None:
    base = service.alice.base
    _, writer = await asyncio.open_connection(base.host, base.port)
    head = f"POST /imports HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {service.alice.token}\r\n"
    writer.write(f"{head}Content-Length: 1000\r\n\r\n".encode() + lines({"title": "half"}))
    await writer.drain()
    await asyncio.sleep(0.1)
    writer.close()
    await writer.wait_closed()
    await asyncio.sleep(0.1)
    assert uploads(service) == []
    assert (await service.alice.get("/imports")).items == []


async def test_who_has_no_token_sends_nothing(service: Service) -> None:
    assert_problem(await sent(service.anonymous, lines({"title": "x"})), 401, "authentication-required")
    assert uploads(service) == []


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


async def no_uploads(service: Service) -> bool:
    return not uploads(service)


# -- reading


async def test_wrong_rows_are_told_in_pages(importing: Service) -> None:
    done = await imported(
        importing.alice, lines(*[{"title": ""}, {"title": "x", "priority": 0}] * 3, {"title": "good"})
    )
    assert (done["state"], counts(done)) == ("succeeded", (7, 1, 0, 0, 6))
    path = f"/imports/{done['id']}/errors"
    first = await importing.alice.get(f"{path}?limit=4")
    assert [error["row"] for error in first.items] == [1, 2, 3, 4]
    assert first.items[1] == {
        "row": 2,
        "column": "priority",
        "message": "Must be greater than or equal to 1 and less than or equal to 10.",
        "values": {"title": "x", "priority": 0},
    }
    second = await importing.alice.get(f"{path}?limit=4&cursor={first.json['next_cursor']}")
    assert [error["row"] for error in second.items] == [5, 6]
    assert second.json["next_cursor"] is None
    other = await imported(importing.alice, lines({"title": ""}))
    foreign = await importing.alice.get(f"/imports/{other['id']}/errors?cursor={first.json['next_cursor']}")
    assert_problem(foreign, 400, "invalid-cursor")


async def test_errors_of_a_csv_are_a_csv_that_can_be_mended_and_sent_again(importing: Service) -> None:
    content = b'Title,Prio,Notes\r\ngood,1,"a, b"\r\nbad,99,"=1+1"\r\n,2,\r\n'
    mapping = orjson.dumps({"columns": {"Title": "title", "Prio": "priority", "Notes": "description"}}).decode()
    done = await imported(importing.alice, content, mapping=mapping)
    assert counts(done) == (3, 1, 0, 0, 2)
    answer = await importing.alice.get(f"/imports/{done['id']}/errors", headers={"Accept": "text/csv"})
    assert answer.headers["Content-Type"].startswith("text/csv")
    assert "attachment" in answer.headers["Content-Disposition"]
    header, *rows = csv.reader(io.StringIO(answer.body.decode(), newline=""))
    assert header == ["Title", "Prio", "Notes", "error"]
    assert [row[:3] for row in rows] == [["bad", "99", "'=1+1"], ["", "2", ""]]
    assert rows[0][3].startswith("Prio: ")
    mended = answer.body.replace(b"99", b"3").replace(b"\r\n,2", b"\r\nnow with a title,2")
    again = await imported(importing.alice, mended, mapping=mapping)
    assert counts(again) == (2, 2, 0, 0, 0)


async def test_a_report_of_errors_can_be_sent_back_again_and_again(importing: Service) -> None:
    content = b"title,description,priority\r\n=sum,@all,11\r\ngood,,1\r\n"
    for _ in range(3):
        done = await imported(importing.alice, content)
        assert (done["format"], done["failed"]) == ("tenfold-csv", 1)
        answer = await importing.alice.get(f"/imports/{done['id']}/errors", headers={"Accept": "text/csv"})
        content = answer.body
        assert content.splitlines()[0] == b"title,description,priority,error"
        assert content.splitlines()[1].startswith(b"'=sum,'@all,11,priority: ")
    assert (await imported(importing.alice, content.replace(b"11", b"10", 1)))["created"] == 1
    task = (await importing.alice.get("/user/tasks?sort=-id&limit=1")).items[0]
    assert (task["title"], task["description"], task["priority"]) == ("=sum", "@all", 10)


async def test_errors_of_another_file_are_a_csv_of_rows_columns_and_messages(importing: Service) -> None:
    done = await imported(importing.alice, lines({"title": "", "priority": 0}))
    answer = await importing.alice.get(f"/imports/{done['id']}/errors", headers={"Accept": "text/csv"})
    header, *rows = csv.reader(io.StringIO(answer.body.decode(), newline=""))
    assert header == ["row", "column", "error", "values"]
    assert [row[:2] for row in rows] == [["1", "title"], ["1", "priority"]]
    assert orjson.loads(rows[0][3]) == {"title": "", "priority": 0}


async def test_many_errors_arrive_whole(importing: Service) -> None:
    done = await imported(importing.alice, lines(*[{"title": ""}] * 3500))
    answer = await importing.alice.get(f"/imports/{done['id']}/errors", headers={"Accept": "text/csv"})
    assert len(answer.body.splitlines()) == 3501


@pytest.mark.parametrize(
    ("accept", "is_csv"),
    [
        ("application/json, text/csv;q=0.5", False),
        ("application/json;q=0.5, text/csv", True),
        ("*/*", False),
        ("text/csv;q=0", False),
        ("text/csv;q=x", False),
    ],
)
async def test_the_form_of_errors_is_what_is_preferred(importing: Service, accept: str, is_csv: bool) -> None:
    done = await imported(importing.alice, lines({"title": ""}))
    answer = await importing.alice.get(f"/imports/{done['id']}/errors", headers={"Accept": accept})
    assert answer.headers["Content-Type"].startswith("text/csv") is is_csv


async def test_imports_are_listed_newest_first_in_pages(importing: Service) -> None:
    made = [(await imported(importing.alice, lines({"title": f"{n}"})))["id"] for n in range(3)]
    first = await importing.alice.get("/imports?limit=2")
    assert [found["id"] for found in first.items] == [made[2], made[1]]
    second = await importing.alice.get(f"/imports?limit=2&cursor={first.json['next_cursor']}")
    assert [found["id"] for found in second.items] == [made[0]]
    assert (await importing.bob.get("/imports")).items == []
    jobs = await importing.alice.get("/jobs?kind=import")
    assert [job["id"] for job in jobs.items] == made[::-1]


async def test_what_belongs_to_another_does_not_exist(importing: Service) -> None:
    done = await imported(importing.alice, lines({"title": ""}))
    for path in (f"/imports/{done['id']}", f"/imports/{done['id']}/errors"):
        for client in (importing.bob, importing.charlie, importing.admin):
            assert_problem(await client.get(path), 404, "not-found")
    assert_problem(await importing.bob.delete(f"/imports/{done['id']}"), 404, "not-found")
    assert_problem(await importing.alice.get(f"/imports/{uuid.uuid4()}"), 404, "not-found")
    assert_problem(await importing.alice.get("/imports/7"), 404, "not-found")


# -- cancelling


@pytest.mark.parametrize("path", ["/imports/{}", "/jobs/{}"])
async def test_an_import_is_cancelled(service: Service, path: str) -> None:
    answer = await sent(service.alice, lines({"title": "never"}))
    import_id = answer.json["id"]
    assert (await service.alice.delete(path.format(import_id))).status == 204
    assert (await service.alice.get(f"/imports/{import_id}")).json["state"] == "cancelled"
    assert_problem(await service.alice.delete(path.format(import_id)), 409, "job-not-cancellable")


async def test_an_import_that_has_ended_cannot_be_cancelled(importing: Service) -> None:
    done = await imported(importing.alice, lines({"title": "done"}))
    assert_problem(await importing.alice.delete(f"/imports/{done['id']}"), 409, "job-not-cancellable")


# -- faults


async def test_with_the_queue_away_nothing_is_taken_and_nothing_stays(
    make_service: MakeService, breakable_servers: Any
) -> None:
    service = await make_service(on=breakable_servers)
    async with away(breakable_servers.queue):
        answer = await sent(service.alice, lines({"title": "x"}))
        assert_problem(answer, 503, "queue-unavailable")
        assert int(answer.headers["Retry-After"]) > 0
        assert uploads(service) == []


async def test_with_the_database_away_an_import_is_promised_and_carried_out_when_it_is_back(
    make_service: MakeService, breakable_servers: Any
) -> None:
    service = await make_service(
        on=breakable_servers, queues=("writes", "bulk", "maintenance"), WRITE_WAIT_SECONDS="0.5"
    )
    async with away(breakable_servers.postgres):
        answer = await sent(
            service.alice, lines({"title": "promised"}), headers={"Content-Disposition": "x; filename=f"}
        )
        assert answer.status == 202
        waiting = await service.alice.get(f"/imports/{answer.json['id']}")
        assert (waiting.status, waiting.json["state"], waiting.json["filename"]) == (200, "queued", "f")
    done = await eventually(lambda: _ended(service, answer.json["id"]), timeout=60)
    assert (done["state"], done["created"]) == ("succeeded", 1)


async def _ended(service: Service, import_id: str) -> Any:
    answer = await service.alice.get(f"/imports/{import_id}")
    return answer.json if answer.status == 200 and answer.json["finished_at"] else None


async def test_with_the_storage_away_nothing_is_taken(make_service: MakeService) -> None:
    service = await make_service(STORAGE_URL="file:///proc/tenfold")
    answer = await sent(service.alice, lines({"title": "x"}))
    assert_problem(answer, 503, "storage-unavailable")
    async with connection(service.settings.database_url) as owner:
        assert await owner.fetchval("SELECT count(*) FROM imports") == 0


async def test_an_import_calls_a_worker_at_once(make_service: MakeService) -> None:
    service = await make_service()
    await sent(service.alice, lines({"title": "x"}))
    queue = service.worker.services.queue
    assert await eventually(lambda: queue.zcard(BULK_QUEUE), timeout=2) == 1


async def test_what_is_larger_than_any_import_may_be_is_413_however_much_room_there_is(
    make_service: MakeService,
) -> None:
    service = await make_service(with_worker=False, MAX_IMPORT_BYTES="2048", QUOTA_STORED_BYTES="1024")
    head = "POST /imports HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n"
    answer = await service.raw(f"{head}Authorization: Bearer {service.alice.token}\r\n\r\n".encode())
    assert answer.status == 413

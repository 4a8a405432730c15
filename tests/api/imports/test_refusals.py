"""What is no import is refused and leaves no file; and what happens while queue, database or storage are away."""

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.api.imports.harness import finished, imported, lines, sent, uploads
from tests.api.problems import assert_problem
from tests.conftest import MakeService
from tests.harness import Service, away, connection, eventually

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
        ({"lists_as": "projects"}, "lists_as"),
        ({"columns_as": "labels"}, "columns_as"),
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


async def test_what_is_larger_than_any_import_may_be_is_413_however_much_room_there_is(
    make_service: MakeService,
) -> None:
    service = await make_service(with_worker=False, MAX_IMPORT_BYTES="2048", QUOTA_STORED_BYTES="1024")
    head = "POST /imports HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n"
    answer = await service.raw(f"{head}Authorization: Bearer {service.alice.token}\r\n\r\n".encode())
    assert answer.status == 413

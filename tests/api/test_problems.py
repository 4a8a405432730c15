"""Every refusal is a problem (RFC 9457) in one form, also those that aiohttp makes itself."""

import asyncio
import io

import pytest

from tests.api.problems import assert_problem
from tests.harness import RawAnswer, Service

HOST = b"Host: tests\r\n"


async def test_an_unknown_address_is_not_found(service: Service) -> None:
    answer = await service.alice.get("/nothing/here")
    assert assert_problem(answer, 404, "not-found")["instance"] == "/nothing/here"


async def test_the_instance_is_the_address_as_it_was_sent(service: Service) -> None:
    for path in (b"/tasks/%00", b"/a%20b", b"/%C3%A9", b"/tasks/%2e%2e"):
        answer = await service.raw(b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n")
        assert answer.json["instance"] == path.decode()


async def test_an_unknown_method_is_refused_with_those_that_are_allowed(service: Service) -> None:
    answer = await service.alice.delete("/tasks")
    assert_problem(answer, 405, "method-not-allowed")
    assert {method.strip() for method in answer.headers["Allow"].split(",")} == {"GET", "HEAD", "POST"}


async def test_the_request_id_is_the_clients_if_it_is_sane(service: Service) -> None:
    answer = await service.alice.get("/nothing", headers={"X-Request-Id": "client-0815"})
    assert assert_problem(answer, 404, "not-found")["request_id"] == "client-0815"
    answer = await service.alice.get("/tasks", headers={"X-Request-Id": "client-0816"})
    assert answer.headers["X-Request-Id"] == "client-0816"


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "<script>", "ü"])
async def test_the_request_id_is_made_if_the_clients_is_not_sane(service: Service, given: str) -> None:
    answer = await service.alice.get("/tasks", headers={"X-Request-Id": given})
    assert answer.headers["X-Request-Id"] != given
    assert len(answer.headers["X-Request-Id"]) == 24


@pytest.mark.parametrize("body", [b"", b"{", b"nonsense", b'{"title": "a",}', b"\xff\xfe", b"NaN", b"{'title': 1}"])
async def test_a_body_that_is_not_json_is_400(service: Service, body: bytes) -> None:
    answer = await service.alice.post("/tasks", data=body, headers={"Content-Type": "application/json"})
    assert_problem(answer, 400, "invalid-json")


@pytest.mark.parametrize("body", [b"[]", b"null", b"1", b'"text"', b"true"])
async def test_a_body_that_is_no_object_is_422(service: Service, body: bytes) -> None:
    answer = await service.alice.post("/tasks", data=body, headers={"Content-Type": "application/json"})
    problem = assert_problem(answer, 422, "validation-error")
    assert problem["errors"]["body"]


async def test_invalid_fields_are_named_with_messages(service: Service) -> None:
    answer = await service.alice.post("/tasks", {"title": "", "priority": 11, "status": "asleep", "colour": "red"})
    problem = assert_problem(answer, 422, "validation-error")
    assert set(problem["errors"]) == {"title", "priority", "status", "colour"}
    assert all(messages and all(isinstance(m, str) for m in messages) for messages in problem["errors"].values())


async def test_another_media_type_is_415(service: Service) -> None:
    answer = await service.alice.post("/tasks", data=b"<task/>", headers={"Content-Type": "application/xml"})
    assert_problem(answer, 415, "unsupported-media-type")


async def test_a_body_that_announces_too_much_is_413_before_it_is_sent(service: Service) -> None:
    answer = await service.raw(
        b"POST /tasks HTTP/1.1\r\n" + HOST + f"Authorization: Bearer {service.alice.token}\r\n".encode(),
        b"Content-Type: application/json\r\nContent-Length: 1048577\r\n\r\n",
        timeout=3,
    )
    assert_problem(answer, 413, "payload-too-large")


async def test_a_chunked_body_is_413_while_it_arrives(service: Service) -> None:
    head = (
        b"POST /tasks HTTP/1.1\r\n"
        + HOST
        + f"Authorization: Bearer {service.alice.token}\r\n".encode()
        + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    # 17 of 64 KiB are more than 1 MiB; the end of the body is never sent.
    answer = await service.raw(head, *[chunk] * 17, timeout=3)
    assert_problem(answer, 413, "payload-too-large")


async def test_a_body_of_exactly_the_limit_is_read(service: Service) -> None:
    body = b'{"title": "as long as may be"}'
    answer = await service.alice.post(
        "/tasks", data=body + b" " * ((1 << 20) - len(body)), headers={"Content-Type": "application/json"}
    )
    assert answer.status == 201


async def test_the_connection_serves_on_after_a_refused_body(service: Service) -> None:
    answers = await asyncio.gather(
        *(
            service.alice.post(
                "/tasks", data=io.BytesIO(b" " * (2 << 20)), headers={"Content-Type": "application/json"}
            )
            for _ in range(5)
        )
    )
    assert [answer.status for answer in answers] == [413] * 5
    assert (await service.alice.get("/tasks")).status == 200


async def test_an_unknown_expectation_is_417(service: Service) -> None:
    answer = await service.raw(b"GET /tasks HTTP/1.1\r\n" + HOST + b"Expect: miracles\r\nX-Request-Id: e-1\r\n\r\n")
    assert answer.headers["x-request-id"] == answer.json["request_id"] == "e-1"
    assert_problem(answer, 417, "expectation-failed")


@pytest.mark.parametrize(
    ("request_head", "status", "name"),
    [
        (b"GARBAGE\r\n\r\n", 400, "bad-request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400, "bad-request"),
        (b"GET / HTTP/9.9\r\n" + HOST + b"\r\n", 400, "bad-request"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "bad-request"),
        (b"GET /\xff\xfe HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad-request"),
        (b"GET /\x00 HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad-request"),
        (b"GET http://[ HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad-request"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X\x00: 1\r\n\r\n", 400, "bad-request"),
        (b"POST /tasks HTTP/1.1\r\n" + HOST + b"Content-Length: -5\r\n\r\n", 400, "bad-request"),
        (b"POST /tasks HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 400, "bad-request"),
        (
            b"POST /tasks HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
            "bad-request",
        ),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: 1\r\n" * 300 + b"\r\n", 400, "bad-request"),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414, "uri-too-long"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 20000 + b"\r\n\r\n", 431, "headers-too-large"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X" * 20000 + b": a\r\n\r\n", 431, "headers-too-large"),
    ],
    ids=lambda value: value[:24].decode("latin-1") if isinstance(value, bytes) else None,
)
async def test_what_is_not_http_is_a_problem_too(service: Service, request_head: bytes, status: int, name: str) -> None:
    assert_problem(await service.raw(request_head), status, name)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (b"Content-Encoding: gzip\r\nContent-Length: 5\r\n", b"abcde"),
        (b"Transfer-Encoding: chunked\r\n", b"zz\r\n"),
    ],
    ids=["not gzip", "not chunks"],
)
async def test_a_body_that_breaks_off_is_400(service: Service, headers: bytes, body: bytes) -> None:
    head = b"POST /tasks HTTP/1.1\r\n" + HOST + f"Authorization: Bearer {service.alice.token}\r\n".encode() + headers
    answer = await service.raw(head + b"\r\n", body)
    assert_problem(answer, 400, "bad-request")


@pytest.mark.parametrize(
    "chunk", [b"zz\r\nabc\r\n0\r\n\r\n", b"-1\r\n", b"5\r\nabcdefgh\r\n", b"f" * 18 + b"\r\n", b"5 \r\n"]
)
@pytest.mark.parametrize("path", ["POST /tasks", "DELETE /tasks/4711", "POST /imports"])
async def test_a_chunk_that_is_none_is_400_also_when_the_head_came_long_before(
    service: Service, path: str, chunk: bytes
) -> None:
    reader, writer = await asyncio.open_connection(service.base.host, service.base.port)
    token = f"Authorization: Bearer {service.alice.token}\r\n".encode()
    writer.write(path.encode() + b" HTTP/1.1\r\n" + HOST + token + b"Transfer-Encoding: chunked\r\n\r\n")
    await asyncio.sleep(0.1)
    writer.write(chunk)
    async with asyncio.timeout(5):
        assert_problem(await RawAnswer.read(reader), 400, "bad-request")
        assert await reader.read() == b"", "there is one answer, and the connection is closed"
    writer.close()


async def test_a_head_request_answers_as_get_without_a_body(service: Service) -> None:
    answer = await service.alice.request("HEAD", "/tasks")
    assert answer.status == 200
    assert answer.body == b""
    assert int(answer.headers["Content-Length"]) == len((await service.alice.get("/tasks")).body)


async def test_every_refusal_in_the_table_has_a_fitting_status_and_a_title() -> None:
    from api.errors import PROBLEMS

    assert all(400 <= status < 600 and title for status, title in PROBLEMS.values())

"""Bodies on their way in: who waits to be invited is invited in time or not at all; who stands still is let go."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import orjson
import pytest

from api import arrivals
from tests.api.problems import assert_problem
from tests.conftest import MakeService
from tests.harness import RawAnswer, Service

BODY = orjson.dumps({"title": "Invited"})


@contextlib.asynccontextmanager
async def connected(service: Service) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(service.base.host, service.base.port)
    try:
        async with asyncio.timeout(10):
            yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def head(request_line: str, token: str | None, **headers: str) -> bytes:
    fields = {"Host": "localhost"} | ({} if token is None else {"Authorization": f"Bearer {token}"})
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    return "\r\n".join([request_line, *(f"{name}: {value}" for name, value in fields.items()), "", ""]).encode()


# -- 100 Continue ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_line", "content_type"),
    [("POST /tasks HTTP/1.1", "application/json"), ("POST /imports?format=tenfold-json HTTP/1.1", "application/json")],
)
async def test_a_body_that_is_wanted_is_invited(service: Service, request_line: str, content_type: str) -> None:
    body = BODY if "tasks" in request_line else b"[" + BODY + b"]"
    headers = {"Expect": "100-continue", "Content_Type": content_type, "Content_Length": str(len(body))}
    async with connected(service) as (reader, writer):
        for _ in range(2):  # the connection serves on
            writer.write(head(request_line, service.alice.token, **headers))
            assert (await RawAnswer.read(reader, has_body=False)).status == 100
            writer.write(body)
            answer = await RawAnswer.read(reader)
            assert answer.status in (201, 202), answer
            assert "connection" not in answer.headers


async def test_a_body_that_is_sent_at_once_is_taken(service: Service) -> None:
    headers = {"Expect": "100-Continue", "Content_Type": "application/json", "Content_Length": str(len(BODY))}
    async with connected(service) as (reader, writer):
        writer.write(head("POST /tasks HTTP/1.1", service.alice.token, **headers) + BODY)
        answer = await RawAnswer.read(reader, has_body=False)
        if answer.status == 100:
            answer = await RawAnswer.read(reader)
        assert answer.status == 201


@pytest.mark.parametrize(
    ("request_line", "is_known", "headers", "status"),
    [
        ("POST /tasks HTTP/1.1", False, {}, 401),
        ("POST /tasks HTTP/1.1", True, {"Content_Length": "1048577"}, 413),
        ("POST /tasks HTTP/1.1", True, {"Content_Type": "text/plain"}, 415),
        ("POST /tasks HTTP/1.1", True, {"Content_Encoding": "br"}, 415),
        ("POST /auth/token HTTP/1.1", False, {"Content_Type": "application/json"}, 415),
        ("POST /imports HTTP/1.1", True, {"Content_Length": str(2 << 30)}, 413),
        ("POST /imports HTTP/1.1", True, {"Content_Encoding": "br"}, 415),
        ("POST /tasks HTTP/1.1", True, {"Expect": "200-ok"}, 417),
        ("POST /nothing HTTP/1.1", True, {}, 404),
        ("POST /tasks/12 HTTP/1.1", True, {}, 405),
        ("POST /tasks?x=1 HTTP/1.1", True, {}, 422),
    ],
)
async def test_a_body_that_the_head_dooms_is_not_invited(
    service: Service, request_line: str, is_known: bool, headers: dict[str, str], status: int
) -> None:
    usual = {"Expect": "100-continue", "Content_Type": "application/json", "Content_Length": "50"}
    async with connected(service) as (reader, writer):
        writer.write(head(request_line, service.alice.token if is_known else None, **(usual | headers)))
        answer = await RawAnswer.read(reader)
        assert answer.status == status
        if status != 417:
            assert answer.headers["connection"] == "close"  # nobody knows whether the body comes all the same


async def test_over_the_limit_a_body_is_not_invited(make_service: MakeService) -> None:
    service = await make_service(RATE_LIMIT_PER_MINUTE="1")
    headers = {"Expect": "100-continue", "Content_Type": "application/json", "Content_Length": "50"}
    await service.alice.get("/tasks")
    async with connected(service) as (reader, writer):
        writer.write(head("POST /tasks HTTP/1.1", service.alice.token, **headers))
        assert_problem(await RawAnswer.read(reader), 429, "too-many-requests")


# -- standing still -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_line", "headers", "beginning"),
    [
        ("POST /tasks HTTP/1.1", {"Content_Length": "50"}, b""),
        ("POST /tasks HTTP/1.1", {"Content_Length": "50"}, b'{"title":'),
        ("POST /tasks HTTP/1.1", {"Content_Length": "50", "Content_Encoding": "gzip"}, b"\x1f\x8b"),
        ("POST /tasks HTTP/1.1", {"Transfer_Encoding": "chunked"}, b"5\r\n{"),
        ("POST /imports?format=tenfold-json HTTP/1.1", {"Content_Length": "50"}, b"[{"),
        (
            "POST /imports HTTP/1.1",
            {"Content_Length": "500", "Content_Type": "multipart/form-data; boundary=x"},
            b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n[',
        ),
    ],
)
async def test_a_body_that_stands_still_is_408_and_the_connection_ends(
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
    request_line: str,
    headers: dict[str, str],
    beginning: bytes,
) -> None:
    assert arrivals.STANDSTILL_SECONDS == 30
    monkeypatch.setattr(arrivals, "STANDSTILL_SECONDS", 0.3)
    async with connected(service) as (reader, writer):
        usual = {"Content_Type": "application/json"}
        writer.write(head(request_line, service.alice.token, **(usual | headers)) + beginning)
        answer = await RawAnswer.read(reader)
        assert_problem(answer, 408, "request-timeout")
        assert answer.headers["connection"] == "close"
        async with asyncio.timeout(2):
            assert await reader.read() == b""
    assert (await service.alice.get("/tasks")).items == []


async def test_a_body_that_comes_slowly_is_waited_for(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "STANDSTILL_SECONDS", 0.5)
    async with connected(service) as (reader, writer):
        headers = {"Content_Type": "application/json", "Content_Length": str(len(BODY))}
        writer.write(head("POST /tasks HTTP/1.1", service.alice.token, **headers))
        for place in range(0, len(BODY), 4):
            await asyncio.sleep(0.15)
            writer.write(BODY[place : place + 4])
        assert (await RawAnswer.read(reader)).status == 201

"""The client of webhooks: where it goes, what it takes for success, and how long it bears with a receiver."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from core.channels.addresses import NOT_PUBLIC
from core.deliveries.attempts import Attempt
from tests.receivers import Received, Receiver, raw_receiver, receiver
from worker.deliveries import webhook
from worker.deliveries.webhook import WebhookClient

PATIENCE = 0.7


@pytest.fixture
async def client() -> AsyncIterator[WebhookClient]:
    """One that may send to this machine."""
    found = WebhookClient(allow_private=True, timeout_seconds=PATIENCE)
    yield found
    await found.close()


@pytest.fixture
async def guarded() -> AsyncIterator[WebhookClient]:
    """One as in production."""
    found = WebhookClient(allow_private=False, timeout_seconds=PATIENCE)
    yield found
    await found.close()


async def post(client: WebhookClient, url: str) -> Attempt:
    return await client.post(url, {"webhook-id": "msg_1"}, b"{}")


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_a_status_of_200_to_299_is_success(client: WebhookClient, hook: Receiver, status: int) -> None:
    hook.answers(status)
    assert await post(client, hook.url) == Attempt()
    [received] = hook.received
    assert (received.headers["webhook-id"], received.body) == ("msg_1", b"{}")
    assert received.headers["user-agent"].startswith("Tenfold/")


@pytest.mark.parametrize("status", [400, 401, 404, 418, 500, 503])
async def test_any_other_status_is_a_failure(client: WebhookClient, hook: Receiver, status: int) -> None:
    hook.answers(status)
    assert await post(client, hook.url) == Attempt(f"The receiver answered {status}.")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_a_failure_and_not_followed(client: WebhookClient, hook: Receiver, status: int) -> None:
    hook.answers(status, Location=f"{hook.url}/elsewhere")
    attempt = await post(client, hook.url)
    assert attempt.error == f"The receiver answered {status}; redirects are not followed."
    assert [received.path for received in hook.received] == ["/"]


async def test_gone_is_told(client: WebhookClient, hook: Receiver) -> None:
    hook.answers(410)
    assert (await post(client, hook.url)).is_gone


async def test_what_the_receiver_asks_for_is_told(client: WebhookClient, hook: Receiver) -> None:
    hook.answers(429, **{"Retry-After": "77"})
    assert (await post(client, hook.url)).retry_after == 77


async def test_a_receiver_that_hangs_is_left_after_the_timeout(client: WebhookClient) -> None:
    async def hang(*_: object) -> None:
        await asyncio.sleep(60)

    async with raw_receiver(hang) as url:
        assert (await post(client, url)).error == f"The receiver did not answer within {PATIENCE:g} seconds."


async def test_a_head_that_comes_byte_by_byte_is_left_after_the_timeout(client: WebhookClient) -> None:
    async def drip(_: object, writer: asyncio.StreamWriter) -> None:
        for byte in b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 1000:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.1)

    async with raw_receiver(drip) as url:
        started = time.monotonic()
        assert "did not answer" in ((await post(client, url)).error or "")
        assert time.monotonic() - started < PATIENCE + 0.5


async def test_a_body_that_comes_byte_by_byte_delays_a_success_by_a_second_at_most(
    client: WebhookClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "BODY_SECONDS", 0.2)

    async def drip(_: object, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _number in range(1000):
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with raw_receiver(drip) as url:
        started = time.monotonic()
        assert await post(client, url) == Attempt()
        assert time.monotonic() - started < 0.6


async def test_of_a_gigabyte_no_more_is_read_than_a_little(client: WebhookClient) -> None:
    sent = 0

    async def pour(_: object, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
        for _number in range(1024):
            writer.write(bytes(1 << 20))
            await writer.drain()
            sent += 1

    async with raw_receiver(pour) as url:
        assert await post(client, url) == Attempt()
        await asyncio.sleep(0.05)
    assert sent < 64


@pytest.mark.parametrize(
    "talk",
    [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n", b"HTTP/1.1 9999 X\r\n\r\n"],
)
async def test_an_answer_that_is_none_is_a_failure(client: WebhookClient, talk: bytes) -> None:
    async def say(_: object, writer: asyncio.StreamWriter) -> None:
        writer.write(talk)
        await writer.drain()

    async with raw_receiver(say) as url:
        assert (await post(client, url)).error is not None


async def test_a_receiver_that_is_not_there_is_a_failure(client: WebhookClient) -> None:
    async with receiver() as gone:
        url = gone.url
    assert (await post(client, url)).error == "The receiver could not be reached."


async def test_a_name_that_does_not_resolve_is_a_failure(guarded: WebhookClient) -> None:
    assert (await post(guarded, "http://no-such-host.invalid/")).error == "The receiver's name cannot be resolved."


async def test_no_error_shows_the_address(client: WebhookClient, hook: Receiver) -> None:
    hook.answers(500)
    for url in (
        f"{hook.url}/private-token",
        "http://no-such-host.invalid/private-token",
        "http://127.0.0.1:1/private-token",
    ):
        assert "private-token" not in ((await post(client, url)).error or "")


async def test_a_connection_is_used_again(client: WebhookClient, hook: Receiver) -> None:
    ports = set()

    async def answer(_received: Received) -> web.StreamResponse:
        return web.Response(text="thank you")

    hook.answer = answer
    for _ in range(3):
        assert await post(client, hook.url) == Attempt()
        ports |= {key.port for key in client._session.connector._conns}  # type: ignore[union-attr]
    assert len(ports) == 1
    assert sum(len(found) for found in client._session.connector._conns.values()) == 1  # type: ignore[union-attr]


# -- the guard


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "0177.1", "[::ffff:127.0.0.1]", "127.1"]
)
async def test_this_machine_is_not_reached_however_it_is_written(
    guarded: WebhookClient, hook: Receiver, host: str
) -> None:
    port = hook.url.rpartition(":")[2]
    assert await post(guarded, f"http://{host}:{port}/") == Attempt(NOT_PUBLIC)
    assert hook.received == []


async def test_a_name_is_judged_by_what_it_resolves_to_at_the_time(
    guarded: WebhookClient, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def resolve(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(2, 1, 6, "", ("127.0.0.1", int(hook.url.rpartition(":")[2])))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    assert await post(guarded, "http://rebound.example.com/") == Attempt(NOT_PUBLIC)
    assert hook.received == []


async def test_of_several_addresses_the_private_ones_are_left_out(
    guarded: WebhookClient, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(hook.url.rpartition(":")[2])

    async def resolve(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(2, 1, 6, "", (address, port)) for address in ("127.0.0.1", "192.0.2.1", "10.0.0.1")]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    assert (await post(guarded, "http://mixed.example.com/")).error is not None
    assert hook.received == []


async def test_the_very_address_of_the_connection_is_looked_at_once_more(
    hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "is_literal_private", lambda _host: False)
    client = WebhookClient(allow_private=False, timeout_seconds=PATIENCE)
    try:
        assert await post(client, hook.url) == Attempt(NOT_PUBLIC)
    finally:
        await client.close()
    assert hook.received == []

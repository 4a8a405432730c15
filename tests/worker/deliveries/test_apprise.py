"""Messages through Apprise: sent by a process of its own, which is guarded and can be killed."""

import asyncio
import time
from pathlib import Path

import orjson
import pytest

from core.channels.addresses import NOT_PUBLIC
from core.deliveries.messages import Message
from tests.receivers import mailbox, raw_receiver, receiver
from worker.deliveries.apprise import AppriseClient

MESSAGE = Message("Reminder: Überweisung prüfen", "Due: tomorrow\nPriority: 1")
TOKEN = "AbCdEfGhIjKlMnO"


async def test_a_mail_arrives() -> None:
    with mailbox() as box:
        client = AppriseClient(allow_private=True)
        try:
            url = f"mailto://{box.address}/?to=ada@example.com&from=tenfold@example.com"
            assert (await client.send("mailto", url, MESSAGE)).error is None
        finally:
            await client.close()
    [mail] = box.mails
    assert mail["To"] == "ada@example.com"
    assert "Reminder" in str(mail["Subject"])


async def test_a_message_arrives_at_a_service_of_ones_own() -> None:
    async with receiver() as hook:
        client = AppriseClient(allow_private=True)
        try:
            url = f"gotify://{hook.url.removeprefix('http://')}/{TOKEN}"
            assert (await client.send("gotify", url, MESSAGE)).error is None
        finally:
            await client.close()
        [received] = hook.received
        assert "Überweisung" in orjson.loads(received.body)["title"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_this_machine_is_not_reached(host: str) -> None:
    async with receiver() as hook:
        client = AppriseClient(allow_private=False)
        try:
            url = f"gotify://{host}:{hook.url.rpartition(':')[2]}/{TOKEN}"
            assert (await client.send("gotify", url, MESSAGE)).error == NOT_PUBLIC
        finally:
            await client.close()
        assert hook.received == []


async def test_the_status_of_a_refusal_is_told_and_nothing_of_the_address() -> None:
    async with receiver() as hook:
        hook.answers(500)
        client = AppriseClient(allow_private=True)
        try:
            url = f"gotify://{hook.url.removeprefix('http://')}/{TOKEN}"
            error = (await client.send("gotify", url, MESSAGE)).error
        finally:
            await client.close()
    assert error == "The service answered 500."


async def test_a_service_that_drips_is_killed_off_and_the_next_message_goes_out() -> None:
    async def drip(_: object, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _number in range(1000):
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(0.2)

    client = AppriseClient(allow_private=True, timeout_seconds=2.0)
    with mailbox() as box:
        try:
            async with raw_receiver(drip) as url:
                started = time.monotonic()
                attempt = await client.send("gotify", f"gotify://{url.removeprefix('http://')}/{TOKEN}", MESSAGE)
                assert attempt.error == "The service did not answer within 2 seconds."
                assert time.monotonic() - started < 4
            mail = f"mailto://{box.address}/?to=ada@example.com&from=tenfold@example.com"
            assert (await client.send("mailto", mail, MESSAGE)).error is None
        finally:
            await client.close()
    assert len(box.mails) == 1


async def test_the_process_has_none_of_our_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRETS_KEY", "a-key-that-must-not-be-passed-on")
    client = AppriseClient(allow_private=False)
    try:
        await client.send("gotify", f"gotify://127.0.0.1:1/{TOKEN}", MESSAGE)
        [child] = client._idle
        environment = Path(f"/proc/{child.process.pid}/environ")
        assert b"a-key-that-must-not-be-passed-on" not in await asyncio.to_thread(environment.read_bytes)
    finally:
        await client.close()

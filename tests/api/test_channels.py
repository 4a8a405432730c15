"""Channels and deliveries over HTTP: what may be made of them, who sees them, and what is never told."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from standardwebhooks import Webhook

from tests.conftest import MakeService
from tests.factories import create_task
from tests.harness import Client, Service, WorkerInProcess, eventually
from tests.receivers import Receiver, receiver

SLACK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general"


@pytest.fixture
async def hook() -> AsyncIterator[Receiver]:
    async with receiver() as found:
        yield found


@pytest.fixture
async def open_service(make_service: MakeService) -> Service:
    """A service that may send to this machine, and delivers."""
    return await make_service(queues=("writes", "time"), ALLOW_PRIVATE_TARGETS="true")


async def make_channel(client: Client, url: str = "https://example.com/hook", **fields: Any) -> dict[str, Any]:
    answer = await client.post("/channels", {"url": url, **fields})
    assert answer.status == 201, answer
    made: dict[str, Any] = answer.json
    return made


async def delivery_of(client: Client, delivery_id: int, state: str = "delivered") -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        found: dict[str, Any] = (await client.get(f"/deliveries/{delivery_id}")).json
        return found if found["state"] == state else None

    found: dict[str, Any] = await eventually(look)
    return found


# -- making channels


async def test_a_webhook_is_told_with_its_secret_once_and_its_address_masked(service: Service) -> None:
    answer = await service.alice.post(
        "/channels", {"url": "https://user:pass@example.com:8443/hook/token?key=value", "events": ["task.created"]}
    )
    assert answer.status == 201
    made = answer.json
    assert made["secret"].startswith("whsec_")
    assert {name: made[name] for name in ("kind", "url", "events", "quiet_hours", "state", "failing_since")} == {
        "kind": "webhook",
        "url": "https://example.com:8443/***",
        "events": ["task.created"],
        "quiet_hours": None,
        "state": "active",
        "failing_since": None,
    }
    read = (await service.alice.get(f"/channels/{made['id']}")).json
    del made["secret"]
    assert read == made
    assert (await service.alice.get("/channels")).items == [made]


async def test_a_channel_is_told_of_reminders_unless_it_says_otherwise(service: Service) -> None:
    assert (await make_channel(service.alice))["events"] == ["task.reminder"]


async def test_nothing_that_is_stored_shows_an_address_or_a_secret(service: Service) -> None:
    made = await make_channel(service.alice, "https://example.com/hook/very-private-token")
    answer = await service.alice.patch(f"/channels/{made['id']}", {"url": "https://example.com/other-private-token"})
    assert answer.status == 200
    async with service.queue() as queue:
        keys = [key async for key in queue.scan_iter(match="*")]
        queued = b"".join(
            [await queue.dump(key) or b"" for key in keys if await queue.type(key) in (b"stream", b"hash", b"string")]
        )
    for table in ("jobs", "channels"):
        rows = await service.rows(f"SELECT row_to_json(t)::text AS row FROM {table} AS t")
        queued += b"".join(row["row"].encode() for row in rows)
    for secret in (b"very-private-token", b"other-private-token", made["secret"].removeprefix("whsec_").encode()):
        assert secret not in queued
        assert secret.hex().encode() not in queued


async def test_a_repeat_with_its_key_gets_the_same_channel_and_the_same_secret(service: Service) -> None:
    bodies = [
        await service.alice.post("/channels", {"url": "https://example.com/"}, headers={"Idempotency-Key": "one"})
        for _ in range(2)
    ]
    assert bodies[0].json == bodies[1].json
    assert bodies[1].headers["Idempotent-Replayed"] == "true"
    assert len((await service.alice.get("/channels")).items) == 1


async def test_two_webhooks_have_two_secrets(service: Service) -> None:
    made = [await make_channel(service.alice) for _ in range(2)]
    assert made[0]["secret"] != made[1]["secret"]


async def test_a_service_of_apprise_is_a_channel_without_a_secret(service: Service) -> None:
    made = await make_channel(service.alice, SLACK)
    assert (made["kind"], made["url"], "secret" in made) == ("slack", "slack://***", False)


async def test_the_address_that_a_service_gives_out_is_understood(service: Service) -> None:
    url = "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"
    assert (await make_channel(service.alice, url, kind="slack"))["kind"] == "slack"


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "dbus://",
        "exec://ls",
        "json://example.com/",
        "syslog://",
        "example.com",
        "https://",
        "https://exa mple.com/",
        "https://example.com:99999/",
        "slack://nonsense",
        "discord://123456789012345678/abcdefghijklmnop?template=/etc/passwd",
        "mailto://user:pass@example.com?pgp=yes",
    ],
)
async def test_an_address_that_is_not_allowed_or_not_understood_is_refused(service: Service, url: str) -> None:
    answer = await service.alice.post("/channels", {"url": url})
    assert answer.status == 422
    assert list(answer.json["errors"]) == ["url"]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://localhost:8000/",
        "http://10.1.2.3/",
        "http://192.168.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://0177.0.0.1/",
        "http://[::1]/",
        "http://[::ffff:10.0.0.1]/",
        "http://[fd00::1]/",
        "http://[64:ff9b::7f00:1]/",
        "gotify://127.0.0.1/AbCdEfGhIjKlMnO",
        "mailto://user:pass@10.0.0.1/?to=a@example.com&from=b@example.com",
    ],
)
async def test_an_address_in_a_private_network_is_refused(service: Service, url: str) -> None:
    answer = await service.alice.post("/channels", {"url": url})
    assert answer.status == 422
    assert "private network" in answer.json["errors"]["url"][0]


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"events": []}, "events"),
        ({"events": ["task.sneezed"]}, "events.0"),
        ({"events": ["task.created", "task.created"]}, "events"),
        ({"quiet_hours": {"start": "22:00"}}, "quiet_hours.end"),
        ({"quiet_hours": {"start": "24:00", "end": "07:00"}}, "quiet_hours.start"),
        ({"quiet_hours": {"start": "07:00", "end": "07:00"}}, "quiet_hours.end"),
        ({"kind": "carrier-pigeon"}, "kind"),
        ({"kind": "slack"}, "url"),
        ({"secret": "whsec_mine"}, "secret"),
    ],
)
async def test_what_is_not_valid_is_refused_by_its_name(service: Service, fields: dict[str, Any], wrong: str) -> None:
    answer = await service.alice.post("/channels", {"url": "https://example.com/", **fields})
    assert (answer.status, list(answer.json["errors"])) == (422, [wrong])


async def test_a_user_may_have_fifty_channels_and_no_more(service: Service) -> None:
    await service.rows(
        "INSERT INTO channels (user_id, kind, url_encrypted, url_masked)"
        " SELECT $1, 'webhook', '', '' FROM generate_series(1, 50)",
        service.alice.id,
    )
    answer = await service.alice.post("/channels", {"url": "https://example.com/"})
    assert (answer.status, answer.json["type"]) == (409, "/problems/quota-exceeded")
    assert (answer.json["quota"], answer.json["limit"], answer.json["used"]) == ("channels", 50, 50)
    await make_channel(service.bob)


async def test_without_a_key_no_channel_can_be_made(make_service: MakeService) -> None:
    service = await make_service(SECRETS_KEY="")
    answer = await service.alice.post("/channels", {"url": "https://example.com/"})
    assert (answer.status, answer.json["type"]) == (503, "/problems/channels-unavailable")


# -- whose they are, and how they change


async def test_another_users_channel_is_not_there(service: Service) -> None:
    path = f"/channels/{(await make_channel(service.alice))['id']}"
    answers = [
        await service.bob.get(path),
        await service.bob.patch(path, {"state": "disabled"}),
        await service.bob.patch(path, {"url": "https://example.com/mine"}),
        await service.bob.delete(path),
        await service.bob.post(f"{path}/test"),
        await service.bob.post(f"{path}/secret"),
        await service.admin.get(path),
    ]
    assert [answer.status for answer in answers] == [404] * 7
    assert (await service.bob.get("/channels")).items == []
    assert (await service.alice.get(path)).json["state"] == "active"


async def test_a_patch_changes_what_it_names(service: Service) -> None:
    quiet = {"start": "22:00", "end": "07:00"}
    made = await make_channel(service.alice, quiet_hours=quiet)
    path = f"/channels/{made['id']}"
    changed = (await service.alice.patch(path, {"events": ["import.finished"]})).json
    assert (changed["events"], changed["quiet_hours"], changed["url"]) == (["import.finished"], quiet, made["url"])
    changed = (await service.alice.patch(path, {"quiet_hours": None, "url": "http://example.org/x"})).json
    assert (changed["events"], changed["quiet_hours"]) == (["import.finished"], None)
    assert changed["url"] == "http://example.org/***"


async def test_a_channel_does_not_change_its_kind(service: Service) -> None:
    made = await make_channel(service.alice)
    answer = await service.alice.patch(f"/channels/{made['id']}", {"url": SLACK})
    assert (answer.status, list(answer.json["errors"])) == (422, ["url"])


async def test_a_channel_that_is_switched_on_again_has_not_failed_yet(service: Service) -> None:
    made = await make_channel(service.alice)
    await service.rows("UPDATE channels SET state = 'disabled', failing_since = now(), held_until = now()")
    changed = (await service.alice.patch(f"/channels/{made['id']}", {"state": "active"})).json
    assert (changed["state"], changed["failing_since"]) == ("active", None)


async def test_a_deleted_channel_is_gone_with_its_deliveries(service: Service) -> None:
    made = await make_channel(service.alice)
    assert (await service.alice.post(f"/channels/{made['id']}/test")).status == 201
    assert (await service.alice.delete(f"/channels/{made['id']}")).status == 204
    assert (await service.alice.get(f"/channels/{made['id']}")).status == 404
    assert (await service.alice.get("/deliveries")).items == []


async def test_the_list_is_paged(service: Service) -> None:
    made = [(await make_channel(service.alice))["id"] for _ in range(3)]
    first = await service.alice.get("/channels?limit=2")
    second = await service.alice.get(f"/channels?limit=2&cursor={first.json['next_cursor']}")
    assert [channel["id"] for channel in first.items + second.items] == made
    assert second.json["next_cursor"] is None
    assert (await service.alice.get(f"/deliveries?cursor={first.json['next_cursor']}")).status == 400


# -- sending


async def test_a_test_arrives_signed_as_the_standard_says(open_service: Service, hook: Receiver) -> None:
    made = await make_channel(open_service.alice, f"{hook.url}/in")
    answer = await open_service.alice.post(f"/channels/{made['id']}/test")
    assert (answer.status, answer.json["event"], answer.json["state"]) == (201, "channel.test", "pending")
    delivered = await delivery_of(open_service.alice, answer.json["id"])
    assert (delivered["attempts"], delivered["next_attempt_at"], delivered["last_error"]) == (1, None, None)
    [received] = hook.received
    assert received.path == "/in"
    assert received.headers["content-type"] == "application/json"
    body = Webhook(made["secret"]).verify(received.body, received.headers)
    assert (body["type"], body["data"]["channel"]["id"]) == ("channel.test", made["id"])


async def test_an_event_of_a_task_goes_to_the_channels_that_want_it(open_service: Service, hook: Receiver) -> None:
    wanting = await make_channel(open_service.alice, f"{hook.url}/wanting", events=["task.created", "task.completed"])
    await make_channel(open_service.alice, f"{hook.url}/other", events=["task.deleted"])
    await make_channel(open_service.bob, f"{hook.url}/bobs", events=["task.created"])
    task = await create_task(open_service.alice)
    await open_service.alice.patch(f"/tasks/{task['id']}", {"title": "another"})
    await open_service.alice.patch(f"/tasks/{task['id']}", {"status": "completed"})

    async def both() -> bool:
        return len(hook.received) >= 2

    await eventually(both)
    bodies = [orjson.loads(received.body) for received in hook.received]
    assert [received.path for received in hook.received] == ["/wanting", "/wanting"]
    assert [body["type"] for body in bodies] == ["task.created", "task.completed"]
    assert bodies[0]["data"]["task"]["id"] == task["id"]
    found = (await open_service.alice.get(f"/deliveries?channel_id={wanting['id']}")).items
    assert [delivery["event"] for delivery in found] == ["task.completed", "task.created"]
    assert (await open_service.bob.get("/deliveries")).items == []


async def test_during_a_rotation_both_secrets_verify(open_service: Service, hook: Receiver) -> None:
    made = await make_channel(open_service.alice, hook.url)
    rotated = await open_service.alice.post(f"/channels/{made['id']}/secret")
    assert rotated.status == 200
    assert rotated.json["secret"] != made["secret"]
    tried = await open_service.alice.post(f"/channels/{made['id']}/test")
    await delivery_of(open_service.alice, tried.json["id"])
    for secret in (made["secret"], rotated.json["secret"]):
        Webhook(secret).verify(hook.received[0].body, hook.received[0].headers)


async def test_only_webhooks_have_a_secret_to_change(service: Service) -> None:
    made = await make_channel(service.alice, SLACK)
    assert (await service.alice.post(f"/channels/{made['id']}/secret")).status == 409


async def test_what_failed_is_told_and_can_be_delivered_again(open_service: Service, hook: Receiver) -> None:
    hook.answers(500)
    made = await make_channel(open_service.alice, hook.url)
    tried = await open_service.alice.post(f"/channels/{made['id']}/test")
    failed = await delivery_of(open_service.alice, tried.json["id"], "failed")
    assert (failed["attempts"], failed["last_error"]) == (1, "The receiver answered 500.")
    assert failed["next_attempt_at"] is not None
    [listed] = (await open_service.alice.get("/deliveries?state=failed,dead")).items
    assert listed == failed
    assert (await open_service.alice.get("/deliveries?state=delivered")).items == []
    assert (await open_service.bob.post(f"/deliveries/{failed['id']}/redeliver")).status == 404
    hook.answers(204)
    again = await open_service.alice.post(f"/deliveries/{failed['id']}/redeliver")
    assert (again.status, again.json["state"], again.json["attempts"]) == (200, "pending", 0)
    await delivery_of(open_service.alice, failed["id"])
    assert hook.received[0].id == hook.received[1].id


async def test_a_disabled_channel_sends_nothing(service: Service) -> None:
    made = await make_channel(service.alice)
    tried = await service.alice.post(f"/channels/{made['id']}/test")
    await service.alice.patch(f"/channels/{made['id']}", {"state": "disabled"})
    for path in (f"/channels/{made['id']}/test", f"/deliveries/{tried.json['id']}/redeliver"):
        answer = await service.alice.post(path)
        assert (answer.status, answer.json["type"]) == (409, "/problems/channel-disabled")


async def test_a_delivery_outlives_the_worker_that_was_to_make_it(make_service: MakeService, hook: Receiver) -> None:
    service = await make_service(queues=("writes",), ALLOW_PRIVATE_TARGETS="true")
    made = await make_channel(service.alice, hook.url)
    tried = await service.alice.post(f"/channels/{made['id']}/test")
    async with service.queue() as queue:
        await queue.flushdb()
    worker = WorkerInProcess(service.settings, ("time",))
    await worker.start()
    try:
        await delivery_of(service.alice, tried.json["id"])
    finally:
        await worker.stop()
    assert len(hook.received) == 1
